"""A bot that answers /ping: run it, scan the code, write to it."""

import asyncio

import centralita


async def main():
    async with centralita.Service() as wa:  # ./centralita.db and ./centralita.key

        @wa.on(centralita.Message)
        async def answer(message):
            if message.text == "/ping":
                await message.reply("pong")

        session = await wa.create_session("ventas")  # the second time: no QR code
        async for step in session.link():
            print(step.qr.to_terminal() if step.qr else step, flush=True)
        await wa.run_until_stopped()


asyncio.run(main())
