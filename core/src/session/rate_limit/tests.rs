//! On a clock that stands still.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::testing::ManualClock;

const SECOND: Duration = Duration::from_secs(1);

fn limiter(clock: &ManualClock, change: impl FnOnce(&mut RateLimits)) -> RateLimiter {
    let mut options = RateLimits::default();
    change(&mut options);
    options.validate().unwrap();
    RateLimiter::new(options, clock.shared())
}

fn go(limiter: &RateLimiter, chat: &str) -> Result<(), Denied> {
    limiter.acquire(chat, || panic!("nobody may ask whether a contact has written"))
}

fn denied(limiter: &RateLimiter, chat: &str) -> (Why, Duration) {
    let denied = go(limiter, chat).unwrap_err();
    (denied.why, denied.wait)
}

#[test]
fn without_limits_everything_goes() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |_| {});
    assert!((0..10_000).all(|_| go(&limiter, "a").is_ok()));
}

#[test]
fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |options| options.per_session = Some(Rate::per_minute(6).burst(3)));
    for chat in ["a", "b", "c"] {
        go(&limiter, chat).unwrap();
    }
    assert_eq!(denied(&limiter, "d"), (Why::Session, 10 * SECOND));
    clock.advance(9 * SECOND);
    assert_eq!(denied(&limiter, "d"), (Why::Session, SECOND));
    clock.advance(SECOND);
    go(&limiter, "d").unwrap();
    assert_eq!(denied(&limiter, "d").1, 10 * SECOND);
}

#[test]
fn a_limit_of_one_recipient_is_no_other_ones() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |options| options.per_recipient = Some(Rate::per_minute(1)));
    go(&limiter, "a").unwrap();
    go(&limiter, "b").unwrap();
    assert_eq!(denied(&limiter, "a"), (Why::Recipient, 60 * SECOND));
    clock.advance(60 * SECOND);
    go(&limiter, "a").unwrap();
}

#[test]
fn a_recipient_that_must_wait_does_not_use_up_the_sessions_limit() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |options| {
        options.per_session = Some(Rate::per_minute(60).burst(2));
        options.per_recipient = Some(Rate::per_minute(1));
    });
    go(&limiter, "a").unwrap();
    for _ in 0..50 {
        assert_eq!(denied(&limiter, "a").0, Why::Recipient);
    }
    go(&limiter, "b").unwrap();
    assert_eq!(denied(&limiter, "c"), (Why::Session, SECOND));
}

#[test]
fn a_429_silences_the_session_then_halves_its_limit_for_an_hour() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |options| options.per_session = Some(Rate::per_minute(60).burst(4)));
    go(&limiter, "a").unwrap();
    let told = limiter.refused("a", "429").unwrap();
    assert_eq!((told.why, told.wait), (Why::TooMany, 60 * SECOND));
    assert_eq!(denied(&limiter, "b"), (Why::TooMany, 60 * SECOND));
    clock.advance(60 * SECOND);
    let burst = (0..10).take_while(|_| go(&limiter, "b").is_ok()).count();
    assert_eq!(burst, 2);
    assert_eq!(denied(&limiter, "b"), (Why::Session, 2 * SECOND));
    clock.advance(REMEMBERED_AND_MORE);
    let burst = (0..10).take_while(|_| go(&limiter, "b").is_ok()).count();
    assert_eq!(burst, 4);
}

const REMEMBERED_AND_MORE: Duration = Duration::from_secs(3_601);

#[test]
fn pauses_after_429_double_and_start_over_after_a_quiet_hour() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |_| {});
    let mut waits = Vec::new();
    for _ in 0..7 {
        let wait = limiter.refused("a", "429").unwrap().wait;
        // One that was under way already changes nothing.
        assert_eq!(limiter.refused("b", "429").unwrap().wait, wait);
        waits.push(wait.as_secs());
        clock.advance(wait);
        go(&limiter, "a").unwrap();
    }
    assert_eq!(waits, [60, 120, 240, 480, 960, 960, 960]);
    clock.advance(REMEMBERED_AND_MORE);
    assert_eq!(limiter.refused("a", "429").unwrap().wait, 60 * SECOND);
}

#[test]
fn a_463_shuts_out_new_contacts_and_whoever_was_refused() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |options| options.pause_after_463 = 10 * SECOND);
    let told = limiter.refused("new", "463").unwrap();
    assert_eq!((told.why, told.wait), (Why::NewContacts, 10 * SECOND));
    assert!(limiter.is_closed_to_new_contacts());
    assert_eq!(limiter.acquire("other", || false).unwrap_err().why, Why::NewContacts);
    limiter.acquire("known", || true).unwrap();
    assert_eq!(limiter.acquire("new", || true).unwrap_err().wait, 10 * SECOND);
    clock.advance(10 * SECOND);
    assert!(!limiter.is_closed_to_new_contacts());
    go(&limiter, "new").unwrap();
}

#[test]
fn a_ban_lasts_as_long_as_whatsapp_said() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |_| {});
    limiter.banned_for(30 * SECOND);
    limiter.banned_for(10 * SECOND);
    let error = limiter.ban().unwrap().into_error();
    assert_eq!((error.kind(), error.retry_after_hint()), (ErrorKind::Banned, Some(30 * SECOND)));
    assert_eq!(denied(&limiter, "a").0, Why::Banned);
    clock.advance(30 * SECOND);
    assert_eq!(limiter.ban(), None);
    go(&limiter, "a").unwrap();
}

#[test]
fn other_codes_concern_the_message_alone() {
    let clock = ManualClock::new();
    let limiter = limiter(&clock, |_| {});
    assert_eq!(limiter.refused("a", "479"), None);
    go(&limiter, "a").unwrap();
}

#[test]
fn limits_of_zero_or_beyond_reason_are_refused_by_name() {
    type Change = fn(&mut RateLimits);
    let cases: [(Change, &str); 6] = [
        (|o| o.per_session = Some(Rate::per_minute(0)), "rate_limits.per_session.per_minute"),
        (|o| o.per_session = Some(Rate::per_minute(9).burst(0)), "rate_limits.per_session.burst"),
        (|o| o.per_recipient = Some(Rate::per_minute(6_001)), "rate_limits.per_recipient.per_minute"),
        (|o| o.per_recipient = Some(Rate::per_minute(9).burst(u32::MAX)), "rate_limits.per_recipient.burst"),
        (|o| o.pause_after_429 = Duration::ZERO, "rate_limits.pause_after_429"),
        (|o| o.pause_after_463 = Duration::MAX, "rate_limits.pause_after_463"),
    ];
    for (change, name) in cases {
        let mut options = RateLimits::default();
        change(&mut options);
        let error = options.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(name), "{error}");
    }
    RateLimits::default().validate().unwrap();
}

proptest! {
    /// Whatever is asked for and when: never more than burst + rate × time, and a wait that was told is enough.
    #[test]
    fn no_more_goes_than_is_allowed(
        per_minute in 1..200_u32,
        burst in 1..20_u32,
        asks in proptest::collection::vec((0..5_000_u64, 0..3_usize), 1..200),
    ) {
        let clock = ManualClock::new();
        let limiter = limiter(&clock, |options| {
            options.per_session = Some(Rate::per_minute(per_minute).burst(burst));
            options.per_recipient = Some(Rate::per_minute(per_minute).burst(1));
        });
        let start = clock.shared().monotonic();
        let (mut all, mut each) = (0_u64, [0_u64; 3]);
        for (pause_ms, chat) in asks {
            clock.advance(Duration::from_millis(pause_ms));
            if let Err(denied) = go(&limiter, ["a", "b", "c"][chat]) {
                clock.advance(denied.wait);
                if denied.why == Why::Session && go(&limiter, ["a", "b", "c"][chat]).is_err_and(|d| d.why == Why::Session) {
                    return Err(TestCaseError::fail("the wait was not enough"));
                }
                continue;
            }
            all += 1;
            each[chat] += 1;
            let minutes = (clock.shared().monotonic() - start).as_secs_f64() / 60.0;
            let earned = f64::from(per_minute) * minutes;
            prop_assert!(all as f64 <= f64::from(burst) + earned + 1e-3);
            for sent in each {
                prop_assert!(sent as f64 <= 1.0 + earned + 1e-3);
            }
        }
    }
}
