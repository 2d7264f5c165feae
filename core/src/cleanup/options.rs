//! When the cleanup runs and what it looks for.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// The shortest interval between two rounds.
const SHORTEST: Duration = Duration::from_secs(1);

/// Options of a [`CleanupService`](super::CleanupService). The defaults are the seed's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupOptions {
    /// How often inactive sessions are removed: every 6 hours. At least 1 s.
    pub cleanup_interval: Duration,
    /// How long a session may be without activity: 30 days. At least 1.
    pub inactive_days: u32,
    /// How often health is checked: every 5 minutes. At least 1 s.
    pub health_check_interval: Duration,
    /// How long a session may be disconnected before it is reported: 5 minutes.
    pub disconnected_alert_after: Duration,
    /// From how many failed attempts a session is reported as problematic: 5. At least 1.
    pub problematic_min_attempts: u32,
    /// How many sessions each list of the report names: 100. 1 to 1,000; the counts beside them are exact.
    pub report_limit: u32,
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self {
            cleanup_interval: Duration::from_secs(6 * 60 * 60),
            inactive_days: 30,
            health_check_interval: Duration::from_secs(5 * 60),
            disconnected_alert_after: Duration::from_secs(5 * 60),
            problematic_min_attempts: 5,
            report_limit: 100,
        }
    }
}

impl CleanupOptions {
    /// `Invalid` names the option that is out of its range.
    pub fn validate(&self) -> Result<()> {
        let rules = [
            (self.cleanup_interval >= SHORTEST, "cleanup_interval must be 1 s or more"),
            (self.inactive_days >= 1, "inactive_days must be 1 or more"),
            (self.health_check_interval >= SHORTEST, "health_check_interval must be 1 s or more"),
            (self.problematic_min_attempts >= 1, "problematic_min_attempts must be 1 or more"),
            ((1..=1_000).contains(&self.report_limit), "report_limit must be 1 to 1000"),
        ];
        match rules.iter().find(|(kept, _)| !kept) {
            None => Ok(()),
            Some((_, rule)) => Err(Error::new(ErrorKind::Invalid, *rule).during("cleanup options")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_seeds_and_valid() {
        let options = CleanupOptions::default();
        options.validate().unwrap();
        assert_eq!(options.cleanup_interval.as_secs(), 21_600);
        assert_eq!(options.health_check_interval.as_secs(), 300);
        assert_eq!(options.inactive_days, 30);
    }

    #[test]
    fn each_rule_names_its_option() {
        let fine = CleanupOptions::default;
        for (options, name) in [
            (CleanupOptions { cleanup_interval: Duration::ZERO, ..fine() }, "cleanup_interval"),
            (CleanupOptions { inactive_days: 0, ..fine() }, "inactive_days"),
            (CleanupOptions { health_check_interval: Duration::ZERO, ..fine() }, "health_check_interval"),
            (CleanupOptions { problematic_min_attempts: 0, ..fine() }, "problematic_min_attempts"),
            (CleanupOptions { report_limit: 1_001, ..fine() }, "report_limit"),
        ] {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().starts_with(name));
        }
    }
}
