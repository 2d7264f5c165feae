package centralita

/*
#include <stdint.h>
#include <stdlib.h>
#include <centralita.h>

// Of callbacks.go, in which cgo allows declarations only.
extern int32_t centralitaGoHandle(void *, centralita_event *, uint32_t);
extern void centralitaGoProgress(void *, centralita_restore_step *);
extern void centralitaGoDrop(void *);

static inline int32_t centralita_go_on_event(void *user_data, const centralita_event *event, uint32_t attempt)
{
    return centralitaGoHandle(user_data, (centralita_event *)event, attempt);
}

static inline void centralita_go_on_progress(void *user_data, const centralita_restore_step *step)
{
    centralitaGoProgress(user_data, (centralita_restore_step *)step);
}

static inline void centralita_go_drop(void *user_data)
{
    centralitaGoDrop(user_data);
}

static inline centralita_handler centralita_go_handler(void *user_data)
{
    centralita_handler handler = CENTRALITA_HANDLER_INIT;
    handler.user_data = user_data;
    handler.on_event = centralita_go_on_event;
    handler.drop = centralita_go_drop;
    return handler;
}

static inline centralita_progress centralita_go_progress(void *user_data)
{
    centralita_progress progress = CENTRALITA_PROGRESS_INIT;
    progress.user_data = user_data;
    progress.on_progress = centralita_go_on_progress;
    progress.drop = centralita_go_drop;
    return progress;
}
*/
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// newHandle puts a Go function where C can keep it; centralitaGoDrop releases it.
func newHandle(function any) unsafe.Pointer {
	memory := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(memory) = cgo.NewHandle(function)
	return memory
}

func freeHandle(memory unsafe.Pointer) { C.free(memory) }

func newHandler(handle func(Event, int) error) *C.centralita_handler {
	handler := C.centralita_go_handler(newHandle(handle))
	return &handler
}

// newProgress is nil for nil.
func newProgress(show func(RestoreStep)) *C.centralita_progress {
	if show == nil {
		return nil
	}
	progress := C.centralita_go_progress(newHandle(show))
	return &progress
}
