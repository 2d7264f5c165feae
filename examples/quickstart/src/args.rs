//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Link a phone, print what arrives, answer /ping. Ctrl-C stops; the next start needs no QR code.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
pub(crate) struct Args {
    /// The session's name.
    #[arg(long, default_value = "quickstart")]
    pub(crate) session: String,

    /// A file for the embedded store, or mongodb://HOST/DATABASE.
    #[arg(long, env = "MONGODB_URI", default_value = "centralita.db", hide_env_values = true)]
    pub(crate) store: String,

    /// The file with the master key; made at the first start. Ignored if CENTRALITA_KEYS is set.
    #[arg(long, default_value = "centralita.key")]
    pub(crate) key_file: PathBuf,

    /// Link with a code typed on the phone with this number, instead of the QR code.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pair_code: Option<String>,

    /// Do it all with a simulated phone and contact on this machine, then print one JSON line.
    #[arg(long)]
    pub(crate) stand_in: bool,

    /// Link to a stand-in that is running already, such as ws://127.0.0.1:4000/ws/chat.
    #[arg(long, value_name = "URL", conflicts_with = "stand_in")]
    #[cfg(feature = "stand-in")]
    pub(crate) server: Option<String>,
}
