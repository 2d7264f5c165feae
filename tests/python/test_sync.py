"""The facade for code without async."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest
from conftest import FAST, KEYS, PATIENCE, World

import centralita
import centralita.sync
from centralita import LinkKind, LoggedEvent, Message
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


def test_the_facade_has_whatever_the_service_has() -> None:
    """Names and parameters agree, so that nothing is forgotten on one side."""
    pairs: list[tuple[Any, Any]] = [
        (centralita.Service, centralita.sync.Service),
        (centralita.Session, centralita.sync.Session),
        (centralita.SessionManager, centralita.sync.SessionManager),
        (centralita.CleanupService, centralita.sync.CleanupService),
        (centralita.Consumer, centralita.sync.Consumer),
        (centralita.DeadLetters, centralita.sync.DeadLetters),
    ]
    # What makes sense on a loop alone, and what is private to the package.
    only_there = {"run_until_stopped", "handle", "inject", "native"}
    compared = 0
    for there, here in pairs:
        names = {name for name in vars(there) if not name.startswith("_")} - only_there
        assert names == {name for name in vars(here) if not name.startswith("_")}, there
        for name in names:
            if callable(getattr(there, name)):
                ours, theirs = (inspect.signature(getattr(kind, name)).parameters for kind in (here, there))
                assert ours.keys() == theirs.keys(), (there, name)
                defaults = {parameter: ours[parameter].default for parameter in ours}
                assert defaults == {parameter: theirs[parameter].default for parameter in theirs}, (there, name)
                compared += 1
    assert compared > 50


def test_outbox_parking_consumers_and_the_rest(sqlite_world: World) -> None:
    world = sqlite_world
    options: Any = {"store": world.store, "keys": KEYS, "durable_events": True, **FAST}
    with Service(**options) as wa:
        session = link(world, wa, "ventas")
        to = world.contact.phone_number
        session.park()
        assert session.is_parked() and session.health().parked
        wa.stop_session("ventas")
        queued = session.send(to, "later", queue_for=60)
        dropped = session.send(to, "never", queue_for=60)
        assert len(session.outbox().items) == 2
        session.cancel_queued(dropped.key.message_id)
        progress: list[centralita.RestoreProgress] = []
        assert wa.restore_all(wait=PATIENCE, progress=progress.append).connected == ("ventas",)
        assert progress and wa.pacing.admitted >= 1
        assert asyncio.run(world.contact.wait_for_message("later")).id == queued.key.message_id
        wa.park_session("ventas")
        session.reconnect_now()
        session.wait_connected(timeout=PATIENCE)

        with wa.consumer("crm", max_attempts=1) as consumer:
            seen: list[str | None] = []

            def handle(logged: LoggedEvent) -> None:
                if isinstance(logged.event, Message) and not logged.event.from_me:
                    seen.append(logged.event.text)
                    # It runs in a thread, where it may wait.
                    assert session.is_connected()
                    if logged.event.text == "bad":
                        raise ValueError("cannot")
                    if logged.event.text == "last":
                        consumer.stop()

            for text in ("good", "bad", "last"):
                world.contact.send_text(world.phone, text)
            consumer.run(handle)
            assert seen == ["good", "bad", "last"]
            assert [info.name for info in wa.consumers()] == ["crm"]
            letters = wa.dead_letters("crm")
            (letter,) = letters.list().items
            assert "ValueError: cannot" in letter.error
            assert letters.replay_all() == 1
            letters.discard("ventas", letter.event.seq)
            assert letters.discard_all() == 0
        wa.delete_consumer("crm")
        assert wa.rewrap_keys().already_current == 1
