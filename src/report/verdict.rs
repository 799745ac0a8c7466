//! The report's judgement of itself: how far its figures can be trusted, why not further, and what to do about it.
//!
//! Pure: evidence in, verdict out. The rules and their thresholds are in [`rules`]; gathering the evidence and ending
//! the process with 3 for INVALID is for others. That a load generator must check itself: Lancet (Kogias et al.,
//! USENIX ATC 2019).

mod rules;

use std::cmp::Reverse;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use crate::clock::Nanos;

/// What a run knows about its own conditions. Shares are of one: 0.01 is 1 %. What could not be seen is `None`, and
/// convicts nobody.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// True when messages were planned by a schedule and not by the answers.
    pub open_loop: bool,
    /// How late the generator was, 99th percentile: from a message's planned instant to the generator's taking it in
    /// hand. Waiting behind an earlier message of its connection is the server's doing and does not belong in here.
    pub send_lag_p99: Option<Nanos>,
    /// Median service time.
    pub service_p50: Option<Nanos>,
    /// Open loop: messages a second that the schedule planned in the measured time, as they fell (a Poisson schedule
    /// is off its nominal rate by 1 % for 10,000 messages).
    pub offered_per_s: f64,
    /// Open loop: messages a second that came back within the measured time, whenever they were planned. Not those
    /// that the drain collected: they would hide a growing queue.
    pub achieved_per_s: f64,
    /// Share of a CPU that the busiest thread of the generator spent working. Spinning is not work.
    pub generator_busy: f64,
    /// CPUs that the server's process used, 1.5 for one and a half.
    pub server_busy: Option<f64>,
    /// CPUs it could have kept busy: not more than its working threads, nor than it was allowed.
    pub server_cpus: Option<usize>,
    /// True when the server may run on a CPU of the generator, and there is none to spare.
    pub shares_cpu: bool,
    /// Time stolen by the hypervisor, as a share of the measured time × the CPUs.
    pub steal_share: f64,
    /// Share of the measured time in which some task of the machine waited for a CPU (pressure stall information).
    pub pressure_share: Option<f64>,
    /// Times a completion queue overflowed.
    pub overflows: u64,
    /// True for a build without optimisation.
    pub debug_build: bool,
    /// True if the run was interrupted.
    pub partial: bool,
    /// Latencies recorded, the missing answers included.
    pub samples: u64,
    /// Samples from which p99 can be told.
    pub needed_for_p99: u64,
    /// Connections asked for.
    pub connections: u64,
    /// Connections that never opened.
    pub unopened: u64,
    /// Connections that the target ended before the run was over.
    pub lost: u64,
    /// Messages asked for while measuring.
    pub sent: u64,
    /// Messages whose connection ended first.
    pub failed: u64,
    /// Messages that had not come back when the drain was over.
    pub missing: u64,
    /// True if every byte that came back was compared.
    pub verify: bool,
    /// Jain's index of the messages per connection: 1 when all had the same, 1/n when one had all.
    pub fairness_jain: Option<f64>,
    /// TCP segments sent again while measuring, on the whole machine.
    pub retransmits: Option<u64>,
    /// Connections that found an accept queue full, from the first connect to the end, on the whole machine.
    pub listen_overflows: Option<u64>,
}

/// How far to trust a run. Ordered: the larger, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Grade {
    /// The figures say something about the server. A reason of this grade is a note: worth knowing, nothing to mend.
    Valid,
    /// Some figure may say more about the generator or the machine: read the reason before using it.
    Suspect,
    /// The figures do not say what they claim. The process ends with 3.
    Invalid,
}

/// One thing that speaks against a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// How much it speaks against it.
    pub grade: Grade,
    /// Its name for programs, in kebab-case. Never changes.
    pub code: &'static str,
    /// What was seen, with the figure and the threshold it crossed. No full stop.
    pub what: String,
    /// What to do about it, a sentence.
    pub advice: &'static str,
}

/// The judgement: as bad as its worst reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The worst of the reasons' grades; valid if there are none.
    pub grade: Grade,
    /// Worst first.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Nothing has been judged yet.
    pub(super) fn none() -> Verdict {
        Verdict {
            grade: Grade::Valid,
            reasons: Vec::new(),
        }
    }
}

/// Judges a run by what is known of its conditions.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut reasons: Vec<_> = rules::ALL.iter().filter_map(|rule| rule(evidence)).collect();
    // Stable: within a grade the order of the rules stays.
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
    /// The grade, then a line for each reason; ends with a line break, as the other parts of the report do.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "verdict      {}", self.grade)?;
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
