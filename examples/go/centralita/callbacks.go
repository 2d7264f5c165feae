package centralita

/*
#include <stdint.h>
#include <centralita.h>
*/
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// What C calls. user_data is a pointer to a cgo.Handle in memory of C's, which its drop frees.

//export centralitaGoHandle
func centralitaGoHandle(userData unsafe.Pointer, event *C.centralita_event, attempt C.uint32_t) C.int32_t {
	handle := (*cgo.Handle)(userData).Value().(func(Event, int) error)
	// A panic must not leave the callback: it is a failure as well.
	code := C.int32_t(2)
	func() {
		defer func() { _ = recover() }()
		if err := handle(copyEvent(event), int(attempt)); err != nil {
			code = 1
		} else {
			code = 0
		}
	}()
	return code
}

//export centralitaGoProgress
func centralitaGoProgress(userData unsafe.Pointer, step *C.centralita_restore_step) {
	show := (*cgo.Handle)(userData).Value().(func(RestoreStep))
	defer func() { _ = recover() }()
	show(RestoreStep{
		Total:     uint64(step.total),
		Done:      uint64(step.done),
		Connected: uint64(step.connected),
		Ended:     uint64(step.ended),
		SessionID: goString(step.session_id),
	})
}

//export centralitaGoDrop
func centralitaGoDrop(userData unsafe.Pointer) {
	handle := (*cgo.Handle)(userData)
	handle.Delete()
	freeHandle(userData)
}
