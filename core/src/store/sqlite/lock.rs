//! One process at a time: an advisory lock that the kernel lets go of, even after a kill -9.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// Holds the lock as long as it lives.
#[derive(Debug)]
pub(super) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock of the database at `path`, which must be canonical.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let file = private_file().open(&name).map_err(|error| {
            Error::new(
                ErrorKind::Store,
                "cannot make the lock file beside the database; the directory must exist and be writable",
            )
            .caused_by(error)
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::Conflict,
                "the database is open already, in this or another process; close it there or choose another path",
            )),
            Err(TryLockError::Error(error)) => Err(Error::new(
                ErrorKind::Store,
                "the file system cannot lock files; choose a local one for the database",
            )
            .caused_by(error)),
        }
    }
}

/// The same name for every way to write it, so that two openers meet at one lock.
pub(super) fn canonical(path: &Path) -> Result<PathBuf> {
    let bad = |error: std::io::Error| {
        Error::new(
            ErrorKind::Store,
            "the directory of the database does not exist or cannot be read; make it",
        )
        .caused_by(error)
    };
    if path.exists() {
        return path.canonicalize().map_err(bad);
    }
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::Invalid, "the path of the database names no file"));
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok(directory.canonicalize().map_err(bad)?.join(name))
}

/// Options that create a file which only its owner can read: it will hold messages and phone numbers.
pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
