//! What a companion has not settled yet: waiting to be sent, or sent and not yet answered.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wacore_binary::Node;

/// Settlement is by class and id: a receipt and a message may share an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    Message,
    Receipt,
    Notification,
    Call,
}

impl Class {
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        Some(match tag {
            "message" => Self::Message,
            "receipt" => Self::Receipt,
            "notification" => Self::Notification,
            "call" => Self::Call,
            _ => return None,
        })
    }
}

/// A stanza for one companion, kept until settled.
#[derive(Clone, Debug)]
pub(crate) struct Stanza {
    pub(crate) class: Class,
    pub(crate) id: String,
    pub(crate) node: Node,
    /// How often it went out, over all connections.
    pub(crate) times_sent: u32,
}

/// Where a companion's connection is with its backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Not connected, or connected but not yet `active`.
    #[default]
    Closed,
    /// The backlog goes out in batches; new stanzas wait behind it.
    Draining,
    /// Everything goes out at once.
    Live,
}

/// The queue of one companion.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Stanza>,
    in_flight: VecDeque<Stanza>,
}

/// How many of each class are waiting.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Preview {
    pub(crate) messages: usize,
    pub(crate) receipts: usize,
    pub(crate) notifications: usize,
    pub(crate) calls: usize,
}

impl Preview {
    pub(crate) fn total(&self) -> usize {
        self.messages + self.receipts + self.notifications + self.calls
    }
}

impl Queue {
    pub(crate) fn push(&mut self, class: Class, id: String, node: Node) {
        self.waiting.push_back(Stanza { class, id, node, times_sent: 0 });
    }

    /// The next one to send; from now on it is in flight.
    pub(crate) fn take(&mut self) -> Option<&mut Stanza> {
        let mut stanza = self.waiting.pop_front()?;
        stanza.times_sent += 1;
        self.in_flight.push_back(stanza);
        self.in_flight.back_mut()
    }

    /// The client answered; true if something was waiting for that. All copies of the stanza go.
    pub(crate) fn settle(&mut self, class: Class, id: &str) -> bool {
        let before = self.len();
        // What is answered was sent, except for a redelivery that is already queued again.
        if let Some(at) = self.in_flight.iter().position(|stanza| stanza.class == class && stanza.id == id) {
            self.in_flight.remove(at);
        }
        let same = |stanza: &Stanza| stanza.class == class && stanza.id == id;
        if self.waiting.iter().any(same) {
            self.waiting.retain(|stanza| !same(stanza) || stanza.times_sent == 0);
        }
        self.len() < before
    }

    /// A retried message replaces what was sent before under the same id.
    pub(crate) fn forget(&mut self, class: Class, id: &str) {
        let keep = |stanza: &Stanza| stanza.class != class || stanza.id != id;
        self.in_flight.retain(keep);
        self.waiting.retain(keep);
    }

    /// The connection is gone: what was sent on it and not settled goes again, in the old order.
    pub(crate) fn rewind(&mut self) {
        while let Some(stanza) = self.in_flight.pop_back() {
            self.waiting.push_front(stanza);
        }
    }

    pub(crate) fn preview(&self) -> Preview {
        let mut preview = Preview::default();
        for stanza in &self.waiting {
            match stanza.class {
                Class::Message => preview.messages += 1,
                Class::Receipt => preview.receipts += 1,
                Class::Notification => preview.notifications += 1,
                Class::Call => preview.calls += 1,
            }
        }
        preview
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// All, in the order they would be sent again.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stanza> {
        self.in_flight.iter().chain(&self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::leaf;

    fn queue(ids: &[&str]) -> Queue {
        let mut queue = Queue::default();
        for id in ids {
            queue.push(Class::Message, (*id).to_owned(), leaf("message"));
        }
        queue
    }

    #[test]
    fn what_was_not_settled_comes_again_in_order() {
        let mut queue = queue(&["a", "b", "c"]);
        queue.take();
        queue.take();
        assert!(queue.settle(Class::Message, "a"));
        queue.rewind();
        let ids: Vec<_> = queue.iter().map(|stanza| stanza.id.as_str()).collect();
        assert_eq!(ids, ["b", "c"]);
        assert_eq!(queue.take().expect("b").times_sent, 2);
    }

    #[test]
    fn class_and_id_settle_together() {
        let mut queue = queue(&["a"]);
        queue.push(Class::Receipt, "a".to_owned(), leaf("receipt"));
        queue.take();
        queue.take();
        assert!(queue.settle(Class::Receipt, "a"));
        assert!(!queue.settle(Class::Receipt, "a"));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_retry_takes_the_place_of_the_first_try() {
        let mut queue = queue(&["a"]);
        queue.take();
        queue.forget(Class::Message, "a");
        queue.push(Class::Message, "a".to_owned(), leaf("message"));
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.preview().total(), 1);
    }
}
