// Package centralita holds WhatsApp sessions through libcentralita.
//
// It finds the library with pkg-config: set PKG_CONFIG_PATH to the lib/pkgconfig of the prefix that ffi/install
// installed into, and LD_LIBRARY_PATH to its lib unless the loader knows it. The library stays loaded until the process
// ends.
//
// Every call that waits takes a context; when it ends, the call is cancelled and returns the context's error. Events
// come by channel. An error of the library is an [*Error]; compare with errors.Is(err, centralita.ErrTimeout).
package centralita

/*
#cgo pkg-config: centralita
#include <centralita.h>
*/
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Version of the library that is loaded, such as "centralita/0.1.0".
func Version() string { return C.GoString(C.centralita_version()) }

func init() {
	// Major must be the same; a larger minor only adds.
	loaded := uint32(C.centralita_abi_version())
	if loaded>>16 != C.CENTRALITA_ABI_VERSION>>16 || loaded < C.CENTRALITA_ABI_VERSION {
		panic(fmt.Sprintf("centralita: the library that is loaded (%s) does not fit the header", Version()))
	}
}

// str borrows a Go string for the time of a call; pins keeps it in place until then.
func str(pins *runtime.Pinner, text string) C.centralita_str {
	if text == "" {
		// Not "none": a pointer to somewhere with a length of 0.
		empty := unsafe.StringData(" ")
		pins.Pin(empty)
		return C.centralita_str{ptr: (*C.char)(unsafe.Pointer(empty))}
	}
	data := unsafe.StringData(text)
	pins.Pin(data)
	return C.centralita_str{ptr: (*C.char)(unsafe.Pointer(data)), len: C.size_t(len(text))}
}

// optional is str, but "" stands for none.
func optional(pins *runtime.Pinner, text string) C.centralita_str {
	if text == "" {
		return C.centralita_str{}
	}
	return str(pins, text)
}

func goString(text C.centralita_str) string {
	return C.GoStringN(text.ptr, C.int(text.len))
}

// takeBuf copies what a buffer holds and frees it.
func takeBuf(buf *C.centralita_buf) []byte {
	defer C.centralita_buf_free(buf)
	return C.GoBytes(unsafe.Pointer(buf.ptr), C.int(buf.len))
}
