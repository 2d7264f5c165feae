//! Leases, by the store's own clock: one process has the file, so its clock is the database's.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::SqliteStore;
use super::errors::{DbResult as _, from_sql, to_sql};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::store::lease::{Acquired, Lease, LeaseStore};

const COLUMNS: &str = "sessionId, owner, generation, fence, expiresAt";

#[async_trait]
impl LeaseStore for SqliteStore {
    async fn acquire_lease(&self, session: &str, owner: &str, duration: Duration) -> Result<Acquired> {
        if owner.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the owner of a lease needs a name"));
        }
        let (session, owner, clock) = (session.to_owned(), owner.to_owned(), self.clock.clone());
        self.write("acquire_lease", move |conn| acquire(conn, &session, &owner, clock.now(), duration)).await
    }

    async fn renew_leases(&self, leases: &[Lease], duration: Duration) -> Result<Vec<bool>> {
        let (leases, clock) = (leases.to_vec(), self.clock.clone());
        self.write("renew_leases", move |conn| {
            let until = clock.now().plus(duration);
            leases.iter().map(|lease| update(conn, lease, &lease.owner, until)).collect()
        })
        .await
    }

    async fn release_lease(&self, lease: &Lease) -> Result<bool> {
        let (lease, clock) = (lease.clone(), self.clock.clone());
        self.write("release_lease", move |conn| {
            // In the past, so that whoever reads it knows that it is free.
            update(conn, &lease, "", clock.now().minus(Duration::from_millis(1)))
        })
        .await
    }

    async fn get_lease(&self, session: &str) -> Result<Option<Lease>> {
        let session = session.to_owned();
        self.read("get_lease", move |conn| get(conn, &session)).await
    }

    async fn held_sessions(&self) -> Result<Vec<Lease>> {
        let clock = self.clock.clone();
        self.read("held_sessions", move |conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM leases WHERE owner <> '' AND expiresAt > ?1 ORDER BY sessionId"
            );
            let mut statement = conn.prepare_cached(&sql).db()?;
            let mut rows = statement.query([clock.now().unix_ms()]).db()?;
            let mut held = Vec::new();
            while let Some(row) = rows.next().db()? {
                held.push(lease(row)?);
            }
            Ok(held)
        })
        .await
    }

    async fn forget_leases(&self, idle: Duration) -> Result<u64> {
        let clock = self.clock.clone();
        self.write("forget_leases", move |conn| {
            let sql = "DELETE FROM leases WHERE expiresAt <= ?1 \
                       AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.sessionId = leases.sessionId)";
            Ok(conn.execute(sql, [clock.now().minus(idle).unix_ms()]).db()? as u64)
        })
        .await
    }

    async fn database_now(&self) -> Result<Timestamp> {
        let clock = self.clock.clone();
        self.read("database_now", move |_| Ok(clock.now())).await
    }
}

/// Frees what a process left behind that was killed: whoever opens the file holds its lock, so no owner of a
/// lease can still be alive, and nothing need be fenced.
pub(super) fn release_all(conn: &Connection, now: Timestamp) -> Result<()> {
    let past = now.minus(Duration::from_millis(1)).unix_ms();
    let sql = "UPDATE leases SET owner = '', expiresAt = min(expiresAt, ?1) WHERE owner <> ''";
    conn.execute(sql, [past]).db()?;
    Ok(())
}

fn acquire(
    conn: &Connection,
    session: &str,
    owner: &str,
    now: Timestamp,
    duration: Duration,
) -> Result<Acquired> {
    let mut lease = match get(conn, session)? {
        Some(lease) => lease,
        None => Lease {
            session: session.to_owned(),
            owner: String::new(),
            generation: 0,
            fence: 0,
            expires_at: now,
        },
    };
    let ours = lease.owner == owner;
    let free = lease.owner.is_empty();
    if !ours && !free && lease.expires_at > now {
        return Ok(Acquired::Held(lease));
    }
    if !ours {
        lease.generation += 1;
        if !free {
            lease.fence = lease.generation;
        }
    }
    owner.clone_into(&mut lease.owner);
    lease.expires_at = now.plus(duration);
    let sql = "INSERT INTO leases (sessionId, owner, generation, fence, expiresAt) VALUES (?1, ?2, ?3, ?4, ?5) \
               ON CONFLICT DO UPDATE SET owner = ?2, generation = ?3, fence = ?4, expiresAt = ?5";
    conn.prepare_cached(sql)
        .db()?
        .execute(params![
            session,
            owner,
            to_sql(lease.generation),
            to_sql(lease.fence),
            lease.expires_at.unix_ms()
        ])
        .db()?;
    // Also if it was stolen before and its thief died before it had fenced.
    let unfenced = lease.fence == lease.generation && fenced_to(conn, session)? < to_sql(lease.fence);
    Ok(if unfenced { Acquired::Stolen(lease) } else { Acquired::Granted(lease) })
}

fn update(conn: &Connection, lease: &Lease, owner: &str, until: Timestamp) -> Result<bool> {
    let sql = "UPDATE leases SET owner = ?4, expiresAt = ?5 WHERE sessionId = ?1 AND owner = ?2 AND generation = ?3 \
               AND owner <> ''";
    let changed = conn
        .prepare_cached(sql)
        .db()?
        .execute(params![lease.session, lease.owner, to_sql(lease.generation), owner, until.unix_ms()])
        .db()?;
    Ok(changed == 1)
}

fn get(conn: &Connection, session: &str) -> Result<Option<Lease>> {
    let sql = format!("SELECT {COLUMNS} FROM leases WHERE sessionId = ?1");
    let mut statement = conn.prepare_cached(&sql).db()?;
    let mut rows = statement.query([session]).db()?;
    rows.next().db()?.map(lease).transpose()
}

fn lease(row: &rusqlite::Row<'_>) -> Result<Lease> {
    Ok(Lease {
        session: row.get(0).db()?,
        owner: row.get(1).db()?,
        generation: from_sql(row.get(2).db()?)?,
        fence: from_sql(row.get(3).db()?)?,
        expires_at: Timestamp::from_unix_ms(row.get(4).db()?),
    })
}

/// The generation of the last fence that was completed; 0 if none was.
pub(super) fn fenced_to(conn: &Connection, session: &str) -> Result<i64> {
    let fenced_to = conn
        .query_row("SELECT fencedTo FROM leases WHERE sessionId = ?1", [session], |row| row.get(0))
        .optional()
        .db()?;
    Ok(fenced_to.unwrap_or(0))
}

/// Remembers that a fence was completed.
pub(super) fn set_fenced_to(conn: &Connection, session: &str, generation: i64) -> Result<()> {
    let sql = "UPDATE leases SET fencedTo = ?2 WHERE sessionId = ?1 AND generation = ?2 AND fencedTo < ?2";
    conn.execute(sql, params![session, generation]).db()?;
    Ok(())
}
