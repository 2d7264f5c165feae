//! The tables, and the numbered steps from each version to the next.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::errors::DbResult as _;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// Step `n` leads from version `n` to `n + 1`. A released step is never changed; add one.
const STEPS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Refuses a file of another program or of a newer version of this one, before anything is written to it.
pub(super) fn check_ours(conn: &Connection) -> Result<()> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).db()?;
    if tables == 0 {
        return Ok(());
    }
    match version(conn)? {
        None => {
            Err(Error::new(ErrorKind::Store, "the database belongs to another program; choose another path"))
        }
        Some(version) if version > STEPS.len() => Err(Error::new(
            ErrorKind::Store,
            "the database was written by a newer version of centralita; upgrade this one",
        )),
        Some(_) => Ok(()),
    }
}

/// Takes the steps that are missing, all or none.
pub(super) fn upgrade(conn: &Connection, clock: &dyn Clock) -> Result<()> {
    let from = version(conn)?.unwrap_or(0);
    if from >= STEPS.len() {
        return Ok(());
    }
    let transaction = conn.unchecked_transaction().db()?;
    for (index, step) in STEPS.iter().enumerate().skip(from) {
        transaction.execute_batch(step).db()?;
        let reached = i64::try_from(index + 1).unwrap_or(i64::MAX);
        transaction
            .execute(
                "INSERT INTO centralita_schema (version, appliedAt) VALUES (?1, ?2)",
                params![reached, clock.now().unix_ms()],
            )
            .db()?;
    }
    transaction.commit().db()
}

/// Writes a row that changes nothing: whether the database can be written to shows only so.
pub(super) fn touch(conn: &Connection) -> Result<()> {
    conn.execute("UPDATE centralita_schema SET appliedAt = appliedAt", []).db()?;
    Ok(())
}

fn version(conn: &Connection) -> Result<Option<usize>> {
    let known: Option<i64> = conn
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'centralita_schema'",
            [],
            |row| row.get(0),
        )
        .optional()
        .db()?;
    if known.is_none() {
        return Ok(None);
    }
    let version: Option<i64> =
        conn.query_row("SELECT max(version) FROM centralita_schema", [], |row| row.get(0)).db()?;
    // A negative number is nobody's version; treat it as beyond ours.
    Ok(version.map(|version| usize::try_from(version).unwrap_or(usize::MAX)))
}
