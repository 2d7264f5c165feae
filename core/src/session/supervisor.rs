//! The one task that runs a session: lease, auth state, connection after connection, until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{self, LoadedAuth};
use super::connection_run::{CLOSE_PATIENCE, ConnectionRun};
use super::inbound::commit;
use super::live::{Ended, LiveSession, Origin};
use super::pacing::{ConnectPermit, Priority};
use super::reconnect::BackOff;
use super::status::{Status, StatusEvent};
use super::turn::turn;
use crate::clock::Timestamp;
use crate::engine::connection::{EngineConnection, EngineSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventKind;
use crate::lease::{Acquisition, HeldLease, owned_elsewhere};
use crate::service::options::PreloadChatsType;
use crate::session_manager::StatusUpdate;
use crate::store::StatusDetail;
use crate::store::patience::until_available;

/// Runs the session until its end and says why it ended. The lease is released on every path but a lost one.
pub(crate) async fn supervise(live: Arc<LiveSession>) -> Ended {
    let held = match acquire(&live).await {
        Ok(held) => held,
        Err(error) => return refused_start(&live, error).await,
    };
    live.set_lease(held.clone());
    let outcome = run(&live, &held).await;
    live.set_connected(false);
    live.set_connection(None);
    let ended = match outcome {
        Ok(()) => Ended::AsAsked,
        Err(error) => Ended::Failed { kind: error.kind(), message: error.message().to_owned() },
    };
    // A write that came after the release would meet the next owner's.
    let settled = tokio::time::timeout(LAST_WRITES, live.context.group.settle(&live.id)).await;
    if settled.is_err() {
        tracing::warn!(session = %live.id, "the store has not answered a last write; the lease runs out by itself");
        live.context.leases.abandon(&held);
    } else if let Err(error) = live.context.leases.release(&held).await {
        tracing::warn!(session = %live.id, %error, "the lease could not be released; it runs out by itself");
    }
    ended
}

/// How long writes that are on their way may take when the session has ended.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Becomes the session's owner. Another owner may be dead already, in which case its lease runs out; one that
/// renews it is alive, and then the session is either refused (`Conflict`) or waited for, as it was started.
async fn acquire(live: &LiveSession) -> Result<HeldLease> {
    let context = &live.context;
    let pause = context.leases.duration() / LEASE_LOOKS;
    let mut first_seen: Option<Timestamp> = None;
    loop {
        let acquired =
            until_available(&context.clock, &live.stop, |_| {}, || context.leases.acquire(&live.id)).await?;
        let lease = match acquired {
            Acquisition::Ours(held) => return Ok(held),
            Acquisition::Elsewhere(lease) => lease,
        };
        let owner_is_alive = *first_seen.get_or_insert(lease.expires_at) < lease.expires_at;
        if owner_is_alive && !live.stands_by() {
            return Err(owned_elsewhere());
        }
        if live.stop.run_until_cancelled(context.clock.sleep(pause)).await.is_none() {
            return Err(Error::new(ErrorKind::Closed, "the session was stopped"));
        }
    }
}

/// How often another instance's lease is looked at in the time that it lasts.
const LEASE_LOOKS: u32 = 10;

async fn refused_start(live: &LiveSession, error: Error) -> Ended {
    if error.kind() == ErrorKind::Closed {
        return Ended::AsAsked;
    }
    tracing::warn!(session = %live.id, %error, "the session was not started");
    // The record is the other owner's business; only a failure of our own is written into it.
    if error.kind() != ErrorKind::Conflict {
        let update = detailed(StatusDetail::Failed { message: error.to_string() });
        ignore_written(live.apply_status(StatusEvent::Failed, update).await);
    }
    Ended::Failed { kind: error.kind(), message: error.message().to_owned() }
}

/// `apply_status` has logged it; at these places the session goes on, or ends, all the same.
pub(super) fn ignore_written(outcome: Result<()>) {
    drop(outcome);
}

/// What to do after a connection or a client has ended.
pub(super) enum Next {
    /// Connect again with the same client, after a pause.
    Reconnect(Duration),
    /// Load the auth state anew and build a new client, after a pause.
    Rebuild(Duration),
    /// The end, as asked or with the status written already.
    End(Result<()>),
}

async fn run(live: &Arc<LiveSession>, held: &HeldLease) -> Result<()> {
    let mut back_off = BackOff::new(&live.context.options);
    let mut priority = match live.origin() {
        Origin::Asked => Priority::Asked,
        Origin::Restored { rank } => Priority::Restored { rank },
    };
    if live.ended_uncleanly() {
        let context = &live.context;
        until_available(
            &context.clock,
            &live.stop,
            |_| {},
            || context.store.recount(&live.id, context.clock.now()),
        )
        .await
        .inspect_err(
            |error| tracing::warn!(session = %live.id, %error, "the counters could not be counted anew"),
        )
        .ok();
    }
    loop {
        ignore_written(live.apply_status(StatusEvent::Started, StatusUpdate::default()).await);
        // Before the state is read: what waits for its turn takes no memory.
        let Some(permit) = turn(live, held, priority).await else { return stopped(live, held).await };
        priority = Priority::Returning;
        let next = match auth::load(live, held).await {
            Ok(loaded) => run_client(live, held, loaded, permit, &mut back_off).await,
            Err(error) => Err(error),
        };
        let next = match next {
            Ok(next) => next,
            Err(error) => fail(live, held, error).await,
        };
        match next {
            Next::End(outcome) => return outcome,
            Next::Reconnect(pause) | Next::Rebuild(pause) => {
                if !rest(live, held, pause).await {
                    return stopped(live, held).await;
                }
            }
        }
    }
}

/// Sleeps. False if the session must end instead.
async fn rest(live: &LiveSession, held: &HeldLease, pause: Duration) -> bool {
    tokio::select! {
        biased;
        () = live.stop.cancelled() => false,
        () = held.lost.cancelled() => false,
        () = live.wake.notified() => true,
        () = live.context.clock.sleep(pause) => true,
    }
}

/// The end of a session that had no connection when it was told to end, or lost its lease.
async fn stopped(live: &LiveSession, held: &HeldLease) -> Result<()> {
    if held.lost.is_cancelled() {
        return Err(lost_lease(live).await);
    }
    ignore_written(live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::default()).await);
    Ok(())
}

pub(super) async fn lost_lease(live: &LiveSession) -> Error {
    // The new owner writes the record from now on; here only the subscribers hear of it.
    let status = Status::Disconnected;
    live.publish(EventKind::Status { status, detail: Some(StatusDetail::OwnedElsewhere) });
    Error::new(ErrorKind::Conflict, "another instance took the session over; nothing more is written here")
        .of_session(&live.id)
}

/// An error that no new connection mends.
pub(super) async fn fail(live: &LiveSession, held: &HeldLease, error: Error) -> Next {
    if live.stop.is_cancelled() || error.kind() == ErrorKind::Closed {
        return Next::End(stopped(live, held).await);
    }
    if error.kind() == ErrorKind::Conflict {
        held.lost.cancel();
        return Next::End(Err(lost_lease(live).await));
    }
    tracing::error!(session = %live.id, %error, "the session cannot go on");
    let detail = StatusDetail::Failed { message: error.message().to_owned() };
    let update = StatusUpdate {
        detail: Some(detail),
        disconnect_reason: Some(error.message().to_owned()),
        ..StatusUpdate::default()
    };
    ignore_written(live.apply_status(StatusEvent::Failed, update).await);
    Next::End(Err(error))
}

async fn run_client(
    live: &Arc<LiveSession>,
    held: &HeldLease,
    loaded: LoadedAuth,
    permit: ConnectPermit,
    back_off: &mut BackOff,
) -> Result<Next> {
    let LoadedAuth { auth } = loaded;
    let context = &live.context;
    let stopped_meanwhile = || Error::new(ErrorKind::Closed, "the session was stopped");
    let version = live.stop.run_until_cancelled(context.whatsapp_version()).await;
    let settings = EngineSettings {
        version: version.ok_or_else(stopped_meanwhile)?,
        device_name: context.options.device_name.clone(),
        pre_key_count: context.options.pre_key_count,
        take_history: context.options.preload_chats.chats != PreloadChatsType::None,
        push_name: context.options.push_name.clone(),
    };
    let building = EngineConnection::build(
        Arc::clone(&auth),
        &settings,
        context.sockets.clone(),
        commit(live, &auth),
        context.runtime.tokio().clone(),
    );
    // It reads, and the store may be away.
    let built = tokio::select! {
        biased;
        () = live.stop.cancelled() => None,
        () = held.lost.cancelled() => None,
        built = building => Some(built),
    };
    let Some(built) = built else {
        auth.close();
        return Ok(Next::End(stopped(live, held).await));
    };
    let (connection, mut events) = built?;
    let connection = Arc::new(connection);
    if let Some(jid) = connection.identity().jid {
        live.set_own_jid(&jid);
    }
    live.set_connection(Some(Arc::clone(&connection)));
    let mut permit = Some(permit);
    loop {
        let mut run = ConnectionRun::new(live, held, &auth, &connection, permit.take());
        let next = run.until_its_end(&mut events, back_off).await;
        live.set_connected(false);
        match next {
            Next::Reconnect(pause) => {
                let may_go = rest(live, held, pause).await;
                permit = if may_go { turn(live, held, returning(&connection)).await } else { None };
                if permit.is_none() {
                    connection.close(CLOSE_PATIENCE).await;
                    return Ok(Next::End(stopped(live, held).await));
                }
            }
            next => {
                live.set_connection(None);
                return Ok(next);
            }
        }
    }
}

/// The login that follows a link is part of the link, for which a user waits.
fn returning(connection: &EngineConnection) -> Priority {
    if connection.identity().name.is_empty() { Priority::Asked } else { Priority::Returning }
}

/// An update that only says more about the status.
pub(super) fn detailed(detail: StatusDetail) -> StatusUpdate {
    StatusUpdate { detail: Some(detail), ..StatusUpdate::default() }
}
