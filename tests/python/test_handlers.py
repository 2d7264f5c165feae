"""Functions registered with ``on``: where they run, in what order, and what their failures do."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from typing import Any

import pytest
from conftest import World, eventually, first, run

import centralita
from centralita import Event, HandlerFailed, Message, StatusChanged, Typing


def test_coroutines_and_plain_functions_run_on_the_callers_loop(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        here = (threading.get_ident(), asyncio.get_running_loop())
        seen: list[tuple[str, str | None, object]] = []
        wa = world.service()

        # Before the start.
        @wa.on(Message)
        def plain(message: Message) -> None:
            seen.append(("plain", message.text, (threading.get_ident(), asyncio.get_running_loop())))

        async with wa:
            # After it.
            @wa.on(Message)
            async def coroutine(message: Message) -> None:
                await asyncio.sleep(0)
                seen.append(("coroutine", message.text, (threading.get_ident(), asyncio.get_running_loop())))

            class Callable:
                async def __call__(self, message: Message) -> None:
                    seen.append(("object", message.text, here))

            wa.on(Message)(Callable())
            wa.on(Message)(lambda message: coroutine(message))
            await world.link(wa, "ventas")
            world.contact.send_text(world.phone, "uno")
            await eventually("all four", lambda: len(seen) == 4)
            assert {entry[0] for entry in seen} == {"plain", "coroutine", "object"}
            assert all(entry[1:] == ("uno", here) for entry in seen)
            wa.off(plain)
            seen.clear()
            world.contact.send_text(world.phone, "dos")
            await eventually("three", lambda: len(seen) == 3)
            assert "plain" not in {entry[0] for entry in seen}

    run(main())


def test_one_session_in_order_others_beside_it(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            gate = asyncio.Event()
            seen: dict[str, list[str | None]] = {"slow": [], "quick": []}
            running = {"slow": 0, "quick": 0}

            @wa.on(Message)
            async def note(message: Message) -> None:
                running[message.session_id] += 1
                assert running[message.session_id] == 1, "two handlers of one session at once"
                if message.session_id == "slow":
                    await gate.wait()
                await asyncio.sleep(0)
                seen[message.session_id].append(message.text)
                running[message.session_id] -= 1

            other = world.stand_in.add_phone("Otra")
            await world.link(wa, "slow")
            await world.link(wa, "quick", other)
            texts = [str(number) for number in range(10)]
            for text in texts:
                world.contact.send_text(world.phone, text)
                world.contact.send_text(other, text)
            await eventually("the quick session", lambda: len(seen["quick"]) == 10)
            assert seen["slow"] == []
            gate.set()
            await eventually("the slow session", lambda: len(seen["slow"]) == 10)
            assert seen == {"slow": texts, "quick": texts}

    run(main())


def test_no_more_run_at_once_than_allowed_and_none_is_lost(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(max_concurrent_handlers=2) as wa:
            gate = asyncio.Event()
            begun: list[str | None] = []

            @wa.on(Message)
            async def note(message: Message) -> None:
                begun.append(message.text)
                await gate.wait()

            await world.link(wa, "ventas")
            for number in range(8):
                world.contact.send_text(world.phone, str(number))
            await eventually("the first", lambda: begun)
            gate.set()
            await eventually("all", lambda: len(begun) == 8)
            assert begun == [str(number) for number in range(8)]

    run(main())


def test_an_exception_is_logged_counted_and_seen_and_stops_nothing(
    sqlite_world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world = sqlite_world

    def failures() -> float:
        for line in centralita.metrics_text().splitlines():
            if line.startswith("centralita_python_handler_errors_total "):
                return float(line.split()[1])
        return 0.0

    async def main() -> None:
        async with world.service() as wa:
            seen: list[str | None] = []
            told: list[HandlerFailed] = []
            failed_events = wa.events(HandlerFailed)
            before = failures()

            @wa.on(Message)
            async def careless(message: Message) -> None:
                raise ValueError("a secret text: " + str(message.text))

            @wa.on(Message)
            def careless_too(message: Message) -> None:
                raise KeyError("plain")

            @wa.on(Message)
            async def cancels_itself(message: Message) -> None:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)

            @wa.on(Message)
            async def careful(message: Message) -> None:
                seen.append(message.text)

            @wa.on(HandlerFailed)
            async def tell(failed: HandlerFailed) -> None:
                told.append(failed)
                raise RuntimeError("this one fails, too")

            await world.link(wa, "ventas")
            world.contact.send_text(world.phone, "uno")
            world.contact.send_text(world.phone, "dos")
            await eventually("both messages", lambda: seen == ["uno", "dos"])
            await eventually("the failures", lambda: len(told) == 4)
            assert {failed.handler.rpartition(".")[2] for failed in told} == {"careless", "careless_too"}
            assert all(isinstance(failed.event, Message) for failed in told)
            event = await first(failed_events, "the failure")
            assert event.session_id == "ventas"
            # Four of messages, four of the handler of failures.
            await eventually("the count", lambda: failures() == before + 8)
            records = [record for record in caplog.records if "failed with an event" in record.getMessage()]
            assert len(records) == 8 and all(record.exc_info for record in records)
            assert all("uno" not in record.getMessage() for record in records)

    with caplog.at_level(logging.ERROR, "centralita"):
        run(main())


def test_context_variables_are_those_of_the_registration(sqlite_world: World) -> None:
    world = sqlite_world
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")

    async def main() -> None:
        async with world.service() as wa:
            seen: list[str] = []
            trace.set("registered")

            @wa.on(Message)
            async def coroutine(message: Message) -> None:
                seen.append("coroutine " + trace.get())
                trace.set("changed by a handler")
                await message.react("👍")
                seen.append("after a call " + trace.get())

            @wa.on(Message)
            def plain(message: Message) -> None:
                seen.append("plain " + trace.get())
                trace.set("changed by a handler")

            trace.set("later")
            await world.link(wa, "ventas")
            for number in (1, 2):
                world.contact.send_text(world.phone, str(number))
                await eventually("the handlers", lambda: len(seen) == 3 * number)
            assert seen[:3] == ["coroutine registered", "after a call changed by a handler", "plain registered"]
            assert seen[3:] == seen[:3]
            assert trace.get() == "later"

    run(main())


def test_shutdown_from_a_handler(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:

            @wa.on(Message)
            async def stop(message: Message) -> None:
                await wa.shutdown()

            await world.link(wa, "ventas")
            world.contact.send_text(world.phone, "stop")
            await wa.run_until_stopped()
            with pytest.raises(centralita.ClosedError):
                await wa.create_session("otra")

    run(main())


def test_shutdown_lets_handlers_end_and_cancels_those_that_hang(sqlite_world: World) -> None:
    world = sqlite_world
    ended: list[str] = []

    async def main() -> None:
        async with world.service(shutdown_timeout=2.0) as wa:
            begun = asyncio.Event()

            @wa.on(Message)
            async def work(message: Message) -> None:
                begun.set()
                await asyncio.sleep(0.1)
                ended.append("worked")

            @wa.on(Message)
            async def hang(message: Message) -> None:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    ended.append("cancelled")
                    raise

            await world.link(wa, "ventas")
            world.contact.send_text(world.phone, "uno")
            await begun.wait()

    run(main())
    assert ended == ["worked", "cancelled"]


def test_bad_registrations(sqlite_world: World) -> None:
    wa: Any = sqlite_world.service()
    for wrong in (str, "message", 3, Exception):
        with pytest.raises(TypeError):
            wa.on(wrong)
    with pytest.raises(TypeError):
        wa.on(Message)("not callable")


def test_only_what_was_asked_for(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            all_events: list[Event] = []
            of_other: list[Event] = []
            typing: list[Event] = []
            wa.on()(all_events.append)
            wa.on(session="otra")(of_other.append)
            wa.on(Typing, StatusChanged, session=["ventas", "otra"])(typing.append)
            await world.link(wa, "ventas")
            world.contact.set_typing(world.phone)
            await eventually("typing", lambda: any(isinstance(event, Typing) for event in typing))
            assert of_other == []
            assert {type(event) for event in typing} == {Typing, StatusChanged}
            numbers = [event.seq for event in all_events]
            assert numbers == list(range(1, len(numbers) + 1))

    run(main())
