//! One live session.

pub mod status;
