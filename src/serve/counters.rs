//! What a server has been through. One set per worker, merged when all have ended: no shared line while serving.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Errno;

/// Totals of one worker, or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections taken from the listener.
    pub accepted: u64,
    /// Connections that ended, however they did.
    pub closed: u64,
    /// Connections of the worker that had most.
    pub busiest: u64,
    /// Connections taken from the listener that no worker could serve.
    pub refused: u64,
    /// Connections still open when the drain ran out of time.
    pub cut: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes that came after our own FIN, while draining: read, not echoed.
    pub discarded: u64,
    /// Times a receive found no buffer and had to wait for one.
    pub starved: u64,
    /// Times accepting paused because something had run out (descriptors, memory).
    pub pauses: u64,
    /// Completions for connections that were gone. Anything but zero is a bug of ours.
    pub stale: u64,
    /// Times a completion queue overflowed: kept by the kernel, but slow.
    pub overflows: u64,
    /// Buffers that had not come home at the end. Anything but zero after a full drain is a bug of ours.
    pub lent: u64,
    /// Errors by kind.
    pub errors: BTreeMap<(Doing, Errno), u64>,
}

/// What we were doing when an error came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// accept(2)
    Accept,
    /// recv(2)
    Receive,
    /// send(2)
    Send,
}

impl Counters {
    /// Counts one error.
    pub fn error(&mut self, doing: Doing, errno: Errno) {
        *self.errors.entry((doing, errno)).or_default() += 1;
    }

    /// Adds another worker's totals.
    pub fn merge(&mut self, other: &Counters) {
        self.accepted += other.accepted;
        self.closed += other.closed;
        self.busiest = self.busiest.max(other.busiest);
        self.refused += other.refused;
        self.cut += other.cut;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.discarded += other.discarded;
        self.starved += other.starved;
        self.pauses += other.pauses;
        self.stale += other.stale;
        self.overflows += other.overflows;
        self.lent += other.lent;
        for (kind, count) in &other.errors {
            *self.errors.entry(*kind).or_default() += count;
        }
    }
}

impl fmt::Display for Counters {
    /// One line of `name=value`; what should be zero is named only when it is not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "accepted={} closed={} refused={} bytes_in={} bytes_out={} starved={}",
            self.accepted, self.closed, self.refused, self.bytes_in, self.bytes_out, self.starved
        )?;
        let unusual = [
            ("cut", self.cut),
            ("discarded", self.discarded),
            ("accept_pauses", self.pauses),
            ("overflows", self.overflows),
            ("stale", self.stale),
            ("lent", self.lent),
        ];
        for (name, count) in unusual.into_iter().filter(|&(_, count)| count > 0) {
            write!(f, " {name}={count}")?;
        }
        let total: u64 = self.errors.values().sum();
        write!(f, " errors={total}")?;
        for ((doing, errno), count) in &self.errors {
            write!(f, "; {count} x {doing:?}: {errno}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_adds_everything_errors_by_kind_too() {
        let mut one = Counters {
            accepted: 2,
            bytes_in: 10,
            ..Counters::default()
        };
        one.error(Doing::Send, Errno(libc_reset()));
        let mut sum = one.clone();
        sum.merge(&one);
        assert_eq!((sum.accepted, sum.bytes_in), (4, 20));
        assert_eq!(sum.errors[&(Doing::Send, Errno(libc_reset()))], 2);
    }

    #[test]
    fn the_summary_names_trouble_only_when_there_is_some() {
        let quiet = Counters::default().to_string();
        assert!(!quiet.contains("stale") && quiet.ends_with("errors=0"), "{quiet}");
        let mut loud = Counters {
            cut: 3,
            ..Counters::default()
        };
        loud.error(Doing::Receive, Errno(libc_reset()));
        let text = loud.to_string();
        assert!(
            text.contains(" cut=3") && text.contains("1 x Receive: Connection reset"),
            "{text}"
        );
    }

    fn libc_reset() -> i32 {
        104 // ECONNRESET
    }
}
