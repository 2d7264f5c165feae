"""Where sessions are kept, and the keys that they are sealed with."""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from .exceptions import InvalidError

__all__ = [
    "EnvKeys",
    "KeyFile",
    "KeyProvider",
    "KeyRing",
    "Keys",
    "MemoryStore",
    "MongoStore",
    "PlaintextDangerously",
    "SqliteStore",
    "Store",
]


@dataclass(frozen=True, slots=True)
class SqliteStore:
    """One file, no server: the default. It can be open in one process.

    >>> SqliteStore("sessions.db") == SqliteStore("sessions.db")
    True
    """

    path: str | os.PathLike[str] = "centralita.db"


@dataclass(frozen=True, slots=True)
class MongoStore:
    """A MongoDB database, which many processes may share. The URI is a secret if it holds a password."""

    uri: str = field(repr=False)
    database: str | None = None
    """The database, if the URI names none; default ``centralita``."""


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """For tests: gone with the service."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that is made (mode 0600) if it is not there. Back it up: without it the sessions cannot be read."""

    path: str | os.PathLike[str] = "centralita.key"


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Master keys as text, ``id:base64,…``; the first is the primary."""

    keys: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EnvKeys:
    """Master keys from the environment variable ``CENTRALITA_KEYS``."""


@dataclass(frozen=True, slots=True)
class PlaintextDangerously:
    """No encryption: whoever reads the database can take over every account."""


@runtime_checkable
class KeyProvider(Protocol):
    """Master keys that live elsewhere, in a KMS for example.

    Raise ``ConnectionError`` or ``TimeoutError`` if they cannot be reached: the caller sees ``UnavailableError`` and may
    try again. Anything else is ``CryptoError``, with it as ``__cause__`` where a call waits for it. The coroutines run on the loop that the service was started on.
    """

    async def wrap(self, context: bytes, data_key: bytes) -> bytes:
        """Wraps a data key of 32 bytes with the current master key, bound to ``context`` (a session's id)."""
        ...

    async def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        """Unwraps what ``wrap`` made with the same context, now or under an older key."""
        ...


Store = SqliteStore | MongoStore | MemoryStore
Keys = KeyFile | KeyRing | EnvKeys | KeyProvider | PlaintextDangerously


def store_of(store: Store | str | os.PathLike[str]) -> Store:
    """A store from what the user gave: a path, or a MongoDB URI."""
    if isinstance(store, (SqliteStore, MongoStore, MemoryStore)):
        return store
    text = os.fspath(store)
    if text.startswith(("mongodb://", "mongodb+srv://")):
        return MongoStore(text)
    if "://" in text:
        raise InvalidError("store must be a path, a mongodb:// URI, SqliteStore, MongoStore or MemoryStore")
    return SqliteStore(text)


def default_keys(store: Store) -> Keys:
    """``CENTRALITA_KEYS`` if it is set; else a key file beside an embedded store."""
    if "CENTRALITA_KEYS" in os.environ:
        return EnvKeys()
    if isinstance(store, SqliteStore):
        return KeyFile(Path(store.path).with_suffix(".key"))
    if isinstance(store, MemoryStore):
        # As long as the store lives.
        return KeyRing("memory:" + base64.b64encode(secrets.token_bytes(32)).decode())
    raise InvalidError(
        "a MongoDB store needs a key: set CENTRALITA_KEYS (id:base64) or pass keys=KeyFile(path), so that every "
        "process that shares the database has the same"
    )


def store_settings(store: Store) -> dict[str, Any]:
    """As the native module reads it."""
    if isinstance(store, SqliteStore):
        return {"kind": "sqlite", "path": os.fspath(store.path)}
    if isinstance(store, MongoStore):
        return {"kind": "mongo", "uri": store.uri, "database": store.database}
    return {"kind": "memory"}


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
