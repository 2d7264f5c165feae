package centralita

/*
#include <centralita.h>

// The structs hold C pointers to Go memory only here, for the time of the call.
static inline centralita_async centralita_go_async(centralita_op **op)
{
    centralita_async later = CENTRALITA_ASYNC_INIT;
    later.op = op;
    return later;
}
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// operation is what start hands to a C call: pins for its strings, and a place for the handle.
type operation struct {
	pins  runtime.Pinner
	later *C.centralita_async
}

// run starts a C call and waits for its end or the context's; finish takes what it gave.
func run(
	ctx context.Context,
	start func(op *operation, err **C.centralita_error) C.int32_t,
	finish func(op *C.centralita_op) error,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var handle *C.centralita_op
	var failure *C.centralita_error
	op := &operation{}
	defer op.pins.Unpin()
	op.pins.Pin(&handle)
	later := C.centralita_go_async(&handle)
	op.pins.Pin(&later)
	op.later = &later
	if err := check(start(op, &failure), failure); err != nil {
		return err
	}
	defer C.centralita_op_free(&handle)

	// The end of the context cancels the operation, which then ends at once.
	var cancelling sync.WaitGroup
	cancelling.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer cancelling.Done()
		C.centralita_op_cancel(handle, nil)
	})
	err := check(C.centralita_op_wait(handle, -1, &failure), failure)
	if stop() {
		cancelling.Done()
	}
	// It uses the handle.
	cancelling.Wait()
	if err != nil {
		if ended := ctx.Err(); ended != nil && errors.Is(err, ErrCancelled) {
			return ended
		}
		return err
	}
	if finish == nil {
		return nil
	}
	return finish(handle)
}

// runText is run for calls that give text or JSON.
func runText(ctx context.Context, start func(op *operation, err **C.centralita_error) C.int32_t) (string, error) {
	var text string
	err := run(ctx, start, func(op *C.centralita_op) error {
		text = goString(C.centralita_op_text(op))
		return nil
	})
	return text, err
}
