//! `centralita_config`: what can be set about a service, by name, so that a new option changes no ABI.
//!
//! | file | what |
//! | --- | --- |
//! | `settings` | every option: its name, its meaning, where it goes |
//! | `values` | how their texts are read |
//! | `key_provider` | master keys that a host keeps elsewhere |

pub mod key_provider;
mod settings;
mod values;

use std::path::PathBuf;
use std::sync::Arc;

use centralita::events::durable::DurableEventOptions;
use centralita::service::options::ServiceOptions;
use centralita::store::mongo::MongoOptions;
use centralita::store::sqlite::SqliteOptions;
use centralita::vault::{KeyProvider, KeyRing};

use self::settings::SETTINGS;
use crate::boundary::{call, enter, get, guard, required, take};
use crate::error::{Outcome, centralita_error, invalid};
use crate::status::{CENTRALITA_END, CENTRALITA_OK};
use crate::text::centralita_str;

/// Options of a service. Opaque; used by one thread at a time.
#[derive(Default)]
pub struct centralita_config {
    options: ServiceOptions,
    log_events: bool,
    event_log: DurableEventOptions,
    pub(crate) gather_metrics: bool,
    pub(crate) mongo: MongoOptions,
    pub(crate) sqlite: SqliteOptions,
    pub(crate) keys: Option<Keys>,
    pub(crate) instance_id: Option<String>,
    pub(crate) worker_threads: usize,
}

pub(crate) enum Keys {
    Ring(KeyRing),
    File(PathBuf),
    Provider(Arc<dyn KeyProvider>),
    Plaintext,
}

impl centralita_config {
    /// What the core is given. In whichever order they were set: how the log is kept counts if there is one.
    pub(crate) fn service_options(&self) -> ServiceOptions {
        let mut options = self.options.clone();
        options.durable_events = self.log_events.then(|| self.event_log.clone());
        options
    }
}

/// An option: its name, what it is, and how it is read.
struct Setting {
    name: &'static str,
    help: &'static str,
    set: fn(&mut centralita_config, &str) -> Outcome<()>,
}

/// Makes a set of options with every default.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_config_new(
    out: *mut *mut centralita_config,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: what callers must keep is in the header's rules; so it is in every function of this crate.
    unsafe {
        call(err, || {
            required(out, "out")?.put_handle(centralita_config::default());
            Ok(())
        })
    }
}

/// Sets an option. `CENTRALITA_INVALID` if there is no such option or the value cannot be read; whether a number is
/// in its range is checked by `centralita_service_open`. `centralita_config_option` lists them all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_config_set(
    config: *mut centralita_config,
    name: centralita_str,
    value: centralita_str,
    err: *mut *mut centralita_error,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        call(err, || {
            let name = name.read("name")?;
            let value = value.read("value")?;
            let setting = SETTINGS
                .iter()
                .find(|setting| setting.name == name)
                .ok_or_else(|| invalid("no such option; centralita_config_option lists them all"))?;
            get(config, "config")?;
            (setting.set)(&mut *config, value).map_err(|failure| match failure {
                // Neither the value nor what a parser quotes of it: it may be a key.
                crate::error::Failure::Core(error) => {
                    invalid(format!("option {}: {}", setting.name, error.message()))
                }
                other => other,
            })
        })
    }
}

/// Tells the name and the meaning of the option number `index`, from 0. `CENTRALITA_END` beyond the last. Both strings
/// are static. Each of `name` and `help` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_config_option(
    index: usize,
    name: *mut centralita_str,
    help: *mut centralita_str,
) -> i32 {
    // SAFETY: see `centralita_config_new`.
    unsafe {
        enter(std::ptr::null_mut(), || {
            let Some(setting) = SETTINGS.get(index) else { return Ok(CENTRALITA_END) };
            for (out, text) in [(name, setting.name), (help, setting.help)] {
                if !out.is_null() {
                    out.write(centralita_str::of(Some(text)));
                }
            }
            Ok(CENTRALITA_OK)
        })
    }
}

/// Frees options and sets `*config` to NULL. NULL is fine, twice is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn centralita_config_free(config: *mut *mut centralita_config) {
    // SAFETY: see `centralita_config_new`.
    guard((), || drop(unsafe { take(config) }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn set(config: &mut centralita_config, name: &str, value: &str) -> i32 {
        let (name, value) = (centralita_str::of(Some(name)), centralita_str::of(Some(value)));
        // SAFETY: a config of ours, no place for an error.
        unsafe { centralita_config_set(config, name, value, std::ptr::null_mut()) }
    }

    /// Every field of the core's options that a user can set has a name here.
    #[test]
    fn each_option_is_read_and_rubbish_is_refused() {
        let mut config = centralita_config::default();
        for (name, good, bad) in [
            ("keys", "k:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "k:short"),
            ("show_online", "true", "yes please"),
            ("preload_chats_type", "groups", "everything"),
            ("preload_chats_limit", "7", "-1"),
            ("whatsapp_version", "2.3000.1", "2.3000"),
            ("lease_duration_ms", "5000", "5 s"),
            ("pre_key_count", "30", "65536"),
            ("worker_threads", "2", "70000"),
            ("durable_events", "true", "maybe"),
            ("durable_events_max_count", "9", "-9"),
            ("durable_events_log_presence", "true", "2"),
            ("park_idle_after_ms", "never", "always"),
            ("lease_heartbeat_ms", "1000", "1.5"),
            ("connects_per_s", "0", "4294967296"),
            ("pause_after_429_ms", "5", ""),
            ("per_session_metrics", "true", "on"),
            ("rate_per_session", "60/10", "60/"),
            ("outbox_max_entries", "5", "many"),
            ("mongo_max_pool_size", "5", "4294967296"),
            ("mongo_create_indexes", "false", "no"),
            ("sqlite_readers", "3", "256"),
            ("sqlite_max_file_bytes", "1000000", "1 MB"),
        ] {
            assert_eq!(set(&mut config, name, good), CENTRALITA_OK, "{name}");
            assert_eq!(set(&mut config, name, bad), crate::status::CENTRALITA_INVALID, "{name}");
        }
        assert_eq!(config.options.lease_duration, Duration::from_secs(5));
        assert_eq!(config.options.pre_key_count, 30);
        assert_eq!(config.options.whatsapp_version, Some((2, 3000, 1)));
        let durable = config.service_options().durable_events.unwrap();
        assert_eq!((durable.max_events_per_session, durable.log_presence), (9, true));
        assert_eq!(config.options.park_idle_after, None, "never");
        assert_eq!(set(&mut config, "no_such_option", "1"), crate::status::CENTRALITA_INVALID);
    }

    /// An option that the core gains must get a name here.
    #[test]
    fn every_option_of_the_core_can_be_set() {
        let source = include_str!("../../../core/src/service/options.rs");
        let fields = source.split("pub struct ServiceOptions {").nth(1).unwrap().split("\n}").next().unwrap();
        let mut count = 0;
        for (options, prefix) in [
            (include_str!("../../../core/src/store/mongo/options.rs"), "mongo"),
            (include_str!("../../../core/src/store/sqlite/options.rs"), "sqlite"),
        ] {
            for field in options.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(':')) {
                let (field, name) = (field.0, format!("{prefix}_{}", field.0));
                let named = SETTINGS.iter().any(|setting| setting.name.starts_with(&name));
                assert!(named || field == "clock", "option {name} has no name in settings.rs");
                count += 1;
            }
        }
        assert!(count > 9, "the options of the stores were not found");
        for line in fields.lines() {
            let Some((field, _)) = line.trim().strip_prefix("pub ").and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            // Of a struct of options each has a name of its own.
            let stem = if field == "rate_limits" { "rate_per_session" } else { field };
            let named = SETTINGS.iter().any(|setting| setting.name.starts_with(stem));
            assert!(named, "option {field} has no name in settings.rs");
            count += 1;
        }
        assert!(count > 40, "the options of the core were not found");
    }
}
