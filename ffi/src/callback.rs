//! A caller's functions and his `user_data`: called on one thread at a time, dropped exactly once.

use std::cell::Cell;
use std::ffi::c_void;

use crate::error::{Failure, Outcome};
use crate::exit;

/// What a caller's function is given first, and what releases it.
#[derive(Debug)]
pub(crate) struct UserData {
    ptr: *mut c_void,
    drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

// SAFETY: the header says that `user_data` is used and dropped on threads of the library, one at a time.
unsafe impl Send for UserData {}
// SAFETY: only the pointer is read, never what it points to.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(ptr: *mut c_void, drop: Option<unsafe extern "C" fn(user_data: *mut c_void)>) -> Self {
        Self { ptr, drop }
    }

    pub(crate) fn ptr(&self) -> *mut c_void {
        self.ptr
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take()
            && !exit::is_exiting()
        {
            // SAFETY: taken, so it is called once, with the pointer that came with it.
            inside(|| unsafe { drop(self.ptr) });
        }
    }
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Calls a caller's function.
pub(crate) fn inside<T>(call: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _leave = Leave;
    call()
}

/// Whether this thread is inside a caller's function.
pub(crate) fn is_inside() -> bool {
    DEPTH.try_with(Cell::get).unwrap_or(0) > 0
}

/// For calls that wait until something comes of itself.
pub(crate) fn refuse_inside() -> Outcome<()> {
    if is_inside() {
        return Err(Failure::WouldDeadlock(
            "a callback must not wait for what may need this very callback to end; poll with a timeout of 0, or wait \
             on a thread of your own",
        ));
    }
    Ok(())
}
