//! The state machine by itself.

use proptest::prelude::*;

use super::*;
use crate::session::rate_limit::Why;

const START: Timestamp = Timestamp::from_unix_s(1_700_000_000);

fn at(ms: u64) -> Moment {
    Moment { now: START.plus(Duration::from_millis(ms)), monotonic: Duration::from_millis(ms) }
}

fn waiting(id: &str, chat: &str, expires_ms: u64) -> Waiting {
    Waiting {
        message_id: id.to_owned(),
        chat: Some(chat.to_owned()),
        expires_at: START.plus(Duration::from_millis(expires_ms)),
        state: OutboxState::Queued,
        doubtful: 0,
        not_before: Duration::ZERO,
    }
}

fn queue(entries: &[(&str, &str)]) -> Queue {
    let mut queue = Queue::default();
    for (position, (id, chat)) in (1..).zip(entries) {
        assert!(queue.add(position, waiting(id, chat, 10_000)));
    }
    queue
}

fn send(id: &str) -> Next {
    Next::Send { message_id: id.to_owned() }
}

fn free(_: &str) -> Result<(), Denied> {
    Ok(())
}

fn denied(why: Why, ms: u64) -> Result<(), Denied> {
    Err(Denied { why, wait: Duration::from_millis(ms) })
}

#[test]
fn the_first_goes_first_and_nothing_goes_while_the_session_is_down() {
    let mut queue = queue(&[("1", "a"), ("2", "b")]);
    assert_eq!(queue.next(at(0), true, false, free), Next::Wait(Duration::from_millis(10_000)));
    assert_eq!(queue.next(at(0), true, true, free), send("1"));
    queue.remove("1");
    assert_eq!(queue.next(at(0), true, true, free), send("2"));
    queue.remove("2");
    assert_eq!(queue.next(at(0), true, true, free), Next::Empty);
}

#[test]
fn a_recipient_that_must_wait_holds_up_its_own_and_no_other() {
    let queue = queue(&[("1", "a"), ("2", "a"), ("3", "b")]);
    let leave = |chat: &str| if chat == "a" { denied(Why::Recipient, 700) } else { Ok(()) };
    assert_eq!(queue.next(at(0), true, true, leave), send("3"));
    let mut asked = Vec::new();
    let next = queue.next(at(0), true, true, |chat| {
        asked.push(chat.to_owned());
        denied(Why::Recipient, if chat == "a" { 700 } else { 300 })
    });
    assert_eq!(next, Next::Wait(Duration::from_millis(300)));
    assert_eq!(asked, ["a", "b"]);
    let mut asked = 0;
    let next = queue.next(at(0), true, true, |_| {
        asked += 1;
        denied(Why::TooMany, 900)
    });
    assert_eq!((next, asked), (Next::Wait(Duration::from_millis(900)), 1));
}

#[test]
fn what_was_never_written_expires_and_what_was_is_in_doubt() {
    let mut queue = queue(&[("1", "a"), ("2", "a")]);
    assert!(!queue.in_doubt("1", Duration::ZERO));
    // It holds up the second, until it is written again.
    assert_eq!(queue.next(at(0), true, true, free), Next::Wait(FIRST_RETRY));
    assert_eq!(queue.next(at(2_000), true, true, free), send("1"));
    let end = |id: &str, outcome| Next::End { message_id: id.to_owned(), outcome };
    // Another instance's doubt is not ours to end.
    assert_eq!(queue.next(at(10_000), false, false, free), end("2", OutboxOutcome::Expired));
    assert_eq!(queue.next(at(10_000), true, false, free), end("1", OutboxOutcome::Indeterminate));
}

#[test]
fn a_message_is_written_in_doubt_so_often_and_no_oftener() {
    let mut queue = queue(&[("1", "a")]);
    let given_up: Vec<bool> = (0..5).map(|_| queue.in_doubt("1", Duration::ZERO)).collect();
    assert_eq!(given_up, [false, false, false, false, true]);
}

#[test]
fn a_refusal_for_now_leaves_an_earlier_doubt() {
    let mut queue = queue(&[("1", "a"), ("2", "b")]);
    queue.in_doubt("1", Duration::ZERO);
    queue.set_state("2", OutboxState::Sending);
    for id in ["1", "2"] {
        queue.refused_for_now(id);
    }
    assert_eq!(queue.get_mut("1").unwrap().state, OutboxState::Sending);
    assert_eq!(queue.get_mut("2").unwrap().state, OutboxState::Queued);
}

#[test]
fn one_that_does_not_open_holds_up_nobody_and_expires() {
    let mut queue = queue(&[("1", "a"), ("2", "a")]);
    assert_eq!(queue.unreadable("1").as_deref(), Some("a"));
    assert_eq!(queue.next(at(0), true, true, free), send("2"));
    queue.remove("2");
    assert_eq!(queue.next(at(0), true, true, free), Next::Wait(Duration::from_millis(10_000)));
    assert!(matches!(queue.next(at(10_000), true, true, free), Next::End { .. }));
}

#[derive(Debug, Clone)]
enum Op {
    Push {
        chat: usize,
        lives_ms: u64,
    },
    Pass {
        ms: u64,
    },
    Up(bool),
    Deny {
        chat: usize,
        ms: u64,
    },
    Cancel {
        nth: usize,
    },
    /// What comes of the next write: accepted, refused for now, refused, unknown.
    Write(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3_usize, 1..20_000_u64).prop_map(|(chat, lives_ms)| Op::Push { chat, lives_ms }),
        2 => (1..5_000_u64).prop_map(|ms| Op::Pass { ms }),
        1 => any::<bool>().prop_map(Op::Up),
        1 => (0..4_usize, 1..3_000_u64).prop_map(|(chat, ms)| Op::Deny { chat, ms }),
        1 => (0..8_usize).prop_map(|nth| Op::Cancel { nth }),
        6 => (0..4_u8).prop_map(Op::Write),
    ]
}

const CHATS: [&str; 3] = ["a", "b", "c"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever happens in whatever order: nothing is lost or sent twice, each recipient's are written in order,
    /// nothing goes while it may not, and each ends as what it was.
    #[test]
    fn every_message_ends_once_and_in_order(ops in proptest::collection::vec(op(), 1..120)) {
        let mut queue = Queue::default();
        let (mut ms, mut is_up, mut count) = (0_u64, true, 0_u64);
        let mut denied_until = [0_u64; 4];
        let mut ended: HashMap<u64, OutboxOutcome> = HashMap::new();
        let mut doubts: HashMap<u64, u32> = HashMap::new();
        let mut last_written = [0_u64; 3];
        for op in ops {
            match op {
                Op::Push { chat, lives_ms } => {
                    count += 1;
                    let entry = waiting(&count.to_string(), CHATS[chat], ms + lives_ms);
                    prop_assert!(queue.add(count, entry.clone()));
                    prop_assert!(!queue.add(count + 1_000_000, entry));
                }
                Op::Pass { ms: pass } => ms += pass,
                Op::Up(up) => is_up = up,
                Op::Deny { chat, ms: lasts } => denied_until[chat] = ms + lasts,
                Op::Cancel { nth } => {
                    let place = queue.entries.values().filter(|w| w.state == OutboxState::Queued).nth(nth);
                    if let Some(id) = place.map(|waiting| waiting.message_id.clone()) {
                        queue.set_state(&id, OutboxState::Cancelled);
                    }
                }
                Op::Write(outcome) => {
                    let next = queue.next(at(ms), true, is_up, |chat| {
                        let index = CHATS.iter().position(|known| *known == chat).unwrap();
                        if ms < denied_until[3] {
                            denied(Why::TooMany, denied_until[3] - ms)
                        } else if ms < denied_until[index] {
                            denied(Why::Recipient, denied_until[index] - ms)
                        } else {
                            Ok(())
                        }
                    });
                    match next {
                        Next::Empty => prop_assert!(queue.is_empty()),
                        Next::Wait(wait) => prop_assert!(!queue.is_empty() && wait >= SHORTEST_WAIT),
                        Next::End { message_id, outcome } => {
                            let id: u64 = message_id.parse().unwrap();
                            let gone = queue.remove(&message_id).unwrap();
                            let doubtful = doubts.contains_key(&id);
                            match outcome {
                                OutboxOutcome::Expired => prop_assert!(!doubtful && gone.expires_at <= at(ms).now),
                                OutboxOutcome::Indeterminate => prop_assert!(doubtful && gone.expires_at <= at(ms).now),
                                OutboxOutcome::Cancelled => prop_assert!(!doubtful),
                                other => return Err(TestCaseError::fail(format!("{other:?} by itself"))),
                            }
                            prop_assert_eq!(ended.insert(id, outcome), None);
                        }
                        Next::Send { message_id } => {
                            let id: u64 = message_id.parse().unwrap();
                            let entry = queue.get_mut(&message_id).unwrap().clone();
                            let chat = CHATS.iter().position(|known| entry.chat.as_deref() == Some(*known)).unwrap();
                            prop_assert!(is_up && ms >= denied_until[3] && ms >= denied_until[chat]);
                            prop_assert!(entry.expires_at > at(ms).now);
                            prop_assert!(id >= last_written[chat], "an earlier one of the same chat after a later one");
                            let earlier = queue.entries.values().find(|w| w.chat == entry.chat).unwrap();
                            prop_assert_eq!(&earlier.message_id, &message_id);
                            last_written[chat] = id;
                            queue.set_state(&message_id, OutboxState::Sending);
                            match outcome {
                                0 | 2 => {
                                    queue.remove(&message_id);
                                    let outcome = if outcome == 0 { OutboxOutcome::Sent } else { OutboxOutcome::Failed };
                                    prop_assert_eq!(ended.insert(id, outcome), None);
                                }
                                1 => queue.refused_for_now(&message_id),
                                _ => {
                                    *doubts.entry(id).or_default() += 1;
                                    if queue.in_doubt(&message_id, at(ms).monotonic) {
                                        prop_assert_eq!(doubts[&id], DOUBTFUL_WRITES);
                                        queue.remove(&message_id);
                                        prop_assert_eq!(ended.insert(id, OutboxOutcome::Indeterminate), None);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        let still: HashSet<u64> = queue.entries.values().map(|w| w.message_id.parse().unwrap()).collect();
        for id in 1..=count {
            prop_assert!(still.contains(&id) != ended.contains_key(&id), "{id} is lost or doubled");
        }
    }
}
