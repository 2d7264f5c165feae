//! Logs on stderr: for people or as JSON, levels by target.

use centralita::{Error, ErrorKind, Result};
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
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.log_format {
        LogFormat::Pretty => subscriber.try_init(),
        LogFormat::Json => subscriber.json().with_span_list(false).flatten_event(true).try_init(),
    };
    started.map_err(|_| Error::new(ErrorKind::InvalidState, "something else in this process logs already"))
}
