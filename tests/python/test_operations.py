"""What operators turn and look at: health, parking, pacing, restores, rate limits, keys, figures per session."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from conftest import PATIENCE, World, eventually, first, run, text_of

import centralita
from centralita import (
    BreakerState,
    Message,
    Rate,
    RestartReason,
    SessionRestarted,
    Status,
    StatusChanged,
    VitalState,
)


def test_a_zombie_is_noticed_and_restarted(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(silence_after=1.0, ping_timeout=0.3, send_stall_after=1.0) as wa:
            restarts, messages = wa.events(SessionRestarted), wa.events(Message)
            session, device = await world.link(wa, "ventas")
            health = await session.health()
            assert (health.link.state, health.send.state, health.restarts) == (VitalState.GOOD, VitalState.GOOD, 0)
            assert health.memory_bytes and health.link.since.tzinfo is not None and not health.parked
            assert world.stand_in.fault("freeze", target=device) == 1
            world.contact.send_text(world.phone, "¿hola?")
            assert (await first(restarts, "the restart")).reason is RestartReason.ZOMBIE
            await text_of(messages, "¿hola?")
            assert (await session.health()).restarts == 1
            await session.stop()
            with pytest.raises(centralita.InvalidStateError):
                await session.health()

    run(main())


def test_a_parked_session_is_woken_by_a_send_and_has_missed_nothing(world: World) -> None:
    async def main() -> None:
        async with world.service() as wa:
            messages = wa.events(Message)
            session, device = await world.link(wa, "ventas")
            await session.park()
            await world.phone.wait_disconnected(device, timeout=PATIENCE)
            assert await session.is_parked() and (await session.health()).parked
            world.contact.send_text(world.phone, "meanwhile")
            await session.send(world.contact.phone_number, "awake")
            await text_of(messages, "meanwhile")
            assert not await session.is_parked()
            await wa.park_session("ventas")
            await session.reconnect_now()
            await session.wait_connected(timeout=PATIENCE)
            with pytest.raises(centralita.InvalidStateError):
                await wa.park_session("nobody")

    run(main())


def test_idle_sessions_are_parked_and_fetch_what_waits_on_schedule(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(park_idle_after=1.0, park_wake_every=2.0, park_awake_for=1.0) as wa:
            messages, statuses = wa.events(Message), wa.events(StatusChanged)
            await world.link(wa, "ventas")
            parked = await first(statuses, "parked", lambda e: e.detail is not None and e.detail.kind == "parked")
            assert parked.status is Status.DISCONNECTED and parked.detail is not None
            assert parked.detail.until is not None
            world.contact.send_text(world.phone, "waiting")
            await text_of(messages, "waiting")

    run(main())


def test_a_fleet_that_is_refused_waits_together(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        options = {"breaker_threshold": 3, "breaker_pause_min": 0.3, "breaker_pause_max": 0.6, "breaker_window": 10}
        async with world.service(**options) as wa:
            sessions = [
                (await world.link(wa, f"s{number}", world.stand_in.add_phone(f"P{number}")))[0] for number in range(4)
            ]
            assert (wa.pacing.breaker, wa.pacing.paused_until, wa.pacing.admitted >= 4) == (
                BreakerState.CLOSED,
                None,
                True,
            )
            world.stand_in.fault("refuse-logins", on=True)
            world.stand_in.fault("drop")
            await eventually("the pause", lambda: wa.pacing.breaker is BreakerState.OPEN)
            paused = await eventually("its end", lambda: wa.pacing.paused_until)
            assert paused.tzinfo is not None and wa.pacing.times_opened >= 1
            world.stand_in.fault("refuse-logins", on=False)
            for session in sessions:
                await session.wait_connected(timeout=PATIENCE)
            await eventually("the end of the outage", lambda: wa.pacing.breaker is BreakerState.CLOSED)

    run(main())


def test_a_restore_that_waits_tells_who_is_connected(sqlite_world: World) -> None:
    world = sqlite_world

    async def first_life() -> None:
        async with world.service() as wa:
            for number in range(3):
                await world.link(wa, f"s{number}", world.stand_in.add_phone(f"P{number}"))
            await wa.manager.create_or_update_session("never-linked")

    async def second_life() -> None:
        async with world.service(connect_concurrency=1, connects_per_s=20) as wa:
            steps: list[centralita.RestoreProgress] = []
            report = await wa.restore_all(wait=PATIENCE, progress=steps.append)
            assert set(report.started) == set(report.connected) == {"s0", "s1", "s2"}
            assert report.not_linked == ("never-linked",)
            for session_id in report.connected:
                assert await (await wa.session(session_id)).is_connected()
            await eventually("the last step", lambda: steps[-1:] and steps[-1].connected == 3)
            assert [step.connected for step in steps] == [0] * (len(steps) - 3) + [1, 2, 3]
            assert {step.ended for step in steps} == {0}

    run(first_life())
    run(second_life())


def test_rate_limits_refuse_with_the_time_to_wait(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        limits: Any = {"per_session": Rate(per_minute=60, burst=2), "pause_after_429": timedelta(minutes=2)}
        async with world.service(rate_limits=limits) as wa:
            session, _ = await world.link(wa, "ventas")
            to = world.contact.phone_number
            await session.send(to, "one")
            await session.send(to, "two")
            with pytest.raises(centralita.RateLimitedError) as limited:
                await session.send(to, "three")
            assert limited.value.retry_after is not None and 0 < limited.value.retry_after <= 1
            queued = await session.send(to, "later", queue_for=30)
            assert queued.status is centralita.MessageStatus.QUEUED
            await world.contact.wait_for_message("later", timeout=PATIENCE)
            world.stand_in.fault("nack", code="429")
            await asyncio.sleep(limited.value.retry_after * 3)
            with pytest.raises(centralita.RateLimitedError) as refused:
                await session.send(to, "four")
            with pytest.raises(centralita.RateLimitedError) as paused:
                await session.send(to, "five")
            assert max(refused.value.retry_after or 0, paused.value.retry_after or 0) > 60

    run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"rate_limits": {"per_session": Rate(0)}},
        {"rate_limits": {"per_recipient": Rate(6_001)}},
        {"rate_limits": {"per_session": 5}},
        {"rate_limits": {"pause_after_463": -1}},
        {"lease_heartbeat": 20.0},
        {"park_idle_after": 0.1},
        {"park_wake_every": timedelta(days=15)},
        {"breaker_window": 0},
        {"silence_after": float("inf")},
        {"connects_per_s": 20_000},
        {"outbox_max_entries": 0},
        {"durable_events": {"max_age": 1}},
        {"store": centralita.SqliteStore("c.db", readers=-1)},
        {"store": centralita.SqliteStore("c.db", busy_timeout=-1)},
    ],
)
def test_options_out_of_their_range(options: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        given: Any = {"store": centralita.MemoryStore(), **options}
        async with centralita.Service(**given):
            pass

    with pytest.raises(centralita.InvalidError):
        run(main())


def test_unknown_options_of_options_are_type_errors() -> None:
    untyped: Any = centralita.Service
    for wrong in ({"rate_limits": {"colour": 1}}, {"durable_events": {"colour": 1}}):
        with pytest.raises(TypeError, match="colour"):
            untyped(store=centralita.MemoryStore(), **wrong)


def test_figures_per_session_are_an_option(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service(per_session_metrics=True) as wa:
            messages = wa.events(Message)
            await world.link(wa, "counted")
            world.contact.send_text(world.phone, "uno")
            await text_of(messages, "uno")
            lines = centralita.metrics_text().splitlines()
            wanted = ('centralita_messages_total{direction="in"', 'session="counted"')
            assert any(all(part in line for part in wanted) for line in lines)
            for name in ("centralita_commit_seconds", "centralita_sessions", "centralita_connections_total"):
                assert any(line.startswith(name) for line in lines), name

    run(main())


def test_master_keys_are_rotated(world: World) -> None:
    old, new = centralita.KeyRing.generate("old"), centralita.KeyRing.generate("new")

    async def link() -> None:
        async with world.service(keys=old) as wa:
            await world.link(wa, "ventas")
            report = await wa.rewrap_keys()
            assert (report.rewrapped, report.already_current, report.is_complete) == (0, 1, True)

    async def rotate() -> None:
        async with world.service(keys=new.with_older(old)) as wa:
            report = await wa.rewrap_keys()
            assert (report.rewrapped, report.failed, report.is_complete) == (1, (), True)
            assert (await wa.rewrap_keys()).already_current == 1

    async def with_the_new_one_alone() -> None:
        async with world.service(keys=new) as wa:
            assert (await wa.restore_all(wait=PATIENCE)).connected == ("ventas",)

    run(link())
    run(rotate())
    run(with_the_new_one_alone())
    assert len(world.phone.devices) == 1


def test_without_encryption_there_is_nothing_to_rotate() -> None:
    async def main() -> None:
        async with centralita.Service(
            store=centralita.MemoryStore(), keys=centralita.PlaintextDangerously()
        ) as wa:
            with pytest.raises(centralita.InvalidError):
                await wa.rewrap_keys()

    run(main())


def test_records_are_found_by_what_is_known_of_them(world: World) -> None:
    async def main() -> None:
        async with world.service() as wa:
            manager = wa.manager
            for name in ("a", "b"):
                await manager.create_or_update_session(name)
            now = datetime.now(timezone.utc)
            await manager.record_connection_attempt("b", False, "503")
            found = await manager.list_sessions(min_connection_attempts=1)
            assert [record.session_id for record in found.items] == ["b"]
            assert await manager.count_sessions(last_activity_before=now + timedelta(minutes=1)) == 2
            assert await manager.count_sessions(last_activity_before=now - timedelta(days=1)) == 0
            assert await manager.count_sessions(session_ids=["a", "c"]) == 1
            with pytest.raises(centralita.InvalidError, match="time zone"):
                await manager.count_sessions(last_activity_before=datetime(2026, 1, 1))
            until = datetime(2027, 1, 1, tzinfo=timezone.utc)
            detail = centralita.StatusDetail("banned", until=until)
            banned = await manager.update_connection_status("a", False, Status.ERROR, detail=detail)
            assert banned.status_detail == detail

    run(main())
