package centralita

/*
#include <centralita.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"sync"
	"unsafe"
)

// Session is one session of a service. Safe for use by several goroutines. Free it with Free.
type Session struct {
	lock   sync.RWMutex
	handle *C.centralita_session
	id     string
}

// ID is its id.
func (s *Session) ID() string { return s.id }

// Free frees the handle, not the session.
func (s *Session) Free() {
	s.lock.Lock()
	defer s.lock.Unlock()
	C.centralita_session_free(&s.handle)
}

func (s *Session) begin(
	call func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t,
) func(op *operation, err **C.centralita_error) C.int32_t {
	return func(op *operation, err **C.centralita_error) C.int32_t {
		s.lock.RLock()
		defer s.lock.RUnlock()
		return call(op, s.handle, err)
	}
}

// Connected says whether it is logged in at this moment.
func (s *Session) Connected() bool {
	s.lock.RLock()
	defer s.lock.RUnlock()
	return bool(C.centralita_session_is_connected(s.handle))
}

// Record gives its record as JSON, with the seed's names.
func (s *Session) Record(ctx context.Context) (json.RawMessage, error) {
	text, err := runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_record(handle, op.later, nil, err)
	}))
	return json.RawMessage(text), err
}

// StepKind says what a step of a link is.
type StepKind int32

// The kinds of steps; the last three end a link.
const (
	StepQR                  StepKind = C.CENTRALITA_LINK_QR
	StepPairCode            StepKind = C.CENTRALITA_LINK_PAIR_CODE
	StepPasskeyChallenge    StepKind = C.CENTRALITA_LINK_PASSKEY_CHALLENGE
	StepPasskeyConfirmation StepKind = C.CENTRALITA_LINK_PASSKEY_CONFIRMATION
	StepLinked              StepKind = C.CENTRALITA_LINK_LINKED
	StepTimedOut            StepKind = C.CENTRALITA_LINK_TIMED_OUT
	StepFailed              StepKind = C.CENTRALITA_LINK_FAILED
)

// Step is one step of a link. Text is the code, a secret.
type Step struct {
	Kind        StepKind
	Text        string
	MustCompare bool
	// Err says why a StepFailed failed.
	Err error
}

// Terminal draws a QR code for a terminal.
func (s Step) Terminal() (string, error) {
	picture, err := QR(s.Text, C.CENTRALITA_QR_TERMINAL, 0)
	return string(picture), err
}

// PNG draws a QR code, scale pixels a module.
func (s Step) PNG(scale uint32) ([]byte, error) { return QR(s.Text, C.CENTRALITA_QR_PNG, scale) }

// SVG draws a QR code that scales.
func (s Step) SVG() (string, error) {
	picture, err := QR(s.Text, C.CENTRALITA_QR_SVG, 0)
	return string(picture), err
}

// QR draws any text as a QR code.
func QR(text string, format int32, scale uint32) ([]byte, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	var buf C.centralita_buf
	var failure *C.centralita_error
	status := C.centralita_qr_render(str(&pins, text), C.int32_t(format), C.uint32_t(scale), &buf, &failure)
	if err := check(status, failure); err != nil {
		return nil, err
	}
	return takeBuf(&buf), nil
}

// pollMS is how often a wait looks whether its context has ended.
const pollMS = 200

// Link calls show for each step until the session is linked. Another end is an error: ErrTimeout if nobody used a code.
func (s *Session) Link(ctx context.Context, show func(Step)) error {
	var link *C.centralita_link
	var failure *C.centralita_error
	s.lock.RLock()
	status := C.centralita_session_link(s.handle, &link, &failure)
	s.lock.RUnlock()
	if err := check(status, failure); err != nil {
		return err
	}
	defer C.centralita_link_free(&link)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var handle *C.centralita_link_step
		err := check(C.centralita_link_next(link, pollMS, &handle, &failure), failure)
		if errors.Is(err, ErrTimeout) {
			continue
		}
		if err != nil {
			return err
		}
		step := Step{
			Kind:        StepKind(C.centralita_link_step_type(handle)),
			Text:        goString(C.centralita_link_step_text(handle)),
			MustCompare: bool(C.centralita_link_step_must_compare(handle)),
		}
		if failed := C.centralita_link_step_error(handle); failed != nil {
			step.Err = copyError(failed)
		}
		C.centralita_link_step_free(&handle)
		if show != nil {
			show(step)
		}
		switch step.Kind {
		case StepLinked:
			return nil
		case StepTimedOut:
			return ErrTimeout
		case StepFailed:
			return step.Err
		}
	}
}

// WaitConnected waits until it is connected, or the context has ended.
func (s *Session) WaitConnected(ctx context.Context) error {
	const day = 24 * 60 * 60 * 1000
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_wait_connected(handle, day, op.later, err)
	}), nil)
}

// RequestPairCode asks for a code to type on the phone with this number.
func (s *Session) RequestPairCode(ctx context.Context, phone string) (string, error) {
	return runText(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_request_pair_code(handle, str(&op.pins, phone), op.later, nil, err)
	}))
}

// AnswerPasskey answers a passkey challenge with WebAuthn's assertion as JSON and the raw id of the credential.
func (s *Session) AnswerPasskey(ctx context.Context, assertionJSON string, credentialID []byte) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		id := str(&op.pins, string(credentialID))
		return C.centralita_session_answer_passkey(
			handle, str(&op.pins, assertionJSON), (*C.uint8_t)(unsafe.Pointer(id.ptr)), id.len, op.later, err)
	}), nil)
}

// ConfirmPasskey says that the code of the phone and of this device are the same.
func (s *Session) ConfirmPasskey(ctx context.Context) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_confirm_passkey(handle, op.later, err)
	}), nil)
}

// ReconnectNow ends a pause between two connections, or wakes a parked session.
func (s *Session) ReconnectNow() error {
	s.lock.RLock()
	defer s.lock.RUnlock()
	var failure *C.centralita_error
	return check(C.centralita_session_reconnect_now(s.handle, &failure), failure)
}

// Stop ends the connection; the credentials stay.
func (s *Session) Stop(ctx context.Context) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_stop(handle, op.later, err)
	}), nil)
}

// LogOut removes this device from the account and deletes the credentials.
func (s *Session) LogOut(ctx context.Context) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_log_out(handle, op.later, err)
	}), nil)
}

// Delete stops the session and deletes all of it.
func (s *Session) Delete(ctx context.Context) error {
	return run(ctx, s.begin(func(op *operation, handle *C.centralita_session, err **C.centralita_error) C.int32_t {
		return C.centralita_session_delete(handle, op.later, err)
	}), nil)
}

// IsEnd says whether an error is only the end of a stream.
func IsEnd(err error) bool { return errors.Is(err, io.EOF) }
