"""The examples and `python -m centralita`, as a user runs them: the code is read off the terminal and scanned."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import qr_reader
from centralita_testing import Phone, StandIn

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"
PATIENCE = 60.0


class Program:
    """A running program and what it has written so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.output = ""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, what: str, found: Callable[[str], Any]) -> Any:
        """Reads until something is found in the output."""
        deadline = time.monotonic() + PATIENCE
        while not (seen := found(self.output)):
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            assert line is not None, f"the program ended without {what}:\n{self.output}"
            self.output += line
        return seen

    def rest(self) -> str:
        """Reads to the end."""
        while (line := self._lines.get(timeout=PATIENCE)) is not None:
            self.output += line
        return self.output


@contextmanager
def running(folder: Path, *command: str, **environment: str) -> Iterator[Program]:
    """Runs Python code with the local WhatsApp's module in place of the shipped one."""
    with subprocess.Popen(
        [sys.executable, "-c", "import centralita_testing, runpy, sys; sys.argv = sys.argv[1:]; exec(sys.argv.pop(0))"]
        + list(command),
        cwd=folder,
        env={**os.environ, **environment, "PYTHONPATH": str(EXAMPLES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        program = Program(process)
        try:
            yield program
        finally:
            process.kill()


def script(name: str) -> str:
    return f"sys.argv.insert(0, {name!r}); runpy.run_path({str(EXAMPLES / name)!r}, run_name='__main__')"


@pytest.fixture
def phones(stand_in: StandIn) -> tuple[Phone, Phone]:
    return stand_in.add_phone("Ventas"), stand_in.add_phone("Clienta")


def test_the_bot(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    phone, contact = phones
    with running(tmp_path, script("bot.py")) as bot:
        phone.scan_qr(bot.until("a QR code", qr_reader.find))
        bot.until("the link", lambda output: "LINKED" in output)
        contact.send_text(phone, "/ping")
        asyncio.run(contact.wait_for_message("pong", timeout=PATIENCE))
        bot.process.send_signal(signal.SIGTERM)
        assert bot.process.wait(PATIENCE) == 0, bot.rest()
    # The second time: no code.
    with running(tmp_path, script("bot.py")) as bot:
        bot.until("the link", lambda output: "LINKED" in output)
        assert qr_reader.find(bot.output) is None
        contact.send_text(phone, "/ping")
        asyncio.run(contact.wait_for_count(2, timeout=PATIENCE))
    assert len(phone.devices) == 1


def code_of(readme: str) -> str:
    """The first block of Python in a README."""
    text = (EXAMPLES.parents[1] / readme).read_text()
    return text.split("```python\n")[1].split("```")[0]


def test_the_readme(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    phone, contact = phones
    with running(tmp_path, code_of("python/README.md")) as bot:
        phone.scan_qr(bot.until("a QR code", qr_reader.find))
        bot.until("the link", lambda output: "LINKED" in output)
        contact.send_text(phone, "/ping")
        asyncio.run(contact.wait_for_message("pong", timeout=PATIENCE))


def test_the_readme_of_the_testing_package(tmp_path: Path) -> None:
    test = tmp_path / "test_bot.py"
    test.write_text(code_of("python/testing/README.md"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(test)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert process.returncode == 0 and "1 passed" in process.stdout, process.stdout


def test_the_script(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    phone, contact = phones
    with running(tmp_path, script("script.py"), contact.phone_number, "hola") as program:
        phone.scan_qr(program.until("a QR code", qr_reader.find))
        assert program.process.wait(PATIENCE) == 0, program.rest()
        assert "sent 3EB0" in program.rest() or "delivered 3EB0" in program.output
    assert [message.text for message in contact.received] == ["hola"]


def test_python_m_centralita(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    phone, contact = phones
    module = "runpy.run_module('centralita', run_name='__main__', alter_sys=True)"
    with running(tmp_path, f"sys.argv.insert(0, 'centralita'); {module}") as program:
        phone.scan_qr(program.until("a QR code", qr_reader.find))
        program.until("the link", lambda output: "linked" in output)
        contact.send_text(phone, "buenas")
        program.until("the message", lambda output: "Clienta: buenas" in output)
        assert {"centralita.db", "centralita.key"} <= {path.name for path in tmp_path.iterdir()}
        program.process.send_signal(signal.SIGINT)
        assert program.process.wait(PATIENCE) == 130
        assert "Traceback" not in program.rest()


def test_python_m_centralita_with_a_pair_code(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    phone, _ = phones
    module = "runpy.run_module('centralita', run_name='__main__', alter_sys=True)"
    code = f"sys.argv = ['centralita', 'otra', '--pair-code', {phone.phone_number!r}]; {module}"
    with running(tmp_path, code) as program:
        prompt = "type this on the phone: "
        output = program.until("a pair code", lambda output: prompt in output and output)
        phone.enter_pair_code(output.split(prompt)[1].split()[0])
        program.until("the link", lambda output: "linked" in output)


def test_python_m_centralita_says_what_is_wrong(tmp_path: Path) -> None:
    module = "runpy.run_module('centralita', run_name='__main__', alter_sys=True)"
    with running(tmp_path, f"sys.argv = ['centralita', 'a b']; {module}") as program:
        assert program.process.wait(PATIENCE) == 1
        assert program.rest().splitlines()[-1].startswith("centralita: create_session:")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Client:
    """HTTP on loopback, never through a proxy."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def open(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        request = urllib.request.Request(self._base + path, body, {"Content-Type": kind}, method=method)
        return self._opener.open(request, timeout=PATIENCE)

    def json(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        with self.open(method, path, body, kind) as response:
            return json.load(response)

    def wait(self, path: str) -> None:
        """Waits until the server answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.open("GET", path).close()
                return
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < deadline, "the server did not come up"
                time.sleep(0.05)


def test_fastapi_with_server_sent_events(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    phone, contact = phones
    port = free_port()
    serve = f"import uvicorn; uvicorn.run('web:app', port={port}, timeout_graceful_shutdown=1)"
    with running(tmp_path, serve) as server:
        client = Client(port)
        client.wait("/sessions")
        events = client.open("GET", "/events")
        assert events.readline().startswith(b": listening")
        assert client.json("POST", "/sessions/ventas")["session_id"] == "ventas"

        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with client.open("GET", "/sessions/ventas/qr.svg") as picture:
                    assert picture.headers["Content-Type"] == "image/svg+xml"
                    assert picture.read().startswith(b"<svg ")
                break
            except urllib.error.HTTPError as error:
                assert error.code == 404 and time.monotonic() < deadline
                time.sleep(0.05)
        (record,) = client.json("GET", "/sessions")
        phone.scan_qr(record["qr_code"])
        until_event(events, "StatusChanged", lambda data: data["status"] == "connected")
        contact.send_text(phone, "/ping")
        assert until_event(events, "Message", lambda data: not data["fromMe"])["text"] == "/ping"
        asyncio.run(contact.wait_for_message("pong", timeout=PATIENCE))
        body = json.dumps({"to": contact.phone_number, "text": "hola", "idempotency_key": "1"}).encode()
        sent = client.json("POST", "/sessions/ventas/messages", body)
        assert client.json("POST", "/sessions/ventas/messages", body)["repeated"]
        assert asyncio.run(contact.wait_for_message("hola")).id == sent["key"]["message_id"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            client.open("POST", "/sessions/nobody/messages", body)
        assert refused.value.code == 404
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) in (0, -signal.SIGINT, 130), server.rest()


def until_event(stream: Any, kind: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Reads Server-Sent Events until one fits."""
    name = ""
    for raw in stream:
        line = raw.decode().strip()
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: ") and name == kind:
            data: dict[str, Any] = json.loads(line.removeprefix("data: "))
            if fits(data):
                return data
    raise AssertionError(f"the stream ended without {kind}")


def test_django(phones: tuple[Phone, Phone], tmp_path: Path) -> None:
    pytest.importorskip("django")
    phone, contact = phones
    port = free_port()
    code = f"sys.argv = ['django_app.py', 'runserver', '--noreload', '127.0.0.1:{port}']; "
    code += f"runpy.run_path({str(EXAMPLES / 'django_app.py')!r}, run_name='__main__')"
    with running(tmp_path, code) as server:
        client = Client(port)
        client.wait("/statistics/")
        phone.scan_qr(client.json("POST", "/sessions/ventas/")["qr"])
        deadline = time.monotonic() + PATIENCE
        while client.json("GET", "/statistics/")["connected_sessions"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        form = f"to={contact.phone_number}&text=hola".encode()
        sent = client.json("POST", "/send/ventas/", form, "application/x-www-form-urlencoded")
        assert asyncio.run(contact.wait_for_message("hola")).id == sent["messageId"]
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0, server.rest()
