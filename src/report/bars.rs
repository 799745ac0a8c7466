//! Percentiles as bars, for a terminal with room for them.

use std::fmt::Write;

use super::Figures;
use super::distribution::Statistic;
use super::latency_table::value;
use crate::clock::Nanos;

/// The fewest columns of a terminal that gets bars: those of the widest lines of a report are wider still.
pub const COLUMNS_MIN: usize = 100;

/// Columns of the longest bar, and of what stands before the bars.
const LONGEST: usize = 60;

/// Blocks of one to eight eighths of a column.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

impl Figures {
    /// A bar for each percentile of the main latency that is known; nothing if hardly any is. Lengths are logarithmic,
    /// from half of the smallest value on, so that a tail leaves the rest visible.
    pub fn bars(&self) -> String {
        let known = self
            .main_latency()
            .table()
            .into_iter()
            .filter(|(statistic, _)| *statistic != Statistic::Mean);
        let known: Vec<(Statistic, Nanos, String)> = known
            .filter_map(|(statistic, figure)| Some((statistic, figure.value?, value(statistic, figure))))
            .collect();
        let (Some(first), Some(last)) = (known.first(), known.last()) else {
            return String::new();
        };
        if known.len() < 4 {
            return String::new();
        }
        let (low, high) = (log(first.1) - 2_f64.ln(), log(last.1));
        let mut text = "latency, on a logarithmic scale\n".to_owned();
        for (statistic, latency, shown) in &known {
            let share = (log(*latency) - low) / (high - low);
            let statistic = statistic.to_string();
            let _ = writeln!(text, "  {statistic:<9} {shown:>11}  {}", bar(share)); // Into a string: cannot fail.
        }
        text
    }
}

fn log(latency: Nanos) -> f64 {
    (latency.0.max(1) as f64).ln()
}

/// A bar of this share of the longest.
fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * (8 * LONGEST) as f64).round() as usize;
    let (whole, rest) = (eighths / 8, eighths % 8);
    let mut bar = "█".repeat(whole);
    bar.extend(rest.checked_sub(1).map(|index| EIGHTHS[index]));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_to_an_eighth_of_a_column() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1.0).chars().count(), LONGEST);
        assert_eq!(bar(0.5).chars().count(), LONGEST / 2);
        assert_eq!(bar(1.5 / LONGEST as f64), "█▌");
        assert_eq!(bar(7.0), bar(1.0));
    }
}
