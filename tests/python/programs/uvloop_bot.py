"""The bot on uvloop."""

import asyncio
import sys

import centralita_testing
import uvloop

import centralita

FAST = {"whatsapp_version": (2, 3000, 1_027_934_701), "pre_key_count": 10}


async def main():
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    stand_in = centralita_testing.StandIn()
    phone, contact = stand_in.add_phone("Ventas"), stand_in.add_phone("Clienta")
    async with centralita.Service(store=centralita.MemoryStore(), **FAST) as wa:

        @wa.on(centralita.Message)
        async def answer(message):
            if not message.from_me:
                await message.reply("pong")

        session = await wa.create_session("ventas")
        async for step in session.link():
            if step.qr:
                phone.scan_qr(step.qr.text)
        for _ in range(20):
            contact.send_text(phone, "ping")
        await contact.wait_for_count(20, timeout=30)
    print("answered", len(contact.received))


if sys.version_info >= (3, 11):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
else:
    uvloop.install()
    asyncio.run(main())
