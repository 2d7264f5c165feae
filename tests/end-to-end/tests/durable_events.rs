//! Durable events of a session that talks to the stand-in.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use centralita::events::EventKind;
use centralita::events::durable::{ConsumerOptions, DurableConsumer, DurableEventOptions, LoggedEvent};
use centralita::service::WhatsAppService;
use centralita::session::Outgoing;
use centralita::session::status::Status;
use centralita::store::{EventRange, MessageStatus};
use centralita_end_to_end::*;

macro_rules! on_every_store {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                super::$name(super::StoreKind::Memory).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(super::StoreKind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mongo() {
                super::$name(super::StoreKind::Mongo).await;
            }
        })+
    };
}

on_every_store!(a_consumer_goes_on_after_a_restart, what_a_phone_does_is_logged_once_and_in_order);

async fn service(world: &World) -> WhatsAppService {
    world.service_with(|options| options.durable_events = Some(DurableEventOptions::default())).await
}

async fn consumer(service: &WhatsAppService) -> DurableConsumer {
    let mut options = ConsumerOptions::default();
    options.poll_interval = Duration::from_millis(50);
    service.consumer("crm", options).await.unwrap()
}

/// Reads until an event fits, and acknowledges all up to it.
async fn read_until(
    consumer: &DurableConsumer,
    what: &str,
    fits: impl Fn(&EventKind) -> bool,
) -> Vec<LoggedEvent> {
    let mut read: Vec<LoggedEvent> = Vec::new();
    within(what, async {
        loop {
            for event in consumer.next_batch(1, PATIENCE).await.unwrap() {
                consumer.ack(&event).await.unwrap();
                let found = fits(&event.event.kind);
                read.push(event);
                if found {
                    return;
                }
            }
        }
    })
    .await;
    read
}

fn is_text(kind: &EventKind, text: &str) -> bool {
    matches!(kind, EventKind::Message(message) if text_of(message) == Some(text))
}

fn numbers(events: &[LoggedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.event.seq).collect()
}

async fn a_consumer_goes_on_after_a_restart(kind: StoreKind) {
    let world = World::new(kind).await;
    let first = service(&world).await;
    let reader = consumer(&first).await;
    let (_, device) = world.link(&first, "ventas").await;
    world.contact.send_text(&world.phone.phone_number(), "uno").await.unwrap();
    let mut read = read_until(&reader, "the first message", |kind| is_text(kind, "uno")).await;
    let connected =
        |event: &LoggedEvent| matches!(event.event.kind, EventKind::Status { status: Status::Connected, .. });
    assert!(read.iter().any(connected), "{read:?}");
    world.contact.send_text(&world.phone.phone_number(), "dos").await.unwrap();
    device.wait_settled(PATIENCE).await.unwrap();
    reader.close().await;
    shut_down(first).await;
    device.wait_disconnected(PATIENCE).await.unwrap();
    world.contact.send_text(&world.phone.phone_number(), "tres").await.unwrap();

    let second = service(&world).await;
    let mut live = all_events(&second, "ventas");
    second.restore_all(|_| {}).await.unwrap();
    text_event(&mut live, "tres").await;
    let reader = consumer(&second).await;
    read.extend(read_until(&reader, "the third message", |kind| is_text(kind, "tres")).await);
    // Not one left out, none twice, across both lives.
    assert_eq!(numbers(&read), (1..=read.len() as u64).collect::<Vec<_>>());
    for text in ["uno", "dos", "tres"] {
        assert_eq!(read.iter().filter(|event| is_text(&event.event.kind, text)).count(), 1, "{text}");
    }
    // What links a device is in no event.
    assert!(!read.iter().any(|event| matches!(event.event.kind, EventKind::Code(_))));

    // A subscription sees the numbers of the log.
    world.contact.send_text(&world.phone.phone_number(), "cuatro").await.unwrap();
    let number =
        event(&mut live, "a message", |event| is_text(&event.kind, "cuatro").then_some(event.seq)).await;
    let rest = read_until(&reader, "the fourth message", |kind| is_text(kind, "cuatro")).await;
    assert_eq!(rest.last().unwrap().event.seq, number);

    second.delete_session("ventas").await.unwrap();
    let all = EventRange { session: "ventas".into(), after: 0, upto: u64::from(u32::MAX) };
    let left = second.store().read_events(&[all]).await.unwrap();
    // Its last word may come after it: that it was logged out.
    assert!(left.iter().all(|record| record.payload["type"] == "status"), "{left:?}");
    shut_down(second).await;
}

async fn what_a_phone_does_is_logged_once_and_in_order(kind: StoreKind) {
    let world = World::new(kind).await;
    let service = service(&world).await;
    let (session, device) = world.link(&service, "ventas").await;
    world.stand_in.faults().duplicate_messages(2);
    world.contact.send_text(&world.phone.phone_number(), "¿precio?").await.unwrap();
    world.contact.set_typing(&world.phone.phone_number(), true);
    let reader = consumer(&service).await;
    let mut read = read_until(&reader, "the question", |kind| is_text(kind, "¿precio?")).await;
    let EventKind::Message(question) = &read.last().unwrap().event.kind else { panic!("it is a message") };
    let question = question.key.clone();
    world.stand_in.faults().clear();

    let answer = session.send(Outgoing::reply(&question, "10 pesos")).await.unwrap();
    let delivered = |kind: &EventKind| {
        matches!(kind, EventKind::MessageChanged(message)
            if message.key == answer.key && message.status == MessageStatus::Delivered)
    };
    read.extend(read_until(&reader, "the receipt", delivered).await);
    world.contact.send_edit(&world.phone.phone_number(), &question.message_id, "¿cuánto?").await.unwrap();
    let edited = |kind: &EventKind| {
        matches!(kind, EventKind::MessageChanged(message)
            if message.key == question && message.edited_at.is_some())
    };
    read.extend(read_until(&reader, "the edit", edited).await);
    world.contact.send_text(&world.phone.phone_number(), "fin").await.unwrap();
    read.extend(read_until(&reader, "the end", |kind| is_text(kind, "fin")).await);
    device.wait_settled(PATIENCE).await.unwrap();
    let count =
        |fits: &dyn Fn(&EventKind) -> bool| read.iter().filter(|event| fits(&event.event.kind)).count();
    assert_eq!(count(&|kind| is_text(kind, "¿precio?")), 1);
    assert_eq!(count(&edited), 1);
    assert_eq!(count(&|kind| matches!(kind, EventKind::Typing { .. })), 0);
    assert_eq!(numbers(&read), (1..=read.len() as u64).collect::<Vec<_>>());
    shut_down(service).await;
}
