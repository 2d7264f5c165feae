"""The master keys that sessions are sealed with."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from . import _tasks
from .exceptions import InvalidError
from .stores import MemoryStore, SqliteStore, Store

if TYPE_CHECKING:
    from . import _native

__all__ = ["EnvKeys", "KeyFile", "KeyProvider", "KeyRing", "Keys", "PlaintextDangerously"]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that is made (mode 0600) if it is not there. Back it up: without it the sessions cannot be read."""

    path: str | os.PathLike[str] = "centralita.key"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Master keys as text, ``id:base64,…``; the first is the primary."""

    keys: str = field(repr=False)

    @classmethod
    def generate(cls, key_id: str) -> KeyRing:
        """A new key. Keep its text, ``keys``, where secrets are kept: what it seals opens with it alone.

        >>> KeyRing.generate("2026").keys.startswith("2026:")
        True
        """
        return cls(f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}")

    def with_older(self, *older: KeyRing) -> KeyRing:
        """This one's first key as the primary, and keys that may still be needed to open what is sealed already.

        To rotate: start every process with ``new.with_older(old)``, call ``Service.rewrap_keys`` until nothing is left
        under an older key, then start them with ``new`` alone.
        """
        return KeyRing(",".join(ring.keys for ring in (self, *older)))


@dataclass(frozen=True, slots=True)
class EnvKeys:
    """Master keys from the environment variable ``CENTRALITA_KEYS``."""


@dataclass(frozen=True, slots=True)
class PlaintextDangerously:
    """No encryption: whoever reads the database can take over every account."""


@runtime_checkable
class KeyProvider(Protocol):
    """Master keys that live elsewhere, in a KMS for example.

    Raise ``ConnectionError`` or ``TimeoutError`` if they cannot be reached: a session that is being taken up asks again
    until they can, any other caller sees ``UnavailableError`` and may try again. Anything else is ``CryptoError``, with
    it as ``__cause__`` where a call waits for it. The coroutines run on the loop that the service was started on.
    """

    async def wrap(self, context: bytes, data_key: bytes) -> bytes:
        """Wraps a data key of 32 bytes with the current master key, bound to ``context`` (a session's id)."""
        ...

    async def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        """Unwraps what ``wrap`` made with the same context, now or under an older key."""
        ...


Keys = KeyFile | KeyRing | EnvKeys | KeyProvider | PlaintextDangerously


def default_keys(store: Store) -> Keys:
    """``CENTRALITA_KEYS`` if it is set; else a key file beside an embedded store."""
    if "CENTRALITA_KEYS" in os.environ:
        return EnvKeys()
    if isinstance(store, SqliteStore):
        return KeyFile(Path(store.path).with_suffix(".key"))
    if isinstance(store, MemoryStore):
        # As long as the store lives.
        return KeyRing.generate("memory")
    raise InvalidError(
        "a MongoDB store needs a key: set CENTRALITA_KEYS (id:base64) or pass keys=KeyFile(path), so that every "
        "process that shares the database has the same"
    )


def keys_settings(keys: Keys) -> dict[str, Any]:
    """As the native module reads it."""
    if isinstance(keys, KeyFile):
        return {"kind": "file", "path": os.fspath(keys.path)}
    if isinstance(keys, KeyRing):
        return {"kind": "text", "keys": keys.keys}
    if isinstance(keys, EnvKeys):
        return {"kind": "env"}
    if isinstance(keys, PlaintextDangerously):
        return {"kind": "plaintext"}
    if isinstance(keys, KeyProvider):
        return {"kind": "provider"}
    raise InvalidError("keys must be KeyFile, KeyRing, EnvKeys or a KeyProvider with wrap and unwrap")


def ask(provider: KeyProvider) -> Callable[[tuple[str, bytes, bytes, _native.Reply]], None]:
    """What the native module calls, on the loop, with a question to a key provider."""
    asked: set[asyncio.Task[None]] = set()

    async def answer(method: str, context: bytes, data: bytes, reply: _native.Reply) -> None:
        try:
            reply.resolve(bytes(await getattr(provider, method)(context, data)))
        except BaseException as error:
            reply.reject(error)
            if not isinstance(error, Exception):
                raise

    def ask_on_loop(question: tuple[str, bytes, bytes, _native.Reply]) -> None:
        task = _tasks.start(asyncio.get_running_loop(), answer(*question))
        asked.add(task)
        task.add_done_callback(asked.discard)

    return ask_on_loop
