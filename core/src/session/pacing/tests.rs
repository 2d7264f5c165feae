use futures::{FutureExt, poll};

use super::*;
use crate::testing::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn pacer(clock: &ManualClock, change: impl FnOnce(&mut ServiceOptions)) -> Arc<Pacer> {
    let mut options = ServiceOptions {
        connect_concurrency: 4,
        connects_per_s: 0,
        breaker_threshold: 3,
        breaker_pause_min: 4 * SECOND,
        ..ServiceOptions::default()
    };
    change(&mut options);
    Pacer::new(&options, clock.shared())
}

async fn admitted(pacer: &Arc<Pacer>, session: &str) -> ConnectPermit {
    let admitted = pacer.admit(session, Priority::Returning).now_or_never();
    admitted.unwrap_or_else(|| panic!("{session} has to wait"))
}

#[tokio::test]
async fn so_many_at_the_same_time_and_then_in_turn() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |_| {});
    let mut first = Vec::new();
    for n in 0..4 {
        first.push(admitted(&pacer, &n.to_string()).await);
    }
    let mut fifth = Box::pin(pacer.admit("5", Priority::Returning));
    let mut sixth = Box::pin(pacer.admit("6", Priority::Returning));
    assert!(poll!(&mut fifth).is_pending());
    assert!(poll!(&mut sixth).is_pending());
    assert_eq!((pacer.status().waiting, pacer.status().connecting), (2, 4));
    first.pop().unwrap().answered();
    assert!(poll!(&mut sixth).is_pending(), "it came later");
    let fifth = fifth.await;
    assert!(poll!(&mut sixth).is_pending());
    drop(fifth);
    drop(sixth.await);
    assert_eq!(pacer.status().waiting, 0);
}

#[tokio::test]
async fn whom_a_user_waits_for_goes_first_and_who_leaves_holds_up_nobody() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |options| options.connect_concurrency = 1);
    let running = admitted(&pacer, "running").await;
    let mut restored = Box::pin(pacer.admit("restored", Priority::Returning));
    let mut gone = Box::pin(pacer.admit("gone", Priority::Asked));
    let mut asked = Box::pin(pacer.admit("asked", Priority::Asked));
    assert!(poll!(&mut restored).is_pending());
    assert!(poll!(&mut gone).is_pending());
    assert!(poll!(&mut asked).is_pending());
    drop(gone);
    drop(running);
    assert!(poll!(&mut restored).is_pending(), "it is not its turn");
    drop(asked.await);
    drop(restored.await);
}

#[tokio::test]
async fn no_more_per_second_than_allowed_and_no_burst_after_a_quiet_time() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |options| {
        options.connects_per_s = 10;
        options.connect_concurrency = 1_000;
    });
    clock.advance(100 * SECOND);
    let started = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..35)
        .map(|n| {
            let (pacer, clock, started) = (Arc::clone(&pacer), clock.clone(), Arc::clone(&started));
            tokio::spawn(async move {
                let permit = pacer.admit(&n.to_string(), Priority::Returning).await;
                started.lock().unwrap().push(crate::clock::Clock::monotonic(&clock));
                permit.answered();
            })
        })
        .collect();
    while started.lock().unwrap().len() < 35 {
        clock.wait_for_sleepers(1).await;
        clock.advance(Duration::from_millis(50));
        // Whoever was woken takes its turn.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
    for task in waiting {
        task.await.unwrap();
    }
    let started = started.lock().unwrap();
    for (n, at) in started.iter().enumerate() {
        let in_a_second = started[n..].iter().take_while(|other| **other - *at < SECOND).count();
        assert!(in_a_second <= 10, "{in_a_second} in one second");
    }
}

#[tokio::test]
async fn an_outage_stops_all_until_one_gets_through() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |_| {});
    let mut breaker = pacer.breaker();
    for n in 0..3 {
        let permit = admitted(&pacer, &n.to_string()).await;
        assert_eq!(permit.refused(Refusal::Unreachable), n == 2);
    }
    let BreakerState::Open { until } = *breaker.borrow_and_update() else { panic!("it is not open") };
    assert!(until > crate::clock::Clock::now(&clock));

    let mut waiting: Vec<_> = (0..8).map(|_| Box::pin(pacer.admit("w", Priority::Returning))).collect();
    for one in &mut waiting {
        assert!(poll!(one).is_pending());
    }
    clock.advance(4 * SECOND);
    let probe = waiting.remove(0).await;
    assert_eq!(pacer.status().breaker, BreakerState::HalfOpen);
    assert!(poll!(&mut waiting[0]).is_pending(), "one probes, and only one");
    probe.answered();
    let second = waiting.remove(0).await;
    let third = waiting.remove(0).await;
    assert!(poll!(&mut waiting[0]).is_pending(), "two follow, and only two");
    second.answered();
    third.answered();
    assert_eq!(pacer.status().breaker, BreakerState::Closed);
    for one in waiting {
        drop(one.await);
    }
    let status = pacer.status();
    assert_eq!((status.waiting, status.connecting, status.times_opened), (0, 0, 1));
}

#[tokio::test]
async fn a_probe_that_fails_opens_it_again_and_one_that_is_stopped_makes_room_for_the_next() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |_| {});
    for n in 0..3 {
        admitted(&pacer, &n.to_string()).await.refused(Refusal::Overloaded);
    }
    clock.advance(4 * SECOND);
    let stopped = admitted(&pacer, "stopped").await;
    let mut next = Box::pin(pacer.admit("next", Priority::Returning));
    assert!(poll!(&mut next).is_pending());
    drop(stopped);
    assert!(next.await.refused(Refusal::Unreachable));
    assert_eq!(pacer.status().times_opened, 2);
    assert!(pacer.admit("later", Priority::Returning).now_or_never().is_none());
}

#[tokio::test]
async fn with_nobody_waiting_one_that_gets_through_is_enough() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |_| {});
    for n in 0..3 {
        admitted(&pacer, &n.to_string()).await.refused(Refusal::Unreachable);
    }
    clock.advance(4 * SECOND);
    admitted(&pacer, "probe").await.answered();
    assert_eq!(pacer.status().breaker, BreakerState::Closed);
}

#[tokio::test]
async fn connections_begun_before_the_outage_are_no_probes() {
    let clock = ManualClock::new();
    let pacer = pacer(&clock, |_| {});
    let slow = admitted(&pacer, "slow").await;
    for n in 0..3 {
        admitted(&pacer, &n.to_string()).await.refused(Refusal::Unreachable);
    }
    clock.advance(4 * SECOND);
    let probe = admitted(&pacer, "probe").await;
    assert!(!slow.refused(Refusal::Unreachable), "its failure is old news");
    assert_eq!(pacer.status().breaker, BreakerState::HalfOpen);
    probe.answered();
}
