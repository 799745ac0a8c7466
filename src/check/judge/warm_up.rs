//! Whether head becomes faster or slower, compared with base, within a restart: block number against score.
//!
//! A server that compiles itself or fills pools while it runs is ranked by its first seconds otherwise. In each restart
//! the median score of the first half of the blocks is subtracted from that of the second; the restarts are the sample,
//! as for the verdict ([`signed_rank`]). It changes no verdict: it says to use `--settle`.

use super::metric::{Metric, Source};
use super::sample::{Sample, plausible};
use crate::check::record::{Block, Restart};
use crate::stats::median;
use crate::stats::signed_rank::{self, ConfidenceInterval};
use crate::units::show_percent;

/// One-sided error of each metric that is tested.
const ALPHA: f64 = 0.001;

/// The metrics whose blocks are tested.
const TESTED: [Metric; 3] = [Metric::P50, Metric::Throughput, Metric::Cpu];

/// What a reader should know, in one sentence for each metric in which the sides drift apart by its threshold or more.
pub(super) fn drifts(sample: Sample<'_>) -> Vec<String> {
    TESTED.into_iter().filter_map(|metric| drift(sample, metric)).collect()
}

fn drift(sample: Sample<'_>, metric: Metric) -> Option<String> {
    let halves: Vec<(f64, f64)> = sample
        .restarts
        .iter()
        .filter_map(|restart| halves(restart, metric))
        .collect();
    let differences: Vec<f64> = halves.iter().map(|(first, second)| second - first).collect();
    let estimate = signed_rank::estimate(&differences, ALPHA)?;
    let ConfidenceInterval { low, high } = estimate.interval?;
    let threshold = sample.settings.threshold(metric).min_effect.ln_1p();
    if estimate.location.abs() < threshold || (low <= 0.0 && high >= 0.0) {
        return None;
    }
    let middle = |of: fn(&(f64, f64)) -> f64| {
        let score = median(&halves.iter().map(of).collect::<Vec<f64>>()).unwrap_or(0.0);
        format!(
            "{}{}",
            if metric.change(score) < 0.0 { "" } else { "+" },
            show_percent(metric.change(score), 1)
        )
    };
    Some(format!(
        "{metric} of head against base changes within restarts, from {} in the first half of the blocks to {} in the second: \
         let both warm up with --settle",
        middle(|halves| halves.0),
        middle(|halves| halves.1)
    ))
}

/// The median scores of the first and the second half of the blocks; none if a block has none.
fn halves(restart: &Restart, metric: Metric) -> Option<(f64, f64)> {
    let Source::Blocks(figure) = metric.source() else {
        return None;
    };
    let score = |block: &Block| {
        let (base, head) = plausible(metric, figure(&block.base), figure(&block.head))?;
        Some(metric.score(base, head))
    };
    let scores: Vec<f64> = restart
        .loads(metric)
        .next()?
        .blocks
        .iter()
        .map(score)
        .collect::<Option<_>>()?;
    let (first, second) = scores.split_at(scores.len() / 2);
    Some((median(first)?, median(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{HeadChange, UNCHANGED, figures, record};
    use crate::check::record::Record;

    /// A record in which head's p50 is longer by these factors, block by block.
    fn record_with(factors: &[f64]) -> Record {
        let mut record = record(12, &UNCHANGED);
        for (number, restart) in record.restarts.iter_mut().enumerate() {
            let day = 1.0 + (number % 5) as f64 / 5.0;
            let block = |&p50: &f64| Block {
                base: figures(day, &UNCHANGED),
                head: figures(day, &HeadChange { p50, ..UNCHANGED }),
            };
            restart.open.as_mut().unwrap().blocks = factors.iter().map(block).collect();
        }
        record
    }

    #[test]
    fn a_head_that_warms_up_is_reported() {
        let drifts = drifts(Sample::of(&record_with(&[1.5, 1.4, 1.2, 1.0, 1.0, 1.0])));
        let [drift] = &drifts[..] else { panic!("{drifts:?}") };
        assert!(
            drift.contains("p50") && drift.contains("+40.0 %") && drift.contains("--settle"),
            "{drift}"
        );
    }

    #[test]
    fn a_head_that_is_slower_all_the_time_is_not_reported() {
        for factors in [[1.0; 6], [1.5; 6], [1.0, 1.01, 1.0, 1.01, 1.0, 1.02]] {
            assert_eq!(drifts(Sample::of(&record_with(&factors))), Vec::<String>::new());
        }
    }
}
