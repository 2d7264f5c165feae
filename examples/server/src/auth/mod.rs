//! Who may do what: tokens (JWT), their scopes and their sessions.

mod guard;
pub(crate) mod one_time;
mod scope;
pub(crate) mod token;
mod verifier;

pub(crate) use guard::{Administer, Caller, Permit, Read, Send, authenticate};
pub(crate) use scope::Scope;
pub(crate) use verifier::Verifier;

#[cfg(test)]
mod tests;
