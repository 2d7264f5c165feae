//! Everything that can be set: the seed's environment variables, and `CENTRALITA_…` for what it does not name.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use centralita::events::durable::DurableEventOptions;
use centralita::service::options::{PreloadChats, PreloadChatsType, ServiceOptions};
use centralita::{Error, ErrorKind, Result};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::auth::token::Mint;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "centralita-server",
    version,
    about = "WhatsApp sessions over HTTP and Socket.IO, with a dashboard.",
    after_help = "Every option can be set by its environment variable. An unknown CENTRALITA_ variable is an error."
)]
pub struct Cli {
    /// What the server is told.
    #[command(flatten)]
    pub options: Options,
    /// Something else than serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a token that this server accepts (HS256).
    Token(Mint),
    /// Take over the sessions of the seed's Node system from its MongoDB, without a code; it must not run.
    Import {
        /// Only say what would be taken over.
        #[arg(long)]
        dry_run: bool,
    },
}

/// The seed's `AUTH_STORAGE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuthStorage {
    /// MongoDB at `MONGODB_URI`.
    Mongo,
    /// A file in this folder.
    Sqlite,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JwtAlgorithm {
    /// HMAC with `JWT_SECRET`.
    #[value(name = "HS256")]
    Hs256,
    /// RSA; the public key is in a PEM file.
    #[value(name = "RS256")]
    Rs256,
    /// Ed25519; the public key is in a PEM file.
    #[value(name = "EdDSA")]
    EdDsa,
}

/// The options of the server. `--help` shows them with their defaults.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// MongoDB to keep everything in; without it, SQLite
    #[arg(long, env = "MONGODB_URI", hide_env_values = true)]
    pub mongodb_uri: Option<String>,
    /// Where sessions are kept [default: mongo if MONGODB_URI is set, else sqlite]
    #[arg(long, env = "AUTH_STORAGE", value_enum)]
    pub auth_storage: Option<AuthStorage>,
    /// SQLite's file
    #[arg(long, env = "CENTRALITA_SQLITE_FILE", default_value = "centralita.db")]
    pub sqlite_file: PathBuf,
    /// Master keys, `id:base64,…`, the first is primary
    #[arg(long, env = "CENTRALITA_KEYS", hide_env_values = true)]
    pub keys: Option<String>,
    /// Key file, made if it is not there [default with SQLite: centralita.key beside the file]
    #[arg(long, env = "CENTRALITA_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Address to listen on
    #[arg(long, env = "CENTRALITA_BIND", default_value = "0.0.0.0")]
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 5000)]
    pub port: u16,
    /// Secret of HS256 tokens, at least 16 bytes; required, there is no default
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    pub jwt_secret: Option<String>,
    /// The one signature algorithm that is accepted
    #[arg(long, env = "CENTRALITA_JWT_ALGORITHM", value_enum, default_value = "HS256")]
    pub jwt_algorithm: JwtAlgorithm,
    /// PEM file with the public key for RS256 and EdDSA
    #[arg(long, env = "CENTRALITA_JWT_PUBLIC_KEY_FILE")]
    pub jwt_public_key_file: Option<PathBuf>,
    /// Scopes of tokens that name none, as those of the seed's system: read, send, admin [default: none]
    #[arg(long, env = "CENTRALITA_JWT_DEFAULT_SCOPES", value_delimiter = ',')]
    pub jwt_default_scopes: Vec<String>,
    /// Chats whose history is stored at linking: all, contacts, groups, none
    #[arg(long, env = "PRELOAD_CHATS_TYPE", default_value = "all", value_parser = preload_chats_type)]
    pub preload_chats_type: PreloadChatsType,
    /// How many of them at most
    #[arg(long, env = "PRELOAD_CHATS_LIMIT", default_value_t = 50)]
    pub preload_chats_limit: u32,
    /// Name under which phones list the device
    #[arg(long, env = "CENTRALITA_DEVICE_NAME", default_value = "centralita")]
    pub device_name: String,
    /// WhatsApp Web version to claim, such as 2.3000.1027934701 [default: asked once]
    #[arg(long, env = "CENTRALITA_WHATSAPP_VERSION", value_parser = whatsapp_version)]
    pub whatsapp_version: Option<(u32, u32, u32)>,
    /// Origins that browsers may call from, separated by commas [default: none but this server's own]
    #[arg(long, env = "CENTRALITA_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<String>,
    /// How logs are written
    #[arg(long, env = "CENTRALITA_LOG_FORMAT", value_enum, default_value = "pretty")]
    pub log_format: LogFormat,
    /// What is logged: levels by target, such as info,centralita=debug
    #[arg(long, env = "CENTRALITA_LOG", default_value = "info")]
    pub log: String,
    /// Requests a second that one token may make on average; 0 lifts the limit
    #[arg(long, env = "CENTRALITA_RATE_LIMIT_PER_S", default_value_t = 50)]
    pub rate_limit_per_s: u32,
    /// Requests that one token may make at once
    #[arg(long, env = "CENTRALITA_RATE_LIMIT_BURST", default_value_t = 200)]
    pub rate_limit_burst: u32,
    /// Largest body of a request, in bytes
    #[arg(long, env = "CENTRALITA_BODY_LIMIT_BYTES", default_value_t = 262_144)]
    pub body_limit_bytes: usize,
    /// Seconds that a request may take
    #[arg(long, env = "CENTRALITA_REQUEST_TIMEOUT_S", default_value_t = 60)]
    pub request_timeout_s: u64,
    /// Seconds that a shutdown may take
    #[arg(long, env = "CENTRALITA_SHUTDOWN_S", default_value_t = 10)]
    pub shutdown_s: u64,
    /// Seconds after the start at which stored sessions are restored
    #[arg(long, env = "CENTRALITA_RESTORE_AFTER_S", default_value_t = 2)]
    pub restore_after_s: u64,
    /// Seconds after the start at which cleanup and health checks begin
    #[arg(long, env = "CENTRALITA_CLEANUP_AFTER_S", default_value_t = 5)]
    pub cleanup_after_s: u64,
    /// Seconds between two health checks of the running sessions
    #[arg(long, env = "CENTRALITA_HEALTH_CHECK_S", default_value_t = 300)]
    pub health_check_s: u64,
    /// Days without activity after which a session is removed
    #[arg(long, env = "CENTRALITA_INACTIVE_DAYS", default_value_t = 30)]
    pub inactive_days: u32,
    /// Days for which events are kept for Socket.IO clients that come back, over restarts; 0: the last 500 a session,
    /// in memory
    #[arg(long, env = "CENTRALITA_EVENT_LOG_DAYS", default_value_t = 7, value_parser = clap::value_parser!(u32).range(0..=3650))]
    pub event_log_days: u32,
    /// Lets anybody read /metrics; else it takes a token with the scope read
    #[arg(long, env = "CENTRALITA_METRICS_OPEN", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub metrics_open: bool,
    /// Also a metric series for each session, labelled with its id
    #[arg(long, env = "CENTRALITA_METRICS_PER_SESSION", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub metrics_per_session: bool,
    /// Where alerts are posted
    #[arg(long, env = "CENTRALITA_WEBHOOK_URL")]
    pub webhook_url: Option<String>,
    /// Secret that signs them; required with a URL
    #[arg(long, env = "CENTRALITA_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// Tries before a delivery becomes a dead letter
    #[arg(long, env = "CENTRALITA_WEBHOOK_ATTEMPTS", default_value_t = 8)]
    pub webhook_attempts: u32,
    /// Seconds before the first retry; it doubles with each
    #[arg(long, env = "CENTRALITA_WEBHOOK_BACKOFF_S", default_value_t = 2)]
    pub webhook_backoff_s: u64,
    /// Failed connection attempts from which a session raises an alert
    #[arg(long, env = "CENTRALITA_ALERT_ATTEMPTS", default_value_t = 5)]
    pub alert_attempts: u32,
    /// Seconds of disconnection after which a session raises an alert
    #[arg(long, env = "CENTRALITA_ALERT_DISCONNECTED_S", default_value_t = 300)]
    pub alert_disconnected_s: u64,
    /// Memory of one session, in MB, from which it raises an alert
    #[arg(long, env = "CENTRALITA_ALERT_MEMORY_MB", default_value_t = 64.0)]
    pub alert_memory_mb: f64,
    /// Milliseconds from which the store counts as slow
    #[arg(long, env = "CENTRALITA_ALERT_STORE_SLOW_MS", default_value_t = 1_000)]
    pub alert_store_slow_ms: u64,
    /// Seconds for which a resolved alert does not fire again
    #[arg(long, env = "CENTRALITA_ALERT_COOLDOWN_S", default_value_t = 300)]
    pub alert_cooldown_s: u64,
    /// Seconds between two looks at the rules
    #[arg(long, env = "CENTRALITA_ALERT_INTERVAL_S", default_value_t = 5)]
    pub alert_interval_s: u64,
    /// Try everything with a simulated WhatsApp: phones, contacts, data in a temporary folder
    #[arg(long)]
    pub demo: bool,
}

/// `CENTRALITA_` variables that other parts of the program read.
const READ_ELSEWHERE: &[&str] = &["CENTRALITA_STAND_IN_URL"];

impl Options {
    /// The options without a command line: environment and defaults. `Invalid` as [`check`](Self::check).
    pub fn from_env() -> Result<Self> {
        let cli = Cli::try_parse_from(["centralita-server"])
            .map_err(|error| Error::new(ErrorKind::Invalid, error.to_string()))?;
        cli.options.check()?;
        Ok(cli.options)
    }

    /// `Invalid` that names what does not fit together, or an unknown `CENTRALITA_` variable.
    pub fn check(&self) -> Result<()> {
        check_names(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let invalid = |message: &'static str| Err(Error::new(ErrorKind::Invalid, message));
        if self.auth_storage == Some(AuthStorage::Mongo) && self.mongodb_uri.is_none() && !self.demo {
            return invalid(
                "AUTH_STORAGE is mongo and MONGODB_URI is not set; set it, or AUTH_STORAGE=sqlite",
            );
        }
        if self.storage() == AuthStorage::Mongo && self.keys.is_none() && self.key_file.is_none() {
            return invalid(
                "with MongoDB the master key must be given: set CENTRALITA_KEYS (id:base64) or CENTRALITA_KEY_FILE",
            );
        }
        if self.webhook_url.is_some() && self.webhook_secret.is_none() {
            return invalid(
                "CENTRALITA_WEBHOOK_URL needs CENTRALITA_WEBHOOK_SECRET, which signs what is posted",
            );
        }
        if let Some(url) = &self.webhook_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return invalid("CENTRALITA_WEBHOOK_URL must begin with http:// or https://");
        }
        for (value, message) in [
            (self.rate_limit_burst as u64, "CENTRALITA_RATE_LIMIT_BURST must be at least 1"),
            (self.body_limit_bytes as u64, "CENTRALITA_BODY_LIMIT_BYTES must be at least 1"),
            (self.request_timeout_s, "CENTRALITA_REQUEST_TIMEOUT_S must be at least 1"),
            (self.shutdown_s, "CENTRALITA_SHUTDOWN_S must be at least 1"),
            (self.health_check_s, "CENTRALITA_HEALTH_CHECK_S must be at least 1"),
            (self.inactive_days.into(), "CENTRALITA_INACTIVE_DAYS must be at least 1"),
            (self.webhook_attempts.into(), "CENTRALITA_WEBHOOK_ATTEMPTS must be at least 1"),
            (self.webhook_backoff_s, "CENTRALITA_WEBHOOK_BACKOFF_S must be at least 1"),
            (self.alert_attempts.into(), "CENTRALITA_ALERT_ATTEMPTS must be at least 1"),
            (self.alert_interval_s, "CENTRALITA_ALERT_INTERVAL_S must be at least 1"),
        ] {
            if value == 0 {
                return invalid(message);
            }
        }
        if !self.alert_memory_mb.is_finite() || self.alert_memory_mb <= 0.0 {
            return invalid("CENTRALITA_ALERT_MEMORY_MB must be a number above 0");
        }
        Ok(())
    }

    /// Where sessions are kept.
    pub fn storage(&self) -> AuthStorage {
        match (self.demo, self.auth_storage, &self.mongodb_uri) {
            (true, ..) => AuthStorage::Sqlite,
            (false, Some(storage), _) => storage,
            (false, None, Some(_)) => AuthStorage::Mongo,
            (false, None, None) => AuthStorage::Sqlite,
        }
    }

    /// The options of the library that these set.
    pub fn service_options(&self) -> ServiceOptions {
        let mut options = ServiceOptions::default();
        options.device_name.clone_from(&self.device_name);
        options.preload_chats =
            PreloadChats { chats: self.preload_chats_type, limit: self.preload_chats_limit };
        options.whatsapp_version = self.whatsapp_version;
        options.durable_events = (self.event_log_days > 0).then(|| {
            let mut log = DurableEventOptions::default();
            log.max_age = Duration::from_secs(u64::from(self.event_log_days) * 24 * 60 * 60);
            log
        });
        options
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_s)
    }
}

/// A misspelt name must not be taken for a default.
fn check_names(names: impl Iterator<Item = String>) -> Result<()> {
    let command = Cli::command();
    let known: Vec<&str> =
        command.get_arguments().filter_map(|arg| arg.get_env().and_then(|name| name.to_str())).collect();
    for name in names.filter(|name| name.starts_with("CENTRALITA_")) {
        if !known.contains(&name.as_str()) && !READ_ELSEWHERE.contains(&name.as_str()) {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("unknown environment variable {name}; --help lists those there are"),
            ));
        }
    }
    Ok(())
}

fn preload_chats_type(text: &str) -> std::result::Result<PreloadChatsType, String> {
    match text {
        "all" => Ok(PreloadChatsType::All),
        "contacts" => Ok(PreloadChatsType::Contacts),
        "groups" => Ok(PreloadChatsType::Groups),
        "none" => Ok(PreloadChatsType::None),
        _ => Err("use all, contacts, groups or none".to_owned()),
    }
}

fn whatsapp_version(text: &str) -> std::result::Result<(u32, u32, u32), String> {
    let numbers: Vec<u32> = text.split('.').filter_map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [major, minor, patch] if text.split('.').count() == 3 => Ok((major, minor, patch)),
        _ => Err("write it as 2.3000.1027934701".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Cli::try_parse_from(std::iter::once("centralita-server").chain(arguments.iter().copied()))
            .unwrap()
            .options
    }

    #[test]
    fn a_misspelt_variable_is_named() {
        check_names(["CENTRALITA_KEYS", "PORT", "HOME"].map(str::to_owned).into_iter()).unwrap();
        let error = check_names(std::iter::once("CENTRALITA_KEY".to_owned())).unwrap_err();
        assert!(error.message().contains("CENTRALITA_KEY;"), "{error}");
    }

    #[test]
    fn mongodb_is_the_default_only_with_an_address_and_needs_a_key() {
        assert_eq!(parse(&[]).storage(), AuthStorage::Sqlite);
        let mongo = parse(&["--mongodb-uri", "mongodb://127.0.0.1/x"]);
        assert_eq!(mongo.storage(), AuthStorage::Mongo);
        assert!(mongo.check().unwrap_err().message().contains("CENTRALITA_KEYS"));
        let error = parse(&["--auth-storage", "mongo"]).check().unwrap_err();
        assert!(error.message().contains("MONGODB_URI"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (arguments, name) in [
            (&["--webhook-url", "http://127.0.0.1/"][..], "CENTRALITA_WEBHOOK_SECRET"),
            (&["--webhook-url", "ftp://x", "--webhook-secret", "s"][..], "CENTRALITA_WEBHOOK_URL"),
            (&["--shutdown-s", "0"][..], "CENTRALITA_SHUTDOWN_S"),
            (&["--alert-memory-mb", "NaN"][..], "CENTRALITA_ALERT_MEMORY_MB"),
        ] {
            let error = parse(arguments).check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains(name), "{error}");
        }
        for bad in [&["--port", "x"][..], &["--preload-chats-type", "some"], &["--whatsapp-version", "2.3"]] {
            let arguments = std::iter::once("centralita-server").chain(bad.iter().copied());
            assert!(Cli::try_parse_from(arguments).is_err(), "{bad:?}");
        }
    }
}
