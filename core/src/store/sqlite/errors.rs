//! SQLite's errors in terms of ours.

use rusqlite::ErrorCode;

use crate::error::{Error, ErrorKind, Result};

/// Turns a result of SQLite into one of ours.
pub(super) trait DbResult<T> {
    fn db(self) -> Result<T>;
}

impl<T> DbResult<T> for rusqlite::Result<T> {
    fn db(self) -> Result<T> {
        self.map_err(store_error)
    }
}

fn store_error(error: rusqlite::Error) -> Error {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Unavailable, "another program holds the database; close it, then try again")
        }
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Unavailable,
            "the disk or the database is full; make room: what waits goes on by itself",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (ErrorKind::Store, "the database cannot be written; make file and directory writable")
        }
        Some(ErrorCode::CannotOpen) => {
            (ErrorKind::Store, "the database cannot be opened; check the path and its directory's rights")
        }
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Corrupt, "the file is not a SQLite database; choose another path")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (ErrorKind::Corrupt, "the database file is damaged; restore it from a backup")
        }
        Some(_) => (ErrorKind::Store, "the database refused the operation"),
        None if is_conversion(&error) => {
            return corrupt("a stored column has the wrong type").caused_by(error);
        }
        None => (ErrorKind::Internal, "a statement does not fit the database"),
    };
    Error::new(kind, message).caused_by(error)
}

fn is_conversion(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::*;
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    )
}

/// A stored row that cannot be understood.
pub(super) fn corrupt(message: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

/// An unsigned number as SQLite keeps it; what does not fit stays at the largest.
pub(super) fn to_sql(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The unsigned number that was stored.
pub(super) fn from_sql(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| corrupt("a stored counter is negative"))
}
