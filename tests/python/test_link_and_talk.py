"""A session's life as a user sees it, on each store."""

from __future__ import annotations

import asyncio

import pytest
from conftest import PATIENCE, World, eventually, first, run, text_of

import centralita
from centralita import (
    CodeReady,
    Direction,
    LinkKind,
    Message,
    MessageChanged,
    MessageStatus,
    Status,
    StatusChanged,
    Typing,
)


def test_link_talk_and_come_back(world: World) -> None:
    async def first_life() -> str:
        async with world.service() as wa:
            messages = wa.events(Message)
            session, device = await world.link(wa, "ventas")
            assert wa.running_sessions() == ["ventas"]
            assert await session.status() is Status.CONNECTED and await session.is_connected()
            record = await session.record()
            assert record.phone == world.phone.phone_number and record.is_connected
            assert record.last_activity.tzinfo is not None

            world.contact.send_text(world.phone, "/ping")
            ping = await text_of(messages, "/ping")
            assert (ping.session_id, ping.direction, ping.from_me) == ("ventas", Direction.IN, False)
            assert ping.sender_name == "Clienta"
            sent = await ping.reply("pong", idempotency_key="answer-1")
            assert not sent.repeated and sent.status in (MessageStatus.SENT, MessageStatus.DELIVERED)
            await world.contact.wait_for_message("pong")
            again = await ping.reply("pong", idempotency_key="answer-1")
            assert again.repeated and again.key == sent.key
            assert [message.text for message in world.contact.received].count("pong") == 1
            await ping.mark_read()
            return device

    async def second_life(device: str) -> None:
        async with world.service() as wa:
            messages = wa.events(Message)
            steps: list[centralita.RestoreProgress] = []
            report = await wa.restore_all(progress=steps.append)
            assert report.started == ("ventas",)
            session = await wa.session("ventas")
            kinds = [step.kind async for step in session.link()]
            assert kinds == [LinkKind.LINKED]
            await text_of(messages, "while you were away")
            await eventually("progress", lambda: steps)
            assert steps == [centralita.RestoreProgress(1, 1, 0, 0, "ventas")]
            await world.phone.wait_settled(device)
            page = await session.messages(limit=10)
            texts = {message.text for message in page.items}
            assert texts == {"/ping", "pong", "while you were away"}
            (chat,) = (await session.chats()).items
            assert chat.unread_count == 1 and not chat.is_group

    device = run(first_life())
    assert world.phone.devices == [device]
    run(world.phone.wait_disconnected(device))
    world.contact.send_text(world.phone, "while you were away")
    run(second_life(device))
    assert world.phone.devices == [device], "the second life was linked anew"
    assert (world.stand_in.lost_to(device), world.stand_in.duplicated_from(device)) == (0, 0)


def test_reaction_edit_revoke_typing(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            events = wa.events()
            session, _ = await world.link(wa, "ventas")
            sent = await session.send("+" + world.contact.phone_number, "hola")
            received = await world.contact.wait_for_message("hola")
            await session.edit(sent, "hola, buenas")
            await session.react(sent, "👍")
            await session.revoke(sent)
            await world.contact.wait_for_count(4)

            # The contact's turn.
            answer = world.contact.reply(world.phone, received.id, "buenas")
            quoting = await first(events, "the answer", lambda e: isinstance(e, Message) and e.text == "buenas")
            assert isinstance(quoting, Message)
            assert quoting.content.quoted is not None
            assert quoting.content.quoted.message_id == received.id
            world.contact.edit(world.phone, answer, "buenas tardes")
            edited = await first(
                events, "the edit", lambda e: isinstance(e, MessageChanged) and e.text == "buenas tardes"
            )
            assert isinstance(edited, MessageChanged) and edited.stored.edited_at is not None
            world.contact.revoke(world.phone, answer)
            await first(
                events,
                "the revocation",
                lambda e: isinstance(e, MessageChanged) and e.stored.revoked_at is not None,
            )
            world.contact.set_typing(world.phone)
            typing = await first(events, "typing", lambda e: isinstance(e, Typing))
            assert isinstance(typing, Typing) and typing.composing
            await session.set_typing(world.contact.phone_number)

    run(main())


def test_codes_are_secrets_and_drawn_in_three_ways(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service() as wa:
            codes = wa.events(CodeReady)
            session = await wa.create_session("ventas")
            step = await session.link().__anext__()
            assert step.kind is LinkKind.QR and step.qr is not None and step.expires_at is not None
            event = await first(codes, "a code")
            assert event.qr == step.qr
            secret = step.qr.text
            assert secret not in repr(step) + repr(event) + repr(step.qr)
            assert step.qr.to_terminal().count("\n") > 20
            assert step.qr.to_svg().startswith("<svg ")
            assert step.qr.to_png(3).startswith(b"\x89PNG")
            with pytest.raises(centralita.InvalidError):
                step.qr.to_png(0)

    run(main())


def test_pair_code(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            session = await wa.create_session("ventas")
            link = session.link()
            code = await session.request_pair_code(world.phone.phone_number)
            entered = asyncio.create_task(link.linked(timeout=PATIENCE))
            world.phone.enter_pair_code(code)
            await entered
            assert await session.is_connected()

    run(main())


def test_a_link_that_is_stopped_fails_with_its_reason(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service() as wa:
            session = await wa.create_session("ventas")
            link = session.link()
            assert (await link.__anext__()).kind is LinkKind.QR
            await session.stop()
            rest = [step async for step in link]
            assert rest[-1].is_last and rest[-1].kind is not LinkKind.LINKED
            other = (await wa.start_session("ventas")).link()
            with pytest.raises(TimeoutError):
                await other.linked(timeout=0.3)

    run(main())


def test_the_phone_removes_the_device(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            statuses = wa.events(StatusChanged)
            _, device = await world.link(wa, "ventas")
            world.phone.unlink(device)
            gone = await first(statuses, "the end", lambda event: event.status is Status.ERROR)
            assert gone.detail is not None and gone.detail.kind == "logged_out"

    run(main())


def test_log_out_and_delete(world: World) -> None:
    async def main() -> None:
        async with world.service() as wa:
            session, _ = await world.link(wa, "ventas")
            await session.log_out()
            await eventually("the phone to forget the device", lambda: not world.phone.devices)
            assert not (await session.record()).is_connected
            await session.delete()
            with pytest.raises(centralita.NotFoundError) as gone:
                await wa.session("ventas")
            assert gone.value.session_id == "ventas"
            assert wa.running_sessions() == []

    run(main())


def test_lost_acknowledgement_is_said_honestly(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            session, _ = await world.link(wa, "ventas")
            world.stand_in.fault("lose-acks", on=True)
            with pytest.raises(TimeoutError) as unknown:
                await session.send(world.contact.phone_number, "hola", idempotency_key="one", timeout=0.5)
            assert isinstance(unknown.value, centralita.OperationTimeoutError) and unknown.value.retryable
            world.stand_in.fault("clear")
            await session.send(world.contact.phone_number, "hola", idempotency_key="one")
            await world.contact.wait_for_message("hola")
            assert [message.text for message in world.contact.received] == ["hola"]
            world.stand_in.fault("nack", code="463")
            with pytest.raises(centralita.RateLimitedError):
                await session.send(world.contact.phone_number, "otra")

    run(main())


def test_twenty_accounts_come_and_go_while_the_loop_runs(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.01)

        heart = asyncio.create_task(beat())
        async with world.service() as wa:
            seen: list[str] = []

            @wa.on(Message)
            async def note(message: Message) -> None:
                seen.append(message.session_id)

            async def life(number: int) -> None:
                beats_before = beats
                phone = world.stand_in.add_phone(f"Phone {number}")
                session, _ = await world.link(wa, f"account-{number}", phone)
                world.contact.send_text(phone, f"to {number}")
                await eventually("the message", lambda: f"account-{number}" in seen, 3 * PATIENCE)
                await session.delete()
                assert beats > beats_before + 3

            for start in range(0, 20, 5):
                await asyncio.gather(*(life(number) for number in range(start, start + 5)))
            assert wa.running_sessions() == []
            assert (await wa.manager.get_statistics()).total_sessions == 0
            assert sorted(seen) == sorted(f"account-{number}" for number in range(20))
        heart.cancel()

    run(main(), 12 * PATIENCE)
