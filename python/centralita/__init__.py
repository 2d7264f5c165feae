"""WhatsApp sessions, hundreds to thousands in one process, their keys encrypted in SQLite or MongoDB.

    import asyncio, centralita

    async def main():
        async with centralita.Service() as wa:          # ./centralita.db and ./centralita.key
            @wa.on(centralita.Message)
            async def answer(message):
                if message.text == "/ping":
                    await message.reply("pong")
            session = await wa.create_session("ventas")
            async for step in session.link():
                print(step.qr.to_terminal() if step.qr else step)
            await wa.run_until_stopped()

    asyncio.run(main())

``centralita.sync`` is the same without ``async``. All errors are ``CentralitaError``s.
"""

from ._native import QrCode, __version__, metrics_text
from .cleanup import CleanupService
from .consumers import Consumer, ConsumerInfo, DeadLetter, DeadLetters, LoggedEvent
from .events import (
    CodeReady,
    Event,
    HandlerFailed,
    HistoryStored,
    Lagged,
    Message,
    MessageChanged,
    Missed,
    OtherEvent,
    OutboxEnded,
    Presence,
    SessionPanicked,
    SessionRestarted,
    StatusChanged,
    Typing,
    Undecryptable,
)
from .exceptions import (
    AccountError,
    AlreadyExistsError,
    BannedError,
    CallbackError,
    CentralitaError,
    ClosedError,
    ConflictError,
    CorruptError,
    CryptoError,
    ForkError,
    InternalError,
    InvalidError,
    InvalidStateError,
    LoggedOutError,
    NotFoundError,
    OperationCancelledError,
    OperationTimeoutError,
    PanicError,
    ProtocolError,
    RateLimitedError,
    StoreError,
    UnavailableError,
)
from .health import BreakerState, Pacing, RestartReason, SessionVitals, Vital, VitalState
from .keys import EnvKeys, KeyFile, KeyProvider, KeyRing, PlaintextDangerously
from .link import LinkKind, LinkStep, LinkStream
from .manager import SessionManager
from .options import (
    CleanupOptions,
    ConsumerOptions,
    DurableEventOptions,
    Rate,
    RateLimits,
    SendOptions,
    ServiceOptions,
)
from .records import (
    Chat,
    CleanupFailure,
    CleanupReport,
    Content,
    Deleted,
    Direction,
    HealthReport,
    MemoryReport,
    MessageKey,
    MessageStatus,
    Page,
    QueuedMessage,
    RestoreProgress,
    RestoreReport,
    RewrapFailure,
    RewrapReport,
    RoundReport,
    SentMessage,
    SessionHealth,
    SessionList,
    SessionMemory,
    SessionRecord,
    Statistics,
    Status,
    StatusDetail,
    StoredMessage,
)
from .service import Service
from .session import Session
from .stores import MemoryStore, MongoStore, SqliteStore
from .streams import EventStream

__all__ = [
    "AccountError",
    "AlreadyExistsError",
    "BannedError",
    "BreakerState",
    "CallbackError",
    "CentralitaError",
    "Chat",
    "CleanupFailure",
    "CleanupOptions",
    "CleanupReport",
    "CleanupService",
    "ClosedError",
    "CodeReady",
    "ConflictError",
    "Consumer",
    "ConsumerInfo",
    "ConsumerOptions",
    "Content",
    "CorruptError",
    "CryptoError",
    "DeadLetter",
    "DeadLetters",
    "Deleted",
    "Direction",
    "DurableEventOptions",
    "EnvKeys",
    "Event",
    "EventStream",
    "ForkError",
    "HandlerFailed",
    "HealthReport",
    "HistoryStored",
    "InternalError",
    "InvalidError",
    "InvalidStateError",
    "KeyFile",
    "KeyProvider",
    "KeyRing",
    "Lagged",
    "LinkKind",
    "LinkStep",
    "LinkStream",
    "LoggedEvent",
    "LoggedOutError",
    "MemoryReport",
    "MemoryStore",
    "Message",
    "MessageChanged",
    "MessageKey",
    "MessageStatus",
    "Missed",
    "MongoStore",
    "NotFoundError",
    "OperationCancelledError",
    "OperationTimeoutError",
    "OtherEvent",
    "OutboxEnded",
    "Pacing",
    "Page",
    "PanicError",
    "PlaintextDangerously",
    "Presence",
    "ProtocolError",
    "QrCode",
    "QueuedMessage",
    "Rate",
    "RateLimitedError",
    "RateLimits",
    "RestartReason",
    "RestoreProgress",
    "RestoreReport",
    "RewrapFailure",
    "RewrapReport",
    "RoundReport",
    "SendOptions",
    "SentMessage",
    "Service",
    "ServiceOptions",
    "Session",
    "SessionHealth",
    "SessionList",
    "SessionManager",
    "SessionMemory",
    "SessionPanicked",
    "SessionRecord",
    "SessionRestarted",
    "SessionVitals",
    "SqliteStore",
    "Statistics",
    "Status",
    "StatusChanged",
    "StatusDetail",
    "StoreError",
    "StoredMessage",
    "Typing",
    "UnavailableError",
    "Undecryptable",
    "Vital",
    "VitalState",
    "__version__",
    "metrics_text",
]
