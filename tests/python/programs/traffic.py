"""A bot under traffic that ends in the way and at the moment that its arguments name.

    traffic.py WAY SEED

Everything happens in this process: the local WhatsApp, a phone that writes all the time, and the bot that answers.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import centralita_testing

import centralita
import centralita.sync

WAY = sys.argv[1]
kept = []
"""What lives until the interpreter clears it away."""
MOMENT = random.Random(int(sys.argv[2]))
FAST = {
    "whatsapp_version": (2, 3000, 1_027_934_701),
    "reconnect_min": 0.05,
    "pre_key_count": 10,
    "lease_duration": 3.0,
}


def write_on(contact, phone, answered):
    """Writes until the process ends; a daemon thread, so that it is still at it then. At most 20 messages ahead of
    the bot while it answers, and steadily once it does no more."""
    while True:
        answered.acquire(timeout=0.01)
        try:
            contact.send_text(phone, "hola")
            contact.set_typing(phone, times=20)
        except centralita.ClosedError:
            # The interpreter is at its end.
            return


async def talk(wa, stand_in, ends):
    phone, contact = stand_in.add_phone("Ventas"), stand_in.add_phone("Clienta")
    answered, count = threading.Semaphore(20), 0
    enough = MOMENT.randrange(0, 12)

    @wa.on(centralita.Message)
    async def answer(message):
        nonlocal count
        if not message.from_me:
            await message.reply("pong")
            answered.release()
            count += 1
            if count > enough:
                ends.set()
                if WAY == "sys.exit in a handler":
                    sys.exit(0)

    @wa.on()
    def look(event):
        pass

    session = await wa.create_session("ventas")
    async for step in session.link():
        if step.qr:
            phone.scan_qr(step.qr.text)
    if enough == 0 and WAY != "sys.exit in a handler":
        return
    threading.Thread(target=write_on, args=(contact, phone, answered), daemon=True).start()
    await ends.wait()
    await asyncio.sleep(MOMENT.random() / 50)


def new_service(folder, kind=centralita.Service, **options):
    keys = centralita.KeyRing("test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    return kind(store=centralita.SqliteStore(Path(folder) / "c.db"), keys=keys, **FAST, **options)


async def with_the_service(stand_in, folder):
    ends = asyncio.Event()
    async with new_service(folder) as wa:
        await talk(wa, stand_in, ends)
        if WAY == "sys.exit in main":
            sys.exit(0)
        if WAY == "SIGTERM":
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
            await wa.run_until_stopped()
        if WAY == "Ctrl-C":
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
            await wa.run_until_stopped()


async def without_shutdown(stand_in, folder):
    wa = await new_service(folder).start()
    stream = wa.events(overflow="drop_oldest")
    await talk(wa, stand_in, asyncio.Event())
    kept.append(wa)
    if WAY != "left running":
        # A call and a fetch under way at the end.
        kept.append(asyncio.ensure_future(stream.__anext__()))
        kept.append(asyncio.ensure_future(wa.manager.get_statistics()))
        await asyncio.sleep(0)


async def with_a_consumer(stand_in, folder):
    """A consumer's handlers are at work when the loop ends."""
    wa = await new_service(folder, durable_events=True).start()
    consumer = await wa.consumer("crm")

    async def handle(logged):
        await wa.manager.get_statistics()

    kept.append(asyncio.ensure_future(consumer.run(handle)))
    await talk(wa, stand_in, asyncio.Event())
    kept.append(wa)


def without_async(stand_in, folder):
    """The facade, left as it is: its loop goes on in its thread."""
    wa = new_service(folder, kind=centralita.sync.Service).start()
    phone, contact = stand_in.add_phone("Ventas"), stand_in.add_phone("Clienta")
    answered, ends = threading.Semaphore(20), threading.Semaphore(0)

    @wa.on(centralita.Message)
    async def answer(message):
        if not message.from_me:
            await message.reply("pong")
            answered.release()
            ends.release()

    session = wa.create_session("ventas")
    for step in session.link():
        if step.qr:
            phone.scan_qr(step.qr.text)
    threading.Thread(target=write_on, args=(contact, phone, answered), daemon=True).start()
    for _ in range(MOMENT.randrange(0, 12)):
        ends.acquire()
    time.sleep(MOMENT.random() / 50)
    kept.append(wa)


def main():
    with tempfile.TemporaryDirectory() as folder:
        stand_in = centralita_testing.StandIn()
        if WAY == "left running":
            # The loop is neither closed nor stopped by anybody, as in a notebook.
            loop = asyncio.new_event_loop()
            kept.append(loop)
            loop.run_until_complete(without_shutdown(stand_in, folder))
            return
        if WAY == "without async":
            without_async(stand_in, folder)
            return
        if WAY == "a consumer at work":
            asyncio.run(with_a_consumer(stand_in, folder))
            return
        if WAY == "asyncio.run, never shut down":
            asyncio.run(without_shutdown(stand_in, folder))
            return
        try:
            asyncio.run(with_the_service(stand_in, folder))
        except KeyboardInterrupt:
            if WAY != "Ctrl-C":
                raise


main()
