//! Hands each event to every subscription that wants it.

use std::sync::{Arc, RwLock};

use tokio_util::sync::CancellationToken;

use super::Event;
use super::subscription::{Closed, Offered, Queue, Subscription, SubscriptionOptions};
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug, Default)]
pub(crate) struct EventHub {
    queues: RwLock<Vec<Arc<Queue>>>,
}

impl EventHub {
    pub(crate) fn subscribe(&self, options: SubscriptionOptions) -> Result<Subscription> {
        if options.capacity == 0 {
            return Err(Error::new(ErrorKind::Invalid, "a subscription needs a capacity of at least 1"));
        }
        let queue = Arc::new(Queue::new(options));
        self.queues.write().unwrap_or_else(std::sync::PoisonError::into_inner).push(Arc::clone(&queue));
        Ok(Subscription::new(queue))
    }

    /// Waits only for subscriptions that asked for it ([`Overflow::Wait`](super::Overflow::Wait)), and for none once
    /// `stop` is cancelled.
    pub(crate) async fn publish(&self, event: Event, stop: &CancellationToken) {
        let event = Arc::new(event);
        let wanting: Vec<Arc<Queue>> = self
            .queues
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .iter()
            .filter(|queue| queue.options.filter.admits(&event))
            .cloned()
            .collect();
        let mut gone = false;
        for queue in wanting {
            loop {
                let writable = queue.writable.notified();
                match queue.offer(&event) {
                    Offered::Taken => break,
                    Offered::Gone => {
                        gone = true;
                        break;
                    }
                    Offered::Full => {
                        if stop.run_until_cancelled(writable).await.is_none() {
                            queue.drop_one();
                            break;
                        }
                    }
                }
            }
        }
        if gone {
            self.queues
                .write()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .retain(|queue| Arc::strong_count(queue) > 1);
        }
    }

    /// Lets subscribers take what is queued and then see the end.
    pub(crate) fn close(&self) {
        for queue in self.queues.write().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
            queue.close(Closed::ServiceEnded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::events::{EventKind, Filter, Overflow};

    fn event(session: &str, seq: u64) -> Event {
        Event {
            seq,
            session_id: session.into(),
            at: Timestamp::from_unix_ms(1),
            kind: EventKind::Undecryptable,
        }
    }

    async fn publish(hub: &EventHub, event: Event) {
        hub.publish(event, &CancellationToken::new()).await;
    }

    async fn take(subscription: &mut Subscription) -> Option<Arc<Event>> {
        subscription.next_within(std::time::Duration::from_secs(5)).await.unwrap()
    }

    #[tokio::test]
    async fn events_come_in_order_and_only_those_asked_for() {
        let hub = EventHub::default();
        let mut one = hub.subscribe(Filter::session("a").into()).unwrap();
        let mut all = hub.subscribe(SubscriptionOptions::default()).unwrap();
        for seq in 1..=3 {
            publish(&hub, event("a", seq)).await;
            publish(&hub, event("b", seq)).await;
        }
        hub.close();
        let mut seen = Vec::new();
        while let Some(event) = take(&mut one).await {
            seen.push(event.seq);
        }
        assert_eq!(seen, [1, 2, 3]);
        let mut count = 0;
        while take(&mut all).await.is_some() {
            count += 1;
        }
        assert_eq!(count, 6);
    }

    #[tokio::test]
    async fn a_slow_subscription_sees_how_many_it_missed() {
        let hub = EventHub::default();
        let mut slow = hub.subscribe(SubscriptionOptions::default().capacity(2)).unwrap();
        for seq in 1..=5 {
            publish(&hub, event("a", seq)).await;
        }
        assert_eq!(take(&mut slow).await.unwrap().kind, EventKind::Lagged { dropped: 3 });
        assert_eq!(take(&mut slow).await.unwrap().seq, 4);
        assert_eq!(take(&mut slow).await.unwrap().seq, 5);
    }

    #[tokio::test]
    async fn a_closing_subscription_ends_with_an_error() {
        let hub = EventHub::default();
        let options = SubscriptionOptions::default().capacity(1).overflow(Overflow::Close);
        let mut closing = hub.subscribe(options).unwrap();
        publish(&hub, event("a", 1)).await;
        publish(&hub, event("a", 2)).await;
        assert_eq!(take(&mut closing).await.unwrap().seq, 1);
        assert_eq!(closing.next().await.unwrap_err().kind(), ErrorKind::RateLimited);
    }

    #[tokio::test]
    async fn a_waiting_subscription_loses_nothing() {
        let hub = Arc::new(EventHub::default());
        let options = SubscriptionOptions::default().capacity(1).overflow(Overflow::Wait);
        let mut waiting = hub.subscribe(options).unwrap();
        let publisher = tokio::spawn({
            let hub = Arc::clone(&hub);
            async move {
                for seq in 1..=100 {
                    publish(&hub, event("a", seq)).await;
                }
            }
        });
        for seq in 1..=100 {
            assert_eq!(take(&mut waiting).await.unwrap().seq, seq);
        }
        publisher.await.unwrap();
    }

    #[tokio::test]
    async fn a_stopping_session_waits_for_nobody_and_says_what_was_dropped() {
        let hub = EventHub::default();
        let options = SubscriptionOptions::default().capacity(1).overflow(Overflow::Wait);
        let mut waiting = hub.subscribe(options).unwrap();
        let stop = CancellationToken::new();
        hub.publish(event("a", 1), &stop).await;
        stop.cancel();
        hub.publish(event("a", 2), &stop).await;
        assert_eq!(take(&mut waiting).await.unwrap().kind, EventKind::Lagged { dropped: 1 });
        assert_eq!(take(&mut waiting).await.unwrap().seq, 1);
    }

    #[tokio::test]
    async fn dropping_a_full_waiting_subscription_frees_the_publisher() {
        let hub = Arc::new(EventHub::default());
        let options = SubscriptionOptions::default().capacity(1).overflow(Overflow::Wait);
        let waiting = hub.subscribe(options).unwrap();
        publish(&hub, event("a", 1)).await;
        let mut publisher = Box::pin(publish(&hub, event("a", 2)));
        assert!(futures::poll!(&mut publisher).is_pending());
        drop(waiting);
        publisher.await;
    }
}
