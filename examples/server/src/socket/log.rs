//! What clients missed, read from the library's log of events: it survives the process.

use std::collections::HashMap;

use centralita::Result;
use centralita::events::EventKind;
use centralita::store::{EventMark, EventRange, EventRecord, Store};
use serde_json::Value;

use super::frame::Frame;
use super::replay::Missed;

/// The numbers in the log go on for ever: there is but one epoch.
pub(super) const EPOCH: &str = "log";
/// Events in one answer, all sessions together. Who missed more asks again.
const AT_ONCE: u64 = 2_000;
/// From so many sessions on the marks of all are read at once.
const MANY: usize = 4;

/// What each session's client missed: `asked` is by session, with the number of the last event that it has seen.
pub(super) async fn missed(
    store: &dyn Store,
    asked: &[(&str, Option<u64>)],
    epoch: Option<&str>,
) -> Result<HashMap<String, Missed>> {
    let last = marks(store, asked, Mark::Last).await?;
    let behind: Vec<(&str, Option<u64>)> = asked
        .iter()
        .filter(|(id, since)| since.is_some_and(|since| since < number(&last, id)))
        .copied()
        .collect();
    let first = if behind.is_empty() { HashMap::new() } else { marks(store, &behind, Mark::First).await? };
    let mut answers = HashMap::new();
    let mut ranges = Vec::new();
    let mut left = AT_ONCE;
    for (id, since) in asked {
        let last = number(&last, id);
        let mut answer = Missed::nothing(last);
        match since {
            None => {}
            // Numbers of the journal in memory, or of a session that was deleted since: they mean nothing here.
            Some(since) if epoch.is_some_and(|epoch| epoch != EPOCH) || *since > last => {
                answer.incomplete = true;
            }
            Some(since) => {
                let gone = number(&first, id).saturating_sub(1);
                let after = (*since).max(gone);
                let upto = last.min(after.saturating_add(left));
                left -= upto - after;
                answer = Missed { incomplete: gone > *since, more: upto < last, ..Missed::nothing(upto) };
                if upto > after {
                    ranges.push(EventRange { session: (*id).to_owned(), after, upto });
                }
            }
        }
        answers.insert((*id).to_owned(), answer);
    }
    if !ranges.is_empty() {
        for record in store.read_events(&ranges).await? {
            if let (Some(answer), Some(body)) = (answers.get_mut(&record.session), body(&record)) {
                answer.events.push(body);
            }
        }
    }
    Ok(answers)
}

#[derive(Clone, Copy)]
enum Mark {
    First,
    Last,
}

async fn marks(
    store: &dyn Store,
    asked: &[(&str, Option<u64>)],
    which: Mark,
) -> Result<HashMap<String, u64>> {
    let mut marks: Vec<EventMark> = Vec::new();
    let sessions: Vec<Option<&str>> =
        if asked.len() > MANY { vec![None] } else { asked.iter().map(|(id, _)| Some(*id)).collect() };
    for session in sessions {
        marks.extend(match which {
            Mark::First => store.first_events(session).await?,
            Mark::Last => store.last_events(session).await?,
        });
    }
    Ok(marks.into_iter().map(|mark| (mark.session, mark.seq)).collect())
}

fn number(marks: &HashMap<String, u64>, session: &str) -> u64 {
    marks.get(session).copied().unwrap_or(0)
}

fn body(record: &EventRecord) -> Option<Value> {
    let kind = serde_json::from_value::<EventKind>(record.payload.clone())
        .unwrap_or_else(|_| EventKind::Unknown { raw: record.payload.clone() });
    let frame = Frame::of_event(&record.session, record.at, &kind)?;
    Some(frame.numbered(record.seq).body)
}

#[cfg(test)]
mod tests {
    use centralita::clock::Timestamp;
    use centralita::store::{EventLog as _, MemoryStore, NewEvent};

    use super::*;

    async fn log(store: &MemoryStore, session: &str, count: u64) {
        let last = store.last_events(Some(session)).await.unwrap().first().map_or(0, |mark| mark.seq);
        let events: Vec<NewEvent> = (0..count)
            .map(|n| NewEvent {
                key: format!("{session}/{}", last + n),
                at: Timestamp::from_unix_ms(1),
                payload: serde_json::to_value(EventKind::Undecryptable).unwrap(),
            })
            .collect();
        store.append_events(session, last, &events).await.unwrap();
    }

    fn numbers(missed: &Missed) -> Vec<u64> {
        missed.events.iter().map(|body| body["seq"].as_u64().unwrap()).collect()
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_came_meanwhile() {
        let store = MemoryStore::new();
        for session in ["a", "b"] {
            log(&store, session, 4).await;
        }
        let asked = [("a", Some(2)), ("b", None), ("c", Some(0))];
        let answers = missed(&store, &asked, Some(EPOCH)).await.unwrap();
        assert_eq!(numbers(&answers["a"]), [3, 4]);
        assert_eq!((answers["a"].seq, answers["a"].incomplete, answers["a"].more), (4, false, false));
        assert_eq!(answers["a"].events[0]["event"], "notice");
        assert_eq!(answers["b"], Missed::nothing(4));
        assert_eq!(answers["c"], Missed::nothing(0));
    }

    #[tokio::test]
    async fn who_missed_much_asks_again_and_misses_nothing() {
        let store = MemoryStore::new();
        log(&store, "a", AT_ONCE + 5).await;
        let first = missed(&store, &[("a", Some(0))], Some(EPOCH)).await.unwrap().remove("a").unwrap();
        assert_eq!((first.events.len() as u64, first.seq, first.more), (AT_ONCE, AT_ONCE, true));
        let rest = missed(&store, &[("a", Some(first.seq))], Some(EPOCH)).await.unwrap().remove("a").unwrap();
        assert_eq!((rest.events.len(), rest.seq, rest.more), (5, AT_ONCE + 5, false));
    }

    #[tokio::test]
    async fn what_was_cut_off_or_means_nothing_is_told() {
        let store = MemoryStore::new();
        log(&store, "a", 10).await;
        store.trim_events("a", 4, Timestamp::from_unix_ms(0)).await.unwrap();
        let of = async |since, epoch| {
            missed(&store, &[("a", Some(since))], epoch).await.unwrap().remove("a").unwrap()
        };
        let cut = of(3, Some(EPOCH)).await;
        assert_eq!((numbers(&cut), cut.incomplete), (vec![7, 8, 9, 10], true));
        assert!(!of(6, None).await.incomplete, "the next is there");
        assert!(of(11, Some(EPOCH)).await.incomplete, "it began anew");
        assert!(of(6, Some("0123456789abcdef")).await.incomplete, "numbers of the journal in memory");
    }
}
