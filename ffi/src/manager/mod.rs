//! The seed's `SessionManager`: what is known of sessions, whether they run here or not. Records are JSON with the
//! fields of the `sessions` collection.

mod query;
pub mod records;
pub mod removal;
pub mod status;
pub mod usage;
