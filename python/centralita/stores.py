"""Where sessions are kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from .exceptions import InvalidError
from .options import Seconds, seconds

__all__ = [
    "MemoryStore",
    "MongoStore",
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
    cache_bytes: int | None = None
    """Page cache, in bytes. Default 8 MiB."""
    readers: int | None = None
    """Threads that read at the same time. Default 2."""
    busy_timeout: Seconds | None = None
    """How long to wait for a program that looks into the file from outside. Default 5 s."""
    max_file_bytes: int | None = None
    """The file does not grow beyond this, as if the disk were full. Default: no limit."""


@dataclass(frozen=True, slots=True)
class MongoStore:
    """A MongoDB database, which many processes may share. The URI is a secret if it holds a password."""

    uri: str = field(repr=False)
    database: str | None = None
    """The database, if the URI names none; default ``centralita``."""
    max_pool_size: int | None = None
    """Connections at most, unless the URI says otherwise. Default 32."""
    deadline: Seconds | None = None
    """How long one call may take, retries included. Default 30 s."""
    write_timeout: Seconds | None = None
    """How long a write may take to be durable on a majority. Default 10 s."""
    count_interval: Seconds | None = None
    """How long chats and counters may lag behind their messages for other programs. Default 1 s."""
    create_indexes: bool | None = None
    """Whether indexes are made when the store is opened. Default true."""


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """For tests: gone with the service."""


Store = SqliteStore | MongoStore | MemoryStore
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


def store_settings(store: Store) -> dict[str, Any]:
    """As the native module reads it."""
    if isinstance(store, SqliteStore):
        return {
            "kind": "sqlite",
            "path": os.fspath(store.path),
            "cache_bytes": store.cache_bytes,
            "readers": store.readers,
            "busy_timeout_s": _seconds(store.busy_timeout),
            "max_file_bytes": store.max_file_bytes,
        }
    if isinstance(store, MongoStore):
        return {
            "kind": "mongo",
            "uri": store.uri,
            "database": store.database,
            "max_pool_size": store.max_pool_size,
            "deadline_s": _seconds(store.deadline),
            "write_timeout_s": _seconds(store.write_timeout),
            "count_interval_s": _seconds(store.count_interval),
            "create_indexes": store.create_indexes,
        }
    return {"kind": "memory"}


def _seconds(value: Seconds | None) -> float | None:
    return None if value is None else seconds(value)
