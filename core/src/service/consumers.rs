//! Consumers of durable events.

use std::collections::HashMap;
use std::sync::Arc;

use super::handle::WhatsAppService;
use crate::error::{Error, ErrorKind, Result};
use crate::events::durable::{self, ConsumerInfo, ConsumerOptions, DeadLetters, DurableConsumer, DurableLog};

impl WhatsAppService {
    /// Opens a consumer of durable events: it goes on where it was, in whichever process; a name that is new
    /// [starts](ConsumerOptions::start) as the options say. See [`events::durable`](crate::events::durable).
    ///
    /// One process at a time has a consumer open, and one handle in it. One that was left open by a process that was
    /// killed is opened once its lease has run out.
    ///
    /// # Errors
    /// `InvalidState` if the option `durable_events` is off; `Invalid` for a bad name or option; `Conflict` if it is
    /// open elsewhere.
    pub async fn consumer(&self, name: &str, options: ConsumerOptions) -> Result<DurableConsumer> {
        const OP: &str = "consumer";
        self.open().map_err(|error| error.during(OP))?;
        let context = &self.inner.context;
        let opening = durable::open(
            self.durable_log(OP)?,
            Arc::clone(&context.leases),
            context.runtime.tokio().clone(),
            context.stop.child_token(),
            name,
            options,
        );
        opening.await.map_err(|error| error.during(OP))
    }

    /// The consumers that were ever opened and not deleted, by name.
    pub async fn consumers(&self) -> Result<Vec<ConsumerInfo>> {
        const OP: &str = "consumers";
        let store = self.store();
        self.durable_log(OP)?;
        let list = async {
            let last = store.last_events(None).await?;
            let mut consumers = Vec::new();
            for record in store.list_consumers().await? {
                let positions = store.load_positions(&record.name).await?;
                let positions: HashMap<&str, u64> =
                    positions.iter().map(|position| (position.session.as_str(), position.seq)).collect();
                let behind = last.iter().map(|mark| {
                    let read = positions.get(mark.session.as_str()).copied().unwrap_or(0);
                    mark.seq.saturating_sub(read)
                });
                consumers.push(ConsumerInfo {
                    behind: behind.sum(),
                    name: record.name,
                    created_at: record.created_at,
                });
            }
            Ok(consumers)
        };
        list.await.map_err(|error: Error| error.during(OP))
    }

    /// Forgets a consumer: its place in the log and its dead letters. `NotFound` if there is none, `Conflict` if it is
    /// open somewhere.
    pub async fn delete_consumer(&self, name: &str) -> Result<()> {
        const OP: &str = "delete_consumer";
        let found = self.known(name, OP).await?;
        let consumer = self.consumer(name, ConsumerOptions::default()).await;
        let consumer = consumer.map_err(|error| error.during(OP))?;
        let deleted = found.store().delete_consumer(name).await;
        consumer.close().await;
        deleted.map(drop).map_err(|error| error.during(OP))
    }

    /// The events that a consumer's handler failed on, to look at, replay and discard, from whichever process.
    /// `NotFound` if there is no such consumer.
    pub async fn dead_letters(&self, consumer: &str) -> Result<DeadLetters> {
        Ok(DeadLetters::new(self.known(consumer, "dead_letters").await?, consumer))
    }

    async fn known(&self, consumer: &str, op: &'static str) -> Result<Arc<DurableLog>> {
        self.open().map_err(|error| error.during(op))?;
        let log = self.durable_log(op)?;
        match log.store().get_consumer(consumer).await.map_err(|error| error.during(op))? {
            Some(_) => Ok(log),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("no consumer {consumer:?}; list them with consumers(), or open it to make it"),
            )
            .during(op)),
        }
    }

    fn durable_log(&self, op: &'static str) -> Result<Arc<DurableLog>> {
        self.inner.context.durable.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidState,
                "durable events are off; set the option durable_events when the service is built",
            )
            .during(op)
        })
    }
}
