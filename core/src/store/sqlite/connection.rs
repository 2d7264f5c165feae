//! How connections are opened and set.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::errors::DbResult as _;
use super::options::SqliteOptions;
use super::{lock, schema};
use crate::error::{Error, ErrorKind, Result};

const STATEMENTS: usize = 64;

/// Opens the one connection that writes, creating or upgrading the database. What is not ours stays as it is.
pub(super) fn open_for_writing(path: &Path, options: &SqliteOptions) -> Result<Connection> {
    if path.is_dir() {
        return Err(Error::new(
            ErrorKind::Store,
            "the path of the database is a directory; name a file in it",
        ));
    }
    if !path.exists() {
        lock::private_file().open(path).map_err(|error| {
            Error::new(ErrorKind::Store, "cannot create the database; make its directory writable")
                .caused_by(error)
        })?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).db()?;
    conn.busy_timeout(options.busy_timeout).db()?;
    if conn.is_readonly("main").db()? {
        return Err(Error::new(ErrorKind::Store, "the database file is read-only; make it writable"));
    }
    schema::check_ours(&conn)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).db()?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::new(
            ErrorKind::Store,
            "the file system cannot share memory between connections; choose a local one for the database",
        ));
    }
    set_up_writer(&conn, options, options.cache_bytes / 2)?;
    Ok(conn)
}

/// Opens a database in memory.
pub(super) fn open_in_memory(options: &SqliteOptions) -> Result<Connection> {
    let conn = Connection::open_in_memory().db()?;
    set_up_writer(&conn, options, options.cache_bytes)?;
    Ok(conn)
}

/// Opens one connection that reads.
pub(super) fn open_for_reading(path: &Path, options: &SqliteOptions) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).db()?;
    conn.busy_timeout(options.busy_timeout).db()?;
    set_cache(&conn, options.cache_bytes / 2 / u64::from(options.readers.max(1)))?;
    Ok(conn)
}

fn set_up_writer(conn: &Connection, options: &SqliteOptions, cache_bytes: u64) -> Result<()> {
    conn.pragma_update(None, "synchronous", "FULL").db()?;
    // Zeroes what was deleted wherever that costs no extra write.
    conn.pragma_update_and_check(None, "secure_delete", "FAST", |_| Ok(())).db()?;
    conn.pragma_update_and_check(None, "journal_size_limit", 16 << 20, |_| Ok(())).db()?;
    conn.pragma_update(None, "temp_store", "MEMORY").db()?;
    set_cache(conn, cache_bytes)?;
    schema::upgrade(conn, &*options.clock)?;
    if let Some(bytes) = options.max_file_bytes {
        let page: u64 =
            conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).db()?.unsigned_abs();
        let pages = i64::try_from(bytes / page.max(1)).unwrap_or(i64::MAX).max(1);
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).db()?;
    }
    Ok(())
}

fn set_cache(conn: &Connection, bytes: u64) -> Result<()> {
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // A negative size is in KiB.
    let kib = i64::try_from(bytes / 1024).unwrap_or(i64::MAX).max(64);
    conn.pragma_update(None, "cache_size", -kib).db()
}
