package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"
)

// Consumer reads durable events under a name. Safe for use by several goroutines. End it with Close.
type Consumer struct {
	lock   sync.RWMutex
	handle *C.centralita_consumer
}

// LoggedEvent is an event from the log; acknowledge it by its cursor. Event is its JSON.
type LoggedEvent struct {
	Cursor   string          `json:"cursor"`
	Attempt  int             `json:"attempt"`
	Replayed bool            `json:"replayed"`
	Event    json.RawMessage `json:"event"`
}

// OpenConsumer opens a consumer of durable events, which goes on where it was; optionsJSON as in centralita.h, empty for
// the defaults. ErrConflict if it is open elsewhere.
func (s *Service) OpenConsumer(ctx context.Context, name, optionsJSON string) (*Consumer, error) {
	consumer := &Consumer{}
	start := s.begin(func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_consumer_open(handle, str(&op.pins, name), optional(&op.pins, optionsJSON), op.later, nil, err)
	})
	err := run(ctx, start, func(op *C.centralita_op) error {
		return s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
			return C.centralita_op_consumer(op, handle, &consumer.handle, err)
		})
	})
	if err != nil {
		return nil, err
	}
	return consumer, nil
}

func (c *Consumer) begin(
	call func(op *operation, handle *C.centralita_consumer, err **C.centralita_error) C.int32_t,
) func(op *operation, err **C.centralita_error) C.int32_t {
	return func(op *operation, err **C.centralita_error) C.int32_t {
		c.lock.RLock()
		defer c.lock.RUnlock()
		return call(op, c.handle, err)
	}
}

// Next gives the next events, at most limit, as soon as there is one; none if nothing came within patience.
func (c *Consumer) Next(ctx context.Context, limit uint32, patience time.Duration) ([]LoggedEvent, error) {
	text, err := runText(ctx, c.begin(func(op *operation, handle *C.centralita_consumer, err **C.centralita_error) C.int32_t {
		return C.centralita_consumer_next(handle, C.uint32_t(limit), C.int64_t(patience.Milliseconds()), op.later, nil, err)
	}))
	if err != nil {
		return nil, err
	}
	var events []LoggedEvent
	err = json.Unmarshal([]byte(text), &events)
	return events, err
}

// Ack says that the event with this cursor and all before it of its session are done with.
func (c *Consumer) Ack(ctx context.Context, cursor string) error {
	return run(ctx, c.begin(func(op *operation, handle *C.centralita_consumer, err **C.centralita_error) C.int32_t {
		return C.centralita_consumer_ack(handle, str(&op.pins, cursor), op.later, err)
	}), nil)
}

// Reject puts the event with this cursor aside as a dead letter, and acknowledges it.
func (c *Consumer) Reject(ctx context.Context, cursor, reason string) error {
	return run(ctx, c.begin(func(op *operation, handle *C.centralita_consumer, err **C.centralita_error) C.int32_t {
		return C.centralita_consumer_reject(handle, str(&op.pins, cursor), str(&op.pins, reason), op.later, err)
	}), nil)
}

// Run calls handle for every event, one at a time, until Stop, Close, the service's end, or the end of the context, whose
// error it returns then. One that answers an error, or panics, is called again after a pause; after the last attempt, which
// counts from 1, the event becomes a dead letter.
func (c *Consumer) Run(ctx context.Context, handle func(event Event, attempt int) error) error {
	return run(ctx, c.begin(func(op *operation, consumer *C.centralita_consumer, err **C.centralita_error) C.int32_t {
		handler := newHandler(handle)
		op.pins.Pin(handler)
		return C.centralita_consumer_run(consumer, handler, op.later, err)
	}), nil)
}

// Stop ends a Run once the call of its function has ended. Without one it does nothing.
func (c *Consumer) Stop() error {
	c.lock.RLock()
	defer c.lock.RUnlock()
	var failure *C.centralita_error
	return check(C.centralita_consumer_stop(c.handle, &failure), failure)
}

// Close ends it: another process may open it at once. It also frees the handle.
func (c *Consumer) Close(ctx context.Context) error {
	err := run(ctx, c.begin(func(op *operation, handle *C.centralita_consumer, err **C.centralita_error) C.int32_t {
		return C.centralita_consumer_close(handle, op.later, err)
	}), nil)
	c.lock.Lock()
	defer c.lock.Unlock()
	C.centralita_consumer_free(&c.handle)
	return err
}

// ConsumerInfo is a consumer that was ever opened and not deleted.
type ConsumerInfo struct {
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	// Behind is how many events it has not acknowledged.
	Behind uint64 `json:"behind"`
}

// Consumers lists the consumers.
func (s *Service) Consumers(ctx context.Context) ([]ConsumerInfo, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_consumers(handle, op.later, nil, err)
	}))
	if err != nil {
		return nil, err
	}
	var consumers []ConsumerInfo
	err = json.Unmarshal([]byte(text), &consumers)
	return consumers, err
}

// DeleteConsumer forgets a consumer: its place in the log and its dead letters.
func (s *Service) DeleteConsumer(ctx context.Context, name string) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_consumer_delete(handle, str(&op.pins, name), op.later, err)
	}), nil)
}

// DeadLetters gives a page of the events that a consumer's handler failed on; pageJSON as in centralita.h.
func (s *Service) DeadLetters(ctx context.Context, consumer, pageJSON string) (json.RawMessage, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_dead_letters(handle, str(&op.pins, consumer), optional(&op.pins, pageJSON), op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// ReplayDeadLetters has a dead letter handled once more, or all with an empty session; gives how many.
func (s *Service) ReplayDeadLetters(ctx context.Context, consumer, session string, seq uint64) (uint64, error) {
	return s.count(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_dead_letters_replay(
			handle, str(&op.pins, consumer), optional(&op.pins, session), C.uint64_t(seq), op.later, nil, err)
	})
}

// DiscardDeadLetters removes a dead letter for good, or all with an empty session; gives how many.
func (s *Service) DiscardDeadLetters(ctx context.Context, consumer, session string, seq uint64) (uint64, error) {
	return s.count(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_dead_letters_discard(
			handle, str(&op.pins, consumer), optional(&op.pins, session), C.uint64_t(seq), op.later, nil, err)
	})
}

func (s *Service) count(
	ctx context.Context,
	call func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t,
) (uint64, error) {
	text, err := runText(ctx, s.begin(call))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}
