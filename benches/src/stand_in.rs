//! The stand-in as a process of its own, and its admin interface.

use std::process::Stdio;
use std::time::Duration;

use centralita_stand_in::{Accounting, Arrivals, Progress, StandIn, TrafficOptions, TrafficReport};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use crate::Result;
use crate::process::Process;

/// The first argument of the program when it is to be the stand-in.
pub const ROLE: &str = "__stand-in";

/// How often a state that only polling shows is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    web_socket_url: String,
    admin_url: String,
}

/// Is the stand-in until standard input ends.
pub(crate) async fn serve() -> Result<()> {
    use std::io::Write as _;
    let stand_in = StandIn::start().await?;
    let ready = Ready { web_socket_url: stand_in.web_socket_url(), admin_url: stand_in.admin_url() };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&ready)?)?;
    let mut lifeline = crate::standard_input::lines();
    while lifeline.recv().await.is_some() {}
    stand_in.shutdown().await;
    Ok(())
}

/// A running stand-in. It ends when this is dropped.
#[derive(Debug)]
pub struct StandInProcess {
    /// Where clients connect.
    pub web_socket_url: String,
    /// Its admin interface.
    pub admin: Admin,
    /// The process.
    pub process: Process,
    _child: Child,
    _lifeline: ChildStdin,
}

impl StandInProcess {
    /// Starts this program once more, as the stand-in.
    pub async fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ROLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let lifeline = child.stdin.take().ok_or("the stand-in has no standard input")?;
        let stdout = child.stdout.take().ok_or("the stand-in has no standard output")?;
        let line = BufReader::new(stdout).lines().next_line().await?.ok_or("the stand-in did not start")?;
        let ready: Ready = serde_json::from_str(&line)?;
        let process = Process { pid: child.id().ok_or("the stand-in has ended")? };
        let admin = Admin::new(&ready.admin_url);
        Ok(Self { web_socket_url: ready.web_socket_url, admin, process, _child: child, _lifeline: lifeline })
    }
}

/// A linked device as the stand-in sees it.
#[derive(Debug, Clone, Deserialize)]
pub struct Device {
    /// Its account's number.
    pub phone_number: String,
    /// Whether it is logged in and has its backlog.
    pub live: bool,
    /// How often it has logged in.
    pub logins: u64,
    /// What it has not answered yet.
    pub queued: u64,
}

const IDLE_CONNECTIONS: usize = 4;

/// The admin interface of a stand-in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    http: reqwest::Client,
    url: String,
}

impl Admin {
    /// Of the stand-in at this address.
    pub fn new(url: &str) -> Self {
        // A worker links hundreds of sessions at once, and its memory is what is measured.
        let http = reqwest::Client::builder().pool_max_idle_per_host(IDLE_CONNECTIONS);
        Self { http: http.build().expect("nothing that can fail was asked for"), url: url.to_owned() }
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<String>) -> Result<T> {
        let mut request = self.http.request(method, format!("{}/admin/{path}", self.url));
        if let Some(body) = body {
            request = request.body(body);
        }
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            return Err(format!("the stand-in answered {path} with {status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.ask(Method::POST, path, Some(serde_json::to_string(body)?)).await
    }

    /// A new phone; gives its number.
    pub async fn add_phone(&self) -> Result<String> {
        #[derive(Deserialize)]
        struct Phone {
            phone_number: String,
        }
        Ok(self.post::<Phone>("phones", &json!({})).await?.phone_number)
    }

    /// The phone scans a QR code.
    pub async fn scan(&self, number: &str, qr: &str) -> Result<()> {
        self.ask::<Value>(Method::POST, &format!("phones/{number}/scan-qr"), Some(qr.to_owned())).await?;
        Ok(())
    }

    /// The linked devices of all phones.
    pub async fn devices(&self) -> Result<Vec<Device>> {
        self.get("devices").await
    }

    /// What was sent and what became of it.
    pub async fn accounting(&self) -> Result<Accounting> {
        self.get("accounting").await
    }

    /// The sums of the accounting.
    pub async fn progress(&self) -> Result<Progress> {
        self.get("accounting/progress").await
    }

    /// Who came, and when.
    pub async fn arrivals(&self) -> Result<Arrivals> {
        self.get("arrivals").await
    }

    /// The texts that a phone has read, each as often as it was shown.
    pub async fn texts_of(&self, number: &str) -> Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Read {
            text: Option<String>,
        }
        let read: Vec<Read> = self.get(&format!("phones/{number}/received?brief=true")).await?;
        Ok(read.into_iter().filter_map(|message| message.text).collect())
    }

    /// A fault of the stand-in's README.
    pub async fn fault(&self, name: &str, body: &Value) -> Result<()> {
        self.post::<Value>(&format!("faults/{name}"), body).await?;
        Ok(())
    }

    /// Phones begin to write.
    pub async fn start_traffic(&self, options: &TrafficOptions) -> Result<TrafficRun> {
        #[derive(Deserialize)]
        struct Started {
            traffic: usize,
        }
        let started: Started = self.post("traffic", options).await?;
        Ok(TrafficRun { admin: self.clone(), index: started.traffic })
    }

    /// Waits until every message for a companion has been answered.
    ///
    /// # Errors
    /// If some are not within `limit`, with how many.
    pub async fn wait_settled(&self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let progress = self.progress().await?;
            if progress.settled == progress.to_companions {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{} of {} messages were not answered within {} s",
                    progress.to_companions - progress.settled,
                    progress.to_companions,
                    limit.as_secs()
                )
                .into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until so many devices are live, for as long as `limit`. Gives how many were.
    pub async fn wait_live(&self, wanted: usize, limit: Duration) -> Result<usize> {
        let deadline = Instant::now() + limit;
        loop {
            let live = self.devices().await?.iter().filter(|device| device.live).count();
            if live >= wanted || Instant::now() > deadline {
                return Ok(live);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Traffic that was started.
#[derive(Debug)]
pub struct TrafficRun {
    admin: Admin,
    index: usize,
}

impl TrafficRun {
    /// Waits until all of it was sent.
    pub async fn ended(&self) -> Result<TrafficReport> {
        loop {
            let path = format!("traffic/{}?timeout_ms=10000", self.index);
            let report = sound(self.admin.get(&path).await?)?;
            if report.ended {
                return Ok(report);
            }
        }
    }

    /// Stops it.
    pub async fn stop(&self) -> Result<TrafficReport> {
        sound(self.admin.post(&format!("traffic/{}/stop", self.index), &json!({})).await?)
    }
}

fn sound(report: TrafficReport) -> Result<TrafficReport> {
    match report.errors.first() {
        None => Ok(report),
        Some(error) => Err(format!("a phone could not write: {error}").into()),
    }
}
