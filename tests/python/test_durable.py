"""Durable events, on each store."""

from __future__ import annotations

import asyncio

import pytest
from conftest import PATIENCE, World, eventually, run, until

import centralita
from centralita import LoggedEvent, Message


def text_of(logged: LoggedEvent) -> str | None:
    """The text of a message that came in."""
    event = logged.event
    return event.text if isinstance(event, Message) and not event.from_me else None


def test_what_was_not_acknowledged_comes_again_after_a_restart(world: World) -> None:
    async def first_life() -> None:
        async with world.service(durable_events=True) as wa, await wa.consumer("crm") as consumer:
            await world.link(wa, "ventas")
            for number in range(3):
                world.contact.send_text(world.phone, str(number))
            texts: list[str | None] = []
            while texts != ["0", "1", "2"]:
                for logged in await consumer.next_batch(timeout=PATIENCE):
                    if text_of(logged) is not None:
                        texts.append(text_of(logged))
                        if texts == ["0"]:
                            await consumer.ack(logged)
            with pytest.raises(centralita.InvalidError):
                await consumer.ack("not a cursor")

    async def second_life() -> None:
        async with world.service(durable_events={"max_events_per_session": 1_000}) as wa:
            async with await wa.consumer("crm") as consumer:
                again = await consumer.next_batch(timeout=PATIENCE)
                assert [text for logged in again if (text := text_of(logged))] == ["1", "2"]
            (info,) = await wa.consumers()
            assert info.name == "crm" and info.behind > 0
            await wa.delete_consumer("crm")
            assert await wa.consumers() == []

    run(first_life())
    run(second_life())


def test_a_handler_is_called_again_and_then_its_event_is_put_aside(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(durable_events=True) as wa:
            consumer = await wa.consumer("crm", max_attempts=2, min_pause=0.01, max_pause=0.01)
            seen: list[tuple[str, int]] = []
            mended = False

            async def handle(logged: LoggedEvent) -> None:
                text = text_of(logged)
                if text is None:
                    return
                seen.append((text, logged.attempt))
                if text == "bad" and not mended:
                    raise ValueError("cannot")

            running = asyncio.create_task(consumer.run(handle))
            await world.link(wa, "ventas")
            world.contact.send_text(world.phone, "bad")
            world.contact.send_text(world.phone, "good")
            await eventually("the good one", lambda: ("good", 1) in seen)
            assert seen == [("bad", 1), ("bad", 2), ("good", 1)]
            letters = await wa.dead_letters("crm")
            (letter,) = (await letters.list()).items
            assert letter.attempts == 2 and "ValueError: cannot" in letter.error
            with pytest.raises(centralita.NotFoundError):
                await letters.replay("ventas", 10_000)
            mended = True
            await letters.replay("ventas", letter.event.seq)
            await eventually("the replay", lambda: len(seen) == 4)
            consumer.stop()
            await running
            assert (await letters.list()).items == () and await letters.discard_all() == 0
            await consumer.close()

    run(main())


def test_without_the_option_there_are_no_consumers(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service() as wa:
            with pytest.raises(centralita.InvalidStateError):
                await wa.consumer("crm")

    run(main())


def test_rejected_events_are_listed_and_discarded(world: World) -> None:
    async def main() -> None:
        async with world.service(durable_events=True) as wa, await wa.consumer("crm", start="newest") as consumer:
            await world.link(wa, "ventas")
            world.contact.send_text(world.phone, "uno")
            world.contact.send_text(world.phone, "dos")
            rejected = 0
            while rejected < 2:
                for logged in await consumer.next_batch(timeout=PATIENCE):
                    if text_of(logged) is not None:
                        await consumer.reject(logged, "not today")
                        rejected += 1
            letters = await wa.dead_letters("crm")
            page = await letters.list(limit=1)
            assert page.items[0].error == "not today" and page.next is not None and not page.items[0].replay
            (other,) = (await letters.list(limit=1, after=page.next)).items
            assert isinstance(other.event, Message) and other.event.text == "dos"
            await letters.discard("ventas", other.event.seq)
            assert await letters.replay_all() == 1
            again = await consumer.next_batch(timeout=PATIENCE)
            assert [(text_of(logged), logged.replayed) for logged in again if logged.replayed] == [("uno", True)]
            with pytest.raises(centralita.ConflictError):
                await wa.consumer("crm")

    run(main())


def test_a_run_that_is_cancelled_acknowledges_nothing_more(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(durable_events=True) as wa:
            await world.link(wa, "ventas")
            begun = asyncio.Event()
            cut_off: list[str | None] = []

            async def hang(logged: LoggedEvent) -> None:
                if text_of(logged) is None:
                    return
                begun.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cut_off.append(text_of(logged))
                    raise

            async with await wa.consumer("crm") as consumer:
                running = asyncio.create_task(consumer.run(hang))
                world.contact.send_text(world.phone, "uno")
                await begun.wait()
                with pytest.raises(centralita.InvalidStateError):
                    await consumer.next_batch()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                await eventually("the handler's end", lambda: cut_off == ["uno"])
            async with await wa.consumer("crm") as consumer:
                texts = [text_of(logged) for logged in await consumer.next_batch(timeout=PATIENCE)]
                assert "uno" in texts

    run(main())


def test_a_handler_that_takes_too_long_is_cancelled(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(durable_events=True) as wa:
            with pytest.raises(centralita.InvalidError):
                await wa.consumer("crm", handler_timeout=0)
            async with await wa.consumer("crm", handler_timeout=0.2, max_attempts=1, start="newest") as consumer:
                ended: list[str] = []

                async def hang(logged: LoggedEvent) -> None:
                    if text_of(logged) == "hang":
                        try:
                            await asyncio.Event().wait()
                        except asyncio.CancelledError:
                            ended.append("cancelled")
                            raise

                running = asyncio.create_task(consumer.run(hang))
                await world.link(wa, "ventas")
                world.contact.send_text(world.phone, "hang")
                letters = await wa.dead_letters("crm")
                page = await until("the dead letter", letters.list, lambda page: page.items)
                assert ended == ["cancelled"] and "took longer than 0.2 s" in page.items[0].error
                consumer.stop()
                await running

    run(main())
