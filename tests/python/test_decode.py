"""JSON to dataclasses: whatever WhatsApp's servers or a newer module say, an event arrives."""

from __future__ import annotations

import dataclasses
import inspect
import json
from datetime import datetime, timezone
from typing import Any

import pytest

import centralita
from centralita import _decode, events, records

KEY = {"chatId": "1@s.whatsapp.net", "sender": "1@s.whatsapp.net", "messageId": "A"}
MESSAGE = {
    **KEY,
    "direction": "in",
    "fromMe": False,
    "timestamp": "2026-11-24T10:00:00.000Z",
    "senderName": None,
    "content": {"type": "text", "text": "hola"},
    "status": "delivered",
    "editedAt": None,
    "revokedAt": None,
    "fromHistory": False,
}


def one(kind: str, data: Any, service: Any = None) -> centralita.Event:
    event = {"seq": 7, "sessionId": "ventas", "at": "2026-11-24T10:00:00.123Z", "type": kind, "data": data}
    (decoded,) = events.decode_batch(json.dumps([event]), service)
    assert (decoded.seq, decoded.session_id) == (7, "ventas")
    return decoded


@pytest.mark.parametrize(
    ("text", "year"),
    [("2026-11-24T10:00:00.123Z", 2026), ("+12345-01-01T00:00:00.000Z", 9999), ("-0044-03-15T00:00:00.000Z", 1),
     ("123456789012345678 ms", 9999)],
)
def test_dates_have_a_zone_and_never_fail(text: str, year: int) -> None:
    moment = _decode.to_datetime(text)
    assert moment.year == year and moment.tzinfo is timezone.utc


def test_what_is_newer_than_the_package_is_kept() -> None:
    other = one("something_new", {"a": 1})
    assert isinstance(other, centralita.OtherEvent) and (other.type, other.data) == ("something_new", {"a": 1})
    status = one("status", {"status": "hibernating", "detail": {"kind": "new", "colour": "blue"}})
    assert isinstance(status, centralita.StatusChanged)
    assert status.status == "hibernating" and status.detail is not None and status.detail.kind == "new"
    message = one("message", {**MESSAGE, "status": "framed", "content": {"type": "poll", "options": [1]}, "new": 1})
    assert isinstance(message, centralita.Message)
    assert message.status == "framed" and message.content.type == "poll" and message.text is None


def test_another_shape_than_expected_is_shown_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    for kind, data in [("message", {"text": "hola"}), ("typing", ["a"]), ("presence", {"lastSeen": 5})]:
        other = one(kind, data)
        assert isinstance(other, centralita.OtherEvent) and (other.type, other.data) == (kind, data)
    assert len(caplog.records) == 3 and "hola" not in caplog.text


def test_every_kind_of_event() -> None:
    text = one("message", MESSAGE)
    assert isinstance(text, centralita.Message) and text.text == "hola"
    reaction = {**MESSAGE, "content": {"type": "reaction", "target": KEY, "emoji": "👍"}}
    changed = one("message_changed", reaction)
    assert isinstance(changed, centralita.MessageChanged) and changed.content.target is not None
    assert changed.content.target.message_id == "A"
    code = one("code", {"kind": "pair_code", "code": "ABCDEFGH", "expiresAt": "2026-11-24T10:00:00.000Z"})
    assert isinstance(code, centralita.CodeReady) and code.code == "ABCDEFGH" and code.qr is None
    assert isinstance(code.expires_at, datetime)
    passkey = one("code", {"kind": "passkey_challenge", "requestOptionsJson": "{}"})
    assert isinstance(passkey, centralita.CodeReady) and passkey.passkey_challenge == "{}"
    seen = one("presence", {"contact": "1@s.whatsapp.net", "available": True, "lastSeen": None})
    assert isinstance(seen, centralita.Presence) and seen.last_seen is None
    assert one("undecryptable", None) == centralita.Undecryptable(7, "ventas", text.at)
    assert isinstance(one("panicked", None), centralita.SessionPanicked)
    history = one("history", {"chats": 2, "messages": 9})
    assert isinstance(history, centralita.HistoryStored) and history.messages == 9
    ended = one("outbox_ended", {"messageId": "A", "key": KEY, "outcome": "expired", "reason": None})
    assert isinstance(ended, centralita.OutboxEnded) and ended.key == text.key and ended.outcome == "expired"
    missed = one("missed", {"count": 3})
    assert isinstance(missed, centralita.Missed) and missed.count == 3
    later = one("unknown", {"raw": {"type": "call", "data": {"from": "1"}}})
    assert isinstance(later, centralita.OtherEvent) and (later.type, later.data) == ("call", {"from": "1"})
    lagged = one("lagged", {"dropped": 3})
    assert isinstance(lagged, centralita.Lagged) and lagged.dropped == 3


def test_records_and_events_are_frozen_and_hide_texts() -> None:
    kinds: list[Any] = [kind for module in (records, events) for _, kind in inspect.getmembers(module, dataclasses.is_dataclass)]
    assert len(kinds) > 30
    for kind in kinds:
        assert kind.__dataclass_params__.frozen, kind
    message = one("message", MESSAGE)
    assert "hola" not in repr(message)
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.seq = 8  # type: ignore[misc]
