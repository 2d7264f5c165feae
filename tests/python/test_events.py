"""Streams of events: back-pressure, cancellation, more than one loop."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest
from conftest import PATIENCE, World, eventually, first, run, text_of

import centralita
from centralita import Lagged, Message, Typing


async def typing_events(world: World, wa: centralita.Service, count: int) -> None:
    """Has the contact type so often, and waits until the session has heard of it all."""
    done = wa.events(Message)
    world.contact.set_typing(world.phone, times=count)
    world.contact.send_text(world.phone, "done")
    await text_of(done, "done")
    done.close()


def test_a_cancelled_waiter_loses_nothing(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            await world.link(wa, "ventas")
            stream = wa.events(Message)
            seen: list[str | None] = []
            for number in range(20):
                world.contact.send_text(world.phone, str(number))
            while len(seen) < 20:
                try:
                    # Short enough to be cut off in each phase of a fetch.
                    event = await asyncio.wait_for(stream.__anext__(), 0.002)
                except asyncio.TimeoutError:
                    continue
                seen.append(event.text)
            assert seen == [str(number) for number in range(20)]

    run(main())


def test_a_stream_ends_with_the_service_and_when_closed(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            closed, open_ = wa.events(), wa.events()
            waiting = asyncio.create_task(closed.__anext__())
            await asyncio.sleep(0)
            closed.close()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(asyncio.shield(waiting), PATIENCE)
            with pytest.raises(StopAsyncIteration):
                await closed.__anext__()
        assert [event async for event in open_] == []

    run(main())


def test_two_consumers_share_a_stream(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            await world.link(wa, "ventas")
            stream = wa.events(Message)
            seen: list[str | None] = []

            async def consume() -> None:
                async for event in stream:
                    seen.append(event.text)

            consumers = [asyncio.create_task(consume()) for _ in range(2)]
            for number in range(10):
                world.contact.send_text(world.phone, str(number))
            await eventually("all", lambda: len(seen) == 10)
            assert sorted(map(str, seen)) == [str(number) for number in range(10)]
            stream.close()
            await asyncio.gather(*consumers)

    run(main())


def test_what_nobody_takes_follows_the_policy(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            await world.link(wa, "ventas")
            dropping = wa.events(Typing, Lagged, capacity=5, overflow="drop_oldest")
            closing = wa.events(capacity=5, overflow="close")
            await typing_events(world, wa, 50)
            lagged = await first(dropping, "how many were dropped", lambda event: isinstance(event, Lagged))
            assert isinstance(lagged, Lagged) and lagged.dropped >= 40
            with pytest.raises(centralita.RateLimitedError):
                async for _ in closing:
                    pass

            # With `wait` WhatsApp waits, and nothing is lost.
            waiting = wa.events(Message, capacity=1, overflow="wait")
            for number in range(30):
                world.contact.send_text(world.phone, f"w{number}")
            seen = []
            async for event in waiting:
                seen.append(event.text)
                if len(seen) == 30:
                    break
            assert seen == [f"w{number}" for number in range(30)]

    run(main())


def test_two_loops_in_two_threads_share_a_service(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            session, _ = await world.link(wa, "ventas")
            seen: list[str | None] = []
            ready = threading.Event()

            async def elsewhere() -> None:
                stream = wa.events(Message)
                other = await wa.session("ventas")
                await other.send(world.contact.phone_number, "from the other loop")
                ready.set()
                async for event in stream:
                    if not event.from_me:
                        seen.append(event.text)
                    if len(seen) == 5:
                        return

            thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
            thread.start()
            await eventually("the other loop", ready.is_set)
            here = wa.events(Message)
            for number in range(5):
                world.contact.send_text(world.phone, str(number))
                await text_of(here, str(number))
                await session.send(world.contact.phone_number, f"from this loop {number}")
            await asyncio.to_thread(thread.join, PATIENCE)
            assert seen == ["0", "1", "2", "3", "4"]

    run(main())


def test_streams_that_are_forgotten_hold_nobody_up(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            await world.link(wa, "ventas")
            # Full at once, and with a fetch under way.
            forgotten = [wa.events(capacity=1, overflow="wait") for _ in range(10)]
            for stream in forgotten:
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.__anext__(), 0.001)
            del stream, forgotten
            gc.collect()
            await typing_events(world, wa, 100)

    run(main())


def test_bad_arguments(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service() as wa:
            untyped: Any = wa
            for wrong in ({"capacity": 0}, {"capacity": "many"}, {"overflow": "explode"}):
                with pytest.raises(ValueError):
                    untyped.events(**wrong)

    run(main())
