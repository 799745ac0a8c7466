//! How connections ended, by who ended them and how.

use std::fmt::{self, Display, Formatter};

#[cfg(test)]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::result::Loss;
use crate::load::{Close, RunResult};
use crate::units::{plural, show_count};

/// How the opened connections ended: all of them together are `connections.opened`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Endings {
    /// Closed by our FIN during the run (churn).
    pub fin_by_us: u64,
    /// Closed by our RST during the run (churn).
    pub rst_by_us: u64,
    /// Open when the run was over, and closed by our FIN then.
    pub at_the_end: u64,
    /// Closed by the target's FIN before we closed them.
    pub fin_by_target: u64,
    /// Reset by the target.
    pub rst_by_target: u64,
    /// Ended by anything else: no reply in time, wrong data, an error of the kernel.
    pub otherwise: u64,
    /// Sockets to the targets in TIME-WAIT, or on the way there, after all were closed: they keep their ports for a
    /// minute. Those of earlier runs count as well. Null where the kernel does not list sockets.
    pub time_wait: Option<u64>,
}

impl Endings {
    pub(super) fn of(run: &RunResult) -> Endings {
        let stats = &run.stats;
        let lost = |loss| stats.lost.get(&loss).copied().unwrap_or(0);
        let all_lost: u64 = stats.lost.values().sum();
        let (fin_by_target, rst_by_target) = (lost(Loss::Eof), lost(Loss::Reset));
        let resets = run.plan.workload.churn.is_some_and(|churn| churn.close == Close::Rst);
        Endings {
            fin_by_us: if resets { 0 } else { stats.closed },
            rst_by_us: if resets { stats.closed } else { 0 },
            at_the_end: stats.opened.saturating_sub(stats.closed + all_lost),
            fin_by_target,
            rst_by_target,
            otherwise: all_lost - fin_by_target - rst_by_target,
            time_wait: run.time_wait,
        }
    }
}

impl Display for Endings {
    /// What is not zero.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.fin_by_us, "by our FIN"),
            (self.rst_by_us, "by our RST"),
            (self.fin_by_target, "by the target's FIN"),
            (self.rst_by_target, "by its RST"),
            (self.otherwise, "otherwise"),
            (self.at_the_end, "at the end"),
        ];
        let kinds = kinds.into_iter().filter(|&(count, _)| count > 0);
        let kinds: Vec<String> = kinds
            .map(|(count, how)| format!("{} {how}", show_count(count)))
            .collect();
        f.write_str(&kinds.join(", "))?;
        match self.time_wait {
            Some(count) => write!(f, "; {} in TIME-WAIT or on the way there", plural(count, "socket")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_shown() {
        let none = Endings {
            fin_by_us: 0,
            rst_by_us: 0,
            at_the_end: 0,
            fin_by_target: 0,
            rst_by_target: 0,
            otherwise: 0,
            time_wait: None,
        };
        assert_eq!(none.to_string(), "");
        let churn = Endings {
            fin_by_us: 1234,
            rst_by_target: 2,
            at_the_end: 10,
            time_wait: Some(1),
            ..none
        };
        assert_eq!(
            churn.to_string(),
            "1,234 by our FIN, 2 by its RST, 10 at the end; 1 socket in TIME-WAIT or on the way there"
        );
    }
}
