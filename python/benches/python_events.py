#!/usr/bin/env python3
"""Events per second to Python beside pure Rust, and how long the loop is held up. Prints one line of JSON.

    python python/benches/python_events.py [--events N] [--messages N]

Everything runs in this process: the local WhatsApp of `centralita-testing`, the session, and the handlers. Each way is
measured twice. `live` is the whole path from the simulated phone's socket, and the figure of pure Rust beside it is the
same path to a subscriber in Rust. `drained` is what Python takes per second when all events wait already: what the
package itself can do.

The loop's stall is measured by a timer of 1 ms under as many messages, each answered by nothing but a count: `wall_ms` is
the longest that it came late, `cpu_ms` the most that the loop's thread worked between two ticks, which other programs on
the machine cannot blur.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import threading
import time
from collections.abc import Callable
from typing import Any

import centralita_testing
from centralita_testing import Phone, _native

import centralita
from centralita import Message, Typing, handlers
from centralita._bridge import call


class Bench:
    """A service with one linked session, and a contact who does what is measured."""

    def __init__(self, wa: centralita.Service, phone: Phone, contact: Phone) -> None:
        self.wa = wa
        self.phone = phone
        self.contact = contact

    def type(self, count: int) -> None:
        """Has the contact type so often."""
        self.contact.set_typing(self.phone, times=count)

    async def in_rust(self, count: int) -> float:
        """Events per second to a subscriber in Rust."""
        counting = asyncio.ensure_future(
            call(_native.count_events, self.wa.native, "bench", count, 120.0)
        )
        await asyncio.sleep(0)
        await asyncio.to_thread(self.type, count)
        return count / float(await counting)

    async def live(self, count: int, register: Callable[[Callable[[], None]], Any]) -> float:
        """Events per second to a handler, as they come."""
        seen, first, done = 0, 0.0, asyncio.Event()

        def note() -> None:
            nonlocal seen, first
            first = first or time.perf_counter()
            seen += 1
            if seen == count:
                done.set()

        handler = register(note)
        self.wa.on(Typing)(handler)
        await asyncio.to_thread(self.type, count)
        await asyncio.wait_for(done.wait(), 120)
        elapsed = time.perf_counter() - first
        self.wa.off(handler)
        return count / elapsed

    async def drained(self, count: int, register: Callable[[Callable[[], None]], Any]) -> float:
        """Events per second to a handler when all wait already."""
        seen, done = 0, asyncio.Event()

        def note() -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                done.set()

        handler = register(note)
        self.wa.on(Typing)(handler)

        def fill() -> None:
            asyncio.run(self.in_rust(count))

        # The loop stands still while they are queued.
        thread = threading.Thread(target=fill)
        thread.start()
        thread.join()
        start = time.perf_counter()
        await asyncio.wait_for(done.wait(), 120)
        elapsed = time.perf_counter() - start
        self.wa.off(handler)
        return count / elapsed

    async def stall(self, count: int) -> dict[str, float]:
        """How long the loop is held up while messages come."""
        seen, done = 0, asyncio.Event()
        wall: list[float] = []
        cpu: list[float] = []

        async def note(message: Message) -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                done.set()

        async def tick() -> None:
            while True:
                before, worked = time.perf_counter(), time.thread_time()
                await asyncio.sleep(0.001)
                wall.append(time.perf_counter() - before - 0.001)
                cpu.append(time.thread_time() - worked)

        self.wa.on(Message)(note)
        ticking = asyncio.create_task(tick())
        start = time.perf_counter()
        await asyncio.to_thread(self.contact.send_texts, self.phone, "message", count)
        await asyncio.wait_for(done.wait(), 600)
        elapsed = time.perf_counter() - start
        ticking.cancel()
        self.wa.off(note)
        wall.sort()
        return {
            "messages": count,
            "messages_per_s": round(count / elapsed),
            "wall_ms": round(1e3 * wall[-1], 2),
            "wall_p999_ms": round(1e3 * wall[int(len(wall) * 0.999)], 2),
            "cpu_ms": round(1e3 * max(cpu), 2),
        }


def plain(note: Callable[[], None]) -> Any:
    """A plain function."""

    def handler(event: Typing) -> None:
        note()

    return handler


def coroutine(note: Callable[[], None]) -> Any:
    """A coroutine function."""

    async def handler(event: Typing) -> None:
        note()

    return handler


async def run(events: int, messages: int) -> dict[str, Any]:
    """All figures."""
    # Room for all that is queued before it is taken.
    handlers.CAPACITY = events + 1_024
    stand_in = centralita_testing.StandIn()
    phone, contact = stand_in.add_phone("Bench"), stand_in.add_phone("Contact")
    async with centralita.Service(
        store=centralita.MemoryStore(), whatsapp_version=(2, 3000, 1_027_934_701), pre_key_count=30
    ) as wa:
        session = await wa.create_session("bench")
        async for step in session.link():
            if step.qr:
                phone.scan_qr(step.qr.text)
        bench = Bench(wa, phone, contact)
        found: dict[str, Any] = {
            "bench": "python_events",
            "python": platform.python_version(),
            "build": "debug" if _native.DEBUG else "release",
            "events": events,
            "rust_live_per_s": round(await bench.in_rust(events)),
        }
        for name, register in (("plain", plain), ("coroutine", coroutine)):
            found[f"{name}_live_per_s"] = round(await bench.live(events, register))
            found[f"{name}_drained_per_s"] = round(await bench.drained(events, register))
        found["stall"] = await bench.stall(messages)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--messages", type=int, default=10_000)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(run(args.events, args.messages))))


if __name__ == "__main__":
    main()
