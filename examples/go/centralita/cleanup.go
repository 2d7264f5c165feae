package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"runtime"
	"strconv"
	"sync"
)

// Cleanup is the seed's CleanupService. Free it with Free, which ends its rounds.
type Cleanup struct {
	lock   sync.RWMutex
	handle *C.centralita_cleanup
}

// StartCleanup starts the automatic cleanup and health checks; optionsJSON as in centralita.h, empty for the defaults.
func (s *Service) StartCleanup(optionsJSON string) (*Cleanup, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	cleanup := &Cleanup{}
	err := s.with(func(handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_cleanup_start(handle, optional(&pins, optionsJSON), &cleanup.handle, err)
	})
	if err != nil {
		return nil, err
	}
	return cleanup, nil
}

func (c *Cleanup) begin(
	call func(op *operation, handle *C.centralita_cleanup, err **C.centralita_error) C.int32_t,
) func(op *operation, err **C.centralita_error) C.int32_t {
	return func(op *operation, err **C.centralita_error) C.int32_t {
		c.lock.RLock()
		defer c.lock.RUnlock()
		return call(op, c.handle, err)
	}
}

// Free ends the rounds without waiting and frees the handle.
func (c *Cleanup) Free() {
	c.lock.Lock()
	defer c.lock.Unlock()
	C.centralita_cleanup_free(&c.handle)
}

// Running says whether the rounds run.
func (c *Cleanup) Running() bool {
	c.lock.RLock()
	defer c.lock.RUnlock()
	return bool(C.centralita_cleanup_is_running(c.handle))
}

// Stop ends the rounds and waits for one that is under way.
func (c *Cleanup) Stop(ctx context.Context) error {
	return run(ctx, c.begin(func(op *operation, handle *C.centralita_cleanup, err **C.centralita_error) C.int32_t {
		return C.centralita_cleanup_stop(handle, op.later, err)
	}), nil)
}

// RunManualCleanup removes the sessions without activity now, or says which it would.
func (c *Cleanup) RunManualCleanup(ctx context.Context, days uint32, dryRun bool) (json.RawMessage, error) {
	text, err := runText(ctx, c.begin(func(op *operation, handle *C.centralita_cleanup, err **C.centralita_error) C.int32_t {
		return C.centralita_cleanup_run_manual_cleanup(handle, C.uint32_t(days), flag(dryRun), op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// GetHealthReport gives the state of the system at this moment.
func (c *Cleanup) GetHealthReport(ctx context.Context) (json.RawMessage, error) {
	text, err := runText(ctx, c.begin(func(op *operation, handle *C.centralita_cleanup, err **C.centralita_error) C.int32_t {
		return C.centralita_cleanup_get_health_report(handle, op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// ResetProblematicSessions sets the count of failed attempts to zero where it is at least minAttempts; gives in how many.
func (c *Cleanup) ResetProblematicSessions(ctx context.Context, minAttempts uint32) (uint64, error) {
	text, err := runText(ctx, c.begin(func(op *operation, handle *C.centralita_cleanup, err **C.centralita_error) C.int32_t {
		return C.centralita_cleanup_reset_problematic_sessions(handle, C.uint32_t(minAttempts), op.later, nil, err)
	}))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 64)
}
