//! Events that survive a restart: consumers with a name, and what their handlers failed on.
//!
//! | file | what |
//! | --- | --- |
//! | `consumer` | opening, taking batches, acknowledging |
//! | `handler` | a caller's function that is given every event, with retries |
//! | `dead_letters` | what handlers failed on |

pub mod consumer;
pub mod dead_letters;
pub mod handler;
