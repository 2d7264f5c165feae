//! The local WhatsApp of `centralita-testing`: `centralita-stand-in` and its phones, in this process.

use std::time::Duration;

use centralita::events::{EventKind, Filter, Overflow, SubscriptionOptions};
use centralita::{Error, ErrorKind, Result};
use centralita_stand_in::{LinkedDevice, Phone, PhoneOptions, ReceivedMessage, StandInError};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::bridge::{Done, Operation, spawn};
use crate::errors;
use crate::options::duration;
use crate::runtime::{ProcessBound, Runtime};
use crate::service::Service;
use crate::session::to_json;

fn failed(error: &StandInError) -> Error {
    let kind = match error {
        StandInError::TimedOut { .. } => ErrorKind::Timeout,
        StandInError::UnknownRecipient(_)
        | StandInError::UnknownDevice(_)
        | StandInError::UnknownMessage(_)
        | StandInError::NoSuchPairCode(_)
        | StandInError::QrExpired => ErrorKind::NotFound,
        StandInError::PhoneExists(_) => ErrorKind::AlreadyExists,
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, error.to_string()).during("stand-in")
}

/// What a phone does takes no time to speak of, so it is done at once, without the GIL.
fn now<T: Send>(
    py: Python<'_>,
    work: impl Future<Output = std::result::Result<T, StandInError>> + Send,
) -> PyResult<T> {
    let runtime = Runtime::current(py)?;
    py.detach(|| runtime.handle.block_on(work)).map_err(|error| errors::raise(py, &failed(&error)))
}

fn json_of<T: serde::Serialize>(py: Python<'_>, value: &T) -> PyResult<String> {
    to_json(value).map_err(|error| errors::raise(py, &error))
}

/// A running stand-in.
#[pyclass(frozen)]
pub(crate) struct StandIn(ProcessBound<centralita_stand_in::StandIn>);

#[pymethods]
impl StandIn {
    /// Starts one on a free port of loopback. With `echo`, phones answer each text with the same text.
    #[staticmethod]
    fn start(py: Python<'_>, echo: bool) -> PyResult<Self> {
        let started = now(py, centralita_stand_in::StandIn::builder().echo(echo).start())?;
        Ok(Self(ProcessBound::new(&Runtime::current(py)?.handle, started)))
    }

    #[getter]
    fn web_socket_url(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.web_socket_url())
    }

    #[getter]
    fn admin_url(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.admin_url())
    }

    /// A new phone with options given as JSON.
    fn add_phone(&self, py: Python<'_>, options: &str) -> PyResult<StandInPhone> {
        let options: PhoneOptions = serde_json::from_str(options)
            .map_err(|error| errors::raise(py, &errors::invalid("the phone's options", &error)))?;
        let phone = self.0.get(py)?.add_phone(options);
        let phone = phone.map_err(|error| errors::raise(py, &failed(&error)))?;
        Ok(StandInPhone(ProcessBound::new(&Runtime::current(py)?.handle, phone)))
    }

    /// Lets the phone with the client's push name scan its code. Returns the device's JID.
    fn scan_qr(&self, py: Python<'_>, qr: &str) -> PyResult<String> {
        let scanned = self.0.get(py)?.scan_qr(qr);
        scanned.map(|device| device.jid).map_err(|error| errors::raise(py, &failed(&error)))
    }

    fn create_group(
        &self,
        py: Python<'_>,
        owner: &StandInPhone,
        subject: &str,
        members: Vec<String>,
    ) -> PyResult<String> {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let created = self.0.get(py)?.create_group(owner.0.get(py)?, subject, &members);
        created.map_err(|error| errors::raise(py, &failed(&error)))
    }

    /// What was sent and what became of it, as JSON.
    fn accounting(&self, py: Python<'_>) -> PyResult<String> {
        json_of(py, &self.0.get(py)?.accounting())
    }

    /// `(lost, unsettled, duplicated)` for a device.
    fn account_of(&self, py: Python<'_>, device: &str) -> PyResult<(usize, usize, usize)> {
        let accounting = self.0.get(py)?.accounting();
        Ok((accounting.lost_to(device), accounting.unsettled(device), accounting.duplicated_from(device)))
    }

    fn shutdown(&self, py: Python<'_>) -> PyResult<()> {
        let stand_in = self.0.get(py)?;
        now(py, async {
            stand_in.shutdown().await;
            Ok(())
        })
    }
}

/// A simulated phone.
#[pyclass(frozen)]
pub(crate) struct StandInPhone(ProcessBound<Phone>);

#[pymethods]
impl StandInPhone {
    #[getter]
    fn phone_number(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.phone_number())
    }

    #[getter]
    fn jid(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.jid())
    }

    #[getter]
    fn lid(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.lid())
    }

    #[getter]
    fn push_name(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.0.get(py)?.push_name())
    }

    /// Returns the JID of the device that is now linked.
    fn scan_qr(&self, py: Python<'_>, qr: &str) -> PyResult<String> {
        let scanned = self.0.get(py)?.scan_qr(qr);
        scanned.map(|device| device.jid).map_err(|error| errors::raise(py, &failed(&error)))
    }

    fn enter_pair_code(&self, py: Python<'_>, code: &str) -> PyResult<String> {
        let phone = self.0.get(py)?;
        let entered = py.detach(|| phone.enter_pair_code(code));
        entered.map(|device| device.jid).map_err(|error| errors::raise(py, &failed(&error)))
    }

    /// Returns the message's id.
    fn send_text(&self, py: Python<'_>, to: &str, text: &str) -> PyResult<String> {
        let phone = self.0.get(py)?;
        now(py, phone.send_text(to, text))
    }

    /// Sends `count` texts, numbered from 0.
    fn send_texts(&self, py: Python<'_>, to: &str, text: &str, count: usize) -> PyResult<()> {
        let phone = self.0.get(py)?;
        now(py, async {
            for number in 0..count {
                phone.send_text(to, &format!("{text} {number}")).await?;
            }
            Ok(())
        })
    }

    /// Does `what` (`reply`, `react`, `edit`, `revoke`) to a message of a chat.
    fn send_about(
        &self,
        py: Python<'_>,
        what: &str,
        chat: &str,
        message_id: &str,
        text: &str,
    ) -> PyResult<String> {
        let phone = self.0.get(py)?;
        match what {
            "reply" => now(py, phone.send_reply(chat, message_id, text)),
            "react" => now(py, phone.send_reaction(chat, message_id, text)),
            "edit" => now(py, phone.send_edit(chat, message_id, text)),
            "revoke" => now(py, phone.send_revoke(chat, message_id)),
            _ => Err(errors::raise(py, &Error::new(ErrorKind::Internal, "a phone cannot do that"))),
        }
    }

    fn mark_read(&self, py: Python<'_>, chat: &str, message_ids: Vec<String>) -> PyResult<()> {
        self.0.get(py)?.mark_read(chat, &message_ids);
        Ok(())
    }

    /// Shows or ends "typing…" `times` times.
    fn set_typing(&self, py: Python<'_>, chat: &str, typing: bool, times: usize) -> PyResult<()> {
        let phone = self.0.get(py)?;
        py.detach(|| (0..times).for_each(|_| phone.set_typing(chat, typing)));
        Ok(())
    }

    fn set_presence(&self, py: Python<'_>, available: bool) -> PyResult<()> {
        self.0.get(py)?.set_presence(available);
        Ok(())
    }

    /// What it has read so far, as a JSON list.
    fn received(&self, py: Python<'_>) -> PyResult<String> {
        let received: Vec<Value> = self.0.get(py)?.received().iter().map(message_to_json).collect();
        json_of(py, &received)
    }

    /// The first message with this text (any if `None`), also one that is there already.
    fn wait_for_message(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        text: Option<String>,
        patience_s: f64,
    ) -> PyResult<Operation> {
        let phone = self.0.get(py)?.clone();
        spawn(py, future, async move {
            let found = phone.wait_for_message(duration("timeout", patience_s)?, |message| {
                text.is_none() || message.text == text
            });
            to_json(&message_to_json(&found.await.map_err(|error| failed(&error))?))
        })
    }

    fn wait_for_count(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        count: usize,
        patience_s: f64,
    ) -> PyResult<Operation> {
        let phone = self.0.get(py)?.clone();
        spawn(py, future, async move {
            let limit = duration("timeout", patience_s)?;
            phone.wait_for_count(limit, count).await.map_err(|error| failed(&error))?;
            Ok(Done)
        })
    }

    /// The first receipt of this kind for this message, as JSON.
    fn wait_for_receipt(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        message_id: String,
        kind: String,
        patience_s: f64,
    ) -> PyResult<Operation> {
        let phone = self.0.get(py)?.clone();
        spawn(py, future, async move {
            let found = phone.wait_for_receipt(duration("timeout", patience_s)?, |receipt| {
                receipt.message_ids.contains(&message_id)
                    && serde_json::to_value(receipt.kind).is_ok_and(|value| value == kind)
            });
            to_json(&found.await.map_err(|error| failed(&error))?)
        })
    }

    /// The linked devices' JIDs.
    fn devices(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.0.get(py)?.devices().into_iter().map(|device| device.jid).collect())
    }

    /// False if it was not linked.
    fn unlink(&self, py: Python<'_>, device: &str) -> PyResult<bool> {
        let phone = self.0.get(py)?;
        Ok(find(phone, device).is_ok_and(|device| phone.unlink(&device)))
    }

    /// Waits until a device is `connected`, `disconnected` or `settled` (has answered everything).
    fn wait_for_device(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        device: String,
        what: &str,
        patience_s: f64,
    ) -> PyResult<Operation> {
        let phone = self.0.get(py)?.clone();
        let what = what.to_owned();
        spawn(py, future, async move {
            let limit: Duration = duration("timeout", patience_s)?;
            let device = find(&phone, &device)?;
            let waited = match what.as_str() {
                "connected" => device.wait_connected(limit).await,
                "disconnected" => device.wait_disconnected(limit).await,
                "settled" => device.wait_settled(limit).await,
                _ => {
                    return Err(Error::new(
                        ErrorKind::Invalid,
                        "wait for connected, disconnected or settled",
                    ));
                }
            };
            waited.map(|()| Done).map_err(|error| failed(&error))
        })
    }
}

fn find(phone: &Phone, device: &str) -> Result<LinkedDevice> {
    phone
        .devices()
        .into_iter()
        .find(|linked| linked.jid == device)
        .ok_or_else(|| failed(&StandInError::UnknownDevice(device.to_owned())))
}

fn message_to_json(message: &ReceivedMessage) -> Value {
    json!({
        "id": message.id,
        "from": message.from,
        "chat": message.chat,
        "participant": message.participant,
        "text": message.text,
        "timestamp": message.timestamp,
        "deviceSent": message.device_sent,
    })
}

/// Counts events in Rust, for benchmarks of what Python adds: seconds from the first of `count` to the last.
#[pyfunction]
pub(crate) fn count_events(
    py: Python<'_>,
    future: Py<PyAny>,
    service: &Service,
    session_id: String,
    count: u64,
    patience_s: f64,
) -> PyResult<Operation> {
    let options = SubscriptionOptions::from(Filter::session(session_id)).overflow(Overflow::Wait);
    let subscribed = service.subscribe_here(py, options)?;
    spawn(py, future, async move {
        let mut events = subscribed?;
        let patience = duration("timeout", patience_s)?;
        let (mut seen, mut first) = (0, None);
        while seen < count {
            let Some(event) = events.next_within(patience).await? else { break };
            if matches!(event.kind, EventKind::Message(_) | EventKind::Typing { .. }) {
                first.get_or_insert_with(tokio::time::Instant::now);
                seen += 1;
            }
        }
        Ok(first.map_or(0.0, |first| first.elapsed().as_secs_f64()))
    })
}
