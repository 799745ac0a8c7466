//! What a run has found: one yield per worker, merged into one outcome.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Nanos;
use crate::error::Errno;
use crate::histogram::Recorder;

/// Why a connection did not open, or did not stay open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The target closed it in order (FIN).
    Eof,
    /// The target aborted it (RST), or was gone when we wrote.
    Reset,
    /// Nobody listens (ECONNREFUSED).
    Refused,
    /// No answer in time.
    Timeout,
    /// Something else.
    Other(Errno),
}

impl From<Errno> for Loss {
    fn from(errno: Errno) -> Loss {
        use std::io::{Error, ErrorKind};
        match Error::from_raw_os_error(errno.0).kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Loss::Reset,
            ErrorKind::ConnectionRefused => Loss::Refused,
            ErrorKind::TimedOut => Loss::Timeout,
            _ => Loss::Other(errno),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Eof => f.write_str("eof"),
            Loss::Reset => f.write_str("reset"),
            Loss::Refused => f.write_str("refused"),
            Loss::Timeout => f.write_str("timeout"),
            Loss::Other(errno) => write!(f, "errno_{}", errno.0),
        }
    }
}

/// What became of the messages asked for while measuring: `sent == ok + failed + missing` once a run is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// Asked for.
    pub sent: u64,
    /// Came back whole and right.
    pub ok: u64,
    /// Their connection ended first.
    pub failed: u64,
    /// Did not come back in time.
    pub missing: u64,
}

impl Messages {
    /// Adds those of another worker or second.
    pub fn merge(&mut self, other: &Messages) {
        self.sent += other.sent;
        self.ok += other.ok;
        self.failed += other.failed;
        self.missing += other.missing;
    }
}

/// What one worker has found besides its intervals, or all of them.
#[derive(Debug, Clone, Default)]
pub struct WorkerStats {
    /// Connections that have echoed.
    pub opened: u64,
    /// Connections that never opened, by reason.
    pub unopened: BTreeMap<Loss, u64>,
    /// Connections that opened and ended before we ended them, by reason.
    pub lost: BTreeMap<Loss, u64>,
    /// Connections that we ended before the run was over (churn).
    pub closed: u64,
    /// How long connecting took.
    pub connect: Recorder,
    /// From the start of the connect to the first byte of the first answer (churn).
    pub first_byte: Recorder,
    /// From our FIN to the target's (churn).
    pub close: Recorder,
    /// How late messages were handed to the ring, behind their planned instants (open loop).
    pub lag: Recorder,
    /// Messages answered while measuring, by connection number (not for churn).
    pub answers: Vec<(u64, u64)>,
    /// Messages that came back while measuring, those of the warm-up too: what the server achieved in that time.
    pub returned: u64,
    /// Messages that came back, those of the warm-up and the drain too.
    pub echoed: u64,
    /// Round trips as the kernel sees them, sampled from a few connections every second (TCP_INFO).
    pub rtt: Recorder,
    /// Segments that we sent again, over all connections that were open at the end (TCP_INFO).
    pub retransmits: u64,
    /// When measuring began and ended.
    pub begin: Nanos,
    /// See `begin`.
    pub end: Nanos,
    /// CPU time of the busiest worker while measuring, and of all.
    pub cpu_busiest: Nanos,
    /// See `cpu_busiest`.
    pub cpu_total: Nanos,
    /// CPU time of the busiest worker that was not spent looking for completions.
    pub work_busiest: Nanos,
    /// Times a completion queue overflowed.
    pub overflows: u64,
}

impl WorkerStats {
    pub(super) fn failed(&mut self, loss: Loss) {
        *self.unopened.entry(loss).or_default() += 1;
    }

    pub(super) fn lost(&mut self, loss: Loss) {
        *self.lost.entry(loss).or_default() += 1;
    }

    /// Adds another worker's findings.
    pub(super) fn merge(&mut self, other: &WorkerStats) {
        self.opened += other.opened;
        self.closed += other.closed;
        self.returned += other.returned;
        self.echoed += other.echoed;
        self.retransmits += other.retransmits;
        add(&mut self.unopened, &other.unopened);
        add(&mut self.lost, &other.lost);
        self.connect.merge(&other.connect);
        self.first_byte.merge(&other.first_byte);
        self.close.merge(&other.close);
        self.lag.merge(&other.lag);
        self.rtt.merge(&other.rtt);
        self.answers.extend_from_slice(&other.answers);
        self.begin = match (self.begin, other.begin) {
            // A worker that lost all its connections before measuring began has nothing to say.
            (Nanos(0), begin) | (begin, Nanos(0)) => begin,
            (ours, theirs) => ours.min(theirs),
        };
        self.end = self.end.max(other.end);
        self.cpu_busiest = self.cpu_busiest.max(other.cpu_busiest);
        self.work_busiest = self.work_busiest.max(other.work_busiest);
        self.cpu_total = self.cpu_total + other.cpu_total;
        self.overflows += other.overflows;
    }
}

fn add(sum: &mut BTreeMap<Loss, u64>, more: &BTreeMap<Loss, u64>) {
    for (loss, count) in more {
        *sum.entry(*loss).or_default() += count;
    }
}
