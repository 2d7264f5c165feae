//! What Prometheus reads: the library's and the server's own metrics, and the system figures.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Duration;

use centralita::Result;
use centralita::store::{PageRequest, SessionFilter, Statistics};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::app::App;

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
/// Seconds.
const BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
/// How often samples that nobody has fetched are put together.
const UPKEEP: Duration = Duration::from_secs(5);

/// Starts recording, once a process.
pub(crate) fn start() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new().set_buckets(BUCKETS).expect("they are not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        match metrics::set_global_recorder(recorder) {
            Ok(()) => Some(handle),
            Err(_) => {
                tracing::warn!("another recorder of metrics is installed; /metrics shows the figures only");
                None
            }
        }
    });
}

fn handle() -> Option<&'static PrometheusHandle> {
    RECORDER.get().and_then(Option::as_ref)
}

/// Keeps the recorder small until the application stops.
pub(crate) async fn upkeep(app: App) {
    while app.stop().run_until_cancelled(tokio::time::sleep(UPKEEP)).await.is_some() {
        if let Some(handle) = handle() {
            handle.run_upkeep();
        }
    }
}

/// Counts a request by its route, never by its path.
pub(crate) fn note_request(method: &str, route: &str, status: u16, took: Duration) {
    let labels = [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
    metrics::histogram!("centralita_http_request_seconds", &labels).record(took.as_secs_f64());
}

/// The text that Prometheus reads.
pub(crate) async fn render(app: &App) -> Result<String> {
    let mut text = handle().map(PrometheusHandle::render).unwrap_or_default();
    figures(&mut text, &app.stats().get(app).await?, app.service().running_sessions().len());
    if app.options().metrics_per_session {
        per_session(&mut text, app).await?;
    }
    Ok(text)
}

fn figures(text: &mut String, statistics: &Statistics, running: usize) {
    let states = [
        ("connected", statistics.connected_sessions),
        ("disconnected", statistics.disconnected_sessions),
        ("pending", statistics.pending_sessions),
        ("error", statistics.error_sessions),
        ("inactive", statistics.inactive_sessions),
    ];
    text.push_str("# HELP centralita_sessions Stored sessions by state\n# TYPE centralita_sessions gauge\n");
    for (state, count) in states {
        push(text, format_args!("centralita_sessions{{state=\"{state}\"}} {count}"));
    }
    text.push_str("# HELP centralita_sessions_running Sessions that run in this process\n");
    text.push_str("# TYPE centralita_sessions_running gauge\n");
    push(text, format_args!("centralita_sessions_running {running}"));
    text.push_str("# HELP centralita_stored_messages Messages counted by the stored sessions\n");
    text.push_str("# TYPE centralita_stored_messages gauge\n");
    push(text, format_args!("centralita_stored_messages{{direction=\"out\"}} {}", statistics.messages_sent));
    push(
        text,
        format_args!("centralita_stored_messages{{direction=\"in\"}} {}", statistics.messages_received),
    );
    text.push_str("# HELP centralita_stored_chats Chats counted by the stored sessions\n");
    text.push_str("# TYPE centralita_stored_chats gauge\n");
    push(text, format_args!("centralita_stored_chats {}", statistics.total_chats));
}

async fn per_session(text: &mut String, app: &App) -> Result<()> {
    let mut series: [(&str, &str, Vec<String>); 4] = [
        ("centralita_session_connected", "Whether the session is connected", Vec::new()),
        ("centralita_session_messages_sent", "Messages that the session sent", Vec::new()),
        ("centralita_session_messages_received", "Messages that the session received", Vec::new()),
        ("centralita_session_memory_mb", "Memory that the session took at its last health check", Vec::new()),
    ];
    let mut page = PageRequest { limit: PageRequest::MAX_LIMIT, ..Default::default() };
    loop {
        let found = app.store().list_sessions(&SessionFilter::default(), &page).await?;
        for record in found.items {
            let id = label(&record.session_id);
            let values = [
                u8::from(record.is_connected).to_string(),
                record.messages_sent.to_string(),
                record.messages_received.to_string(),
                record.memory_usage.to_string(),
            ];
            for ((name, _, lines), value) in series.iter_mut().zip(values) {
                lines.push(format!("{name}{{session=\"{id}\"}} {value}"));
            }
        }
        page.after = found.next;
        if page.after.is_none() {
            break;
        }
    }
    for (name, help, lines) in series {
        push(text, format_args!("# HELP {name} {help}\n# TYPE {name} gauge"));
        for line in lines {
            push(text, format_args!("{line}"));
        }
    }
    Ok(())
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "{line}");
}
