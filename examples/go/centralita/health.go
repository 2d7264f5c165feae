package centralita

/*
#include <centralita.h>

static inline centralita_session_figures centralita_go_session_figures(void)
{
    centralita_session_figures figures = CENTRALITA_SESSION_FIGURES_INIT;
    return figures;
}

static inline centralita_service_figures centralita_go_service_figures(void)
{
    centralita_service_figures figures = CENTRALITA_SERVICE_FIGURES_INIT;
    return figures;
}
*/
import "C"

import (
	"context"
	"encoding/json"
	"time"
)

// VitalState says how a part of a session's health is.
type VitalState int32

// See centralita.h.
const (
	VitalGood    VitalState = C.CENTRALITA_VITAL_GOOD
	VitalUnknown VitalState = C.CENTRALITA_VITAL_UNKNOWN
	VitalSuspect VitalState = C.CENTRALITA_VITAL_SUSPECT
	VitalBad     VitalState = C.CENTRALITA_VITAL_BAD
)

// SessionFigures are the main figures of a session's health.
type SessionFigures struct {
	Link, Receive, Send VitalState
	Parked              bool
	// Restarts since it was started, because it was not well.
	Restarts uint64
	// MemoryBytes of its engine; -1 while there is none.
	MemoryBytes int64
}

// Figures gives the main figures of its health; ErrInvalidState if it does not run here.
func (s *Session) Figures() (SessionFigures, error) {
	s.lock.RLock()
	defer s.lock.RUnlock()
	var failure *C.centralita_error
	raw := C.centralita_go_session_figures()
	if err := check(C.centralita_session_get_figures(s.handle, &raw, &failure), failure); err != nil {
		return SessionFigures{}, err
	}
	return SessionFigures{
		Link:        VitalState(raw.link),
		Receive:     VitalState(raw.receive),
		Send:        VitalState(raw.send),
		Parked:      raw.parked != 0,
		Restarts:    uint64(raw.restarts),
		MemoryBytes: int64(raw.memory_bytes),
	}, nil
}

// Health gives its health as JSON: since when each part is as it is, and why.
func (s *Session) Health(ctx context.Context) (json.RawMessage, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_health(handle, op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// Parked says whether it is parked, or on its way back from that.
func (s *Session) Parked() bool {
	s.lock.RLock()
	defer s.lock.RUnlock()
	return bool(C.centralita_session_is_parked(s.handle))
}

// Park closes its socket and frees its memory, but keeps it; a send or ReconnectNow wakes it.
func (s *Session) Park(ctx context.Context) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_park(handle, op.later, err)
	}), nil)
}

// BreakerState says whether the fleet connects.
type BreakerState int32

// See centralita.h.
const (
	BreakerClosed   BreakerState = C.CENTRALITA_BREAKER_CLOSED
	BreakerOpen     BreakerState = C.CENTRALITA_BREAKER_OPEN
	BreakerHalfOpen BreakerState = C.CENTRALITA_BREAKER_HALF_OPEN
)

// ServiceFigures say how the sessions of this process do.
type ServiceFigures struct {
	Breaker BreakerState
	// PausedUntil is zero unless the breaker is open.
	PausedUntil time.Time
	// Running sessions; of them connected and parked; of those connected, not well.
	Running, Connected, Parked, Unwell uint64
	// Restarts of those that run, because they were not well.
	Restarts uint64
	// Waiting for their turn to connect; Connecting; Admitted since the service was opened.
	Waiting, Connecting, Admitted uint64
	// TimesOpened is how often the breaker has opened.
	TimesOpened uint64
}

// Figures says how the sessions of this process do. It never waits.
func (s *Service) Figures() (ServiceFigures, error) {
	raw := C.centralita_go_service_figures()
	err := s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_service_get_figures(handle, &raw, err)
	})
	if err != nil {
		return ServiceFigures{}, err
	}
	figures := ServiceFigures{
		Breaker:     BreakerState(raw.breaker),
		Running:     uint64(raw.running),
		Connected:   uint64(raw.connected),
		Parked:      uint64(raw.parked),
		Unwell:      uint64(raw.unwell),
		Restarts:    uint64(raw.restarts),
		Waiting:     uint64(raw.waiting),
		Connecting:  uint64(raw.connecting),
		Admitted:    uint64(raw.admitted),
		TimesOpened: uint64(raw.times_opened),
	}
	if raw.paused_until_ms >= 0 {
		figures.PausedUntil = time.UnixMilli(int64(raw.paused_until_ms))
	}
	return figures, nil
}

// Health gives the same as JSON.
func (s *Service) Health() (json.RawMessage, error) {
	var buf C.centralita_buf
	err := s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_service_health(handle, &buf, err)
	})
	if err != nil {
		return nil, err
	}
	return json.RawMessage(takeBuf(&buf)), nil
}

// RunningSessions gives the ids of the sessions that run in this process, connected or not.
func (s *Service) RunningSessions() ([]string, error) {
	var buf C.centralita_buf
	err := s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_service_running_sessions(handle, &buf, err)
	})
	if err != nil {
		return nil, err
	}
	var ids []string
	err = json.Unmarshal(takeBuf(&buf), &ids)
	return ids, err
}

// MetricsText gives the figures of all services of the process in Prometheus' text format; ErrInvalidState unless one was
// opened with the option metrics.
func MetricsText() (string, error) {
	var buf C.centralita_buf
	var failure *C.centralita_error
	if err := check(C.centralita_metrics_text(&buf, &failure), failure); err != nil {
		return "", err
	}
	return string(takeBuf(&buf)), nil
}
