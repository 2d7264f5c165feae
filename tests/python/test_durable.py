"""Durable events and the outbox, on each store."""

from __future__ import annotations

import asyncio

import pytest
from conftest import PATIENCE, World, eventually, first, run

import centralita
from centralita import LoggedEvent, Message, MessageStatus, OutboxEnded


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


def test_a_text_waits_in_the_outbox_until_the_session_is_up(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            ends = wa.events(OutboxEnded)
            session, _ = await world.link(wa, "ventas")
            await session.stop()
            session = await wa.start_session("ventas")
            queued = await session.send(world.contact.phone_number, "later", queue_for=60)
            assert queued.status in (MessageStatus.QUEUED, MessageStatus.SENT, MessageStatus.DELIVERED)
            await world.contact.wait_for_message("later", timeout=PATIENCE)
            if queued.status is MessageStatus.QUEUED:
                end = await first(ends, "the end")
                assert (end.message_id, end.outcome) == (queued.key.message_id, "sent")
            assert (await session.outbox()).items == ()

    run(main())
