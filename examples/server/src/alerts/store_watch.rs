//! Alerts about the store itself, kept in memory: while it is away nothing can be stored in it.

use std::collections::BTreeMap;
use std::time::Duration;

use centralita::clock::Timestamp;

use super::{Alert, AlertChange};

/// Looks in a row that must agree before something fires: one slow answer is no alert.
const LOOKS: u32 = 2;

/// What a look at the store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It answered in time.
    Fine,
    /// It answered, slowly.
    Slow(Duration),
    /// It did not answer, or refused.
    Down,
}

/// The state of both rules.
#[derive(Debug, Default)]
pub(super) struct StoreWatch {
    in_a_row: BTreeMap<&'static str, u32>,
    alerts: BTreeMap<&'static str, Alert>,
}

impl StoreWatch {
    pub(super) fn alerts(&self) -> Vec<Alert> {
        self.alerts.values().cloned().collect()
    }

    /// Notes a look and says what changed.
    pub(super) fn note(&mut self, look: Look, now: Timestamp, cooldown: Duration) -> Vec<AlertChange> {
        let slow = match look {
            Look::Slow(took) => Some(format!("the store took {} ms to answer", took.as_millis())),
            Look::Fine | Look::Down => None,
        };
        let down = (look == Look::Down).then(|| "the store does not answer; sessions wait for it".to_owned());
        let mut changes = Vec::new();
        changes.extend(self.step("store_slow", slow, now, cooldown));
        changes.extend(self.step("store_down", down, now, cooldown));
        changes
    }

    fn step(
        &mut self,
        rule: &'static str,
        wrong: Option<String>,
        now: Timestamp,
        cooldown: Duration,
    ) -> Option<AlertChange> {
        let in_a_row = self.in_a_row.entry(rule).or_default();
        let known = self.alerts.get_mut(rule);
        match (wrong, known) {
            (Some(message), known) => {
                *in_a_row += 1;
                let may_fire = known.as_ref().is_none_or(|alert| {
                    alert.resolved_at.is_some_and(|resolved| now.since(resolved) >= cooldown)
                });
                if *in_a_row < LOOKS || !may_fire {
                    return None;
                }
                let alert = Alert {
                    rule: rule.to_owned(),
                    session_id: None,
                    message,
                    fired_at: now,
                    resolved_at: None,
                };
                self.alerts.insert(rule, alert.clone());
                Some(AlertChange::fired(alert))
            }
            (None, Some(alert)) if alert.resolved_at.is_none() => {
                *in_a_row = 0;
                alert.resolved_at = Some(now);
                Some(AlertChange::resolved(alert.clone()))
            }
            (None, _) => {
                *in_a_row = 0;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(60);

    fn states(changes: &[AlertChange]) -> Vec<String> {
        changes.iter().map(|change| format!("{} {}", change.alert.rule, change.state)).collect()
    }

    #[test]
    fn it_fires_once_resolves_once_and_rests() {
        let mut watch = StoreWatch::default();
        let mut at = |second: u64, look| {
            let now = Timestamp::from_unix_ms(0).plus(Duration::from_secs(second));
            states(&watch.note(look, now, COOLDOWN))
        };
        assert!(at(0, Look::Down).is_empty(), "one look is no alert");
        assert_eq!(at(5, Look::Down), ["store_down fired"]);
        assert!(at(10, Look::Down).is_empty());
        assert_eq!(at(15, Look::Fine), ["store_down resolved"]);
        assert!(at(20, Look::Fine).is_empty());
        assert!(at(25, Look::Down).is_empty());
        assert!(at(30, Look::Down).is_empty(), "it rests");
        assert_eq!(at(80, Look::Down), ["store_down fired"]);
        assert_eq!(at(85, Look::Slow(Duration::from_secs(2))), ["store_down resolved"]);
        assert_eq!(at(90, Look::Slow(Duration::from_secs(2))), ["store_slow fired"]);
    }
}
