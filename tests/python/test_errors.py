"""The exception tree, and that bad input changes nothing and says what to do."""

from __future__ import annotations

import asyncio
import os
import pickle
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, KEYS, World, mongo_store, run

import centralita
from centralita import _native, exceptions


def test_every_kind_of_the_native_module_has_a_class_of_its_own() -> None:
    kinds = dict(_native.ERROR_KINDS)
    assert kinds.keys() == exceptions.by_kind.keys() - {"fork"}
    assert len(set(exceptions.by_kind.values())) == len(exceptions.by_kind)
    for kind, code in kinds.items():
        error = exceptions.from_native(kind, "message", code, "send", "ventas", True, 1.5)
        assert type(error) is exceptions.by_kind[kind] and isinstance(error, centralita.CentralitaError)
        assert (error.kind, error.code, error.op, error.session_id) == (kind, code, "send", "ventas")
        assert error.retryable and error.retry_after == 1.5 and str(error) == "message"
        assert getattr(centralita, type(error).__name__) is type(error)
    assert type(exceptions.from_native("newer", "m", 99, None, None, False, None)) is centralita.CentralitaError


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (centralita.OperationTimeoutError, TimeoutError),
        (centralita.UnavailableError, ConnectionError),
        (centralita.NotFoundError, LookupError),
        (centralita.InvalidError, ValueError),
        (centralita.StoreError, OSError),
        (centralita.PanicError, RuntimeError),
    ],
)
def test_builtins_fit(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)


def test_what_is_not_started_or_over_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        wa = centralita.Service(store=centralita.MemoryStore(), **FAST)
        with pytest.raises(centralita.InvalidStateError, match="async with"):
            await wa.create_session("ventas")
        async with wa:
            with pytest.raises(centralita.InvalidStateError):
                await wa.start()
            manager = wa.manager
        with pytest.raises(centralita.ClosedError):
            await wa.start()
        with pytest.raises(centralita.ClosedError):
            await wa.create_session("ventas")
        with pytest.raises(centralita.ClosedError):
            wa.events()
        with pytest.raises(centralita.CentralitaError):
            await manager.get_session("ventas")
        await wa.shutdown()

    run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"send_timeout": -1},
        {"send_timeout": float("nan")},
        {"reconnect_max": timedelta(days=2)},
        {"lease_duration": 0.1},
        {"pre_key_count": 1},
        {"device_name": ""},
        {"preload_chats_type": "some"},
        {"max_concurrent_handlers": 0},
        {"store": "postgres://nowhere"},
        {"keys": "a string"},
        {"keys": centralita.KeyRing("not a key")},
        {"pre_key_count": -5},
        {"whatsapp_version": (1, 2)},
    ],
)
def test_bad_options_are_value_errors(options: dict[str, Any]) -> None:
    async def main() -> None:
        given: Any = {"store": centralita.MemoryStore(), **options}
        async with centralita.Service(**given):
            pass

    with pytest.raises((ValueError, centralita.CryptoError)) as refused:
        run(main())
    assert isinstance(refused.value, centralita.CentralitaError) and str(refused.value)


def test_an_unknown_option_is_a_type_error() -> None:
    given: Any = {"colour": "blue"}
    with pytest.raises(TypeError, match="colour"):
        centralita.Service(**given)


def test_a_mongodb_store_needs_a_key() -> None:
    with pytest.raises(centralita.InvalidError, match="CENTRALITA_KEYS"):
        centralita.Service(store=mongo_store())


def test_the_wrong_key_opens_nothing_and_overwrites_nothing(world: World) -> None:
    async def link() -> None:
        async with world.service() as wa:
            await world.link(wa, "ventas")

    async def with_the_wrong_key() -> None:
        async with world.service(
            keys=centralita.KeyRing("other:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=")
        ) as wa:
            session = await wa.start_session("ventas")
            with pytest.raises(centralita.CryptoError) as refused:
                await session.wait_connected(timeout=10)
            assert refused.value.session_id == "ventas" and not refused.value.retryable

    async def with_the_right_one() -> None:
        async with world.service() as wa:
            session = await wa.start_session("ventas")
            await session.wait_connected(timeout=10)

    run(link())
    run(with_the_wrong_key())
    run(with_the_right_one())
    assert len(world.phone.devices) == 1


def test_a_file_is_open_in_one_service_at_a_time(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service():
            with pytest.raises(centralita.ConflictError):
                async with sqlite_world.service():
                    pass
        async with sqlite_world.service():
            pass

    run(main())


def test_a_database_that_is_away_is_a_connection_error() -> None:
    async def main() -> None:
        uri = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200&connectTimeoutMS=200"
        async with centralita.Service(store=uri, keys=KEYS):
            pass

    with pytest.raises((ConnectionError, TimeoutError)) as away:
        run(main())
    assert isinstance(away.value, centralita.CentralitaError) and away.value.retryable


@pytest.mark.parametrize("session_id", ["", "../etc", "$where", "a b", "x" * 5000, "a\0b", "🙂"])
def test_hostile_session_ids(session_id: str) -> None:
    async def main() -> None:
        async with centralita.Service(store=centralita.MemoryStore(), **FAST) as wa:
            with pytest.raises(centralita.InvalidError):
                await wa.create_session(session_id)
            with pytest.raises(centralita.NotFoundError):
                await wa.session(session_id)
            assert (await wa.manager.get_statistics()).total_sessions == 0

    run(main())


def test_bad_messages(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            session, _ = await world.link(wa, "ventas")
            untyped: Any = session
            to = world.contact.phone_number
            bad: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
                (("", "hola"), {}),
                (("not a number", "hola"), {}),
                ((to, ""), {}),
                ((to, "x" * 70_000), {}),
                ((to, "hola"), {"idempotency_key": ""}),
                ((to, "hola"), {"idempotency_key": "k" * 300}),
                ((to, "hola"), {"timeout": 0}),
                ((to, "hola"), {"timeout": float("inf")}),
                ((to, 5), {}),
            ]
            for args, options in bad:
                with pytest.raises(ValueError) as refused:
                    await untyped.send(*args, **options)
                assert isinstance(refused.value, centralita.InvalidError)
                assert to not in str(refused.value)
            await session.stop()
            with pytest.raises(centralita.InvalidStateError):
                await session.send(to, "hola")
            assert world.contact.received == []

    run(main())


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    async def open_with(path: Path) -> None:
        store = centralita.SqliteStore(tmp_path / "c.db")
        async with centralita.Service(store=store, keys=centralita.KeyFile(path)):
            pass

    key = tmp_path / "c.key"
    run(open_with(key))
    assert key.stat().st_mode & 0o777 == 0o600
    os.chmod(key, 0o644)
    with pytest.raises(centralita.CryptoError, match="chmod 600"):
        run(open_with(key))


def test_by_default_store_and_key_are_made_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with centralita.Service():
            pass

    run(main())
    assert {"centralita.db", "centralita.key"} <= {path.name for path in tmp_path.iterdir()}


def test_errors_survive_a_pickle() -> None:
    error = exceptions.from_native("timeout", "late", 31, "send", "ventas", True, None)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and vars(again) == vars(error) and str(again) == "late"


def test_cancelling_a_call_cancels_the_work(sqlite_world: World) -> None:
    async def main() -> None:
        async with sqlite_world.service() as wa:
            session = await wa.create_session("ventas")
            waiting = asyncio.create_task(session.wait_connected(timeout=1_000))
            await asyncio.sleep(0.05)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(session.wait_connected(timeout=1_000), 0.05)
            with pytest.raises(centralita.OperationTimeoutError):
                await session.wait_connected(timeout=0.05)

    run(main())
