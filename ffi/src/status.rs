//! Status codes: what every function that can fail answers. They never change their meaning.

use centralita::ErrorKind;

/// Done.
pub const CENTRALITA_OK: i32 = 0;
/// No error: the stream has ended, nothing more will come.
pub const CENTRALITA_END: i32 = 1;
/// No error: not done yet.
pub const CENTRALITA_PENDING: i32 = 2;

/// An argument or an option is not acceptable. Nothing was changed. Mend the call.
pub const CENTRALITA_INVALID: i32 = 10;
/// No such session, message or document. Nothing was changed.
pub const CENTRALITA_NOT_FOUND: i32 = 11;
/// It is there already. Nothing was changed.
pub const CENTRALITA_ALREADY_EXISTS: i32 = 12;
/// The call does not fit the present state. Bring the session into that state, then call again.
pub const CENTRALITA_INVALID_STATE: i32 = 13;
/// The service was shut down. Open a new one.
pub const CENTRALITA_CLOSED: i32 = 14;
/// The phone removed this device. Link it anew.
pub const CENTRALITA_LOGGED_OUT: i32 = 20;
/// WhatsApp banned the account for a time. Wait for `centralita_error_retry_after_ms`.
pub const CENTRALITA_BANNED: i32 = 21;
/// Another process or instance owns the session or the file. Nothing was written.
pub const CENTRALITA_CONFLICT: i32 = 22;
/// Too much in too short a time. Call again after `centralita_error_retry_after_ms`.
pub const CENTRALITA_RATE_LIMITED: i32 = 30;
/// A deadline passed. The outcome may be unknown; the message says if it is.
pub const CENTRALITA_TIMEOUT: i32 = 31;
/// The caller cancelled it.
pub const CENTRALITA_CANCELLED: i32 = 32;
/// The database or the network cannot be reached at present. Retry, or drop the operation.
pub const CENTRALITA_UNAVAILABLE: i32 = 40;
/// The database refused the operation for good (rights, read-only, disk full, index conflict).
pub const CENTRALITA_STORE: i32 = 41;
/// A stored document cannot be understood. Repair or delete the session that owns it.
pub const CENTRALITA_CORRUPT: i32 = 42;
/// A key is missing, wrong or retired, or a sealed value was changed. Nothing was overwritten.
pub const CENTRALITA_CRYPTO: i32 = 43;
/// WhatsApp answered in a way that the protocol does not allow, or refused the request.
pub const CENTRALITA_PROTOCOL: i32 = 50;
/// A callback of the caller failed.
pub const CENTRALITA_CALLBACK: i32 = 51;
/// Waiting here would never end: the call was made inside a callback. Call it from another thread.
pub const CENTRALITA_WOULD_DEADLOCK: i32 = 80;
/// The process was forked and the handle is the parent's. Open a service of one's own in the child.
pub const CENTRALITA_FORKED: i32 = 81;
/// A panic was caught. Only the session named was affected.
pub const CENTRALITA_PANIC: i32 = 90;
/// A bug of this library. Please report it.
pub const CENTRALITA_INTERNAL: i32 = 91;

/// The code of a kind; the core promises that it never changes and is below 100.
pub(crate) fn code_of(kind: ErrorKind) -> i32 {
    i32::try_from(kind.code()).unwrap_or(CENTRALITA_INTERNAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind that the core gains must get a constant here, and none may take a number of the binding's own.
    #[test]
    fn every_kind_has_its_constant_and_none_is_taken() {
        let source = include_str!("status.rs");
        for kind in ErrorKind::ALL {
            let line =
                format!("pub const CENTRALITA_{}: i32 = {};", kind.name().to_uppercase(), code_of(*kind));
            assert!(source.contains(&line), "missing: {line}");
            assert!(!(80..90).contains(&code_of(*kind)), "{} is the binding's", kind.name());
            assert!(code_of(*kind) > CENTRALITA_PENDING);
        }
    }
}
