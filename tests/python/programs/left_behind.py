"""Ends the interpreter with a handler that has an event and so many turns of the loop behind it.

    left_behind.py TURNS
"""

import asyncio
import sys
from datetime import datetime, timezone

import centralita_testing  # noqa: F401 - its native module reaches loopback alone

import centralita
from centralita.handlers import Handlers, Registration

kept = []


async def handler(event):
    await asyncio.Event().wait()


async def main():
    handlers = Handlers(centralita.Service(store=centralita.MemoryStore()), 4)
    handlers.start()
    handlers._registered.append(Registration(handler, (centralita.Event,), None))
    await handlers.dispatch(centralita.Undecryptable(1, "ventas", datetime.now(timezone.utc)))
    kept.append(handlers)
    for _ in range(int(sys.argv[1])):
        await asyncio.sleep(0)


# Neither closed nor stopped by anybody, as in a notebook.
loop = asyncio.new_event_loop()
kept.append(loop)
loop.run_until_complete(main())
print("left")
