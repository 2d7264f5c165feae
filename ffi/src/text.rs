//! Strings in, strings and bytes out.

use std::ffi::c_char;

use crate::boundary::guard;
use crate::error::{Outcome, invalid};

/// The longest string or byte array that is taken, in bytes: 16 MiB. A longer one is `CENTRALITA_INVALID`.
pub const CENTRALITA_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A borrowed string: UTF-8, `len` bytes, no NUL at the end. `{NULL, 0}` stands for "none". Make one with
/// `CENTRALITA_STR("literal")` or `centralita_cstr(pointer)`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct centralita_str {
    /// The first byte.
    pub ptr: *const c_char,
    /// Bytes.
    pub len: usize,
}

/// Owned bytes or UTF-8 text. `ptr[len]` is 0, so that text without NUL inside can be used as a C string. Free it with
/// `centralita_buf_free`.
#[repr(C)]
pub struct centralita_buf {
    /// The first byte; NULL if there is nothing.
    pub ptr: *mut c_char,
    /// Bytes, without the 0 at the end.
    pub len: usize,
    /// For the library.
    pub cap: usize,
}

impl centralita_str {
    pub(crate) const NONE: Self = Self { ptr: std::ptr::null(), len: 0 };

    pub(crate) fn of(text: Option<&str>) -> Self {
        text.map_or(Self::NONE, |text| Self { ptr: text.as_ptr().cast(), len: text.len() })
    }

    /// `what` names the argument in errors; its content is never shown.
    ///
    /// # Safety
    /// If the pointer is not NULL and `len` at most `CENTRALITA_MAX_BYTES`, as many bytes can be read, for as long as
    /// the result is used.
    pub(crate) unsafe fn read<'a>(self, what: &'static str) -> Outcome<&'a str> {
        // SAFETY: passed on.
        let bytes = unsafe { bytes(self.ptr.cast(), self.len, what) }?;
        std::str::from_utf8(bytes).map_err(|_| invalid(format!("{what} is not UTF-8")))
    }

    /// As [`read`](Self::read), copied.
    ///
    /// # Safety
    /// As for [`read`](Self::read), during the call.
    pub(crate) unsafe fn owned(self, what: &'static str) -> Outcome<String> {
        // SAFETY: passed on.
        unsafe { self.read(what) }.map(str::to_owned)
    }

    /// `None` for `{NULL, 0}`.
    ///
    /// # Safety
    /// As for [`read`](Self::read).
    pub(crate) unsafe fn optional<'a>(self, what: &'static str) -> Outcome<Option<&'a str>> {
        if self.ptr.is_null() && self.len == 0 {
            return Ok(None);
        }
        // SAFETY: passed on.
        unsafe { self.read(what) }.map(Some)
    }
}

/// Bytes of a caller; NULL with a length of 0 is no bytes.
///
/// # Safety
/// As for [`centralita_str::read`].
pub(crate) unsafe fn bytes<'a>(ptr: *const u8, len: usize, what: &'static str) -> Outcome<&'a [u8]> {
    if len > CENTRALITA_MAX_BYTES {
        return Err(invalid(format!("{what} is longer than {CENTRALITA_MAX_BYTES} bytes")));
    }
    if len == 0 {
        return Ok(&[]);
    }
    if ptr.is_null() {
        return Err(invalid(format!("{what} is NULL but has a length")));
    }
    // SAFETY: not NULL, bytes need no alignment, the length is bounded, and the caller promises that it can be read.
    Ok(unsafe { std::slice::from_raw_parts(ptr, len) })
}

impl centralita_buf {
    pub(crate) const EMPTY: Self = Self { ptr: std::ptr::null_mut(), len: 0, cap: 0 };

    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let mut bytes: Vec<u8> = bytes.into();
        let len = bytes.len();
        bytes.push(0);
        let mut bytes = std::mem::ManuallyDrop::new(bytes);
        Self { ptr: bytes.as_mut_ptr().cast(), len, cap: bytes.capacity() }
    }
}

/// Frees what a buffer holds and empties it. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_buf_free(buf: *mut centralita_buf) {
    guard((), || {
        if buf.is_null() {
            return;
        }
        // SAFETY: a buffer of this library, or an empty one.
        let taken = unsafe { buf.replace(centralita_buf::EMPTY) };
        if !taken.ptr.is_null() && taken.cap > taken.len {
            // SAFETY: made by `centralita_buf::new`: `len` bytes and a 0 in an allocation of `cap`.
            drop(unsafe { Vec::from_raw_parts(taken.ptr.cast::<u8>(), taken.len + 1, taken.cap) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ptr: *const u8, len: usize) -> centralita_str {
        centralita_str { ptr: ptr.cast(), len }
    }

    #[test]
    fn strings_are_checked_before_they_are_read() {
        let hola = "hola";
        // SAFETY: each is readable as far as the checks let anybody read.
        unsafe {
            assert_eq!(text(hola.as_ptr(), 4).read("x").unwrap(), "hola");
            assert_eq!(text(std::ptr::null(), 0).read("x").unwrap(), "");
            assert!(text(std::ptr::null(), 0).optional("x").unwrap().is_none());
            assert_eq!(text(hola.as_ptr(), 0).optional("x").unwrap(), Some(""));
            for bad in [
                text(std::ptr::null(), 1),
                text(hola.as_ptr(), CENTRALITA_MAX_BYTES + 1),
                text(hola.as_ptr(), usize::MAX),
                text(hola.as_ptr(), isize::MAX as usize),
                text([0xff_u8, 0xfe].as_ptr(), 2),
            ] {
                assert!(bad.read("x").is_err());
                assert!(bad.optional("x").is_err());
            }
        }
    }

    #[test]
    fn a_buffer_ends_in_a_nul_and_is_freed_once() {
        let mut buf = centralita_buf::new("hola");
        // SAFETY: made above.
        unsafe {
            assert_eq!(std::ffi::CStr::from_ptr(buf.ptr).to_str().unwrap(), "hola");
            centralita_buf_free(&raw mut buf);
            assert!(buf.ptr.is_null());
            centralita_buf_free(&raw mut buf);
            centralita_buf_free(std::ptr::null_mut());
        }
    }
}
