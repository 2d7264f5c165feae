//! When clients came: for those who measure how hard a fleet knocks.

use serde::{Deserialize, Serialize};

use crate::clock;

/// More than an hour of a storm; the oldest go first.
const KEPT: usize = 1_000_000;

/// Who came, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrivals {
    /// Each WebSocket that was asked for, granted or not: ms since 1970, in order.
    pub sockets_ms: Vec<i64>,
    /// Clients without a login that were offered codes to link with.
    pub unlinked: u64,
    /// Logins that were let in.
    pub logins: u64,
    /// Logins while an older connection of the same device was open.
    pub replaced: u64,
}

impl Arrivals {
    pub(crate) fn socket(&mut self) {
        if self.sockets_ms.len() >= KEPT {
            self.sockets_ms.drain(..KEPT / 2);
        }
        self.sockets_ms.push(clock::now_ms());
    }

    /// The most sockets that were asked for within one second.
    pub fn peak_sockets_per_s(&self) -> usize {
        let times = &self.sockets_ms;
        let mut first = 0;
        let mut peak = 0;
        for (last, time) in times.iter().enumerate() {
            while times[first] <= time - 1000 {
                first += 1;
            }
            peak = peak.max(last - first + 1);
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_of_any_second_not_of_the_clocks() {
        let at = |sockets_ms: &[i64]| Arrivals { sockets_ms: sockets_ms.to_vec(), ..Default::default() };
        assert_eq!(at(&[]).peak_sockets_per_s(), 0);
        assert_eq!(at(&[0, 900, 1100, 1899, 1900]).peak_sockets_per_s(), 3);
        assert_eq!(at(&[0, 1000, 2000]).peak_sockets_per_s(), 1);
    }
}
