package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"runtime"
	"time"
)

// MessageKey names a message within a session.
type MessageKey struct {
	ChatID    string `json:"chatId"`
	Sender    string `json:"sender"`
	MessageID string `json:"messageId"`
}

func (k MessageKey) c(pins *runtime.Pinner) C.centralita_message_key {
	return C.centralita_message_key{
		chat_id:    str(pins, k.ChatID),
		sender:     str(pins, k.Sender),
		message_id: str(pins, k.MessageID),
	}
}

// Outgoing is a message to send: make one with Text, Reply, Reaction, Edit or Revoke.
type Outgoing struct {
	kind   C.int32_t
	to     string
	text   string
	target MessageKey
	// IdempotencyKey fixes the message's id: a send with the same key is the same message.
	IdempotencyKey string
	// Timeout is how long to wait for WhatsApp's acknowledgement; 0: the service's send_timeout_ms.
	Timeout time.Duration
	// Queue is how long it may wait in the outbox if it cannot be sent now; 0: it does not wait.
	Queue time.Duration
	// QueueUntil is the same until a moment. Not both.
	QueueUntil time.Time
}

// Text is text to a phone number or a JID.
func Text(to, text string) Outgoing {
	return Outgoing{kind: C.CENTRALITA_OUTGOING_TEXT, to: to, text: text}
}

// Reply is text in answer to a message.
func Reply(to MessageKey, text string) Outgoing {
	return Outgoing{kind: C.CENTRALITA_OUTGOING_REPLY, target: to, text: text}
}

// Reaction is an emoji on a message; an empty one takes it back.
func Reaction(to MessageKey, emoji string) Outgoing {
	return Outgoing{kind: C.CENTRALITA_OUTGOING_REACTION, target: to, text: emoji}
}

// Edit is new text for a message of one's own.
func Edit(what MessageKey, text string) Outgoing {
	return Outgoing{kind: C.CENTRALITA_OUTGOING_EDIT, target: what, text: text}
}

// Revoke takes a message back for everybody.
func Revoke(what MessageKey) Outgoing {
	return Outgoing{kind: C.CENTRALITA_OUTGOING_REVOKE, target: what}
}

// Sent is a message that WhatsApp's server has accepted.
type Sent struct {
	MessageKey
	Status    string    `json:"status"`
	Timestamp time.Time `json:"timestamp"`
	// Repeated says that an earlier send with the same idempotency key had sent it already.
	Repeated bool `json:"repeated"`
}

// Send sends a message and waits until WhatsApp's server has it. If the context ends first, the message may or may not
// arrive; sending it again with the same idempotency key makes sure.
func (s *Session) Send(ctx context.Context, message Outgoing) (Sent, error) {
	var sent Sent
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		raw := &C.centralita_outgoing{
			struct_size:     C.uint32_t(C.sizeof_centralita_outgoing),
			kind:            message.kind,
			to:              str(&op.pins, message.to),
			text:            str(&op.pins, message.text),
			idempotency_key: optional(&op.pins, message.IdempotencyKey),
			timeout_ms:      C.int64_t(message.Timeout.Milliseconds()),
			queue_ms:        C.int64_t(message.Queue.Milliseconds()),
		}
		if !message.QueueUntil.IsZero() {
			raw.queue_until_ms = C.int64_t(message.QueueUntil.UnixMilli())
		}
		raw.target = message.target.c(&op.pins)
		op.pins.Pin(raw)
		return C.centralita_session_send(handle, raw, op.later, nil, err)
	}))
	if err == nil {
		err = json.Unmarshal([]byte(text), &sent)
	}
	return sent, err
}

// Messages gives a page of its stored messages, the newest first; queryJSON as in centralita.h, empty for the first page.
func (s *Session) Messages(ctx context.Context, queryJSON string) (json.RawMessage, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_messages(handle, optional(&op.pins, queryJSON), op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// Chats gives a page of its stored chats, the one with the newest message first.
func (s *Session) Chats(ctx context.Context, queryJSON string) (json.RawMessage, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_chats(handle, optional(&op.pins, queryJSON), op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// Outbox gives a page of what waits to be sent; pageJSON as in centralita.h, empty for the first page.
func (s *Session) Outbox(ctx context.Context, pageJSON string) (json.RawMessage, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_outbox(handle, optional(&op.pins, pageJSON), op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// CancelQueued takes a message out of the outbox.
func (s *Session) CancelQueued(ctx context.Context, messageID string) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_cancel_queued(handle, str(&op.pins, messageID), op.later, err)
	}), nil)
}

// MarkRead tells the author of messages that they were read. All of one chat and author.
func (s *Session) MarkRead(ctx context.Context, keys ...MessageKey) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		if len(keys) == 0 {
			return C.centralita_session_mark_read(handle, nil, 0, op.later, err)
		}
		raw := make([]C.centralita_message_key, len(keys))
		for i, key := range keys {
			raw[i] = key.c(&op.pins)
		}
		op.pins.Pin(&raw[0])
		return C.centralita_session_mark_read(handle, &raw[0], C.size_t(len(raw)), op.later, err)
	}), nil)
}

// SetTyping shows "typing…" in a chat, or stops showing it.
func (s *Session) SetTyping(ctx context.Context, to string, composing bool) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_set_typing(handle, str(&op.pins, to), flag(composing), op.later, err)
	}), nil)
}
