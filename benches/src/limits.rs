//! How many sockets a process may have.

use rlimit::Resource;

use crate::Result;

/// Files that a process needs beside one socket a session: database, libraries, control.
const BESIDE: u64 = 200;

/// Raises the limit of open files as far as it goes and checks that `sessions` sockets fit.
///
/// # Errors
/// If they do not, with the limits of this machine and what to do.
pub fn room_for_sockets(sessions: usize) -> Result<()> {
    let needed = sessions as u64 + BESIDE;
    let (soft, hard) = Resource::NOFILE.get()?;
    let raised = rlimit::increase_nofile_limit(needed.max(soft))?;
    if raised >= needed {
        return Ok(());
    }
    let nr_open = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_else(|_| "unknown".into());
    let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let ports = ports.unwrap_or_else(|_| "unknown".into());
    Err(format!(
        "{sessions} sessions need {needed} open files in each of two processes; this machine gives {raised} \
         (soft limit {soft}, hard limit {hard}, fs.nr_open {}, local ports {}); \
         raise it with `ulimit -Hn {needed}` as root, or ask for {} sessions",
        nr_open.trim(),
        ports.trim().replace('\t', "-"),
        raised.saturating_sub(BESIDE),
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_said_with_the_limits() {
        room_for_sockets(10).expect("every machine has room for ten");
        let refused = room_for_sockets(1 << 40).expect_err("no machine has room for a trillion").to_string();
        assert!(refused.contains("hard limit"), "{refused}");
    }
}
