//! `centralita-server import [--dry-run]`: moves in from the seed's Node system.
//!
//! Records, messages and chats are read as they are: the same collections and fields. What Baileys stored in
//! `authstates` and `authkeys` is converted, encrypted and written in its place; the originals are moved aside, into
//! `baileysauthstates` and `baileysauthkeys`. The Node system must not run, neither then nor later.
//!
//! | file | what |
//! | --- | --- |
//! | `seed` | Baileys' rows in MongoDB: found, read, moved aside |
//! | `report` | what is printed |

mod report;
mod seed;

use centralita::service::WhatsAppService;
use centralita::service::import::BaileysReport;
use centralita::session::status::StatusEvent;
use centralita::session_manager::StatusUpdate;
use centralita::store::{MongoStore, Store};
use centralita::{Error, ErrorKind, Result};

use crate::config::{AuthStorage, Options};
use crate::stores;
use report::{Found, Report};
use seed::Seed;

/// How long the last writes may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// Imports, or looks and changes nothing. Answers with a report as JSON, and whether every session was taken over.
pub(crate) async fn run(options: &Options, dry_run: bool) -> Result<(String, bool)> {
    if options.storage() != AuthStorage::Mongo {
        return Err(Error::new(
            ErrorKind::Invalid,
            "import works on the MongoDB that the Node system filled; set MONGODB_URI, and AUTH_STORAGE to mongo or not at all",
        ));
    }
    let seed = Seed::connect(stores::mongodb_uri(options)?).await?;
    let outcome = look_and_take(options, &seed, dry_run).await;
    seed.close().await;
    let report = Report { dry_run, sessions: outcome? };
    let is_complete = report.sessions.values().all(|found| found.problem.is_none());
    let text = serde_json::to_string_pretty(&report).map_err(|error| {
        Error::new(ErrorKind::Internal, "the report cannot be written as JSON").caused_by(error)
    })?;
    Ok((text, is_complete))
}

async fn look_and_take(options: &Options, seed: &Seed, dry_run: bool) -> Result<report::Sessions> {
    let mut sessions = seed.look().await?;
    let foreign: Vec<String> =
        sessions.iter().filter(|(_, found)| found.is_foreign()).map(|(id, _)| id.clone()).collect();
    if dry_run {
        for id in foreign {
            let checked = match seed.baileys(&id).await? {
                Ok(auth) => auth.check(),
                Err(error) => Err(error),
            };
            sessions.entry(id).or_default().note(checked);
        }
    } else if !foreign.is_empty() {
        let store = MongoStore::connect(stores::mongodb_uri(options)?).await?;
        let service = WhatsAppService::builder()
            .store(store.clone())
            .keys(stores::keys(options)?)
            .options(options.service_options())
            .start()
            .await?;
        for id in foreign {
            let taken = take(&service, seed, &id).await;
            let found = sessions.entry(id).or_default();
            found.note(taken);
            found.is_done = true;
        }
        service.shutdown(PATIENCE).await?;
        store.close().await?;
    }
    sessions.values_mut().for_each(Found::say_what_to_do);
    Ok(sessions)
}

/// One session. What cannot be converted is moved aside all the same: it would be in the way of a new link.
async fn take(service: &WhatsAppService, seed: &Seed, id: &str) -> Result<BaileysReport> {
    let auth = seed.baileys(id).await?;
    seed.move_aside(id).await?;
    let outcome = match auth {
        Ok(auth) => service.import_baileys(id, &auth).await,
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        // The record may still say what it said when the Node system was stopped.
        let ended =
            service.manager().apply_status(id, StatusEvent::ConnectionEnded, StatusUpdate::default()).await;
        if let Err(error) = ended {
            tracing::debug!(session = id, %error, "the record was left as it is");
        }
    }
    outcome
}
