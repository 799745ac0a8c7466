//! One metric of a check as the cells of a table, and in one line.

use crate::check::judge::MetricVerdict;
use crate::units::{show_change, show_percent};

/// The heads of the columns.
pub(super) const TITLES: [&str; 7] = [
    "metric",
    "base",
    "head",
    "change",
    "confidence interval",
    "threshold",
    "verdict",
];

/// The cells of a metric.
pub(super) fn row(metric: &MetricVerdict) -> [String; 7] {
    let figure = |figure: Option<f64>| figure.map_or("n/a".into(), |figure| metric.metric.show(figure));
    let interval = metric.interval.map_or("n/a".into(), |interval| {
        format!("{} .. {}", signed_percent(interval.low), signed_percent(interval.high))
    });
    [
        metric.metric.name().into(),
        figure(metric.base),
        figure(metric.head),
        metric.change.map_or("n/a".into(), signed_percent),
        interval,
        metric.threshold.map_or("n/a".into(), percent),
        verdict(metric),
    ]
}

/// In capitals if it gates, in parentheses if it is informational.
fn verdict(metric: &MetricVerdict) -> String {
    let name = metric.verdict.name();
    let mut text = if metric.gates {
        name.to_owned()
    } else {
        format!("({})", name.to_lowercase())
    };
    match (&metric.why, metric.detectable) {
        (Some(why), _) => text.push_str(&format!(": {why}")),
        (None, Some(detectable)) => text.push_str(&format!(": would detect {} or more", percent(detectable))),
        (None, None) => {}
    }
    text
}

/// `p50 +6.0 % (81.2 µs to 86.1 µs)`.
pub(super) fn change(metric: &MetricVerdict) -> String {
    let [name, base, head, change, ..] = row(metric);
    format!("{name} {change} ({base} to {head})")
}

/// The change with its confidence interval and threshold.
pub(super) fn details(metric: &MetricVerdict) -> String {
    let [_, _, _, _, interval, threshold, _] = row(metric);
    let why = metric.why.as_ref().map_or(String::new(), |why| format!("; {why}"));
    format!(
        "{}, confidence interval {interval}, threshold {threshold}{why}",
        change(metric)
    )
}

/// From this change on, 900 %, a factor is easier to read.
const FACTOR_FROM: f64 = 9.0;

/// `+6.0 %`, or `x12`.
pub(super) fn signed_percent(share: f64) -> String {
    if share >= FACTOR_FROM {
        return percent(share);
    }
    show_change(share)
}

/// `6.0 %`, or `x12`.
pub(super) fn percent(share: f64) -> String {
    if share >= FACTOR_FROM {
        return format!("x{:.0}", 1.0 + share);
    }
    show_percent(share, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_percentages_and_large_ones_factors() {
        for (share, text) in [(0.06, "+6.0 %"), (-0.5, "-50.0 %"), (1202.9, "x1204")] {
            assert_eq!(signed_percent(share), text);
        }
        assert_eq!((percent(0.08), percent(17.7)), ("8.0 %".into(), "x19".into()));
    }
}
