//! A run over time: a column per second, or per 2, 4, … seconds in a run of more than 256.

use crate::clock::{self, Nanos};
use crate::histogram::Recorder;
use crate::load::interval::Interval;
use crate::load::result::{Messages, Span};
use crate::stats::bounded_series::Merge;
use crate::sys::{netstat, usage};

/// What happened in a column.
#[derive(Debug, Clone)]
pub struct Column {
    /// When it began and ended, in time since measuring began.
    pub span: Span,
    /// Messages: those `sent` were due in it, the others ended in it.
    pub messages: Messages,
    /// Messages completed in it and while measuring, whenever they were due.
    pub achieved: u64,
    /// Response time in an open loop, service time in a closed one, to 2 significant digits.
    pub latency: Recorder,
    /// Send lag, to 2 significant digits; empty in a closed loop.
    pub send_lag: Recorder,
    /// What was used meanwhile. Read once all workers had sent the interval, so a few milliseconds after its end.
    pub used: Used,
}

/// What was used between two readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Time from one to the other.
    pub time: Nanos,
    /// CPU time of this process.
    pub generator_cpu: Nanos,
    /// CPU time of the servers' processes; `None` if they are not known, or if one has ended.
    pub server_cpu: Option<Nanos>,
    /// TCP segments retransmitted in this network namespace; `None` if that is not readable.
    pub retransmits: Option<u64>,
}

impl Column {
    pub(super) fn of(interval: &Interval, open_loop: bool, used: Used) -> Column {
        let coarse = |exact: &Recorder| {
            let mut coarse = Recorder::coarse();
            coarse.merge(exact);
            coarse
        };
        let latencies = &interval.latencies;
        Column {
            span: interval.span,
            messages: interval.messages,
            achieved: interval.achieved,
            latency: coarse(if open_loop {
                &latencies.response
            } else {
                &latencies.service
            }),
            send_lag: coarse(&interval.send_lag),
            used,
        }
    }
}

impl Merge for Column {
    fn merge(&mut self, next: Column) {
        self.span.end = next.span.end;
        self.messages.merge(&next.messages);
        self.achieved += next.achieved;
        self.latency.merge(&next.latency);
        self.send_lag.merge(&next.send_lag);
        self.used = Used {
            time: self.used.time + next.used.time,
            generator_cpu: self.used.generator_cpu + next.used.generator_cpu,
            server_cpu: both(self.used.server_cpu, next.used.server_cpu, |one, other| one + other),
            retransmits: both(self.used.retransmits, next.used.retransmits, |one, other| one + other),
        };
    }
}

fn both<T>(one: Option<T>, other: Option<T>, with: impl Fn(T, T) -> T) -> Option<T> {
    one.zip(other).map(|(one, other)| with(one, other))
}

/// Counters that only rise, at one instant.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Nanos,
    generator_cpu: Nanos,
    server_cpu: Option<Nanos>,
    retransmits: Option<u64>,
}

/// Reads what is used, column by column.
pub(super) struct Meter {
    /// The servers' processes when it was made, descendants included.
    pids: Vec<i32>,
    last: Reading,
}

impl Meter {
    /// Starts to measure these processes of the servers.
    pub(super) fn start(pids: Vec<i32>) -> Meter {
        let last = Reading::now(&pids);
        Meter { pids, last }
    }

    /// What was used since the reading before.
    pub(super) fn read(&mut self) -> Used {
        let now = Reading::now(&self.pids);
        let last = std::mem::replace(&mut self.last, now);
        Used {
            time: now.at - last.at,
            generator_cpu: now.generator_cpu - last.generator_cpu,
            server_cpu: both(now.server_cpu, last.server_cpu, |now, last| now - last),
            retransmits: both(now.retransmits, last.retransmits, u64::saturating_sub),
        }
    }
}

impl Reading {
    fn now(pids: &[i32]) -> Reading {
        let mut of_all = pids.iter().map(|&pid| usage::process_cpu(pid));
        let server_cpu = of_all.try_fold(Nanos(0), |sum, one| Some(sum + one?));
        Reading {
            at: clock::now(),
            generator_cpu: usage::own_cpu(),
            server_cpu: server_cpu.filter(|_| !pids.is_empty()),
            retransmits: netstat::read().map(|counters| counters.retransmits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(second: u64, server_cpu: Option<u64>) -> Column {
        let at = |second: u64| Nanos(second * Nanos::SECOND.0);
        let mut interval = Interval {
            span: Span {
                begin: at(second),
                end: at(second + 1),
            },
            achieved: 3,
            ..Interval::default()
        };
        interval.latencies.service.record(Nanos(1000 + second));
        interval.latencies.response.record(Nanos(2000));
        let used = Used {
            time: at(1),
            generator_cpu: Nanos(5),
            server_cpu: server_cpu.map(Nanos),
            retransmits: Some(1),
        };
        Column::of(&interval, false, used)
    }

    #[test]
    fn merged_columns_cover_both_and_add_up() {
        let mut merged = column(0, Some(7));
        merged.merge(column(1, Some(8)));
        assert_eq!((merged.span.begin, merged.span.end), (Nanos(0), Nanos(2_000_000_000)));
        assert_eq!((merged.achieved, merged.latency.count()), (6, 2));
        assert_eq!(merged.latency.max().unwrap().value, Nanos(1001));
        let used = merged.used;
        assert_eq!(
            (used.generator_cpu, used.server_cpu, used.retransmits),
            (Nanos(10), Some(Nanos(15)), Some(2))
        );
        merged.merge(column(2, None));
        assert_eq!(merged.used.server_cpu, None, "not of all");
    }

    #[test]
    fn an_open_loop_has_its_response_times() {
        let mut interval = Interval::default();
        interval.latencies.response.record(Nanos(2000));
        let used = column(0, None).used;
        assert_eq!(Column::of(&interval, true, used).latency.count(), 1);
        assert_eq!(Column::of(&interval, false, used).latency.count(), 0);
    }
}
