//! Long batches in pieces, so that a slow database has a time limit for each: a call that takes longer than its limit is
//! repeated whole, and would never end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::batches::Batch;
use crate::store::auth::{Tenure, WriteBatch};

/// How many values a call may have: fewer where the last ones took long.
pub(super) struct Pace(AtomicUsize);

const MOST: usize = 256;
const LEAST: usize = 16;
/// A call that takes longer has too much to do. Well below the time limit, since others run beside it.
const SLOW: Duration = Duration::from_secs(2);
const QUICK: Duration = Duration::from_millis(500);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicUsize::new(MOST))
    }
}

impl Pace {
    pub(super) fn values(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Of a call with so many values. What other calls learn at the same time may be lost.
    pub(super) fn learn(&self, values: usize, took: Duration) {
        let now = self.values();
        let then = if took > SLOW && values > 0 {
            now.min(values / 2).max(LEAST)
        } else if took < QUICK && values >= now {
            (now * 2).min(MOST)
        } else {
            now
        };
        self.0.store(then, Ordering::Relaxed);
    }
}

/// Its values, credentials included.
pub(super) fn values_of(batch: &WriteBatch) -> usize {
    batch.writes().len() + usize::from(batch.creds().is_some())
}

/// What is left of the batches. Of each the order is kept, and credentials come last.
pub(super) struct Pieces<'a> {
    batches: &'a [(&'a str, Tenure, &'a WriteBatch)],
    /// The batch that comes next, and how many of its writes have gone.
    index: usize,
    gone: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn of(batches: &'a [(&'a str, Tenure, &'a WriteBatch)]) -> Self {
        Self { batches, index: 0, gone: 0 }
    }

    /// The next piece, of at most `room` values; each part with the index of its batch.
    pub(super) fn next(&mut self, mut room: usize) -> Option<Vec<(usize, Batch)>> {
        let mut piece = Vec::new();
        while let Some((session, tenure, writes)) = self.batches.get(self.index) {
            let rest = &writes.writes()[self.gone..];
            let now = &rest[..rest.len().min(room)];
            let mut part: WriteBatch = now.iter().cloned().collect();
            let creds = writes.creds();
            let whole = now.len() + usize::from(creds.is_some()) <= room && now.len() == rest.len();
            if let Some(creds) = creds.filter(|_| whole) {
                part.set_creds(creds.clone());
            }
            room -= values_of(&part);
            piece.push((self.index, Batch { session: (*session).to_owned(), tenure: *tenure, writes: part }));
            (self.index, self.gone) =
                if whole { (self.index + 1, 0) } else { (self.index, self.gone + now.len()) };
            if !whole || room == 0 {
                break;
            }
        }
        (!piece.is_empty()).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::AuthKey;

    fn batch(values: usize, creds: bool) -> WriteBatch {
        let mut batch = WriteBatch::new();
        for value in 0..values {
            batch.put(AuthKey::new("pre-key", value.to_string()), Bytes::from_static(b"x"), 0);
        }
        if creds {
            batch.set_creds(Bytes::from_static(b"creds"));
        }
        batch
    }

    #[test]
    fn every_value_goes_once_in_order_and_credentials_last() {
        let batches = [batch(3, true), batch(0, true), batch(10, true), batch(4, false)];
        let named: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .zip(&batches)
            .map(|(session, batch)| (session, Tenure::FIRST, batch))
            .collect();
        for room in [1, 3, 4, 5, 100] {
            let mut pieces = Pieces::of(&named);
            let mut gone: Vec<WriteBatch> = batches.iter().map(|_| WriteBatch::new()).collect();
            while let Some(piece) = pieces.next(room) {
                assert!(piece.iter().map(|(_, part)| values_of(&part.writes)).sum::<usize>() <= room);
                for (index, part) in piece {
                    assert!(gone[index].creds().is_none(), "credentials come last");
                    let creds = part.writes.creds().cloned();
                    let so_far = std::mem::take(&mut gone[index]);
                    let all = so_far.into_writes().into_iter().chain(part.writes.into_writes());
                    gone[index] = all.collect();
                    if let Some(creds) = creds {
                        gone[index].set_creds(creds);
                    }
                }
            }
            for (gone, wanted) in gone.iter().zip(&batches) {
                assert_eq!(gone.writes(), wanted.writes());
                assert_eq!(gone.creds(), wanted.creds());
            }
        }
    }

    #[test]
    fn a_slow_database_gets_less_at_a_time_and_a_quick_one_more() {
        let pace = Pace::default();
        pace.learn(256, Duration::from_secs(30));
        assert_eq!(pace.values(), 128);
        pace.learn(3, Duration::from_secs(30));
        assert_eq!(pace.values(), LEAST);
        pace.learn(3, Duration::from_millis(1));
        assert_eq!(pace.values(), LEAST, "a small call tells nothing of larger ones");
        pace.learn(LEAST, Duration::from_millis(1));
        assert_eq!(pace.values(), 2 * LEAST);
        pace.learn(2 * LEAST, Duration::from_secs(1));
        assert_eq!(pace.values(), 2 * LEAST);
    }
}
