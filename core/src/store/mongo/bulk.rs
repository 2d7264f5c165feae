//! Updates of two collections in one command, where the server can (`bulkWrite`, MongoDB 8.0), else in two.

use std::sync::atomic::{AtomicU8, Ordering};

use mongodb::bson::{Document, doc};

use super::Inner;
use super::documents::{Fields, size};
use super::errors::{DUPLICATE, Failure, code_of, not_durable, refused};
use super::writes::{MAX_BYTES, Written};
use crate::error::{Error, ErrorKind};

type Attempt<T> = std::result::Result<T, Failure>;

/// The wire version of MongoDB 8.0.
const WITH_BULK_WRITE: i64 = 25;
/// Statements of one command: their results must fit into one answer.
const MAX_STATEMENTS: usize = 10_000;
/// CommandNotFound, CommandNotSupported, CommandNotSupportedOnView, IncompatibleServerVersion.
const UNKNOWN_COMMAND: [i32; 4] = [59, 115, 166, 188];

/// Whether the server knows `bulkWrite`.
#[derive(Default)]
pub(super) struct BulkWrite(AtomicU8);

const YES: u8 = 1;
const NO: u8 = 2;

impl Inner {
    /// Runs update statements on two collections, unordered.
    pub(super) async fn update_both(
        &self,
        first: (&str, Vec<Document>),
        second: (&str, Vec<Document>),
    ) -> Attempt<(Written, Written)> {
        let (count, bytes) = first
            .1
            .iter()
            .chain(&second.1)
            .fold((0, 0), |(count, bytes), one| (count + 1, bytes + size(one)));
        let fits = count <= MAX_STATEMENTS && bytes <= MAX_BYTES;
        if !first.1.is_empty() && !second.1.is_empty() && fits && self.knows_bulk_write().await? {
            match self.bulk_write(&first, &second).await {
                Err(error) if code_of(&error).is_some_and(|code| UNKNOWN_COMMAND.contains(&code)) => {
                    self.bulk_write.0.store(NO, Ordering::Relaxed);
                }
                outcome => return read_reply(&outcome?, first.1.len()),
            }
        }
        let mut written = (Written::default(), Written::default());
        if !first.1.is_empty() {
            written.0 = self.update(first.0, first.1).await?;
        }
        if !second.1.is_empty() {
            written.1 = self.update(second.0, second.1).await?;
        }
        Ok(written)
    }

    async fn knows_bulk_write(&self) -> Attempt<bool> {
        match self.bulk_write.0.load(Ordering::Relaxed) {
            YES => Ok(true),
            NO => Ok(false),
            _ => {
                let hello = self.db.run_command(doc! { "hello": 1 }).await?;
                let knows = Fields(&hello).signed("maxWireVersion")? >= WITH_BULK_WRITE;
                self.bulk_write.0.store(if knows { YES } else { NO }, Ordering::Relaxed);
                Ok(knows)
            }
        }
    }

    async fn bulk_write(
        &self,
        first: &(&str, Vec<Document>),
        second: &(&str, Vec<Document>),
    ) -> mongodb::error::Result<Document> {
        let operations = [&first.1, &second.1].into_iter().enumerate().flat_map(|(namespace, statements)| {
            statements.iter().map(move |statement| {
                let part = |name: &str| statement.get(name).cloned().unwrap_or_default();
                doc! {
                    "update": i32::from(namespace > 0),
                    "filter": part("q"),
                    "updateMods": part("u"),
                    "upsert": statement.get_bool("upsert").unwrap_or_default(),
                    "multi": false,
                }
            })
        });
        let namespace = |collection: &str| doc! { "ns": format!("{}.{collection}", self.db.name()) };
        let command = doc! {
            "bulkWrite": 1,
            "ops": operations.collect::<Vec<_>>(),
            "nsInfo": [namespace(first.0), namespace(second.0)],
            "ordered": false,
            "errorsOnly": false,
            "writeConcern": self.durable(),
        };
        self.client.database("admin").run_command(command).await
    }
}

/// What each statement did; the first `split` belong to the first collection.
fn read_reply(reply: &Document, split: usize) -> Attempt<(Written, Written)> {
    if let Ok(concern) = reply.get_document("writeConcernError") {
        return Err(not_durable(concern.get_i32("code").unwrap_or_default()));
    }
    let unreadable = || {
        Failure::Again(Error::new(
            ErrorKind::Unavailable,
            "the database's answer lacks what each statement did; retry later",
        ))
    };
    let cursor = reply.get_document("cursor").map_err(|_| unreadable())?;
    let results = cursor.get_array("firstBatch").map_err(|_| unreadable())?;
    let (mut first, mut second) = (Written::default(), Written::default());
    for result in results {
        let result = result.as_document().ok_or_else(unreadable)?;
        let fields = Fields(result);
        let index = usize::try_from(fields.signed("idx")?).map_err(|_| unreadable())?;
        let (written, index) = if index < split { (&mut first, index) } else { (&mut second, index - split) };
        match i32::try_from(fields.signed("code")?).unwrap_or(-1) {
            0 => {
                written.count += fields.unsigned("n")?;
                if result.contains_key("upserted") {
                    written.inserted.push(index);
                }
            }
            DUPLICATE => written.duplicates.push(index),
            code => match refused(code) {
                Failure::Again(error) => return Err(Failure::Again(error)),
                Failure::Final(_) => written.refused.push((index, code)),
            },
        }
    }
    Ok((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statements_result_goes_to_its_collection() {
        let reply = doc! { "ok": 1.0, "nErrors": 2, "cursor": { "id": 0_i64, "ns": "admin.$cmd.bulkWrite", "firstBatch": [
            { "ok": 1.0, "idx": 0, "n": 1, "nModified": 0, "upserted": { "_id": "a" } },
            { "ok": 0.0, "idx": 1, "n": 0, "code": 11000, "errmsg": "taken" },
            { "ok": 1.0, "idx": 2, "n": 1, "nModified": 1 },
            { "ok": 0.0, "idx": 3, "n": 0, "code": 14, "errmsg": "not a number" },
        ] } };
        let (first, second) = read_reply(&reply, 2).unwrap();
        assert_eq!((first.count, first.inserted, first.duplicates), (1, vec![0], vec![1]));
        assert_eq!((second.count, second.refused), (1, vec![(1, 14)]));
        let stepdown = doc! { "ok": 1.0, "cursor": { "id": 0_i64, "firstBatch": [
            { "ok": 0.0, "idx": 0, "n": 0, "code": 10107, "errmsg": "not primary" },
        ] } };
        assert!(matches!(read_reply(&stepdown, 1), Err(Failure::Again(_))));
        assert!(matches!(read_reply(&doc! { "ok": 1.0 }, 1), Err(Failure::Again(_))));
    }
}
