//! Which stored runs a run is compared with.
//!
//! They must differ from each other as this run differs from them. A machine's speed is correlated over minutes: of
//! runs within an hour, one counts. And runs of one boot differ less than runs of two: a boot decides where the kernel
//! and the pages of all files lie in memory, and a virtual machine that was stopped may start on another host. So
//! either all are from the boot of this run, or each is from a different boot.

use super::{Baseline, StoredRun};
use crate::sys::identity::{MachineIdentity, Relation};

/// Fewest stored runs. The interval holds for fewer as well, but is of no use: below 5 runs it is more than 50 standard
/// deviations wide.
pub(super) const RUNS_MIN: usize = 5;

/// With at least this number, the interval is at most a fifth wider than with [`RUNS_MAX`].
pub(super) const RUNS_USEFUL: usize = 10;

/// Most stored runs; of more, the newest. More would narrow the interval by little, and with heavy tails by too much.
pub(super) const RUNS_MAX: usize = 12;

/// Seconds between two runs that both count.
pub(super) const SEPARATION_S: u64 = 3600;

/// The stored runs that count.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    /// At most [`RUNS_MAX`].
    pub(super) runs: Vec<&'a StoredRun>,
    /// True if they are of the boot of the run that they are compared with; otherwise each is of another boot.
    pub(super) of_this_boot: bool,
}

impl Baseline {
    /// Stored runs that count for a run at this place.
    pub(super) fn counted(&self, here: &MachineIdentity) -> Counted<'_> {
        let newest_first = self.separate();
        let is_here = |run: &&StoredRun| here.relation(&run.identity) == Relation::SameBoot;
        let mut runs: Vec<&StoredRun> = newest_first.iter().copied().filter(is_here).collect();
        let of_this_boot = runs.len() >= RUNS_MIN;
        if !of_this_boot {
            runs = one_per_boot(newest_first);
        }
        runs.truncate(RUNS_MAX);
        Counted { runs, of_this_boot }
    }

    /// How many runs count for another run in the boot of the last one, or how many are missing.
    pub fn describe_counted(&self) -> String {
        let here = &self.runs[self.runs.len() - 1].identity;
        let counted = self.counted(here).runs.len();
        if counted < RUNS_MIN {
            return format!("a comparison {}", self.missing(here));
        }
        let advice = if counted < RUNS_USEFUL {
            format!("; {RUNS_USEFUL} detect smaller changes")
        } else {
            String::new()
        };
        format!("a comparison uses {counted} of them{advice}")
    }

    /// How many runs are missing.
    pub(super) fn missing(&self, here: &MachineIdentity) -> String {
        let separate = self.separate();
        let is_here = |run: &&&StoredRun| here.relation(&run.identity) == Relation::SameBoot;
        let of_this_boot = separate.iter().filter(is_here).count();
        let boots = one_per_boot(separate).len();
        format!(
            "needs {RUNS_MIN} stored runs of this boot, at least an hour apart, and has {of_this_boot}: store {} more \
             (or one in each of {RUNS_MIN} boots; there are {boots})",
            RUNS_MIN - of_this_boot
        )
    }

    /// Stored runs that began at least an hour after the one before, newest first.
    fn separate(&self) -> Vec<&StoredRun> {
        let mut runs: Vec<&StoredRun> = self.runs.iter().collect();
        runs.sort_by_key(|stored| stored.run.began_s);
        let mut last = None;
        runs.retain(|stored| {
            let began_s = stored.run.began_s;
            let separate = last.is_none_or(|last| began_s - last >= SEPARATION_S);
            if separate {
                last = Some(began_s);
            }
            separate
        });
        runs.reverse();
        runs
    }
}

/// The newest of each boot, if they come newest first.
fn one_per_boot(runs: Vec<&StoredRun>) -> Vec<&StoredRun> {
    let mut kept: Vec<&StoredRun> = Vec::new();
    for run in runs {
        let same = |other: &&StoredRun| run.identity.relation(&other.identity) == Relation::SameBoot;
        if !kept.iter().any(same) {
            kept.push(run);
        }
    }
    kept
}
