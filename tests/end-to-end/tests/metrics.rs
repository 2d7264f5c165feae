//! What a recorder of the process sees of a session's life, and that no series names anybody.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::HashMap;

use centralita::session::Outgoing;
use centralita_end_to_end::*;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// Counters and gauges by `name{label=value,…}`, histograms by how many values they hold. A snapshot takes what it
/// shows away from the recorder, so all that was seen is summed up.
fn series(snapshotter: &Snapshotter, seen: &mut HashMap<String, f64>) {
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<String> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(count) => count as f64,
            DebugValue::Gauge(gauge) => gauge.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        *seen.entry(format!("{}{{{}}}", key.key().name(), labels.join(","))).or_default() += value;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_is_seen_and_nobody_is_named() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();

    let world = World::new(StoreKind::Sqlite).await;
    let service = world.service().await;
    let mut events = all_events(&service, "ventas");
    let (session, device) = world.link(&service, "ventas").await;
    for text in ["uno", "dos"] {
        world.contact.send_text(&world.phone.phone_number(), text).await.unwrap();
        text_event(&mut events, text).await;
    }
    session.send(Outgoing::text(world.contact.phone_number(), "tres")).await.unwrap();
    device.wait_settled(PATIENCE).await.unwrap();

    let mut seen = HashMap::new();
    series(&snapshotter, &mut seen);
    let at_least = |name: &str, least: f64| {
        let value = seen.get(name).copied();
        assert!(value.is_some_and(|value| value >= least), "{name} is {value:?} in {seen:#?}");
    };
    assert_eq!(seen.get("centralita_sessions{status=connected}"), Some(&1.0), "{seen:#?}");
    assert_eq!(seen.get("centralita_messages_total{direction=in}"), Some(&2.0), "{seen:#?}");
    assert_eq!(seen.get("centralita_messages_total{direction=out}"), Some(&1.0), "{seen:#?}");
    assert_eq!(seen.get("centralita_sends_total{outcome=sent}"), Some(&1.0), "{seen:#?}");
    at_least("centralita_connections_total{}", 1.0);
    at_least("centralita_commit_seconds{}", 1.0);
    at_least("centralita_send_ack_seconds{}", 1.0);
    at_least("centralita_connect_seconds{}", 1.0);

    session.stop().await.unwrap();
    series(&snapshotter, &mut seen);
    assert_eq!(seen.get("centralita_sessions{status=connected}"), Some(&0.0), "{seen:#?}");

    let names: Vec<String> = seen.into_keys().collect();
    for secret in
        [world.phone.phone_number(), world.contact.phone_number(), "@".to_owned(), "ventas".to_owned()]
    {
        let named: Vec<_> = names.iter().filter(|name| name.contains(&secret)).collect();
        assert!(named.is_empty(), "{named:?} names somebody");
    }
    shut_down(service).await;
}
