"""The facade for code without async."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from conftest import FAST, KEYS, PATIENCE, World

import centralita
from centralita import LinkKind, Message
from centralita.sync import Service, Session


def link(world: World, wa: Service, session_id: str) -> Session:
    session = wa.create_session(session_id)
    device = None
    for step in session.link():
        if step.qr is not None and device is None:
            device = world.phone.scan_qr(step.qr.text)
    assert step.kind is LinkKind.LINKED
    session.wait_connected()
    return session


def test_the_same_life_without_async(world: World) -> None:
    options: Any = {"store": world.store, "keys": KEYS, **FAST}
    with Service(**options) as wa:
        messages = wa.events(Message)
        session = link(world, wa, "ventas")
        seen: list[str | None] = []

        @wa.on(Message)
        async def answer(message: Message) -> None:
            seen.append(message.text)
            await message.reply("pong")

        world.contact.send_text(world.phone, "/ping")
        assert messages.next(timeout=PATIENCE).text == "/ping"
        asyncio.run(world.contact.wait_for_message("pong"))
        sent = session.send(world.contact.phone_number, "hola")
        session.edit(sent, "hola!")
        assert asyncio.run(world.contact.wait_for_message("hola")).id == sent.key.message_id
        assert session.record().is_connected and session.is_connected()
        assert {message.text for message in session.messages().items} == {"/ping", "pong", "hola!"}
        assert len(session.chats().items) == 1
        assert wa.manager.get_session("ventas").is_connected
        assert wa.start_cleanup().get_health_report().statistics.total_sessions == 1

        # From another thread, while this one waits.
        thread = threading.Thread(target=lambda: session.send(world.contact.phone_number, "thread"))
        thread.start()
        asyncio.run(world.contact.wait_for_message("thread"))
        thread.join()
        assert seen == ["/ping"]
        messages.close()
        assert list(messages) == []
    with pytest.raises(centralita.ClosedError):
        wa.create_session("otra")
    with Service(**options) as again:
        assert again.restore_all().started == ("ventas",)
        again.session("ventas").wait_connected(timeout=PATIENCE)
        again.delete_session("ventas")


def test_a_handler_must_not_wait_for_its_own_loop(sqlite_world: World) -> None:
    world = sqlite_world
    options: Any = {"store": world.store, "keys": KEYS, **FAST}
    with Service(**options) as wa:
        session = link(world, wa, "ventas")
        failures = wa.events(centralita.HandlerFailed)

        @wa.on(Message)
        def wrong(message: Message) -> None:
            session.reply(message, "pong")

        world.contact.send_text(world.phone, "/ping")
        failed = failures.next(timeout=PATIENCE)
        assert isinstance(failed.exception, RuntimeError) and "await" in str(failed.exception)


def test_a_service_that_does_not_start_leaves_no_thread() -> None:
    before = threading.active_count()
    wrong: Any = {"send_timeout": -1}
    with pytest.raises(ValueError):
        Service(store=centralita.MemoryStore(), **wrong).start()
    assert threading.active_count() == before


def test_errors_and_time_outs(sqlite_world: World) -> None:
    options: Any = {"store": sqlite_world.store, "keys": KEYS, **FAST}
    with Service(**options) as wa:
        with pytest.raises(LookupError):
            wa.session("nobody")
        with pytest.raises(TimeoutError):
            wa.events().next(timeout=0.05)
