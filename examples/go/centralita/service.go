package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// Service holds sessions. Safe for use by several goroutines.
type Service struct {
	lock   sync.RWMutex
	handle *C.centralita_service
}

// Options of a service by name; Settings lists them.
type Options map[string]string

// Settings gives the options that the library knows, with what they mean.
func Settings() map[string]string {
	settings := map[string]string{}
	for index := C.size_t(0); ; index++ {
		var name, help C.centralita_str
		if C.centralita_config_option(index, &name, &help) != C.CENTRALITA_OK {
			return settings
		}
		settings[goString(name)] = goString(help)
	}
}

// Open opens a service on store: a path of an SQLite file, mongodb://…, or memory:. No session is started: see Restore
// and CreateSession.
func Open(store string, options Options) (*Service, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	var failure *C.centralita_error
	var config *C.centralita_config
	if err := check(C.centralita_config_new(&config, &failure), failure); err != nil {
		return nil, err
	}
	defer C.centralita_config_free(&config)
	for name, value := range options {
		status := C.centralita_config_set(config, str(&pins, name), str(&pins, value), &failure)
		if err := check(status, failure); err != nil {
			return nil, err
		}
	}
	service := &Service{}
	status := C.centralita_service_open(str(&pins, store), config, &service.handle, &failure)
	if err := check(status, failure); err != nil {
		return nil, err
	}
	return service, nil
}

// with calls with the handle, which is NULL, and so refused by the library, once the service was closed.
func (s *Service) with(call func(handle *C.centralita_service, err **C.centralita_error) C.int32_t) error {
	s.lock.RLock()
	defer s.lock.RUnlock()
	if s.handle == nil {
		return ErrClosed
	}
	var failure *C.centralita_error
	return check(call(s.handle, &failure), failure)
}

// begin is with for calls that run starts.
func (s *Service) begin(
	call func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t,
) func(op *operation, err **C.centralita_error) C.int32_t {
	return func(op *operation, err **C.centralita_error) C.int32_t {
		s.lock.RLock()
		defer s.lock.RUnlock()
		return call(op, s.handle, err)
	}
}

// Close stops all sessions within patience, closes the store and frees the handle. What was received is stored and
// acknowledged; what was not, WhatsApp delivers again. ErrTimeout if some sessions were cut off.
func (s *Service) Close(patience time.Duration) error {
	err := s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_service_shutdown(handle, C.int64_t(patience.Milliseconds()), nil, err)
	})
	s.lock.Lock()
	defer s.lock.Unlock()
	C.centralita_service_free(&s.handle)
	return err
}

// CreateSession registers a session and starts it; one that exists is started with its credentials.
func (s *Service) CreateSession(ctx context.Context, id string) (*Session, error) {
	return s.session(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_session_create(handle, str(&op.pins, id), op.later, nil, err)
	})
}

// StartSession starts a stored session; ErrNotFound if it was never created.
func (s *Service) StartSession(ctx context.Context, id string) (*Session, error) {
	return s.session(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_session_start(handle, str(&op.pins, id), op.later, nil, err)
	})
}

// Session gives a handle on a stored session, running or not; ErrNotFound if there is none.
func (s *Service) Session(ctx context.Context, id string) (*Session, error) {
	return s.session(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_session_get(handle, str(&op.pins, id), op.later, nil, err)
	})
}

func (s *Service) session(
	ctx context.Context,
	call func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t,
) (*Session, error) {
	session := &Session{}
	err := run(ctx, s.begin(call), func(op *C.centralita_op) error {
		return s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
			return C.centralita_op_session(op, handle, &session.handle, err)
		})
	})
	if err != nil {
		return nil, err
	}
	session.id = goString(C.centralita_session_id(session.handle))
	return session, nil
}
