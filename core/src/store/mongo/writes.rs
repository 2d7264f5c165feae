//! Many statements in one command. `run_command` is bare: the write concern goes in by hand, and an `Ok` may
//! hold errors.

use mongodb::bson::{Bson, Document, doc};

use super::Inner;
use super::documents::{integer, size};
use super::errors::{DUPLICATE, Failure, not_durable, refused};
use crate::error::{Error, ErrorKind};

type Attempt<T> = std::result::Result<T, Failure>;

/// The server takes 48,000,000 bytes and 100,000 statements; this leaves room for the frame.
pub(super) const MAX_BYTES: usize = 40_000_000;
const MAX_STATEMENTS: usize = 100_000;

/// What a command of statements did.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Documents matched or inserted, or deleted.
    pub(super) count: u64,
    /// Statements that inserted.
    pub(super) inserted: Vec<usize>,
    /// Statements refused because the key is taken.
    pub(super) duplicates: Vec<usize>,
    /// Other statements that were refused, with the server's code.
    pub(super) refused: Vec<(usize, i32)>,
}

impl Written {
    /// An error if any statement was refused, duplicates included.
    pub(super) fn all(self) -> Attempt<Self> {
        match (self.refused.first(), self.duplicates.first()) {
            (Some((_, code)), _) => Err(refused(*code)),
            (None, Some(_)) => Err(refused(DUPLICATE)),
            (None, None) => Ok(self),
        }
    }
}

impl Inner {
    /// Runs update statements, unordered, in as few commands as their size allows.
    pub(super) async fn update(&self, collection: &str, statements: Vec<Document>) -> Attempt<Written> {
        self.write("update", "updates", collection, statements, false).await
    }

    /// Inserts documents one after the other, up to the first whose key is taken.
    pub(super) async fn insert_in_order(
        &self,
        collection: &str,
        documents: Vec<Document>,
    ) -> Attempt<Written> {
        self.write("insert", "documents", collection, documents, true).await
    }

    /// Runs delete statements, unordered.
    pub(super) async fn delete(&self, collection: &str, statements: Vec<Document>) -> Attempt<Written> {
        self.write("delete", "deletes", collection, statements, false).await
    }

    /// Durable on a majority before it is answered.
    pub(super) fn durable(&self) -> Document {
        let wtimeout = i64::try_from(self.options.write_timeout.as_millis()).unwrap_or(i64::MAX);
        doc! { "w": "majority", "j": true, "wtimeout": wtimeout }
    }

    async fn write(
        &self,
        command: &str,
        field: &str,
        collection: &str,
        statements: Vec<Document>,
        ordered: bool,
    ) -> Attempt<Written> {
        let mut written = Written::default();
        let mut offset = 0;
        for chunk in chunks(statements) {
            let length = chunk.len();
            let document = doc! {
                command: collection,
                field: chunk,
                "ordered": ordered,
                "writeConcern": self.durable(),
            };
            read_reply(&self.db.run_command(document).await?, offset, &mut written)?;
            if ordered && !(written.duplicates.is_empty() && written.refused.is_empty()) {
                break;
            }
            offset += length;
        }
        Ok(written)
    }
}

/// Splits statements so that each command stays below the server's limits.
fn chunks(statements: Vec<Document>) -> Vec<Vec<Document>> {
    let mut chunks = Vec::new();
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for statement in statements {
        let size = size(&statement);
        if !chunk.is_empty() && (bytes + size > MAX_BYTES || chunk.len() == MAX_STATEMENTS) {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push(statement);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

fn read_reply(reply: &Document, offset: usize, written: &mut Written) -> Attempt<()> {
    let entries = |field: &str| reply.get_array(field).map(Vec::as_slice).unwrap_or_default().iter();
    let index = |entry: &Bson| {
        let index = entry.as_document().and_then(|entry| integer(entry.get("index")?));
        index.and_then(|index| usize::try_from(index).ok()).map(|index| index + offset)
    };
    for entry in entries("writeErrors") {
        let code = entry.as_document().and_then(|entry| integer(entry.get("code")?)).unwrap_or_default();
        let code = i32::try_from(code).unwrap_or_default();
        // What would pass at another time fails the command, so that it is run again whole.
        if let Failure::Again(error) = refused(code) {
            return Err(Failure::Again(error));
        }
        match index(entry) {
            Some(index) if code == DUPLICATE => written.duplicates.push(index),
            Some(index) => written.refused.push((index, code)),
            None => return Err(refused(code)),
        }
    }
    if let Ok(concern) = reply.get_document("writeConcernError") {
        let code = concern.get("code").and_then(integer).and_then(|code| i32::try_from(code).ok());
        return Err(not_durable(code.unwrap_or_default()));
    }
    written.inserted.extend(entries("upserted").filter_map(index));
    let count = reply.get("n").and_then(integer).and_then(|count| u64::try_from(count).ok());
    written.count += count.ok_or_else(|| {
        Failure::Again(Error::new(
            ErrorKind::Unavailable,
            "the database's answer lacks the count; retry later",
        ))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_batches_are_split_by_size_and_none_is_lost() {
        let statement = |size: usize| doc! { "q": { "_id": "x" }, "u": "y".repeat(size) };
        let sizes = [10, 39_000_000, 2_000_000, 10, 39_999_000, 10];
        let chunks = chunks(sizes.map(statement).to_vec());
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        for chunk in chunks {
            assert!(chunk.iter().map(size).sum::<usize>() <= MAX_BYTES);
        }
    }

    #[test]
    fn an_ok_reply_with_errors_inside_is_no_success() {
        let mut written = Written::default();
        let reply = doc! { "ok": 1, "n": 3, "upserted": [ { "index": 2, "_id": "c" } ], "writeErrors": [
        { "index": 0, "code": 11000 }, { "index": 1, "code": 121 } ] };
        read_reply(&reply, 10, &mut written).unwrap();
        assert_eq!((written.count, &written.inserted, &written.duplicates), (3, &vec![12], &vec![10]));
        assert_eq!(written.refused, [(11, 121)]);
        assert!(matches!(written.all(), Err(Failure::Final(_))));

        let concern = doc! { "ok": 1, "n": 1, "writeConcernError": { "code": 64 } };
        assert!(matches!(read_reply(&concern, 0, &mut Written::default()), Err(Failure::Again(_))));
        let stepdown = doc! { "ok": 1, "n": 0, "writeErrors": [ { "index": 0, "code": 10107 } ] };
        assert!(matches!(read_reply(&stepdown, 0, &mut Written::default()), Err(Failure::Again(_))));
        assert!(matches!(read_reply(&doc! { "ok": 1 }, 0, &mut Written::default()), Err(Failure::Again(_))));
    }
}
