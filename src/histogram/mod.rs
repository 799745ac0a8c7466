//! Latency histograms of constant size, and how far to trust what is read from them.
//!
//! A [`Recorder`] belongs to one worker and is merged after the worker has ended: no lock, no sharing. A percentile has
//! a value only if there are enough samples for its confidence interval ([`order_statistics::needs`]). A message that
//! never completed is right-censored: it counts with the age it had reached. A figure that would be another if it had
//! taken forever is a lower bound. The histogram is Gil Tene's HdrHistogram with 3 significant digits. `report` shows
//! the values; `hlog`, `hgrm` and `encoded` are the file formats of the
//! field.

mod batch_series;
mod encoded;
mod hgrm;
mod hlog;

pub use batch_series::BatchSeries;
pub use encoded::{Buckets, EncodedHistogram};
pub use hgrm::hgrm;
pub use hlog::Hlog;

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::stats::order_statistics;

/// The longest latency that the histogram resolves; longer ones are kept as this.
pub const CEILING: Nanos = Nanos(60_000_000_000);

/// A latency histogram, 1 ns to 60 s, exact to 3 significant digits.
///
/// 27 × 1,024 buckets of 8 bytes: 221 KB, allocated in [`Recorder::new`], and as much again with the first censored
/// sample. Recording does not allocate otherwise, and never fails.
#[derive(Debug, Clone)]
pub struct Recorder {
    histogram: Histogram<u64>,
    /// Sum, minimum and maximum in nanoseconds: exact, where the histogram only has bucket edges.
    sum: u128,
    min: u64,
    max: u64,
    /// Those samples that are censored; none until there is one.
    censored: Option<Box<Histogram<u64>>>,
    /// The smallest age of a censored sample; `NEVER` if there is none.
    censored_from: Nanos,
    saturated: u64,
}

/// A latency read from a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The latency.
    pub value: Nanos,
    /// True if the true value may be larger, because samples are censored: print it as `> value`.
    pub lower_bound_only: bool,
}

/// A 95 % confidence interval of a percentile or a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceInterval {
    /// Lower end; zero if the samples do not bound it.
    pub low: Nanos,
    /// Upper end; [`Nanos::NEVER`] if the samples do not bound it, or if too many are censored.
    pub high: Nanos,
    /// How it was found.
    pub method: IntervalMethod,
}

/// How a confidence interval was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IntervalMethod {
    /// From the ranks of the samples, which are independent.
    OrderStatistics,
    /// From the ranks of the samples, although the run was too short to test whether they are independent.
    Untested,
    /// From the differences between groups of neighbouring batches: the samples are not independent.
    Batches {
        /// Number of groups.
        groups: usize,
    },
    /// None: the samples are not independent, and the run is too short to tell by how much they differ.
    TooShort {
        /// How long its levels last, about.
        level: Nanos,
    },
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

impl Recorder {
    /// An empty recorder. Allocates 221 KB, and nothing later.
    pub fn new() -> Recorder {
        Recorder::with_digits(3)
    }

    /// An empty recorder that is exact to 2 significant digits: 30 KB, for breakdowns into many parts. It can take in
    /// one of [`Recorder::new`].
    pub fn coarse() -> Recorder {
        Recorder::with_digits(2)
    }

    fn with_digits(digits: u8) -> Recorder {
        Recorder {
            histogram: empty(digits),
            sum: 0,
            min: u64::MAX,
            max: 0,
            censored: None,
            censored_from: Nanos::NEVER,
            saturated: 0,
        }
    }

    /// Records the latency of a message whose reply arrived.
    pub fn record(&mut self, latency: Nanos) {
        self.histogram.saturating_record(latency.0.min(CEILING.0));
        self.sum += u128::from(latency.0);
        self.min = self.min.min(latency.0);
        self.max = self.max.max(latency.0);
        self.saturated += u64::from(latency > CEILING);
    }

    /// Records the same value for several messages.
    pub fn record_many(&mut self, latency: Nanos, count: u64) {
        if count == 0 {
            return;
        }
        self.histogram.saturating_record_n(latency.0.min(CEILING.0), count);
        self.sum += u128::from(latency.0) * u128::from(count);
        self.min = self.min.min(latency.0);
        self.max = self.max.max(latency.0);
        self.saturated += if latency > CEILING { count } else { 0 };
    }

    /// Records a message that had not completed when it was given up, `age` after its start.
    pub fn record_censored(&mut self, age: Nanos) {
        self.record_many_censored(age, 1);
    }

    /// The same for `count` of them, at least one.
    pub fn record_many_censored(&mut self, age: Nanos, count: u64) {
        self.record_many(age, count);
        let digits = self.histogram.sigfig();
        let censored = self.censored.get_or_insert_with(|| Box::new(empty(digits)));
        censored.saturating_record_n(age.0.min(CEILING.0), count);
        self.censored_from = self.censored_from.min(age);
    }

    /// Adds another recorder, as if its messages had been recorded here.
    pub fn merge(&mut self, other: &Recorder) {
        add(&mut self.histogram, &other.histogram);
        if let Some(theirs) = &other.censored {
            let digits = self.histogram.sigfig();
            add(self.censored.get_or_insert_with(|| Box::new(empty(digits))), theirs);
        }
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.censored_from = self.censored_from.min(other.censored_from);
        self.saturated += other.saturated;
    }

    /// Removes all samples; keeps the allocation.
    pub fn clear(&mut self) {
        self.histogram.reset();
        (self.sum, self.min, self.max) = (0, u64::MAX, 0);
        self.saturated = 0;
        if let Some(censored) = &mut self.censored {
            censored.reset();
        }
        self.censored_from = Nanos::NEVER;
    }

    /// Number of messages recorded, including those that never completed.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Number of messages that never completed.
    pub fn censored(&self) -> u64 {
        self.censored.as_ref().map_or(0, |censored| censored.len())
    }

    /// Number of messages that took longer than [`CEILING`]. A percentile among them is a lower bound.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The q-quantile: the latency that a share `q` of all messages did not exceed, 0.99 for p99. None with fewer
    /// samples than [`order_statistics::needs`].
    ///
    /// Buckets are read at their upper edge, so a value is at most 0.1 % too large; a lower bound is read at their
    /// lower edge. Panics unless `0 < q < 1`: p0 and p100 are [`Recorder::min`] and [`Recorder::max`].
    pub fn quantile(&self, q: f64) -> Option<Value> {
        let enough = self.count() >= order_statistics::needs(q);
        enough.then(|| self.value_at(order_statistics::rank_of(self.count(), q)))
    }

    /// The confidence interval of the q-quantile by order statistics. Its ends are bucket edges, so it is not narrower
    /// than from exact samples. None with fewer samples than [`order_statistics::needs`]. The upper end is what it
    /// would be if all censored samples had taken forever; `NEVER` if that is not bounded, or beyond the ceiling.
    ///
    /// Holds for *independent* samples. Latencies of one run are not, because queues make neighbours similar: within a
    /// run this interval is too narrow ([`BatchSeries::interval`] widens it), and comparing runs needs restarts as
    /// the unit of analysis.
    pub fn interval(&self, q: f64) -> Option<ConfidenceInterval> {
        let (low, high) = order_statistics::interval(self.count(), q)?;
        Some(ConfidenceInterval {
            low: self.bucket_at(low).0,
            high: self.upper_end_at(high),
            method: IntervalMethod::OrderStatistics,
        })
    }

    /// The smallest latency, exact. None without samples.
    pub fn min(&self) -> Option<Value> {
        let value = Nanos(self.min);
        (self.count() > 0).then_some(Value {
            value,
            lower_bound_only: value >= self.censored_from,
        })
    }

    /// The largest latency, exact even beyond the ceiling. None without samples.
    pub fn max(&self) -> Option<Value> {
        // A censored sample may have taken longer than any other.
        (self.count() > 0).then_some(Value {
            value: Nanos(self.max),
            lower_bound_only: self.censored() > 0,
        })
    }

    /// The mean latency, truncated to whole nanoseconds. None without samples.
    pub fn mean(&self) -> Option<Value> {
        let mean = self.sum.checked_div(u128::from(self.count()))?;
        // The mean of 64-bit numbers fits into 64 bits.
        Some(Value {
            value: Nanos(mean as u64),
            lower_bound_only: self.censored() > 0,
        })
    }

    /// The sample of this rank (1 is the smallest), to the precision of its bucket. Its value is what it would be, had
    /// the censored samples taken forever; if that is 1 % more than by their age, or unknown, it is a lower bound.
    fn value_at(&self, rank: u64) -> Value {
        let (low, high) = self.bucket_at(rank);
        let most = if high < self.censored_from {
            high
        } else {
            self.upper_end_at(rank)
        };
        // If the ceiling lies within the bucket, the sample may be beyond it: claim the lower bound.
        let past_ceiling = self.saturated > 0 && most >= CEILING;
        let lower_bound_only = past_ceiling || most > high + Nanos(high.0 / 100);
        Value {
            value: if lower_bound_only { low } else { most },
            lower_bound_only,
        }
    }

    /// The upper end of an interval that ends at the sample of this rank.
    fn upper_end_at(&self, rank: u64) -> Nanos {
        let high = match self.censored() {
            0 => Some(self.bucket_at(rank).1),
            _ => self.completed_at(rank),
        };
        let bounded = high.filter(|&high| self.saturated == 0 || high < CEILING);
        bounded.unwrap_or(Nanos::NEVER)
    }

    /// The upper edge of the bucket of this rank among the samples that are not censored. None if there are not as
    /// many.
    fn completed_at(&self, rank: u64) -> Option<Nanos> {
        let mut seen = 0;
        for step in self.histogram.iter_recorded() {
            let edge = step.value_iterated_to();
            let censored = self.censored.as_ref().map_or(0, |censored| censored.count_at(edge));
            seen += step.count_at_value() - censored;
            if seen >= rank {
                return Some(Nanos(edge.min(self.max)));
            }
        }
        None
    }

    /// The smallest and the largest latency that the sample of this rank may have had, from the edges of its bucket.
    fn bucket_at(&self, rank: u64) -> (Nanos, Nanos) {
        let mut seen = 0;
        for step in self.histogram.iter_recorded() {
            seen += step.count_at_value();
            if seen >= rank {
                let edge = step.value_iterated_to();
                // The edges may lie outside of min and max, the samples do not.
                let low = self.histogram.lowest_equivalent(edge).max(self.min.min(CEILING.0));
                return (Nanos(low), Nanos(edge.min(self.max)));
            }
        }
        unreachable!("rank {rank} of {} samples", self.count());
    }
}

fn empty(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, CEILING.0, digits).expect("1 ns to 60 s are legal bounds")
}

fn add(sum: &mut Histogram<u64>, more: &Histogram<u64>) {
    sum.add(more).expect("all recorders have the same bounds");
}

#[cfg(test)]
mod tests;
