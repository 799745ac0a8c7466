//! The verdict of a run on itself: how far its figures can be trusted, why no further, and what to do about it.
//!
//! Pure: inputs in, verdict out. The rules and their thresholds are in [`rules`]. That a load generator must check
//! itself is from Lancet (Kogias et al., USENIX ATC 2019).

pub mod bottleneck;
pub mod quota;
mod rules;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::sys::throttling::Throttling;

/// The conditions of a run that the rules judge. Shares are fractions: 0.01 is 1 %. `None` is unknown, and no rule
/// fires on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    /// True if a schedule made messages due, regardless of replies.
    pub open_loop: bool,
    /// 99th percentile of the generator's own delay: from the planned instant of a message until the generator handles
    /// it. Waiting for an earlier message of the same connection is the server's doing, and excluded.
    pub send_lag_p99: Option<Nanos>,
    /// Median service time.
    pub service_p50: Option<Nanos>,
    /// Open loop: messages due per second of measuring by the plan, whether they were sent or not, as drawn (over
    /// 10,000 messages, a Poisson schedule deviates from its nominal rate by about 1 %).
    pub offered_per_s: f64,
    /// Open loop: messages completed per second of measuring, whenever they were due. Those completed in the drain are
    /// excluded: they would hide a growing queue.
    pub achieved_per_s: f64,
    /// Open loop: messages per second of measuring that were on the way at the end, and not at the beginning, though
    /// nothing queued.
    pub in_flight_growth_per_s: f64,
    /// Messages per second that the connections can carry on this path, however fast the server is.
    pub littles_law_limit_per_s: Option<f64>,
    /// Share of a CPU that the busiest thread of the generator used, without busy-polling.
    pub generator_busy: f64,
    /// CPUs that all processes of the servers used: 1.5 is one and a half.
    pub server_busy: Option<f64>,
    /// CPUs it could have kept busy: the smaller of its running threads and its allowed CPUs.
    pub server_cpus: Option<usize>,
    /// True if server and generator had to share a CPU.
    pub shares_cpu: bool,
    /// CPU time stolen by the hypervisor, as a share of measuring time × CPUs.
    pub steal_share: f64,
    /// Share of measuring time in which some task of the machine waited for a CPU (pressure stall information).
    pub pressure_share: Option<f64>,
    /// Length of measuring.
    pub measured: Nanos,
    /// Time for which the event loop of a thread of the generator was stalled, and the longest stall.
    pub stalled: Nanos,
    /// See [`stalled`](Inputs::stalled).
    pub stalled_longest: Nanos,
    /// Time that a thread of the generator waited for a CPU while measuring.
    pub run_delay: Nanos,
    /// What CPU quotas of control groups cost while measuring.
    pub throttling: Option<Throttling>,
    /// The same of the servers' control groups, if they have others.
    pub server_throttling: Option<Throttling>,
    /// 99th percentile of how long the passes of the generator's loop took.
    pub pass_p99: Option<Nanos>,
    /// Times that a completion queue overflowed.
    pub overflows: u64,
    /// Intervals that outputs have as part of a longer one.
    pub merged_intervals: u64,
    /// True for a build without optimisation.
    pub debug_build: bool,
    /// True if the run was interrupted.
    pub partial: bool,
    /// The first wrong byte that came back.
    pub wrong_data: Option<String>,
    /// Latencies recorded, censored ones included.
    pub samples: u64,
    /// Connections of the plan, and replacements.
    pub connections: u64,
    /// Connections that never opened, or were still opening at the end.
    pub unopened: u64,
    /// Of these, those for which this machine had no source port.
    pub without_port: u64,
    /// Connections that the target closed before the run was over.
    pub lost: u64,
    /// How often the rate was changed by hand while measuring.
    pub rate_changes: u64,
    /// Messages due while measuring.
    pub sent: u64,
    /// Messages whose connection closed before the reply.
    pub failed: u64,
    /// Messages without a reply by the end of the drain.
    pub missing: u64,
    /// True if every byte of every reply was compared.
    pub verify: bool,
    /// Jain's index of completed messages per connection: 1 if all completed the same number, 1/n if one completed
    /// all.
    pub fairness_jain: Option<f64>,
    /// TCP segments retransmitted while measuring, on the whole machine.
    pub retransmits: Option<u64>,
    /// Connections that found an accept queue full, from the first connect to the end, on the whole machine.
    pub listen_overflows: Option<u64>,
}

/// How far to trust a run. Ordered: the larger, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Grade {
    /// The figures describe the server. A reason of this grade is a note.
    Valid,
    /// Some figure may describe the generator or the machine instead: read the reason before using it.
    Suspect,
    /// The figures do not describe what they claim to. The process exits with 3.
    Invalid,
}

/// One reason to distrust a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// How serious it is.
    pub grade: Grade,
    /// Stable identifier in kebab-case.
    pub code: Cow<'static, str>,
    /// The figure and the threshold that it crossed, without a full stop.
    pub what: String,
    /// What to do about it, a sentence.
    pub advice: Cow<'static, str>,
}

/// How far a run can be trusted: as bad as its worst reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The worst grade among the reasons; valid without one.
    pub grade: Grade,
    /// Worst first.
    pub reasons: Vec<Reason>,
}

/// Judges a run by its conditions.
pub fn judge(inputs: &Inputs) -> Verdict {
    let mut reasons: Vec<_> = rules::ALL.iter().filter_map(|rule| rule(inputs)).collect();
    // A stable sort: within a grade, reasons stay in the order of the rules.
    reasons.sort_by_key(|reason| Reverse(reason.grade));
    let grade = reasons.first().map_or(Grade::Valid, |worst| worst.grade);
    Verdict { grade, reasons }
}

impl Display for Grade {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Valid => "VALID",
            Grade::Suspect => "SUSPECT",
            Grade::Invalid => "INVALID",
        })
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let label = match self.grade {
            Grade::Valid => "note".to_owned(),
            grade => grade.to_string(),
        };
        let Reason { code, what, advice, .. } = self;
        write!(f, "{label:<10} {code}: {what}. {advice}")
    }
}

impl Display for Verdict {
    /// The grade, then a line for each reason; ends with a newline, as the other parts of the report do.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "verdict      {}", self.grade)?;
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        Ok(())
    }
}

/// At most two decimals, without trailing zeros: `25 %`, `1.2 %`, `98.97 %`; `< 0.01 %` for anything smaller.
fn percent(share: f64) -> String {
    let shown = format!("{:.2}", share * 100.0);
    let shown = shown.trim_end_matches('0').trim_end_matches('.');
    if shown == "0" && share > 0.0 {
        "< 0.01 %".into()
    } else {
        format!("{shown} %")
    }
}

#[cfg(test)]
mod tests;
