//! Counters of a server: one set per worker, added up at the end, so that no cache line is shared while serving.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Nanos;
use crate::error::{Errno, Error, Result};
use crate::serve::admission::Refusal;

/// Counts of one worker, or the sum over all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken from the listener.
    pub accepted: u64,
    /// Connections that this worker served.
    pub connections: u64,
    /// Connections that ended by themselves: finished, or broken.
    pub closed: u64,
    /// Of these, connections that an error ended: reset by the peer, or given up by the kernel (keep-alive,
    /// TCP_USER_TIMEOUT).
    pub failed: u64,
    /// Accepted connections that no worker could serve, those beyond a limit included.
    pub refused: u64,
    /// Connections refused because all of them together had reached their limit.
    pub refused_at_limit: u64,
    /// Connections refused because those from their address had reached theirs.
    pub refused_per_address: u64,
    /// Connections still open when the drain timed out.
    pub cut: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received after our FIN in a drain: read, not echoed.
    pub discarded: u64,
    /// Receives that found no buffer and had to wait for one.
    pub starved: u64,
    /// Pauses in accepting because descriptors or memory had run out.
    pub accept_pauses: u64,
    /// Pauses in accepting because connections had reached their limit.
    pub limit_pauses: u64,
    /// Connections closed because they had no traffic for the idle timeout.
    pub timed_out: u64,
    /// Connections reset because they did not read, held buffers, and others had waited for one for a second.
    pub evicted: u64,
    /// Completions for connections that had been closed. More than zero is a bug.
    pub stale: u64,
    /// Overflows of a completion queue: the kernel keeps the entries, but slowly.
    pub overflows: u64,
    /// Buffers in use. More than zero at the end without a cut is a bug.
    pub in_use: u64,
    /// Iterations of the event loop.
    pub passes: u64,
    /// Events that they handled.
    pub events: u64,
    /// System calls that waited or submitted: io_uring_enter(2), epoll_wait(2).
    pub enters: u64,
    /// Time spent busy-polling.
    pub spun: Nanos,
    /// Errors by operation and cause.
    pub errors: BTreeMap<(Operation, Errno), u64>,
}

/// The operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// accept(2)
    Accept,
    /// recv(2)
    Receive,
    /// send(2)
    Send,
}

impl Operation {
    /// The system call.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Accept => "accept",
            Operation::Receive => "recv",
            Operation::Send => "send",
        }
    }
}

impl Counters {
    /// The sum over workers.
    pub fn sum(workers: &[Counters]) -> Counters {
        let mut total = Counters::default();
        workers.iter().for_each(|worker| total.add(worker));
        total
    }

    /// The sum over all workers of a server.
    ///
    /// Errors: [`Error::Bug`] unless every accepted connection was closed, refused or cut.
    pub fn total(workers: &[Counters]) -> Result<Counters> {
        let total = Counters::sum(workers);
        if total.accepted == total.closed + total.refused + total.cut {
            Ok(total)
        } else {
            Err(Error::Bug(format!(
                "a bug in urecho: connections are unaccounted for at the end of the server: {total}. Please report it"
            )))
        }
    }

    /// Counts one error.
    pub fn error(&mut self, operation: Operation, errno: Errno) {
        *self.errors.entry((operation, errno)).or_default() += 1;
    }

    /// Counts a connection that was accepted and refused.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused += 1;
        match refusal {
            Refusal::Total => self.refused_at_limit += 1,
            Refusal::Address => self.refused_per_address += 1,
        }
    }

    fn add(&mut self, other: &Counters) {
        self.accepted += other.accepted;
        self.connections += other.connections;
        self.closed += other.closed;
        self.failed += other.failed;
        self.refused += other.refused;
        self.refused_at_limit += other.refused_at_limit;
        self.refused_per_address += other.refused_per_address;
        self.cut += other.cut;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.discarded += other.discarded;
        self.starved += other.starved;
        self.accept_pauses += other.accept_pauses;
        self.limit_pauses += other.limit_pauses;
        self.timed_out += other.timed_out;
        self.evicted += other.evicted;
        self.stale += other.stale;
        self.overflows += other.overflows;
        self.in_use += other.in_use;
        self.passes += other.passes;
        self.events += other.events;
        self.enters += other.enters;
        self.spun = self.spun + other.spun;
        for (kind, count) in &other.errors {
            *self.errors.entry(*kind).or_default() += count;
        }
    }
}

impl fmt::Display for Counters {
    /// One line of `name=value` pairs. Counters that are normally zero appear only if they are not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted={} closed={} refused={} bytes_in={} bytes_out={} starved={}",
            self.accepted, self.closed, self.refused, self.bytes_in, self.bytes_out, self.starved
        )?;
        let normally_zero = [
            ("refused_at_limit", self.refused_at_limit),
            ("refused_per_address", self.refused_per_address),
            ("failed", self.failed),
            ("cut", self.cut),
            ("timed_out", self.timed_out),
            ("evicted", self.evicted),
            ("discarded", self.discarded),
            ("accept_pauses", self.accept_pauses),
            ("limit_pauses", self.limit_pauses),
            ("overflows", self.overflows),
            ("stale", self.stale),
            ("in_use", self.in_use),
        ];
        for (name, count) in normally_zero.into_iter().filter(|&(_, count)| count > 0) {
            write!(f, " {name}={count}")?;
        }
        let total: u64 = self.errors.values().sum();
        write!(f, " errors={total}")?;
        for ((operation, errno), count) in &self.errors {
            write!(f, "; {count} x {operation:?}: {errno}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECONNRESET: Errno = Errno(104);

    #[test]
    fn a_total_is_the_sum_over_all_workers_including_errors_by_kind() {
        let mut worker = Counters {
            accepted: 2,
            closed: 2,
            bytes_in: 10,
            ..Counters::default()
        };
        worker.error(Operation::Send, ECONNRESET);
        let total = Counters::total(&[worker.clone(), worker]).unwrap();
        assert_eq!((total.accepted, total.closed, total.bytes_in), (4, 4, 20));
        assert_eq!(total.errors[&(Operation::Send, ECONNRESET)], 2);
    }

    #[test]
    fn an_accepted_connection_that_is_unaccounted_for_is_a_bug() {
        let acceptor = Counters {
            accepted: 4,
            closed: 1,
            ..Counters::default()
        };
        let other = Counters {
            refused: 1,
            cut: 1,
            ..Counters::default()
        };
        let error = Counters::total(&[acceptor, other]).unwrap_err();
        assert_eq!(error.exit_code(), 70);
        assert!(error.to_string().contains("accepted=4 closed=1 refused=1"), "{error}");
    }

    #[test]
    fn the_summary_names_unusual_counters_only_if_they_are_not_zero() {
        let usual = Counters::default().to_string();
        assert!(!usual.contains("stale") && usual.ends_with("errors=0"), "{usual}");
        let mut unusual = Counters {
            cut: 3,
            ..Counters::default()
        };
        unusual.error(Operation::Receive, ECONNRESET);
        let text = unusual.to_string();
        assert!(
            text.contains(" cut=3") && text.contains("1 x Receive: Connection reset"),
            "{text}"
        );
    }
}
