//! Deliveries that wait and those that nobody took, as documents.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use centralita::clock::Timestamp;
use centralita::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::alerts::AlertChange;
use crate::documents::Documents;

const WAITING: &str = "delivery";
const DEAD: &str = "deadletter";
/// Deliveries looked at at a time.
const PAGE: u32 = 100;
/// How long one try of another instance, or of a process that was killed, keeps others from trying.
const CLAIM: Duration = Duration::from_secs(60);

/// Something to post.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    /// Sorts by age.
    pub(super) id: String,
    /// What is posted.
    pub(super) body: String,
    /// Tries so far.
    pub(super) attempts: u32,
    /// Not before; milliseconds since the Unix epoch.
    pub(super) next_attempt_ms: u64,
    /// What came of the last try.
    pub(super) last_error: Option<String>,
}

/// A delivery that nobody took.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeadLetter {
    id: String,
    /// What would have been posted.
    body: String,
    attempts: u32,
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    last_attempt_at: Timestamp,
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Delivery {
    pub(super) fn of(change: &AlertChange) -> Self {
        let now = now_ms();
        let id = format!("{now:013}-{:016x}", rand::random::<u64>());
        let body =
            serde_json::json!({ "id": id, "type": format!("alert.{}", change.state), "alert": change.alert });
        Self { id, body: body.to_string(), attempts: 0, next_attempt_ms: now, last_error: None }
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "a delivery cannot be written as JSON; report it")
                .caused_by(error)
        })
    }

    pub(super) async fn store(&self, documents: &dyn Documents) -> Result<()> {
        // False only if it is there already.
        documents.compare_and_set(WAITING, &self.id, None, Some(&self.text()?)).await.map(drop)
    }
}

fn parse(text: &str) -> Result<Delivery> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "a stored delivery cannot be understood; delete it").caused_by(error)
    })
}

/// Takes the deliveries that are due, so that no other instance tries them at the same time.
pub(super) async fn claim(documents: &dyn Documents) -> Result<Vec<Delivery>> {
    let now = now_ms();
    let mut claimed = Vec::new();
    for (id, text) in documents.list(WAITING, None, PAGE).await? {
        let delivery = parse(&text)?;
        if delivery.next_attempt_ms > now {
            continue;
        }
        let until = now.saturating_add(CLAIM.as_millis() as u64);
        let mine = Delivery { next_attempt_ms: until, attempts: delivery.attempts + 1, ..delivery };
        if documents.compare_and_set(WAITING, &id, Some(&text), Some(&mine.text()?)).await? {
            claimed.push(mine);
        }
    }
    Ok(claimed)
}

/// It was taken.
pub(super) async fn done(documents: &dyn Documents, delivery: &Delivery) -> Result<()> {
    documents.compare_and_set(WAITING, &delivery.id, Some(&delivery.text()?), None).await.map(drop)
}

/// It was not: again later.
pub(super) async fn again(
    documents: &dyn Documents,
    delivery: &Delivery,
    error: &str,
    pause: Duration,
) -> Result<()> {
    let next_attempt_ms = now_ms().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
    let later = Delivery { next_attempt_ms, last_error: Some(error.to_owned()), ..delivery.clone() };
    let (old, new) = (delivery.text()?, later.text()?);
    documents.compare_and_set(WAITING, &delivery.id, Some(&old), Some(&new)).await.map(drop)
}

/// It was not, too often: kept until somebody sends it again.
pub(super) async fn bury(documents: &dyn Documents, delivery: &Delivery, error: &str) -> Result<()> {
    let dead = Delivery { last_error: Some(error.to_owned()), next_attempt_ms: now_ms(), ..delivery.clone() };
    // Kept before it is removed: a crash in between leaves both, and it is tried once more.
    documents.compare_and_set(DEAD, &delivery.id, None, Some(&dead.text()?)).await?;
    done(documents, delivery).await
}

/// A page of the dead letters, the oldest first.
pub(crate) async fn dead_letters(
    documents: &dyn Documents,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<DeadLetter>> {
    let page = documents.list(DEAD, after, limit).await?;
    page.iter()
        .map(|(_, text)| {
            let dead = parse(text)?;
            Ok(DeadLetter {
                id: dead.id,
                body: dead.body,
                attempts: dead.attempts,
                last_error: dead.last_error,
                last_attempt_at: Timestamp::from_unix_ms(
                    i64::try_from(dead.next_attempt_ms).unwrap_or(i64::MAX),
                ),
            })
        })
        .collect()
}

/// Puts a dead letter back among those that wait. False if there is none of this id.
pub(crate) async fn resend(documents: &dyn Documents, id: &str) -> Result<bool> {
    let Some(text) = documents.get(DEAD, id).await? else { return Ok(false) };
    let delivery = Delivery { attempts: 0, next_attempt_ms: now_ms(), ..parse(&text)? };
    delivery.store(documents).await?;
    documents.compare_and_set(DEAD, id, Some(&text), None).await
}
