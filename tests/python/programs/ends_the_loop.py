"""A handler that ends the loop: by `sys.exit`, or because Ctrl-C was pressed while it ran.

    ends_the_loop.py WAY EXCEPTION
"""

import asyncio
import builtins
import sys

import centralita_testing

import centralita

WAY, EXCEPTION = sys.argv[1], getattr(builtins, sys.argv[2])


def plain(event):
    raise EXCEPTION


async def coroutine(event):
    raise EXCEPTION


async def main():
    stand_in = centralita_testing.StandIn()
    phone, contact = stand_in.add_phone("Ventas"), stand_in.add_phone("Clienta")
    async with centralita.Service(
        store=centralita.MemoryStore(), whatsapp_version=(2, 3000, 1_027_934_701), pre_key_count=10
    ) as wa:
        wa.on(centralita.Message)(plain if WAY == "plain" else coroutine)
        session = await wa.create_session("ventas")
        async for step in session.link():
            if step.qr:
                phone.scan_qr(step.qr.text)
        contact.send_text(phone, "hola")
        await wa.run_until_stopped()


try:
    asyncio.run(main())
except (KeyboardInterrupt, SystemExit) as error:
    print("ended by", type(error).__name__)
