//! How much CPU time a measurement lost to other guests and other tasks.
//!
//! Steal is from /proc/stat (proc(5)), pressure from /proc/pressure/cpu (PSI, Documentation/accounting/psi.rst). What
//! is hidden, as in many containers, is `None`.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::clock::{self, Nanos};

/// The kernel's counters at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    at: Nanos,
    steal: Option<Nanos>,
    pressure: Option<Nanos>,
}

/// The disturbance between two snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disturbance {
    /// Time between the snapshots.
    #[serde(rename = "span_ns")]
    pub span: Nanos,
    /// Steal: time in which the hypervisor ran other guests although a CPU of this machine was runnable, summed over
    /// CPUs, in steps of 10 ms. Zero on hypervisors that do not report it.
    #[serde(rename = "steal_ns")]
    pub steal: Option<Nanos>,
    /// Pressure: time in which at least one task of this machine waited for a CPU. None without CONFIG_PSI or with
    /// psi=0.
    #[serde(rename = "pressure_ns")]
    pub pressure: Option<Nanos>,
}

impl Snapshot {
    /// Reads the counters.
    pub fn read() -> Snapshot {
        Snapshot {
            at: clock::now(),
            steal: fs::read_to_string("/proc/stat").ok().and_then(|stat| steal(&stat)),
            pressure: fs::read_to_string("/proc/pressure/cpu")
                .ok()
                .and_then(|text| pressure(&text)),
        }
    }

    /// The disturbance from `before` to this snapshot.
    pub fn since(&self, before: &Snapshot) -> Disturbance {
        let difference = |(after, before): (Nanos, Nanos)| after - before;
        Disturbance {
            span: self.at - before.at,
            steal: self.steal.zip(before.steal).map(difference),
            pressure: self.pressure.zip(before.pressure).map(difference),
        }
    }
}

/// Share of the time of all CPUs that was stolen, since boot.
pub fn steal_since_boot() -> Option<f64> {
    steal_share(&fs::read_to_string("/proc/stat").ok()?)
}

fn steal_share(stat: &str) -> Option<f64> {
    let all_cpus = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Guests' time, the last two fields, is part of user and nice.
    let ticks = all_cpus
        .split_whitespace()
        .take(8)
        .map(|ticks| ticks.parse::<f64>().ok());
    let ticks: Vec<f64> = ticks.collect::<Option<_>>()?;
    let all: f64 = ticks.iter().sum();
    (all > 0.0).then(|| ticks.get(7).map(|steal| steal / all)).flatten()
}

fn steal(stat: &str) -> Option<Nanos> {
    // USER_HZ is 100 on all architectures but Alpha, whatever CONFIG_HZ is: it is part of the ABI.
    const TICK: u64 = 1_000_000_000 / 100;
    let all_cpus = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal
    let ticks: u64 = all_cpus.split_whitespace().nth(7)?.parse().ok()?;
    ticks.checked_mul(TICK).map(Nanos)
}

fn pressure(text: &str) -> Option<Nanos> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let micros: u64 = some
        .split([' ', '\n'])
        .find_map(|field| field.strip_prefix("total="))?
        .parse()
        .ok()?;
    micros.checked_mul(1_000).map(Nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_never_decrease() {
        let before = Snapshot::read();
        let after = Snapshot::read();
        assert!(after.steal >= before.steal && after.pressure >= before.pressure && after.at >= before.at);
        assert_eq!(after.since(&before).span, after.at - before.at);
    }

    #[test]
    fn the_files_are_parsed_as_the_kernel_writes_them() {
        let stat = "cpu  9186 0 2254 140297 268 0 26 8 0 0\ncpu0 4500 0 849 70655 35 0 3 2 0 0\n";
        assert_eq!(steal(stat), Some(Nanos(80_000_000)));
        assert_eq!(steal_share("cpu  90 0 0 0 0 0 0 10 5 0\n"), Some(0.1));
        let text = "some avg10=0.57 avg60=0.84 avg300=0.71 total=5714000\nfull avg10=0.00 total=3\n";
        assert_eq!(pressure(text), Some(Nanos(5_714_000_000)));
    }

    #[test]
    fn a_missing_or_malformed_counter_is_none() {
        for text in [
            "",
            "cpu",
            "cpu  1 2 3",
            "some total=x",
            "some total=18446744073709551615",
        ] {
            assert_eq!((steal(text), pressure(text)), (None, None), "{text}");
            assert_eq!(steal_share(text), None, "{text}");
        }
    }
}
