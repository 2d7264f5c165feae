package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"time"
)

// RestoreReport says what came of a restore.
type RestoreReport struct {
	Started []string `json:"started"`
	// Connected are those that were when a RestoreAndWait returned, in the order in which they were.
	Connected []string `json:"connected"`
	NotLinked []string `json:"notLinked"`
	Malformed []string `json:"malformed"`
}

// RestoreStep says how far a restore has come.
type RestoreStep struct {
	Total, Done, Connected, Ended uint64
	// SessionID is the one that the step is about.
	SessionID string
}

// Restore starts every stored session that is active and was linked; one that another instance runs stands by.
func (s *Service) Restore(ctx context.Context) (RestoreReport, error) {
	return s.restore(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		return C.centralita_service_restore(handle, nil, op.later, nil, err)
	})
}

// RestoreAndWait is Restore, and waits until every session that was started is connected or has ended, or patience is
// over. show, which may be nil, is called for each step, from another goroutine's thread, one at a time.
func (s *Service) RestoreAndWait(ctx context.Context, patience time.Duration, show func(RestoreStep)) (RestoreReport, error) {
	return s.restore(ctx, func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t {
		progress := newProgress(show)
		if progress != nil {
			op.pins.Pin(progress)
		}
		return C.centralita_service_restore_and_wait(handle, C.int64_t(patience.Milliseconds()), progress, op.later, nil, err)
	})
}

func (s *Service) restore(
	ctx context.Context,
	call func(op *operation, handle *C.centralita_service, err **C.centralita_error) C.int32_t,
) (RestoreReport, error) {
	var report RestoreReport
	text, err := runText(ctx, s.begin(call))
	if err == nil {
		err = json.Unmarshal([]byte(text), &report)
	}
	return report, err
}
