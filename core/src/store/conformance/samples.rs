//! What the rules write: hostile ids, short cuts, and random numbers that are the same in every run.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::{ErrorKind, Result};
use crate::store::{
    AuthKey, Direction, MessageKey, MessageKind, SessionPatch, SessionRecord, Store, StoredMessage, Tenure,
    WriteBatch,
};

/// The moment of every record that a rule makes.
pub const NOW: Timestamp = Timestamp::from_unix_s(1_700_000_000);

/// Ids that break what joins, quotes, splits, pads, folds or matches text carelessly.
pub fn hostile_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        " a",
        "a ",
        "'",
        "\"",
        "`",
        "\\",
        "/",
        "//",
        "a/",
        "/a",
        "%",
        "%2F",
        "%25",
        "$",
        "$set",
        "$a.b",
        ".",
        "..",
        "a.b",
        "*",
        ".*",
        "^a",
        "?",
        "_",
        "#",
        "a\0",
        "\0",
        "\0a",
        "\n",
        "\r\n",
        "\t",
        "é",
        "e\u{301}",
        "ß",
        "日本",
        "🦀",
        "👩‍👩‍👧",
        "\u{feff}",
        "\u{ffff}",
        "\u{10ffff}",
        "null",
        "0",
        "00",
        "-1",
        "{}",
        "[]",
        "' OR 1=1 --",
        "5491155550000@s.whatsapp.net",
        "12036300000@g.us",
    ]
    .map(str::to_owned)
    .to_vec();
    ids.push("x".repeat(4_096));
    ids.push(format!("{}y", "x".repeat(4_095)));
    ids
}

/// A key of kind `session`.
pub fn key(id: &str) -> AuthKey {
    AuthKey::new("session", id)
}

/// A batch that puts one value of kind `session`.
pub fn put(id: &str, value: &str) -> WriteBatch {
    let mut batch = WriteBatch::new();
    batch.put(key(id), Bytes::from(value.to_owned()), 0);
    batch
}

/// The tenure of a generation without a fence.
pub fn generation(generation: u64) -> Tenure {
    Tenure { generation, fence: 0 }
}

/// Applies one session's batch.
pub async fn apply(store: &dyn Store, session: &str, tenure: Tenure, batch: &WriteBatch) -> Result<()> {
    let mut results = store.apply_auth(&[(session, tenure, batch)]).await;
    assert_eq!(results.len(), 1, "one result for one batch");
    results.remove(0)
}

/// Reads one value of kind `session`.
pub async fn value(store: &dyn Store, session: &str, tenure: Tenure, id: &str) -> Option<Bytes> {
    store.get_auth(session, tenure, &[key(id)]).await.expect("a value can be read").remove(0)
}

/// That a call was refused because somebody newer owns the session.
#[track_caller]
pub fn assert_conflict<T: std::fmt::Debug>(result: Result<T>) {
    assert_kind(result, ErrorKind::Conflict);
}

/// That a call was refused so.
#[track_caller]
pub fn assert_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    match result {
        Ok(value) => panic!("expected {kind:?}, got {value:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

/// Inserts a fresh session record.
pub async fn session(store: &dyn Store, id: &str) -> SessionRecord {
    store
        .upsert_session(&SessionRecord::new(id, NOW), &SessionPatch::default())
        .await
        .expect("a session can be inserted")
}

/// Reads a session record that must be there.
pub async fn stored_session(store: &dyn Store, id: &str) -> SessionRecord {
    store.get_session(id).await.expect("a session can be read").expect("the session is there")
}

/// A message key in a chat.
pub fn message_key(chat: &str, id: &str) -> MessageKey {
    MessageKey { chat_id: chat.to_owned(), sender: "sender".to_owned(), message_id: id.to_owned() }
}

/// Text.
pub fn text(text: &str) -> MessageKind {
    MessageKind::Text { text: text.to_owned(), quoted: None }
}

/// A text message, `second` seconds after [`NOW`].
pub fn message(chat: &str, id: &str, direction: Direction, second: i64) -> StoredMessage {
    let at = Timestamp::from_unix_s(NOW.unix_s() + second);
    StoredMessage::new(message_key(chat, id), direction, at, text(id))
}

/// Small random numbers, the same in every run.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
