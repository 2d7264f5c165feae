package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"errors"
	"io"
	"time"
)

// Code says what the caller must do; the numbers are stable.
type Code int32

// What an error is. Compare with errors.Is.
var (
	ErrInvalid       = kind(C.CENTRALITA_INVALID)
	ErrNotFound      = kind(C.CENTRALITA_NOT_FOUND)
	ErrAlreadyExists = kind(C.CENTRALITA_ALREADY_EXISTS)
	ErrInvalidState  = kind(C.CENTRALITA_INVALID_STATE)
	ErrClosed        = kind(C.CENTRALITA_CLOSED)
	ErrLoggedOut     = kind(C.CENTRALITA_LOGGED_OUT)
	ErrBanned        = kind(C.CENTRALITA_BANNED)
	ErrConflict      = kind(C.CENTRALITA_CONFLICT)
	ErrRateLimited   = kind(C.CENTRALITA_RATE_LIMITED)
	ErrTimeout       = kind(C.CENTRALITA_TIMEOUT)
	ErrCancelled     = kind(C.CENTRALITA_CANCELLED)
	ErrUnavailable   = kind(C.CENTRALITA_UNAVAILABLE)
	ErrStore         = kind(C.CENTRALITA_STORE)
	ErrCorrupt       = kind(C.CENTRALITA_CORRUPT)
	ErrCrypto        = kind(C.CENTRALITA_CRYPTO)
	ErrProtocol      = kind(C.CENTRALITA_PROTOCOL)
	ErrCallback      = kind(C.CENTRALITA_CALLBACK)
	ErrWouldDeadlock = kind(C.CENTRALITA_WOULD_DEADLOCK)
	ErrForked        = kind(C.CENTRALITA_FORKED)
	ErrPanic         = kind(C.CENTRALITA_PANIC)
	ErrInternal      = kind(C.CENTRALITA_INTERNAL)
)

func kind(code Code) error { return &Error{Code: code, Message: "centralita"} }

// errPending is no error of the library: an operation has not ended.
var errPending = errors.New("centralita: not done yet")

// Error is what a call of the library failed with.
type Error struct {
	Code    Code
	Kind    string
	Message string
	// Session that it happened to; empty if it concerns none.
	Session string
	// Retryable says whether the same call may succeed later.
	Retryable bool
	// RetryAfter is how long to wait before; 0 if not known.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.Message }

// Is compares by code alone.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error)
	return ok && other.Code == e.Code
}

// check makes an error of a status and frees what came with it. CENTRALITA_END is io.EOF.
func check(status C.int32_t, err *C.centralita_error) error {
	switch status {
	case C.CENTRALITA_OK:
		return nil
	case C.CENTRALITA_END:
		return io.EOF
	case C.CENTRALITA_PENDING:
		return errPending
	}
	defer C.centralita_error_free(&err)
	failure := copyError(err)
	failure.Code = Code(status)
	return failure
}

func copyError(err *C.centralita_error) *Error {
	failure := &Error{
		Code:      Code(C.centralita_error_code(err)),
		Kind:      goString(C.centralita_error_kind(err)),
		Message:   goString(C.centralita_error_message(err)),
		Session:   goString(C.centralita_error_session(err)),
		Retryable: bool(C.centralita_error_is_retryable(err)),
	}
	if ms := C.centralita_error_retry_after_ms(err); ms > 0 {
		failure.RetryAfter = time.Duration(ms) * time.Millisecond
	}
	return failure
}
