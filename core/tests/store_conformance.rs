//! The conformance suite on every store of this crate.

mod harness;

use harness::{Memory, Mongo, Sqlite, SqliteInMemory};

centralita::store_conformance!(memory, Memory);
centralita::store_conformance!(sqlite, Sqlite::new());
centralita::store_conformance!(sqlite_in_memory, SqliteInMemory);
centralita::store_conformance!(mongo, Mongo::new());
