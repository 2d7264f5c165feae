//! Percentiles by rank.

/// The smallest value that at least `part` (0 to 1) of them do not exceed. 0 if there are none.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Sorts them, and gives the median and the 99th percentile.
pub fn p50_p99(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (percentile(&values, 0.5), percentile(&values, 0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(p50_p99(values), (50.0, 99.0));
        assert_eq!(p50_p99(vec![7.0]), (7.0, 7.0));
        assert_eq!(p50_p99(vec![]), (0.0, 0.0));
    }
}
