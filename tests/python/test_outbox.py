"""Messages that wait: listed, cancelled, expired, sent in order."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from conftest import PATIENCE, World, first, run

import centralita
from centralita import MessageStatus, OutboxEnded, Status, StatusChanged


def test_what_waits_is_listed_cancelled_and_sent_in_order(world: World) -> None:
    async def main() -> None:
        async with world.service() as wa:
            ends = wa.events(OutboxEnded)
            session, _ = await world.link(wa, "ventas")
            to = world.contact.phone_number
            await session.stop()
            with pytest.raises(centralita.InvalidStateError):
                await session.send(to, "cannot wait")
            soon = datetime.now(timezone.utc) + timedelta(hours=1)
            one = await session.send(to, "one", queue_for=60, idempotency_key="1")
            two = await session.send(to, "two", queue_until=soon)
            three = await session.send(to, "three", queue_for=timedelta(minutes=1))
            assert {queued.status for queued in (one, two, three)} == {MessageStatus.QUEUED}
            again = await session.send(to, "one", queue_for=60, idempotency_key="1")
            assert again.repeated and again.key == one.key

            page = await session.outbox(limit=2)
            assert [queued.key for queued in page.items] == [one.key, two.key] and page.next is not None
            assert abs(page.items[1].expires_at - soon) < timedelta(seconds=1)
            assert page.items[0].state == "queued" and page.items[0].attempts == 0
            assert [queued.key for queued in (await session.outbox(after=page.next)).items] == [three.key]

            await session.cancel_queued(two.key.message_id)
            with pytest.raises(centralita.NotFoundError):
                await session.cancel_queued(two.key.message_id)
            await wa.start_session("ventas")
            for key in (one.key, three.key):
                end = await first(ends, "a sent one")
                assert (end.key, end.outcome, end.reason) == (key, "sent", None)
            await world.contact.wait_for_count(2, timeout=PATIENCE)
            assert [message.text for message in world.contact.received] == ["one", "three"]
            assert (await session.outbox()).items == ()
            stored = {message.key: message.status for message in (await session.messages()).items}
            assert stored[two.key] is MessageStatus.CANCELLED

    run(main())


def test_what_waits_while_the_session_is_down_expires_or_is_cancelled(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            session, _ = await world.link(wa, "ventas")
            ends, statuses = wa.events(OutboxEnded), wa.events(StatusChanged)
            world.stand_in.fault("refuse-logins", on=True)
            world.stand_in.fault("drop")
            await first(statuses, "the loss", lambda event: event.status is not Status.CONNECTED)
            late = await session.send(world.contact.phone_number, "too late", queue_for=0.5)
            end = await first(ends, "the end")
            assert (end.message_id, end.outcome) == (late.key.message_id, "expired")
            regretted = await session.send(world.contact.phone_number, "never", queue_for=60)
            await session.cancel_queued(regretted.key.message_id)
            end = await first(ends, "the cancellation")
            assert (end.key, end.outcome) == (regretted.key, "cancelled")
            world.stand_in.fault("refuse-logins", on=False)
            await session.wait_connected(timeout=PATIENCE)
            assert world.contact.received == []

    run(main())


def test_times_that_cannot_be(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service() as wa:
            session = await wa.create_session("ventas")
            past = datetime.now(timezone.utc) - timedelta(seconds=1)
            with pytest.raises(centralita.InvalidError):
                await session.send("5491155550000", "hola", queue_for=timedelta(days=31))
            with pytest.raises(centralita.InvalidError):
                await session.send("5491155550000", "hola", queue_until=past)
            with pytest.raises(centralita.InvalidError, match="time zone"):
                await session.send("5491155550000", "hola", queue_until=datetime(2030, 1, 1))
            # Never linked.
            with pytest.raises(centralita.InvalidStateError):
                await session.send("5491155550000", "hola", queue_for=10)

    run(main())
