//! A process seen from outside: memory and CPU in /proc, signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::Result;

/// The kernel counts CPU in these, on every architecture that Linux still runs on.
const TICKS_PER_S: f64 = 100.0;
const RSS_SAMPLES_EVERY: Duration = Duration::from_millis(50);

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
}

impl Process {
    /// Memory that it has in RAM, in KiB.
    pub fn rss_kib(self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("the process has no VmRSS")?;
        Ok(kib.trim().parse()?)
    }

    /// CPU time that it has used so far, user and system, in seconds; to 10 ms.
    pub fn cpu_s(self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The second field is a name in parentheses, which may hold spaces.
        let (_name, fields) = stat.rsplit_once(')').ok_or("/proc/PID/stat is not as expected")?;
        let ticks: f64 =
            fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap_or(0.0)).sum();
        Ok(ticks / TICKS_PER_S)
    }

    /// Sends a signal, such as `STOP`, `CONT` or `KILL`.
    pub async fn signal(self, name: &str) -> Result<()> {
        let pid = self.pid.to_string();
        let status = tokio::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().await?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name} {pid} failed").into()) }
    }

    /// Watches its memory until the watch is dropped.
    pub fn watch_rss(self) -> RssWatch {
        let peak = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&peak);
        let task = tokio::spawn(async move {
            // A process that has ended has no memory to watch.
            while let Ok(kib) = self.rss_kib() {
                seen.fetch_max(kib, Ordering::Relaxed);
                tokio::time::sleep(RSS_SAMPLES_EVERY).await;
            }
        });
        RssWatch { peak, task }
    }
}

/// The most memory that a process had.
#[derive(Debug)]
pub struct RssWatch {
    peak: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl RssWatch {
    /// Up to now, in KiB, sampled every 50 ms.
    pub fn peak_kib(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for RssWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_process_can_be_seen() {
        let this = Process { pid: std::process::id() };
        let before = this.rss_kib().expect("it runs");
        let filled = vec![1_u8; 64 << 20];
        let watch = this.watch_rss();
        while watch.peak_kib() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(watch.peak_kib() > before + 32 * 1024, "{} after {before}", watch.peak_kib());
        drop(filled);
        let start = std::time::Instant::now();
        let mut spun = 0_u64;
        while start.elapsed() < Duration::from_millis(100) {
            spun = std::hint::black_box(spun + 1);
        }
        let cpu = this.cpu_s().expect("it runs");
        assert!(cpu > 0.01, "{cpu} s after {spun} rounds");
    }
}
