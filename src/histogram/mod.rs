//! Latencies in a fixed space, and how far to trust what is read from them.
//!
//! A [`Recorder`] belongs to one worker and is merged after it joins: no lock, no sharing. Two honesties are built in.
//! A percentile is read only from enough samples (see [`needs`]), and a message whose answer never came counts with
//! the age it had reached, so that what is read at or beyond that age is marked as a lower bound.
//! Drawing and writing are for `report`. The histogram is Gil Tene's HdrHistogram: 3 significant digits.

mod block_series;
mod hgrm;
mod hlog;

pub use block_series::{BlockSeries, Interval, Method};
pub use hgrm::hgrm;
pub use hlog::Hlog;

use hdrhistogram::Histogram;

use crate::clock::Nanos;
use crate::stats::order_statistics;

/// The longest latency told apart; longer ones are kept in the histogram as this.
pub const CEILING: Nanos = Nanos(60_000_000_000);

/// A latency histogram, 1 ns to 60 s, exact to 3 significant digits.
///
/// 27 × 1,024 buckets of 8 bytes: 221 KB, all of it taken in [`Recorder::new`]. Recording never allocates or fails.
#[derive(Debug, Clone)]
pub struct Recorder {
    histogram: Histogram<u64>,
    /// Sum, smallest and largest of what was recorded, in nanoseconds: exact, where the histogram has bucket edges.
    sum: u128,
    min: u64,
    max: u64,
    missing: u64,
    /// The smallest age at which an answer was given up; `NEVER` if all came.
    censored_from: Nanos,
    saturated: u64,
}

/// A latency that was read from a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// The latency.
    pub value: Nanos,
    /// True when answers are missing that could only make this larger: print it as `> value`.
    pub lower_bound_only: bool,
}

/// A percentile, if there were enough samples to speak of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    /// Enough samples; the figure.
    Known(Value),
    /// Too few samples: print it as `n/a (needs 3,688)`.
    NotEnough {
        /// How many samples this percentile needs.
        needs: u64,
    },
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

impl Recorder {
    /// An empty recorder. Takes 221 KB, the only allocation of its life.
    pub fn new() -> Recorder {
        let histogram = Histogram::new_with_bounds(1, CEILING.0, 3).expect("1 ns to 60 s at 3 digits are legal bounds");
        Recorder {
            histogram,
            sum: 0,
            min: u64::MAX,
            max: 0,
            missing: 0,
            censored_from: Nanos::NEVER,
            saturated: 0,
        }
    }

    /// Records the latency of an answer that came.
    pub fn record(&mut self, latency: Nanos) {
        self.histogram.saturating_record(latency.0.min(CEILING.0));
        self.sum += u128::from(latency.0);
        self.min = self.min.min(latency.0);
        self.max = self.max.max(latency.0);
        self.saturated += u64::from(latency > CEILING);
    }

    /// Records a message whose answer had not come when we stopped waiting, `age` after its start.
    pub fn record_missing(&mut self, age: Nanos) {
        self.record(age);
        self.missing += 1;
        self.censored_from = self.censored_from.min(age);
    }

    /// Adds all that another worker recorded. As if it had been recorded here.
    pub fn merge(&mut self, other: &Recorder) {
        self.histogram
            .add(&other.histogram)
            .expect("all recorders have the same bounds");
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.missing += other.missing;
        self.censored_from = self.censored_from.min(other.censored_from);
        self.saturated += other.saturated;
    }

    /// Forgets everything, keeps its space.
    pub fn clear(&mut self) {
        self.histogram.reset();
        (self.sum, self.min, self.max) = (0, u64::MAX, 0);
        (self.missing, self.saturated) = (0, 0);
        self.censored_from = Nanos::NEVER;
    }

    /// How many messages were recorded, the missing ones included.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many of them never got their answer.
    pub fn censored(&self) -> u64 {
        self.missing
    }

    /// How many took longer than [`CEILING`]. A percentile that falls among them is a lower bound.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The latency that a share `q` of all messages did not exceed: 0.99 for p99.
    ///
    /// Buckets are read at their upper edge, so an answer is at most 0.1 % too large; a lower bound at their lower
    /// edge, so it holds. Panics unless `0 < q < 1`: p0 and p100 are [`Recorder::min`] and [`Recorder::max`].
    pub fn quantile(&self, q: f64) -> Percentile {
        let needs = order_statistics::needs(q);
        if self.count() < needs {
            return Percentile::NotEnough { needs };
        }
        Percentile::Known(self.figure_at(order_statistics::of_quantile(self.count(), q)))
    }

    /// Where the true percentile lies with 95 % confidence, by order statistics: bucket edges, so not narrower than
    /// the exact samples would give. None below [`needs`] samples. The upper end is `NEVER` where answers are missing
    /// or saturated.
    ///
    /// Holds for *independent* samples. Latencies of one run are not (queues make neighbours alike): within a run
    /// this is too narrow, and comparing runs needs restarts as the sample. See [`ranks`] for the source.
    pub fn interval(&self, q: f64) -> Option<(Nanos, Nanos)> {
        let (low, high) = order_statistics::interval(self.count(), q)?;
        let (low, high) = (self.bucket_at(low).0, self.figure_at(high));
        Some((
            low,
            if high.lower_bound_only {
                Nanos::NEVER
            } else {
                high.value
            },
        ))
    }

    /// The smallest latency, exact. None if nothing was recorded.
    pub fn min(&self) -> Option<Value> {
        let value = Nanos(self.min);
        (self.count() > 0).then_some(Value {
            value,
            lower_bound_only: value >= self.censored_from,
        })
    }

    /// The largest latency, exact, beyond the ceiling too. None if nothing was recorded.
    pub fn max(&self) -> Option<Value> {
        // A missing answer could still come later than any other.
        (self.count() > 0).then_some(Value {
            value: Nanos(self.max),
            lower_bound_only: self.missing > 0,
        })
    }

    /// The mean latency, exact but for the fraction of a nanosecond. None if nothing was recorded.
    pub fn mean(&self) -> Option<Value> {
        let mean = self.sum.checked_div(u128::from(self.count()))?;
        // The mean of 64-bit numbers fits in 64 bits.
        Some(Value {
            value: Nanos(mean as u64),
            lower_bound_only: self.missing > 0,
        })
    }

    /// The sample of this rank (1 is the smallest), to the precision of its bucket.
    fn figure_at(&self, rank: u64) -> Value {
        let (low, high) = self.bucket_at(rank);
        // The age may lie within the bucket, and so may the ceiling: then we cannot tell, and say the weaker thing.
        let past_ceiling = self.saturated > 0 && high >= CEILING;
        let lower_bound_only = past_ceiling || high >= self.censored_from;
        Value {
            value: if lower_bound_only { low } else { high },
            lower_bound_only,
        }
    }

    /// The smallest and the largest latency that the sample of this rank may have had, as far as its bucket tells.
    fn bucket_at(&self, rank: u64) -> (Nanos, Nanos) {
        let mut seen = 0;
        for step in self.histogram.iter_recorded() {
            seen += step.count_at_value();
            if seen >= rank {
                let edge = step.value_iterated_to();
                // No sample lies outside min and max, whatever its bucket's edges are.
                let low = self.histogram.lowest_equivalent(edge).max(self.min.min(CEILING.0));
                return (Nanos(low), Nanos(edge.min(self.max)));
            }
        }
        unreachable!("rank {rank} of {} samples", self.count());
    }
}

#[cfg(test)]
mod tests;
