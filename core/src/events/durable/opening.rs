//! Opening a consumer: its name, its lease, its place in the log.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::consumer::{Consumer, DurableConsumer};
use super::log::DurableLog;
use super::options::{ConsumerOptions, StartFrom, check_name};
use super::reader::Reader;
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::{Acquisition, HeldLease, LeaseKeeper};
use crate::store::{ConsumerRecord, Position};

/// How often another process's lease is looked at in the time that it lasts.
const LEASE_LOOKS: u32 = 10;

/// The lease of a consumer. No session has a slash in its id.
pub(crate) fn lease_name(consumer: &str) -> String {
    format!("consumer/{consumer}")
}

/// Opens a consumer: one at a time in all processes on the store.
pub(crate) async fn open(
    log: Arc<DurableLog>,
    leases: Arc<LeaseKeeper>,
    runtime: Handle,
    stop: CancellationToken,
    name: &str,
    options: ConsumerOptions,
) -> Result<DurableConsumer> {
    check_name(name)?;
    options.validate()?;
    let taken = log.take_name(name)?;
    let held = acquire(&log, &leases, &stop, name, options.stand_by).await?;
    // From here on whatever fails gives the lease back.
    let inbox = log.open_inbox(name);
    let consumer = Consumer::new(
        name.to_owned(),
        Arc::clone(&log),
        leases,
        held,
        taken,
        Arc::clone(&inbox),
        options,
        runtime,
        stop,
    );
    let positions = register(&log, name, consumer.options.start).await?;
    let reader = Reader::new(name.to_owned(), log, inbox, positions, consumer.options.poll_interval);
    Ok(DurableConsumer::new(consumer, reader))
}

/// An owner that is gone lets its lease run out, which is waited for; one that renews it is alive.
async fn acquire(
    log: &DurableLog,
    leases: &LeaseKeeper,
    stop: &CancellationToken,
    name: &str,
    stands_by: bool,
) -> Result<HeldLease> {
    let lease_name = lease_name(name);
    let pause = leases.duration() / LEASE_LOOKS;
    let mut first_seen: Option<Timestamp> = None;
    loop {
        let lease = match leases.acquire(&lease_name).await? {
            Acquisition::Ours(held) => return Ok(held),
            Acquisition::Elsewhere(lease) => lease,
        };
        let owner_is_alive = *first_seen.get_or_insert(lease.expires_at) < lease.expires_at;
        if owner_is_alive && !stands_by {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "another process runs the consumer {name:?}; close it there, or open it here with stand_by"
                ),
            ));
        }
        if stop.run_until_cancelled(log.clock.sleep(pause)).await.is_none() {
            return Err(Error::new(ErrorKind::Closed, "the service was shut down; build a new one"));
        }
    }
}

/// Where the consumer stands; the first time, where it starts.
async fn register(log: &DurableLog, name: &str, start: StartFrom) -> Result<Vec<Position>> {
    let store = &log.store;
    if store.get_consumer(name).await?.is_none() {
        let marks = match start {
            StartFrom::Oldest => store.first_events(None).await?,
            StartFrom::Newest => store.last_events(None).await?,
        };
        // In front of the oldest, on the newest. Written down for every session there is: a session without a position
        // is one that came later, and is read from its very first event.
        let before = u64::from(start == StartFrom::Oldest);
        let positions: Vec<Position> = marks
            .into_iter()
            .map(|mark| Position { session: mark.session, seq: mark.seq.saturating_sub(before) })
            .filter(|position| position.seq > 0)
            .collect();
        let consumer = ConsumerRecord { name: name.to_owned(), created_at: log.clock.now() };
        store.register_consumer(&consumer, &positions).await?;
    }
    store.load_positions(name).await
}
