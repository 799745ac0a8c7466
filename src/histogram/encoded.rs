//! A histogram as text, in a document: the encoding of interval logs, which every HdrHistogram library reads.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use super::Recorder;
use crate::clock::Nanos;
use crate::stats::order_statistics;

/// A histogram in HdrHistogram's encoding V2, deflated and in base64. Values are in nanoseconds; messages that did not
/// complete count with the age that they had reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct EncodedHistogram(String);

/// The samples of a histogram, by the upper edges of their buckets, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<(Nanos, u64)>);

impl EncodedHistogram {
    /// Of all samples.
    pub fn of(recorder: &Recorder) -> EncodedHistogram {
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(&recorder.histogram, &mut bytes);
        written.expect("a count is below 2^63, and memory takes every byte");
        EncodedHistogram(BASE64_STANDARD.encode(bytes))
    }

    /// Its samples. Errors: one line, for a text that is no histogram.
    pub fn buckets(&self) -> Result<Buckets, String> {
        let bytes = BASE64_STANDARD.decode(&self.0);
        let bytes = bytes.map_err(|cause| format!("a histogram that is not base64: {cause}"))?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|cause| format!("a histogram that cannot be read: {cause}"))?;
        let edges = histogram.iter_recorded();
        let edges = edges.map(|step| (Nanos(step.value_iterated_to()), step.count_at_value()));
        Ok(Buckets(edges.collect()))
    }
}

impl Buckets {
    /// Their upper edges with the number of samples in each.
    pub fn iter(&self) -> impl Iterator<Item = (Nanos, u64)> {
        self.0.iter().copied()
    }

    /// All samples.
    pub fn count(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// The value that each of these shares of the samples did not exceed, by the nearest rank; shares in ascending
    /// order. Zero without samples.
    pub fn quantiles(&self, shares: &[f64]) -> Vec<Nanos> {
        let count = self.count();
        let mut edges = self.iter();
        let (mut seen, mut edge) = (0, Nanos(0));
        let quantile = |&share: &f64| {
            let rank = order_statistics::rank_of(count.max(1), share);
            while seen < rank {
                let Some((next, more)) = edges.next() else { break };
                (edge, seen) = (next, seen + more);
            }
            edge
        };
        shares.iter().map(quantile).collect()
    }

    /// Adds the samples of others.
    pub fn merge(&mut self, others: Buckets) {
        let mut sum: std::collections::BTreeMap<Nanos, u64> = self.iter().collect();
        others
            .iter()
            .for_each(|(edge, count)| *sum.entry(edge).or_default() += count);
        self.0 = sum.into_iter().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(values: &[u64]) -> Recorder {
        let mut recorder = Recorder::coarse();
        values.iter().for_each(|&ns| recorder.record(Nanos(ns)));
        recorder
    }

    #[test]
    fn samples_are_read_as_they_were_written() {
        let text = EncodedHistogram::of(&recorder(&[5, 5, 70, 90_000]));
        let mut buckets = text.buckets().unwrap();
        let first: Vec<_> = buckets.iter().take(2).collect();
        assert_eq!((first, buckets.count()), (vec![(Nanos(5), 2), (Nanos(70), 1)], 4));
        let (edge, _) = buckets.iter().last().unwrap();
        assert!(edge >= Nanos(90_000) && edge < Nanos(91_000), "{edge:?}");
        buckets.merge(EncodedHistogram::of(&recorder(&[5, 6])).buckets().unwrap());
        assert_eq!(buckets.iter().next(), Some((Nanos(5), 3)));
        assert_eq!(buckets.count(), 6);
    }

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let all: Vec<u64> = (1..=100).collect();
        let buckets = EncodedHistogram::of(&recorder(&all)).buckets().unwrap();
        let shares = [0.0, 0.001, 0.5, 0.505, 0.99, 1.0];
        assert_eq!(buckets.quantiles(&shares), [1, 1, 50, 51, 99, 100].map(Nanos));
        assert_eq!(Buckets(Vec::new()).quantiles(&[0.5]), [Nanos(0)]);
    }

    #[test]
    fn a_text_that_is_no_histogram_is_refused() {
        for text in ["!", "", "AAAA", "HISTFAAAABl42pNpmSzMwMDAxQABzFCaEUIjAAAAAAAAAA=="] {
            assert!(EncodedHistogram(text.into()).buckets().is_err(), "{text}");
        }
    }
}
