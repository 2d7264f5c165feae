//! The reference server over HTTP: probes, figures, lists of many sessions, sends.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use benches::percentiles::p50_p99;
use benches::report::Report;
use benches::stand_in::StandInProcess;
use benches::{Result, progress};
use centralita::clock::{SystemClock, Timestamp};
use centralita::store::{MongoStore, SessionPatch, SessionRecord, SqliteStore, Store};
use clap::Parser;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Measures requests a second and p99 of the server, with many sessions stored.
#[derive(Debug, Parser)]
#[command(name = "http")]
struct Args {
    /// Sessions stored.
    #[arg(long, default_value_t = 5_000)]
    sessions: usize,
    /// Seconds for each kind of request.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Requests at the same time.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// `mongodb://…`; else an SQLite file in a temporary folder.
    #[arg(long)]
    store: Option<String>,
    /// The server's program; else that beside this one.
    #[arg(long)]
    server: Option<PathBuf>,
}

const SECRET: &str = "a secret for benches of 32 bytes";
const KEYS: &str = "bench:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const PATIENCE: Duration = Duration::from_secs(60);
/// Statistics must cost at most five times what a probe costs.
const LEAST_STATS_VS_LIVEZ: f64 = 0.2;

fn main() -> ExitCode {
    benches::program::main(run)
}

async fn run(args: Args) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("centralita.db");
    progress(format_args!("storing {} sessions", args.sessions));
    let kind = fill(&args, &file).await?;
    let stand_in = StandInProcess::start().await?;
    let server = Server::start(&args, &file, &stand_in.web_socket_url).await?;
    let contact = stand_in.admin.add_phone().await?;
    server.link(&stand_in).await?;

    let mut report = Report::new("http");
    report.put("store", kind).put("sessions", args.sessions).put("concurrency", args.concurrency);
    let get = |path: &'static str| move |server: &Server, _| server.get(path);
    let livez = server.load(&args, get("/livez")).await?;
    let stats = server.load(&args, get("/api/sessions/stats")).await?;
    let page = server.load(&args, get("/api/sessions?limit=100")).await?;
    let text = |n: u64| json!({ "to": contact, "text": format!("message {n}") });
    let sends = server.load(&args, |server, n| server.post("/api/sessions/bench/messages", &text(n))).await?;
    for (name, load) in [("livez", &livez), ("stats", &stats), ("page", &page), ("send", &sends)] {
        report.measured(&format!("{name}_per_s"), load.per_s);
        report.measured(&format!("{name}_p99_ms"), load.p99_ms);
        report.must_be_zero(&format!("{name}_errors"), load.errors);
    }
    let stats_vs_livez = stats.per_s / livez.per_s;
    report.measured("stats_vs_livez", stats_vs_livez);
    if stats_vs_livez < LEAST_STATS_VS_LIVEZ && kind == "sqlite" {
        report
            .fail(format!("stats_vs_livez is {stats_vs_livez:.3}, must be at least {LEAST_STATS_VS_LIVEZ}"));
    }
    Ok(report)
}

/// Writes the records as the library does.
async fn fill(args: &Args, file: &std::path::Path) -> Result<&'static str> {
    let (store, kind): (Arc<dyn Store>, _) = match &args.store {
        Some(uri) => (Arc::new(MongoStore::connect(uri).await?), "mongodb"),
        None => (Arc::new(SqliteStore::open(file)?), "sqlite"),
    };
    let now: Timestamp = SystemClock::shared().now();
    let ids: Vec<usize> = (0..args.sessions).collect();
    for chunk in ids.chunks(64) {
        let writes = chunk.iter().map(|n| {
            let record = SessionRecord::new(format!("stored-{n:05}"), now);
            let store = Arc::clone(&store);
            async move { store.upsert_session(&record, &SessionPatch::default()).await }
        });
        futures::future::try_join_all(writes).await?;
    }
    store.close().await?;
    Ok(kind)
}

struct Load {
    per_s: f64,
    p99_ms: f64,
    errors: u64,
}

struct Server {
    http: Client,
    url: String,
    token: String,
    _child: Child,
}

impl Server {
    async fn start(args: &Args, file: &std::path::Path, web_socket_url: &str) -> Result<Self> {
        let program = match &args.server {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("centralita-server"),
        };
        if !program.exists() {
            return Err("centralita-server is not built beside this program; build it with: \
                        cargo build --release -p centralita-server --features stand-in"
                .into());
        }
        let mut command = Command::new(&program);
        command
            .args(["--bind", "127.0.0.1", "--port", "0", "--log-format", "json", "--rate-limit-per-s", "0"])
            .args(["--whatsapp-version", "2.3000.1027934701", "--restore-after-s", "0", "--keys", KEYS])
            // Each answered request is a line at `info`; what is measured is the server and not its log.
            .args(["--log", "warn,centralita_server::server=info", "--sqlite-file"])
            .arg(file)
            .env("JWT_SECRET", SECRET)
            .env("CENTRALITA_STAND_IN_URL", web_socket_url)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(uri) = &args.store {
            command.args(["--mongodb-uri", uri]);
        }
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("the server has no log")?).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                let entry: Value = serde_json::from_str(&line).unwrap_or_default();
                if entry["message"] == "listening" {
                    return Ok(entry["address"].as_str().unwrap_or_default().to_owned());
                }
                progress(line);
            }
            Err::<String, benches::Error>("the server ended before it listened".into())
        };
        let url = format!("http://{}", tokio::time::timeout(PATIENCE, listening).await??);
        // It would stop at a full pipe.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                progress(line);
            }
        });
        let output = Command::new(&program)
            .args(["token", "--scope", "admin"])
            .env("JWT_SECRET", SECRET)
            .output()
            .await?;
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        Ok(Self { http: Client::new(), url, token, _child: child })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body)
    }

    /// One session that is linked and can send.
    async fn link(&self, stand_in: &StandInProcess) -> Result<()> {
        let number = stand_in.admin.add_phone().await?;
        self.post("/api/sessions", &json!({ "sessionId": "bench" })).send().await?.error_for_status()?;
        let step: Value = self.get("/api/sessions/bench/qr?waitMs=30000").send().await?.json().await?;
        stand_in.admin.scan(&number, step["qr"].as_str().ok_or("no QR code")?).await?;
        let began = Instant::now();
        loop {
            let details: Value = self.get("/api/sessions/bench/details").send().await?.json().await?;
            if details["connectedNow"] == true {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err("the session was not linked".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Repeats a request from many sides for a while.
    async fn load(&self, args: &Args, request: impl Fn(&Self, u64) -> RequestBuilder) -> Result<Load> {
        let end = Instant::now() + Duration::from_secs(args.seconds);
        let (number, errors) = (AtomicU64::new(0), AtomicU64::new(0));
        let began = Instant::now();
        let sides = (0..args.concurrency).map(|_| async {
            let mut took_ms = Vec::new();
            while Instant::now() < end {
                let began = Instant::now();
                let response = request(self, number.fetch_add(1, Ordering::Relaxed)).send().await?;
                let is_ok = response.status().is_success();
                response.bytes().await?;
                if !is_ok {
                    errors.fetch_add(1, Ordering::Relaxed);
                }
                took_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok::<_, reqwest::Error>(took_ms)
        });
        let took_ms: Vec<f64> = futures::future::try_join_all(sides).await?.into_iter().flatten().collect();
        let per_s = took_ms.len() as f64 / began.elapsed().as_secs_f64();
        let (_, p99_ms) = p50_p99(took_ms);
        Ok(Load { per_s, p99_ms, errors: errors.into_inner() })
    }
}
