"""A world for the tests: a local WhatsApp with a phone to link and a contact, and a service on a store of each kind.

Every wait is for a condition, with a limit that is only reached when something is broken.
"""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from centralita_testing import Phone, StandIn

import centralita
from centralita import Event, LinkKind, Message, Service, Session

T = TypeVar("T")
E = TypeVar("E", bound=Event)

PATIENCE = 20.0

# A shell that runs this in the background has it ignored, and programs started from here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

KEYS = centralita.KeyRing("test:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")

FAST: dict[str, Any] = {
    "whatsapp_version": (2, 3000, 1_027_934_701),
    "reconnect_min": 0.05,
    "reconnect_max": 0.4,
    "penalty_min": 0.3,
    "pre_key_count": 30,
    "lease_duration": 3.0,
}
"""Short pauses, and nothing asked of WhatsApp."""


def run(work: Coroutine[Any, Any, T], patience: float = 6 * PATIENCE) -> T:
    """Runs a test's coroutine; one that hangs fails."""

    async def within() -> T:
        return await asyncio.wait_for(work, patience)

    return asyncio.run(within())


async def eventually(what: str, holds: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Looks until a condition holds."""
    deadline = asyncio.get_running_loop().time() + patience
    while not (found := holds()):
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)
    return found


async def until(what: str, ask: Callable[[], Awaitable[T]], fits: Callable[[T], Any]) -> T:
    """Asks until an answer fits."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not fits(answer := await ask()):
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain for {what}"
        await asyncio.sleep(0.01)
    return answer


async def first(stream: centralita.EventStream[E], what: str, fits: Callable[[E], Any] = bool) -> E:
    """The first event of a stream that fits."""

    async def look() -> E:
        async for event in stream:
            if fits(event):
                return event
        raise AssertionError(f"the stream ended without {what}")

    return await asyncio.wait_for(look(), PATIENCE)


async def text_of(stream: centralita.EventStream[Message], text: str) -> Message:
    """The message with this text."""
    return await first(stream, f"the message {text!r}", lambda event: event.text == text)


class World:
    """A local WhatsApp, a phone to link, a contact, and a place to keep sessions."""

    def __init__(self, stand_in: StandIn, store: centralita.SqliteStore | centralita.MongoStore) -> None:
        self.stand_in = stand_in
        self.store = store
        self.phone = stand_in.add_phone("Ventas")
        self.contact = stand_in.add_phone("Clienta")

    def service(self, **options: Any) -> Service:
        return Service(**{"store": self.store, "keys": KEYS, **FAST, **options})

    async def link(self, wa: Service, session_id: str, phone: Phone | None = None) -> tuple[Session, str]:
        """Creates a session and has a phone scan its code. Returns it and the device's JID."""
        session = await wa.create_session(session_id)
        device = None
        async for step in session.link():
            if step.qr is not None and device is None:
                device = (phone or self.phone).scan_qr(step.qr.text)
        assert step.kind is LinkKind.LINKED, step
        assert device is not None
        await session.wait_connected(timeout=PATIENCE)
        return session, device


def mongo_store() -> centralita.MongoStore:
    """A database of its own on the server of the tests."""
    uri = os.environ.get("TEST_MONGODB_URI")
    assert uri, "TEST_MONGODB_URI is not set: run the tests with ./test python, which starts a server"
    return centralita.MongoStore(uri, database=f"python_{uuid.uuid4().hex[:16]}")


@pytest.fixture(params=["sqlite", "mongo"])
def world(request: pytest.FixtureRequest, stand_in: StandIn, tmp_path: Path) -> World:
    """A world on each kind of store."""
    if request.param == "mongo":
        return World(stand_in, mongo_store())
    return World(stand_in, centralita.SqliteStore(tmp_path / "centralita.db"))


@pytest.fixture
def sqlite_world(stand_in: StandIn, tmp_path: Path) -> World:
    """A world for what does not depend on the store."""
    return World(stand_in, centralita.SqliteStore(tmp_path / "centralita.db"))


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys and addresses of the machine do not leak into tests."""
    monkeypatch.delenv("CENTRALITA_KEYS", raising=False)
    yield
