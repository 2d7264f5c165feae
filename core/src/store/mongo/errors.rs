//! The driver's errors in terms of ours. Their texts are not passed on where they may quote documents.

use mongodb::error::{Error as DriverError, ErrorKind as DriverKind, WriteFailure};

use crate::error::{Error, ErrorKind};

/// What became of one attempt.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may have been applied or not; another attempt may succeed.
    Again(Error),
    /// No attempt will succeed.
    Final(Error),
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Again(error) | Self::Final(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// The code of a duplicate key.
pub(super) const DUPLICATE: i32 = 11_000;

/// No primary, stepping down, shutting down, host gone, write conflict, time limits.
const TRANSIENT: [i32; 18] =
    [6, 7, 24, 50, 64, 89, 91, 112, 133, 134, 189, 262, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435];
const DISK_FULL: i32 = 14_031;
const NOT_PRIMARY_OR_RECOVERING: i32 = 13_436;

/// The server's code of an error, however the driver wraps it.
pub(super) fn code_of(error: &DriverError) -> Option<i32> {
    match &*error.kind {
        DriverKind::Command(command) => Some(command.code),
        DriverKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        DriverKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        _ => None,
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        match &*error.kind {
            DriverKind::Write(WriteFailure::WriteConcernError(concern)) => not_durable(concern.code),
            DriverKind::Command(command) => refused(command.code),
            DriverKind::Write(WriteFailure::WriteError(write)) => refused(write.code),
            DriverKind::Authentication { .. } => Self::Final(Error::new(
                ErrorKind::Store,
                "the database does not know this user or password; mend the URI",
            )),
            DriverKind::Io(_)
            | DriverKind::ConnectionPoolCleared { .. }
            | DriverKind::ServerSelection { .. }
            | DriverKind::DnsResolve { .. }
            | DriverKind::InvalidResponse { .. } => unreachable_database(error),
            DriverKind::Shutdown => Self::Final(Error::new(ErrorKind::Closed, "the client was shut down")),
            _ if error.contains_label(mongodb::error::RETRYABLE_WRITE_ERROR) => unreachable_database(error),
            _ => Self::Final(Error::new(ErrorKind::Store, "the driver refused the operation")),
        }
    }
}

fn unreachable_database(error: DriverError) -> Failure {
    Failure::Again(
        Error::new(ErrorKind::Unavailable, "the database cannot be reached; retry later").caused_by(error),
    )
}

/// A command or statement that the server refused.
pub(super) fn refused(code: i32) -> Failure {
    if TRANSIENT.contains(&code) || code == NOT_PRIMARY_OR_RECOVERING {
        return Failure::Again(Error::new(
            ErrorKind::Unavailable,
            format!("the database has no primary at present (code {code}); retry later"),
        ));
    }
    if code == DISK_FULL {
        return Failure::Again(Error::new(
            ErrorKind::Unavailable,
            format!("the database's disk is full (code {code}); make room: what waits goes on by itself"),
        ));
    }
    let (kind, message) = match code {
        13 | 18 => (ErrorKind::Store, "the database user lacks the right to do this; grant readWrite"),
        10_334 | 17_419 | 17_420 => (ErrorKind::Invalid, "a document is larger than MongoDB allows (16 MB)"),
        DUPLICATE => (ErrorKind::Store, "a document with the same key is there already"),
        _ => (ErrorKind::Store, "the database refused the operation"),
    };
    Failure::Final(Error::new(kind, format!("{message} (code {code})")))
}

/// A write that was applied but may not be durable: it must be written again.
pub(super) fn not_durable(code: i32) -> Failure {
    match code {
        // UnknownReplWriteConcern, UnsatisfiableWriteConcern.
        79 | 100 => Failure::Final(Error::new(
            ErrorKind::Store,
            format!("the database cannot write to a majority as it is set up (code {code})"),
        )),
        _ => Failure::Again(Error::new(
            ErrorKind::Unavailable,
            format!("the database did not confirm a write in time (code {code}); retry later"),
        )),
    }
}

/// A stored document that cannot be understood.
pub(super) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
