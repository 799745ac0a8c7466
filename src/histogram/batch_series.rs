//! Confidence intervals for the percentiles and the mean of one run, whose samples may depend on each other.
//!
//! A queue makes neighbouring samples similar, and a stall is one event however many messages it delays. Order
//! statistics count each message as independent evidence, and their intervals are then far too narrow. [`BatchSeries`]
//! keeps one histogram per second, tests for each percentile whether the seconds differ by more than chance, and if
//! they do, widens the interval by as much, or reports that the run is too short to tell. The method is in the docs of
//! [`BatchSeries::interval`] and in [`batch_means`]; Lancet (Kogias et al., 2019) and Treadmill (Zhang et al., 2016)
//! show the need. The interval is of this run only: restarts differ, and `check` repeats them.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use super::{ConfidenceInterval, IntervalMethod, Recorder};
use crate::clock::Nanos;
use crate::stats::batch_means::{self, Batch, GROUPS_MIN, NoInterval, Variation};
use crate::stats::bounded_series::{BoundedSeries, Merge};
use crate::stats::order_statistics;
use crate::stats::quantiles::student_t;

/// Samples that a group must have on the rarer side of the percentile: with fewer, counts are too coarse for a
/// chi-square (Cochran 1954).
const EXPECTED: f64 = 5.0;

/// The histograms of a run, one per second, later one per two, four, … seconds.
///
/// Each takes the space of its occupied buckets: a few kilobytes for latencies within a decade or two, about 55 KB in
/// the worst case, so that all together stay below 15 MB.
#[derive(Debug, Clone, Default)]
pub struct BatchSeries {
    seconds: BoundedSeries<Packed>,
}

/// A batch: a histogram in HdrHistogram's V2 encoding (one or two bytes per bucket, one per run of empty buckets), and
/// the exact sum of its latencies in nanoseconds.
#[derive(Debug, Clone)]
struct Packed {
    bytes: Box<[u8]>,
    sum: f64,
    count: u64,
}

impl BatchSeries {
    /// Appends one second. Of missing replies only the age is kept, as a latency.
    pub fn push(&mut self, second: &Recorder) {
        self.seconds.push(Packed::of(&second.histogram, second.sum as f64));
    }

    /// The confidence interval of the q-quantile of `total`, which holds everything pushed here and perhaps more. None
    /// with fewer samples than [`order_statistics::needs`]. Panics unless `0 < q < 1`.
    ///
    /// *Test.* Of the n_b samples of batch b, k_b lie at or below a latency that a share p of all do not exceed. If
    /// samples are independent, k_b is binomial(n_b, p), and X² = Σ (k_b - n_b p)² / (n_b p (1 - p)) is chi-square
    /// with one degree of freedom less than there are batches: the dispersion test (Cochran 1954, Some methods for
    /// strengthening the common χ² tests). The samples count as dependent if X² exceeds its 95 % quantile, or if
    /// the correlation of neighbouring residuals exceeds its own. Neighbouring batches are first grouped until 5
    /// samples are expected on the rarer side of p, and p is the true share at a bucket edge next to the
    /// percentile, not q: ties and wide buckets do not look like dependence.
    ///
    /// *Interval.* The number of samples beyond the quantile then has D times the variance of a binomial one
    /// (quasi-binomial: McCullagh & Nelder, Generalized Linear Models, 1989, section 4.5): its standard deviation is
    /// √(D n q (1 - q)). D and its degrees of freedom are those of [`batch_means`]. The ranks are shifted by the
    /// skewness of that number, which matters far out in the tail (Cornish & Fisher 1938). The interval is never
    /// narrower than that of order statistics.
    ///
    /// *Coverage.* In simulated runs of 30 s whose level lasts 1 to 5 s, the confidence interval of p50, p90 or p99
    /// held the true value, or the run was too short to tell, in at least 89 of 100 runs of each case; order
    /// statistics alone held it in at most half of them (tests).
    pub fn interval(&self, total: &Recorder, q: f64) -> Option<ConfidenceInterval> {
        let independent = total.interval(q)?;
        let with = |method| ConfidenceInterval { method, ..independent };
        let Some((share, groups)) = self.tallies(total, q) else {
            return Some(with(IntervalMethod::Untested));
        };
        let noise = share * (1.0 - share);
        Some(match batch_means::variation(&groups, Some(noise)) {
            None => with(IntervalMethod::Untested),
            Some(Variation::Independent) => independent,
            Some(Variation::TooShort { level }) => self.too_short(level),
            Some(Variation::Dependent { groups, variance }) => {
                let spread = Spread {
                    groups,
                    dispersion: (variance / noise).max(1.0),
                };
                spread.interval(total, q, independent)
            }
        })
    }

    /// The interval of the mean latency of `total`, from the means of the batches. None without samples.
    pub fn mean_interval(&self, total: &Recorder) -> Option<ConfidenceInterval> {
        let mean = total.mean()?;
        let batches: Vec<Batch> = self.seconds.batches().iter().map(Packed::of_mean).collect();
        let batches = grouped(&batches, 1.0);
        Some(match batch_means::estimate(&batches) {
            Err(NoInterval::TooFewBatches) => ConfidenceInterval {
                low: Nanos(0),
                high: Nanos::NEVER,
                method: IntervalMethod::Untested,
            },
            Err(NoInterval::TooShort { level }) => self.too_short(level),
            Ok(estimate) => {
                let half = Nanos(estimate.half_width.ceil() as u64); // The cast saturates.
                let high = if mean.lower_bound_only {
                    Nanos::NEVER
                } else {
                    mean.value + half
                };
                ConfidenceInterval {
                    low: mean.value - half,
                    high,
                    method: IntervalMethod::Batches {
                        groups: estimate.groups,
                    },
                }
            }
        })
    }

    /// What is known where levels last for this share of the run: nothing.
    fn too_short(&self, level: f64) -> ConfidenceInterval {
        ConfidenceInterval {
            low: Nanos(0),
            high: Nanos::NEVER,
            method: IntervalMethod::TooShort {
                level: Nanos::from_secs(level * self.seconds.items() as f64),
            },
        }
    }

    /// The share of samples below the percentile, and how many each group of batches has there. None if they are all in
    /// one bucket, or make too few groups.
    fn tallies(&self, total: &Recorder, q: f64) -> Option<(f64, Vec<Batch>)> {
        let edge = edge_near(total, q)?;
        let tally = |batch: &Packed| Batch {
            sum: batch.histogram().count_between(0, edge) as f64,
            weight: batch.count as f64,
        };
        let tallies: Vec<Batch> = self.seconds.batches().iter().map(tally).collect();
        let [below, samples] =
            [|one: &Batch| one.sum, |one: &Batch| one.weight].map(|of| tallies.iter().map(of).sum::<f64>());
        let share = below / samples;
        // Also false for 0/0.
        if !(share > 0.0 && share < 1.0) {
            return None;
        }
        let groups = grouped(&tallies, EXPECTED / share.min(1.0 - share));
        (groups.len() >= GROUPS_MIN).then_some((share, groups))
    }
}

impl Packed {
    fn of(histogram: &Histogram<u64>, sum: f64) -> Packed {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(histogram, &mut bytes)
            .expect("counts are below 2^63, and writing to memory does not fail");
        Packed {
            bytes: bytes.into_boxed_slice(),
            sum,
            count: histogram.len(),
        }
    }

    fn histogram(&self) -> Histogram<u64> {
        let mut bytes = &self.bytes[..];
        Deserializer::new().deserialize(&mut bytes).expect("encoded by `of`")
    }

    fn of_mean(&self) -> Batch {
        Batch {
            sum: self.sum,
            weight: self.count as f64,
        }
    }
}

/// The upper edge of the percentile's bucket or of the one below it, whichever splits the samples closer to q.
/// None if neither splits them: all are in one bucket.
fn edge_near(total: &Recorder, q: f64) -> Option<u64> {
    let histogram = &total.histogram;
    let count = total.count();
    let (_, within) = total.bucket_at(order_statistics::rank_of(count, q));
    let upper = histogram.highest_equivalent(within.0);
    let lower = histogram.lowest_equivalent(within.0).checked_sub(1);
    let split = |edge: u64| {
        let below = histogram.count_between(0, edge);
        (0 < below && below < count).then(|| (edge, (below as f64 - count as f64 * q).abs()))
    };
    let candidates = [lower.and_then(split), split(upper)];
    let nearest = candidates.into_iter().flatten().min_by(|a, b| a.1.total_cmp(&b.1));
    nearest.map(|(edge, _)| edge)
}

impl Merge for Packed {
    fn merge(&mut self, next: Packed) {
        let mut both = self.histogram();
        both.add(next.histogram()).expect("all recorders have the same bounds");
        *self = Packed::of(&both, self.sum + next.sum);
    }
}

/// How the batches differ at one percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    groups: usize,
    /// The variance of counts, in multiples of that of independent samples; at least 1.
    dispersion: f64,
}

impl Spread {
    fn interval(self, total: &Recorder, q: f64, independent: ConfidenceInterval) -> ConfidenceInterval {
        let (first, last) = self.ranks(total.count(), q);
        let low = first.map_or(Nanos(0), |rank| total.bucket_at(rank).0);
        let high = last.map_or(Nanos::NEVER, |rank| total.upper_end_at(rank));
        ConfidenceInterval {
            low: low.min(independent.low),
            high: high.max(independent.high),
            method: IntervalMethod::Batches { groups: self.groups },
        }
    }

    /// The ranks (from 1) of the samples that enclose the q-quantile of `count`. None for an end that no sample bounds.
    fn ranks(self, count: u64, q: f64) -> (Option<u64>, Option<u64>) {
        // Counted from the nearer end, where there are fewer samples beyond the quantile.
        let p = q.min(1.0 - q);
        let mean = count as f64 * p;
        let t = student_t(0.025, self.groups - 1);
        let half = t * (self.dispersion * mean * (1.0 - p)).sqrt();
        let skew = self.dispersion * (t * t - 1.0) / 6.0 * (1.0 - 2.0 * p);
        // The cast saturates: a rank below 1 becomes 0, which is none.
        let inner = (mean - half + skew).floor() as u64;
        let outer = (mean + half + skew).ceil() as u64 + 1;
        let within = |rank: u64| (1..=count).contains(&rank).then_some(rank);
        let (inner, outer) = (within(inner), within(outer));
        if q <= 0.5 {
            (inner, outer)
        } else {
            let mirrored = |rank: u64| count + 1 - rank;
            (outer.map(mirrored), inner.map(mirrored))
        }
    }
}

/// Joins neighbouring batches until each group has this weight. The remainder joins the last group.
fn grouped(batches: &[Batch], weight: f64) -> Vec<Batch> {
    let mut groups: Vec<Batch> = Vec::with_capacity(batches.len());
    let mut group = Batch::default();
    for &batch in batches {
        group = group.plus(batch);
        if group.weight >= weight {
            groups.push(std::mem::take(&mut group));
        }
    }
    if let Some(last) = groups.last_mut() {
        *last = last.plus(group);
    }
    groups
}

#[cfg(test)]
mod tests;
