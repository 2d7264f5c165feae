//! The one task that runs a session: lease, auth state, connection after connection, until it is told to end.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{self, LoadedAuth};
use super::connection_run::{CLOSE_PATIENCE, ConnectionRun};
use super::inbound::commit;
use super::live::{Ended, Goal, LAST_WRITES, LiveSession, Origin};
use super::pacing::{ConnectPermit, Priority};
use super::parking::stay_parked;
use super::reconnect::BackOff;
use super::status::{Status, StatusEvent};
use super::turn::{Turn, turn};
use crate::clock::Timestamp;
use crate::engine::connection::{EngineConnection, EngineSettings};
use crate::error::{Error, ErrorKind, Result};
use crate::events::EventKind;
use crate::lease::{Acquisition, HeldLease, owned_elsewhere, taken_over};
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
    live.set_lease(Some(held.clone()));
    let outcome = run(&live, &held).await;
    live.set_connected(false);
    live.set_connection(None);
    live.set_lease(None);
    let ended = match outcome {
        Ok(()) => Ended::AsAsked,
        Err(error) => Ended::Failed { kind: error.kind(), message: error.message().to_owned() },
    };
    // A write that came after the release would meet the next owner's.
    let settled = tokio::time::timeout(LAST_WRITES, live.context.group.settle(&live.id)).await;
    if settled.is_err() {
        tracing::warn!(session = %live.id, "the store has not answered a last write; the lease runs out by itself");
        live.context.leases.abandon(&held);
        return ended;
    }
    let released = tokio::time::timeout(LAST_WRITES, live.context.leases.release(&held)).await;
    if !matches!(released, Ok(Ok(()))) {
        tracing::warn!(session = %live.id, "the lease could not be released; it runs out by itself");
    }
    ended
}

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
        let look_again = async {
            if live.stands_by() {
                context.leases.may_be_free(&live.id).await;
            } else {
                context.clock.sleep(pause).await;
            }
        };
        if live.stop.run_until_cancelled(look_again).await.is_none() {
            return Err(Error::new(ErrorKind::Closed, "the session was stopped"));
        }
    }
}

/// How often a start looks at another instance's lease in the time that it lasts.
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
    /// Stay without a connection until woken.
    Park,
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
        let next = match turn(live, held, priority).await {
            Turn::Come(permit) => {
                // On the heap, so that a parked session does not keep it.
                match Box::pin(connect(live, held, permit, &mut back_off)).await {
                    Ok(next) => next,
                    Err(error) => fail(live, held, error).await,
                }
            }
            Turn::Park => Next::Park,
            Turn::End => return stopped(live, held).await,
        };
        priority = Priority::Returning;
        let rested = match next {
            Next::End(outcome) => return outcome,
            Next::Reconnect(pause) | Next::Rebuild(pause) => rest(live, held, pause).await,
            Next::Park => Rested::Park,
        };
        match rested {
            Rested::GoOn => {}
            Rested::End => return stopped(live, held).await,
            Rested::Park => match stay_parked(live, held).await {
                Some(woken) => priority = woken,
                None => return stopped(live, held).await,
            },
        }
    }
}

async fn connect(
    live: &Arc<LiveSession>,
    held: &HeldLease,
    permit: ConnectPermit,
    back_off: &mut BackOff,
) -> Result<Next> {
    let loaded = auth::load(&live.context, &live.id, &live.stop, held).await?;
    run_client(live, held, loaded, permit, back_off).await
}

/// How a pause ended.
enum Rested {
    GoOn,
    Park,
    End,
}

/// Sleeps, unless something comes up.
async fn rest(live: &LiveSession, held: &HeldLease, pause: Duration) -> Rested {
    // It could not connect: whoever woke it need not wait any longer.
    live.set_parked(false);
    tokio::select! {
        biased;
        () = live.stop.cancelled() => Rested::End,
        () = held.lost.cancelled() => Rested::End,
        () = live.told_to_park() => Rested::Park,
        () = live.wake.notified() => Rested::GoOn,
        () = live.context.clock.sleep(pause) => Rested::GoOn,
    }
}

/// The end of a session that had no connection when it was told to end, or lost its lease.
async fn stopped(live: &LiveSession, held: &HeldLease) -> Result<()> {
    if held.lost.is_cancelled() {
        return Err(lost_lease(live).await);
    }
    ignore_written(live.apply_status(StatusEvent::ConnectionEnded, StatusUpdate::default()).await);
    if live.goal() == Goal::LogOut {
        return Err(Error::new(
            ErrorKind::InvalidState,
            "the session was not connected, so WhatsApp could not be told that it leaves; it is stopped, its \
             credentials are kept: start it and log out once connected, or delete it and remove the device on the phone",
        ));
    }
    Ok(())
}

pub(super) async fn lost_lease(live: &LiveSession) -> Error {
    // The new owner writes the record from now on; here only the subscribers hear of it.
    let status = Status::Disconnected;
    live.publish(EventKind::Status { status, detail: Some(StatusDetail::OwnedElsewhere) });
    taken_over(&live.id)
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
                let next = match rest(live, held, pause).await {
                    Rested::GoOn => turn(live, held, returning(&connection)).await,
                    Rested::Park => Turn::Park,
                    Rested::End => Turn::End,
                };
                if let Turn::Come(admitted) = next {
                    permit = Some(admitted);
                    continue;
                }
                live.set_connection(None);
                connection.close(CLOSE_PATIENCE).await;
                return Ok(match next {
                    Turn::Park => Next::Park,
                    _ => Next::End(stopped(live, held).await),
                });
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
