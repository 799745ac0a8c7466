//! What is judged: for each metric its load, its unit, which way is worse, and the smallest change that matters unless
//! somebody says otherwise.

use std::fmt::{self, Display, Formatter};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::check::decision::Threshold;
use crate::clock::Nanos;
use crate::compare::comparison::BlockFigures;
use crate::units::{self, show_duration, show_rate, show_size};

/// Under which load something is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As much as the server can do.
    Closed,
    /// Messages at planned instants, a share of what the base can do: as users wait for it.
    Open,
}

/// Something that can get worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Response times in the open loop, from the planned instant.
    #[serde(rename = "p50")]
    P50,
    /// See `P50`.
    #[serde(rename = "p90")]
    P90,
    /// See `P50`.
    #[serde(rename = "p99")]
    P99,
    /// See `P50`.
    #[serde(rename = "p99.9")]
    P999,
    /// Messages a second in the closed loop.
    #[serde(rename = "throughput")]
    Throughput,
    /// CPU time of the server for each message of the closed loop.
    #[serde(rename = "cpu")]
    Cpu,
    /// What the server's resident memory grew by for each connection.
    #[serde(rename = "memory")]
    Memory,
}

/// Bytes for each connection that nobody asks after: a server that grew by less, or shrank, counts as if it had grown by
/// so much.
const LEAN: f64 = 512.0;

/// The largest share of its throughput that a server can lose.
const MOST: f64 = 0.99;

/// BlockFigures of anything that can be measured. What is beyond was not measured, but written into a file.
const SANE: RangeInclusive<f64> = 1e-6..=1e18;

impl Metric {
    /// All of them, as they are shown.
    pub const ALL: [Metric; 7] = [
        Metric::P50,
        Metric::P90,
        Metric::P99,
        Metric::P999,
        Metric::Throughput,
        Metric::Cpu,
        Metric::Memory,
    ];

    /// Those that fail a build unless somebody says otherwise: what a user waits for, how many can be served, and at
    /// what price. p99 and p99.9 scatter from launch to launch by more than they must not grow, memory comes in
    /// pages: to gate on them makes most checks inconclusive, and each one more costs the others some of their power.
    pub const GATE: [Metric; 3] = [Metric::P50, Metric::Throughput, Metric::Cpu];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Metric::P50 => "p50",
            Metric::P90 => "p90",
            Metric::P99 => "p99",
            Metric::P999 => "p99.9",
            Metric::Throughput => "throughput",
            Metric::Cpu => "cpu",
            Metric::Memory => "memory",
        }
    }

    /// For the command line: errors are one line that says what to write.
    pub fn parse(text: &str) -> Result<Metric, String> {
        let known = Metric::ALL.into_iter().find(|metric| metric.name() == text);
        known.ok_or_else(|| {
            let names = Metric::ALL.map(Metric::name).join(", ");
            format!("no such metric; there are {names}")
        })
    }

    /// The load it is measured under; none: under any.
    pub fn profile(self) -> Option<Profile> {
        match self {
            Metric::P50 | Metric::P90 | Metric::P99 | Metric::P999 => Some(Profile::Open),
            Metric::Throughput | Metric::Cpu => Some(Profile::Closed),
            Metric::Memory => None,
        }
    }

    /// The smallest change of it that matters, in shares of the base.
    ///
    /// 3 % for the median; more for what scatters more. 2 % for throughput, so that a loss of 3 % is found: what is as
    /// large as the smallest effect that matters is found half of the time.
    pub fn matters(self) -> Threshold {
        let (share, floor) = match self {
            Metric::P50 => (0.03, 0.0),
            Metric::P90 => (0.05, 0.0),
            Metric::P99 => (0.08, 0.0),
            Metric::P999 => (0.2, 0.0),
            Metric::Throughput | Metric::Cpu => (0.02, 0.0),
            // A server grows by whole pages: one for eight connections is nothing.
            Metric::Memory => (0.1, LEAN),
        };
        Threshold { share, floor }
    }

    /// The smallest change that matters as a score, where base has this figure.
    pub fn effect(self, matters: Threshold, base: f64) -> f64 {
        let share = matters.share.max(matters.floor / base);
        if self == Metric::Throughput {
            -(-share.min(MOST)).ln_1p() // It cannot lose all of it, and more.
        } else {
            share.ln_1p()
        }
    }

    /// Its figure in a block, in its unit. None where there is none that ratios could be made of.
    pub fn figure(self, block: &BlockFigures) -> Option<f64> {
        let ns = |figure: Option<u64>| figure.map(|ns| ns as f64);
        let figure = match self {
            Metric::P50 => ns(block.p50_ns),
            Metric::P90 => ns(block.p90_ns),
            Metric::P99 => ns(block.p99_ns),
            Metric::P999 => ns(block.p99_9_ns),
            Metric::Throughput => Some(block.rate_per_s),
            Metric::Cpu => block.cpu_ns_per_message,
            Metric::Memory => block.resident_bytes_per_connection.map(|bytes| bytes.max(LEAN)),
        };
        figure.filter(|figure| SANE.contains(figure))
    }

    /// How much worse the head is, as a log-ratio; below zero where it is better.
    pub fn score(self, base: f64, head: f64) -> f64 {
        self.worse() * (head / base).ln()
    }

    /// What a score means for the figure itself: 0.03 for 3 % more of it.
    pub fn change(self, score: f64) -> f64 {
        (self.worse() * score).exp_m1()
    }

    /// The same for both ends of an interval, the lower one first.
    pub fn changes(self, (low, high): (f64, f64)) -> (f64, f64) {
        let (low, high) = (self.change(low), self.change(high));
        (low.min(high), low.max(high))
    }

    /// 1 where more is worse, -1 where less is.
    fn worse(self) -> f64 {
        if self == Metric::Throughput { -1.0 } else { 1.0 }
    }

    /// A figure of it, to be read.
    pub fn show(self, figure: f64) -> String {
        // The casts saturate.
        match self {
            Metric::Throughput => show_rate(figure.round()),
            Metric::Memory => show_size(figure.round() as u64),
            _ => show_duration(Nanos(figure.round() as u64)),
        }
    }

    /// The other way round: `20us`, `1k/s` or `4KiB`.
    pub fn read(self, text: &str) -> Result<f64, String> {
        match self {
            Metric::Throughput => units::rate(text),
            Metric::Memory => units::size(text).map(|bytes| bytes as f64),
            _ => units::duration(text).map(|span| span.0 as f64),
        }
    }
}

impl Display for Metric {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Profile {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Closed => "closed",
            Profile::Open => "open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_passes_both_bounds() {
        let matters = Threshold {
            share: 0.08,
            floor: 2_000.0,
        };
        // 8 % of 10 µs are 0.8 µs: it takes 2 µs, 20 %. 8 % of 100 µs are enough.
        assert_eq!(Metric::P99.effect(matters, 10_000.0), 0.2_f64.ln_1p());
        assert_eq!(Metric::P99.effect(matters, 100_000.0), 0.08_f64.ln_1p());
    }

    #[test]
    fn what_matters_of_a_rate_is_what_is_lost() {
        let matters = Threshold {
            share: 0.02,
            floor: 50_000.0,
        };
        let (base, metric) = (100_000.0, Metric::Throughput);
        let effect = metric.effect(matters, base);
        assert!(metric.score(base, 50_001.0) < effect);
        assert!(metric.score(base, 49_999.0) > effect);
        assert!(metric.effect(matters, 10_000.0).is_finite());
    }

    #[test]
    fn a_server_that_grew_by_nothing_has_a_figure_of_memory() {
        let mut block = crate::check::fixtures::figures(1.0, &crate::check::fixtures::ALIKE);
        for (grown, figure) in [(-100.0, 512.0), (0.0, 512.0), (4096.0, 4096.0)] {
            block.resident_bytes_per_connection = Some(grown);
            assert_eq!(Metric::Memory.figure(&block), Some(figure));
        }
    }

    #[test]
    fn what_nobody_can_measure_is_no_figure() {
        let mut block = crate::check::fixtures::figures(1.0, &crate::check::fixtures::ALIKE);
        for rate in [0.0, -1.0, 1e-308, 1e308, f64::NAN, f64::INFINITY] {
            block.rate_per_s = rate;
            assert_eq!(Metric::Throughput.figure(&block), None, "{rate}");
        }
    }
}
