package centralita

/*
#include <centralita.h>

static inline centralita_sink centralita_go_sink(uint32_t capacity, int32_t overflow,
                                                 const centralita_str *ids, size_t count)
{
    centralita_sink sink = CENTRALITA_SINK_INIT;
    sink.capacity = capacity;
    sink.overflow = overflow;
    sink.session_ids = ids;
    sink.session_count = count;
    return sink;
}
*/
import "C"

import (
	"encoding/json"
	"runtime"
	"sync"
	"time"
)

// EventType says what happened.
type EventType int32

// The types of events. 0 is one that is newer than this package: its JSON has it.
const (
	EventStatus         EventType = C.CENTRALITA_EVENT_STATUS
	EventCode           EventType = C.CENTRALITA_EVENT_CODE
	EventMessage        EventType = C.CENTRALITA_EVENT_MESSAGE
	EventMessageChanged EventType = C.CENTRALITA_EVENT_MESSAGE_CHANGED
	EventTyping         EventType = C.CENTRALITA_EVENT_TYPING
	EventPresence       EventType = C.CENTRALITA_EVENT_PRESENCE
	EventHistory        EventType = C.CENTRALITA_EVENT_HISTORY
	EventUndecryptable  EventType = C.CENTRALITA_EVENT_UNDECRYPTABLE
	EventPanicked       EventType = C.CENTRALITA_EVENT_PANICKED
	EventLagged         EventType = C.CENTRALITA_EVENT_LAGGED
	EventOutboxEnded    EventType = C.CENTRALITA_EVENT_OUTBOX_ENDED
	EventMissed         EventType = C.CENTRALITA_EVENT_MISSED
	EventRestarted      EventType = C.CENTRALITA_EVENT_RESTARTED
)

// Event is what happened, to which session.
type Event struct {
	Type      EventType
	Seq       uint64
	SessionID string
	At        time.Time
	// Text, SenderName, FromMe and Key are a message's.
	Text       string
	SenderName string
	FromMe     bool
	Key        MessageKey
	// Dropped is how many events were left out before an EventLagged.
	Dropped uint64
	// JSON is the whole event.
	JSON json.RawMessage
}

// Overflow says what happens when a subscription's queue is full.
type Overflow int32

// See centralita.h.
const (
	DropOldest    Overflow = C.CENTRALITA_OVERFLOW_DROP_OLDEST
	Wait          Overflow = C.CENTRALITA_OVERFLOW_WAIT
	CloseWhenFull Overflow = C.CENTRALITA_OVERFLOW_CLOSE
)

// SubscriptionOptions says which events, and how many may wait.
type SubscriptionOptions struct {
	// Sessions by id; empty: all.
	Sessions []string
	// Capacity in events; 0: 1,024.
	Capacity uint32
	Overflow Overflow
}

// Subscription delivers events on a channel.
type Subscription struct {
	// C is closed after the last event: the service was closed, or the subscription.
	C      <-chan Event
	handle *C.centralita_subscription
	closed chan struct{}
	done   chan struct{}
	once   sync.Once
	err    error
}

// Subscribe delivers events from now on.
func (s *Service) Subscribe(options SubscriptionOptions) (*Subscription, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	var ids []C.centralita_str
	for _, id := range options.Sessions {
		ids = append(ids, str(&pins, id))
	}
	var first *C.centralita_str
	if len(ids) > 0 {
		first = &ids[0]
		pins.Pin(first)
	}
	sink := C.centralita_go_sink(C.uint32_t(options.Capacity), C.int32_t(options.Overflow), first, C.size_t(len(ids)))
	pins.Pin(&sink)
	events := make(chan Event)
	subscription := &Subscription{C: events, closed: make(chan struct{}), done: make(chan struct{})}
	err := s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_subscribe(handle, &sink, &subscription.handle, err)
	})
	if err != nil {
		return nil, err
	}
	go subscription.pump(events)
	return subscription, nil
}

// pump pulls: a blocking call is kinder to Go than a callback on a thread that it does not know.
func (s *Subscription) pump(events chan<- Event) {
	defer close(s.done)
	defer close(events)
	for {
		var handle *C.centralita_event
		var failure *C.centralita_error
		if err := check(C.centralita_subscription_next(s.handle, -1, &handle, &failure), failure); err != nil {
			if !IsEnd(err) {
				s.err = err
			}
			return
		}
		event := copyEvent(handle)
		C.centralita_event_free(&handle)
		select {
		case events <- event:
		case <-s.closed:
			return
		}
	}
}

func copyEvent(handle *C.centralita_event) Event {
	event := Event{
		Type:       EventType(C.centralita_event_type(handle)),
		Seq:        uint64(C.centralita_event_seq(handle)),
		SessionID:  goString(C.centralita_event_session_id(handle)),
		At:         time.UnixMilli(int64(C.centralita_event_at_ms(handle))),
		Text:       goString(C.centralita_event_text(handle)),
		SenderName: goString(C.centralita_event_sender_name(handle)),
		FromMe:     bool(C.centralita_event_from_me(handle)),
		Dropped:    uint64(C.centralita_event_dropped(handle)),
		JSON:       json.RawMessage(goString(C.centralita_event_json(handle))),
	}
	var key C.centralita_message_key
	if C.centralita_event_message_key(handle, &key) == C.CENTRALITA_OK {
		event.Key = MessageKey{goString(key.chat_id), goString(key.sender), goString(key.message_id)}
	}
	return event
}

// Close ends the subscription and waits until its channel is closed. Any number of times, from any goroutine.
func (s *Subscription) Close() {
	s.once.Do(func() {
		close(s.closed)
		C.centralita_subscription_close(s.handle, nil)
		<-s.done
		C.centralita_subscription_free(&s.handle)
	})
	<-s.done
}

// Err says why the channel was closed, once it is: nil, or ErrRateLimited if it fell behind and CloseWhenFull was chosen.
func (s *Subscription) Err() error {
	<-s.done
	return s.err
}
