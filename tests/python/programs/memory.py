"""Takes 100,000 events in four ways while objects come and go; prints resident memory as it goes, in KiB."""

import asyncio
import gc
import json
import sys

import centralita_testing

import centralita

ROUNDS = int(sys.argv[1])
EVENTS_A_ROUND = int(sys.argv[2])


def resident_kib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


async def main():
    stand_in = centralita_testing.StandIn()
    phone, contact = stand_in.add_phone("Ventas"), stand_in.add_phone("Clienta")
    async with centralita.Service(
        store=centralita.MemoryStore(), whatsapp_version=(2, 3000, 1_027_934_701), pre_key_count=10
    ) as wa:
        seen = {"coroutine": 0, "plain": 0, "stream": 0}

        @wa.on(centralita.Typing)
        async def coroutine(event):
            seen["coroutine"] += 1
            await asyncio.sleep(0)

        @wa.on(centralita.Typing)
        def plain(event):
            seen["plain"] += 1

        session = await wa.create_session("ventas")
        async for step in session.link():
            if step.qr:
                phone.scan_qr(step.qr.text)

        async def consume(stream):
            async for event in stream:
                seen["stream"] += 1

        figures = []
        for number in range(ROUNDS):
            stream = wa.events(centralita.Typing)
            consumer = asyncio.create_task(consume(stream))
            abandoned = [wa.events(capacity=1, overflow="drop_oldest") for _ in range(5)]
            for _ in range(EVENTS_A_ROUND // 100):
                contact.set_typing(phone, times=100)
                await wa.session("ventas")
            wanted = (number + 1) * EVENTS_A_ROUND
            while seen["coroutine"] < wanted or seen["stream"] < wanted:
                await asyncio.sleep(0.01)
            stream.close()
            await consumer
            del abandoned, stream, consumer
            gc.collect()
            figures.append(resident_kib())
        print(json.dumps({"seen": seen, "resident_kib": figures}))


asyncio.run(main())
