//! The percentile distribution as text (`.hgrm`), for HdrHistogram plotters. By hand: the crate of the histograms has
//! no writer for it.
//!
//! The table of Java's `outputPercentileDistribution` (HdrHistogram 2.1): five ticks for every halving of the distance
//! to 100 %. Values are in milliseconds, which plotters assume, but with six decimals where Java has three: a latency
//! of 45,123 ns must not become 0.045. The unit and lower bounds follow as comments, below the ones that Java writes.

use std::fmt::Write;

use super::{CEILING, Recorder};
use crate::units::plural;

/// Ticks for every halving of the distance to 100 %.
const TICKS: f64 = 5.0;

/// The distribution as a table, with mean, standard deviation and maximum in comments below.
///
/// Values are upper bucket edges, at most 0.1 % too large, and never above the largest latency, which is exact.
pub fn hgrm(recorder: &Recorder) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    // Writing to a string cannot fail.
    let _ = table(recorder, &mut text);
    let _ = summary(recorder, &mut text);
    let _ = caveats(recorder, &mut text);
    text
}

/// Nanoseconds as milliseconds: exact to the last of six decimals.
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The rows of the table, in the same steps as Java: one tick in the last bucket, then 100 %.
///
/// The crate has the same iteration but adds up tenths: its tick of 75 % is slightly above that, and may be one sample
/// late. In percent all steps are exact in binary: 10, 5, 2.5, 1.25, …
fn table(recorder: &Recorder, text: &mut String) -> std::fmt::Result {
    let total = recorder.count();
    let (mut percentile, mut seen) = (0.0, 0);
    for bucket in recorder.histogram.iter_recorded() {
        seen += bucket.count_at_value();
        let value = ms(bucket.value_iterated_to().min(recorder.max));
        while percentile <= 100.0 * seen as f64 / total as f64 {
            let (share, odds) = (percentile / 100.0, 100.0 / (100.0 - percentile));
            writeln!(text, "{value:>12.6} {share:.12} {seen:>10} {odds:>14.2}")?;
            percentile += step_after(percentile);
            if seen == total {
                break;
            }
        }
    }
    if total > 0 {
        // Three columns, as in Java: plotters skip this line, whose abscissa would be infinite.
        let max = ms(recorder.max);
        writeln!(text, "{max:>12.6} {:.12} {total:>10}", 1.0)?;
    }
    Ok(())
}

/// Distance of the next tick from this one, in percent: it halves with every halving of the distance to 100 %.
fn step_after(percentile: f64) -> f64 {
    let halvings = (100.0 / (100.0 - percentile)).log2().floor();
    100.0 / (TICKS * (halvings + 1.0).exp2())
}

/// The three comments that Java writes.
fn summary(recorder: &Recorder, text: &mut String) -> std::fmt::Result {
    let mean = ms(recorder.mean().map_or(0, |mean| mean.value.0));
    let deviation = recorder.histogram.stdev() / 1e6;
    let (max, count) = (ms(recorder.max), recorder.count());
    // The crate does not expose the number of sub-buckets. Of all buckets but the first only the upper half is kept.
    let buckets = usize::from(recorder.histogram.buckets());
    let sub_buckets = 2 * recorder.histogram.distinct_values() / (buckets + 1);
    writeln!(
        text,
        "#[Mean    = {mean:>12.6}, StdDeviation   = {deviation:>12.6}]\n\
         #[Max     = {max:>12.6}, Total count    = {count:>12}]\n\
         #[Buckets = {buckets:>12}, SubBuckets     = {sub_buckets:>12}]"
    )
}

/// The unit, and which values are lower bounds.
fn caveats(recorder: &Recorder, text: &mut String) -> std::fmt::Result {
    writeln!(text, "# Values are in milliseconds.")?;
    if recorder.censored() > 0 {
        writeln!(
            text,
            "# {} never completed, at the age reached: values from {:.6} on may be lower bounds.",
            plural(recorder.censored(), "message"),
            ms(recorder.censored_from.0)
        )?;
    }
    if recorder.saturated > 0 {
        writeln!(
            text,
            "# {} replies took longer than {:.6} and count as that, except in mean and maximum.",
            recorder.saturated,
            ms(CEILING.0)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;

    #[test]
    fn four_values_give_the_same_table_as_java() {
        let mut recorder = Recorder::new();
        (1..=4).for_each(|k| recorder.record(Nanos(k * 250)));
        let expected = "
       Value     Percentile TotalCount 1/(1-Percentile)

    0.000250 0.000000000000          1           1.00
    0.000250 0.100000000000          1           1.11
    0.000250 0.200000000000          1           1.25
    0.000500 0.300000000000          2           1.43
    0.000500 0.400000000000          2           1.67
    0.000500 0.500000000000          2           2.00
    0.000750 0.550000000000          3           2.22
    0.000750 0.600000000000          3           2.50
    0.000750 0.650000000000          3           2.86
    0.000750 0.700000000000          3           3.33
    0.000750 0.750000000000          3           4.00
    0.001000 0.775000000000          4           4.44
    0.001000 1.000000000000          4
#[Mean    =     0.000625, StdDeviation   =     0.000280]
#[Max     =     0.001000, Total count    =            4]
#[Buckets =           26, SubBuckets     =         2048]
# Values are in milliseconds.
";
        assert_eq!(hgrm(&recorder), expected[1..]);
    }

    #[test]
    fn an_empty_recorder_has_an_empty_table() {
        let text = hgrm(&Recorder::new());
        assert!(text.contains("1/(1-Percentile)\n\n#[Mean    =     0.000000, "));
        assert!(text.contains("#[Max     =     0.000000, Total count    =            0]"));
    }

    #[test]
    fn the_last_row_is_the_exact_maximum_even_beyond_the_ceiling() {
        let mut recorder = Recorder::new();
        recorder.record(Nanos(1_000_001));
        assert!(hgrm(&recorder).contains("\n    1.000001 1.000000000000          1\n"));
        recorder.record(Nanos(61_000_000_000));
        let text = hgrm(&recorder);
        assert!(text.contains("\n61000.000000 1.000000000000          2\n"));
        assert!(text.contains("# 1 replies took longer than 60000.000000"));
    }

    #[test]
    fn missing_replies_are_reported_below_the_table() {
        let mut recorder = Recorder::new();
        recorder.record_censored(Nanos(5_000_000));
        let comment = "# 1 message never completed, at the age reached: values from 5.000000 on";
        assert!(hgrm(&recorder).contains(comment));
    }
}
