//! Logs on stderr: for people or as JSON, levels by target.

use centralita::{Error, ErrorKind, Result};
use tracing::subscriber::set_global_default;
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Options};

/// Starts logging for this process. `Invalid` names a filter that cannot be understood.
pub(crate) fn start(options: &Options) -> Result<()> {
    let filter = EnvFilter::builder().parse(&options.log).map_err(|error| {
        Error::new(
            ErrorKind::Invalid,
            "CENTRALITA_LOG cannot be understood; write it as info,centralita=debug",
        )
        .caused_by(error)
    })?;
    // They log whole packets, tokens included.
    let filter = ["socketioxide=warn", "engineioxide=warn"].into_iter().fold(filter, |filter, directive| {
        filter.add_directive(directive.parse().expect("a target and a level"))
    });
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Not `try_init`: it may bridge the `log` crate, through which the engine logs phone numbers.
    let started = match options.log_format {
        LogFormat::Pretty => set_global_default(subscriber.finish()),
        LogFormat::Json => {
            set_global_default(subscriber.json().with_span_list(false).flatten_event(true).finish())
        }
    };
    started.map_err(|_| Error::new(ErrorKind::InvalidState, "something else in this process logs already"))
}
