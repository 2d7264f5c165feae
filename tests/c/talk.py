#!/usr/bin/env python3
"""Runs a bot as its user would: scans its QR code, writes to it, reads its answer, stops it with Ctrl-C.

    talk.py PROGRAM [ARGUMENT…]

The program prints the code's text in a line "qr …". The stand-in is at STAND_IN_ADMIN.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request

ADMIN = os.environ["STAND_IN_ADMIN"]


def call(path, body=None):
    data = None if body is None else body.encode()
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(ADMIN + path, data, headers), timeout=60) as answer:
        text = answer.read().decode()
    return json.loads(text) if text else None


def is_drawn(line):
    return len(line) > 20 and not set(line) - set(" █▀▄")


def main():
    phone = call("/admin/phones", '{"push_name":"Ventas"}')["phone_number"]
    contact = call("/admin/phones", '{"push_name":"Clienta"}')["phone_number"]
    with tempfile.TemporaryDirectory() as folder:
        bot = subprocess.Popen(sys.argv[1:], cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            talk(bot, phone, contact)
        finally:
            bot.kill()
            bot.wait()
        assert os.path.exists(os.path.join(folder, "centralita.key")), "no key file"


def talk(bot, phone, contact):
    drawn, scanned = 0, False
    for line in bot.stdout:
        line = line.rstrip("\n")
        drawn += is_drawn(line)
        if line.startswith("qr ") and not scanned:
            call(f"/admin/phones/{phone}/scan-qr", line[3:])
            scanned = True
        if line == "connected":
            break
    else:
        raise AssertionError("the program ended before it was connected")
    assert drawn > 20, "no QR code was drawn"
    call(f"/admin/phones/{contact}/send", json.dumps({"to": phone, "text": "/ping"}))
    received = call(f"/admin/phones/{contact}/received?count=1&timeout_ms=60000")
    assert "pong" in json.dumps(received), received
    bot.send_signal(signal.SIGINT)
    rest = bot.stdout.read()
    assert bot.wait(timeout=60) == 0, bot.returncode
    assert "Clienta: /ping" in rest and "stopped" in rest, rest
    print(os.path.basename(sys.argv[1]), "linked, answered, stopped")


if __name__ == "__main__":
    main()
