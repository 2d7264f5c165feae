//! `centralita_config`: what can be set about a service, by name, so that a new option changes no ABI.

use std::path::PathBuf;
use std::time::Duration;

use centralita::events::durable::DurableEventOptions;
use centralita::service::options::{PreloadChatsType, ServiceOptions};
use centralita::session::Rate;
use centralita::vault::KeyRing;

use crate::boundary::{call, enter, get, guard, required, take};
use crate::error::{Outcome, centralita_error, invalid};
use crate::status::{CENTRALITA_END, CENTRALITA_OK};
use crate::text::centralita_str;

/// Options of a service. Opaque; used by one thread at a time.
#[derive(Default)]
pub struct centralita_config {
    pub(crate) options: ServiceOptions,
    pub(crate) keys: Option<Keys>,
    pub(crate) instance_id: Option<String>,
    pub(crate) worker_threads: usize,
}

pub(crate) enum Keys {
    Ring(KeyRing),
    File(PathBuf),
    Plaintext,
}

/// An option: its name, what it is, and how it is read.
struct Setting {
    name: &'static str,
    help: &'static str,
    set: fn(&mut centralita_config, &str) -> Outcome<()>,
}

const SETTINGS: &[Setting] = &[
    Setting {
        name: "keys",
        help: "master keys as id:base64,id2:base64, the first is the primary; default: the environment's CENTRALITA_KEYS",
        set: |config, value| {
            config.keys = Some(Keys::Ring(KeyRing::parse(value)?));
            Ok(())
        },
    },
    Setting {
        name: "key_file",
        help: "file of the master keys, made if absent; default with SQLite: the database's path with .key; back it up",
        set: |config, value| {
            config.keys = Some(Keys::File(PathBuf::from(value)));
            Ok(())
        },
    },
    Setting {
        name: "dangerously_store_credentials_in_plaintext",
        help: "true: no encryption at rest; whoever reads the database can take over every account",
        set: |config, value| {
            config.keys = flag(value)?.then_some(Keys::Plaintext);
            Ok(())
        },
    },
    Setting {
        name: "instance_id",
        help: "name of this instance in the leases, unique on one store; default: random",
        set: |config, value| {
            config.instance_id = Some(value.to_owned());
            Ok(())
        },
    },
    Setting {
        name: "worker_threads",
        help: "threads that run the sessions; 0 (default): one per core",
        set: |config, value| {
            let threads: u16 = number(value)?;
            if threads > 1_024 {
                return Err(invalid("at most 1024"));
            }
            config.worker_threads = threads.into();
            Ok(())
        },
    },
    Setting {
        name: "device_name",
        help: "name under which phones list the device; default: centralita",
        set: |config, value| {
            config.options.device_name = value.to_owned();
            Ok(())
        },
    },
    Setting {
        name: "show_online",
        help: "true: accounts are shown as online, and phones stop ringing; default: false",
        set: |config, value| {
            config.options.show_online = flag(value)?;
            Ok(())
        },
    },
    Setting {
        name: "preload_chats_type",
        help: "chats of the phone's history to store: all (default), contacts, groups or none",
        set: |config, value| {
            config.options.preload_chats.chats = match value {
                "all" => PreloadChatsType::All,
                "contacts" => PreloadChatsType::Contacts,
                "groups" => PreloadChatsType::Groups,
                "none" => PreloadChatsType::None,
                _ => return Err(invalid("use all, contacts, groups or none")),
            };
            Ok(())
        },
    },
    Setting {
        name: "preload_chats_limit",
        help: "how many of them at most; default: 50",
        set: |config, value| {
            config.options.preload_chats.limit = number(value)?;
            Ok(())
        },
    },
    Setting {
        name: "whatsapp_version",
        help: "WhatsApp Web version to claim, such as 2.3000.1027934701; default: asked once per process",
        set: |config, value| {
            let parts: Vec<u32> = value.split('.').map(number).collect::<Outcome<_>>()?;
            let [major, minor, patch] = parts[..] else { return Err(invalid("use three numbers with dots")) };
            config.options.whatsapp_version = Some((major, minor, patch));
            Ok(())
        },
    },
    Setting {
        name: "lease_duration_ms",
        help: "time after which another instance takes over from one that died; default: 30000",
        set: |config, value| {
            config.options.lease_duration = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "store_patience_ms",
        help: "how long sockets stay open while the store is away; default: 20000",
        set: |config, value| {
            config.options.store_patience = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "send_timeout_ms",
        help: "how long a send waits for WhatsApp's acknowledgement; default: 30000",
        set: |config, value| {
            config.options.send_timeout = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "pre_key_count",
        help: "one-time pre-keys kept on WhatsApp's server; default: 812",
        set: |config, value| {
            let count: u16 = number(value)?;
            config.options.pre_key_count = count.into();
            Ok(())
        },
    },
    Setting {
        name: "reconnect_min_ms",
        help: "first pause after a lost connection; default: 1000",
        set: |config, value| {
            config.options.reconnect_min = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "reconnect_max_ms",
        help: "longest pause after a lost connection; default: 300000",
        set: |config, value| {
            config.options.reconnect_max = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "stable_after_ms",
        help: "a link must have been up this long before the pauses start over; default: 60000",
        set: |config, value| {
            config.options.stable_after = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "penalty_min_ms",
        help: "shortest pause after 429 or after another client took over; default: 120000",
        set: |config, value| {
            config.options.penalty_min = milliseconds(value)?;
            Ok(())
        },
    },
    Setting {
        name: "connect_concurrency",
        help: "sessions that connect at the same time; default: 32",
        set: |config, value| {
            let sessions: u16 = number(value)?;
            config.options.connect_concurrency = sessions.into();
            Ok(())
        },
    },
    Setting {
        name: "durable_events",
        help: "true: log events for consumers that must miss none; alike in every process on the store; default: false",
        set: |config, value| {
            config.options.durable_events = flag(value)?.then(DurableEventOptions::default);
            Ok(())
        },
    },
    Setting {
        name: "rate_per_session",
        help: "messages a minute that a session may send, with a burst after /, such as 60/10; default: no limit",
        set: |config, value| {
            config.options.rate_limits.per_session = Some(rate(value)?);
            Ok(())
        },
    },
    Setting {
        name: "rate_per_recipient",
        help: "the same for the messages of a session to one chat; default: no limit",
        set: |config, value| {
            config.options.rate_limits.per_recipient = Some(rate(value)?);
            Ok(())
        },
    },
    Setting {
        name: "outbox_max_entries",
        help: "messages that may wait in a session's outbox; default: 1000",
        set: |config, value| {
            config.options.outbox.max_entries = number(value)?;
            Ok(())
        },
    },
    Setting {
        name: "push_name",
        help: "name shown until the phone tells its own",
        set: |config, value| {
            config.options.push_name = Some(value.to_owned());
            Ok(())
        },
    },
    Setting {
        name: "stand_in_url",
        help: "ws://127.0.0.1:port/ws/chat of a stand-in; only in a library built for tests",
        set: set_stand_in,
    },
];

#[cfg(feature = "stand-in")]
fn set_stand_in(config: &mut centralita_config, value: &str) -> Outcome<()> {
    config.options.stand_in_url = Some(value.to_owned());
    Ok(())
}

#[cfg(not(feature = "stand-in"))]
fn set_stand_in(_: &mut centralita_config, _: &str) -> Outcome<()> {
    Err(invalid("this library talks to WhatsApp alone; build one with the feature stand-in for tests"))
}

fn rate(value: &str) -> Outcome<Rate> {
    let (per_minute, burst) = value.split_once('/').unwrap_or((value, "1"));
    Ok(Rate::per_minute(number(per_minute)?).burst(number(burst)?))
}

fn flag(value: &str) -> Outcome<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(invalid("use true or false")),
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Outcome<T> {
    value.parse().map_err(|_| invalid("use a whole number in digits, not larger than fits"))
}

fn milliseconds(value: &str) -> Outcome<Duration> {
    number(value).map(Duration::from_millis)
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
            ("rate_per_session", "60/10", "60/"),
            ("outbox_max_entries", "5", "many"),
        ] {
            assert_eq!(set(&mut config, name, good), CENTRALITA_OK, "{name}");
            assert_eq!(set(&mut config, name, bad), crate::status::CENTRALITA_INVALID, "{name}");
        }
        assert_eq!(config.options.lease_duration, Duration::from_secs(5));
        assert_eq!(config.options.pre_key_count, 30);
        assert_eq!(config.options.whatsapp_version, Some((2, 3000, 1)));
        assert_eq!(set(&mut config, "no_such_option", "1"), crate::status::CENTRALITA_INVALID);
    }
}
