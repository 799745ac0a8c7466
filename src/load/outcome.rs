//! What a run has found: one yield per worker, merged into one outcome.

use std::collections::BTreeMap;
use std::fmt;

use crate::clock::Nanos;
use crate::error::Errno;
use crate::load::pinger::Message;
use crate::record::Recorder;

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
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                Loss::Reset
            }
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

/// What one worker has found, or all of them.
#[derive(Debug, Clone, Default)]
pub struct Yield {
    /// Connections that have echoed.
    pub opened: u64,
    /// Connections that never opened, by reason.
    pub unopened: BTreeMap<Loss, u64>,
    /// Connections that opened and ended before the run did, by reason.
    pub lost: BTreeMap<Loss, u64>,
    /// How long connecting took.
    pub connect: Recorder,
    /// From submit to the last byte back.
    pub service: Recorder,
    /// What became of the messages.
    pub messages: Messages,
    /// When measuring began and ended.
    pub begin: Nanos,
    /// See `begin`.
    pub end: Nanos,
    /// CPU time of the busiest worker while measuring; none if it never began.
    pub cpu: Option<Nanos>,
    /// CPU time of all workers while measuring.
    pub cpu_total: Nanos,
    /// Times a completion queue overflowed.
    pub overflows: u64,
    /// True once every connection of the worker has opened or failed.
    pub(super) ramped: bool,
}

impl Yield {
    /// A message has come back.
    pub(super) fn answered(&mut self, message: Message, now: Nanos) {
        if message.measured {
            self.messages.ok += 1;
            self.service.record(now - message.submitted);
        }
    }

    /// A message will not be waited for any longer. One that never left has no service time, only its age.
    pub(super) fn missing(&mut self, message: Message, now: Nanos) {
        if message.measured {
            self.messages.missing += 1;
            self.service
                .record_missing(now - message.submitted.min(now));
        }
    }

    pub(super) fn failed(&mut self, loss: Loss) {
        *self.unopened.entry(loss).or_default() += 1;
    }

    pub(super) fn lost(&mut self, loss: Loss) {
        *self.lost.entry(loss).or_default() += 1;
    }

    /// Adds another worker's findings.
    pub(super) fn merge(&mut self, other: &Yield) {
        self.opened += other.opened;
        add(&mut self.unopened, &other.unopened);
        add(&mut self.lost, &other.lost);
        self.connect.merge(&other.connect);
        self.service.merge(&other.service);
        self.messages.sent += other.messages.sent;
        self.messages.ok += other.messages.ok;
        self.messages.failed += other.messages.failed;
        self.messages.missing += other.messages.missing;
        self.begin = if self.begin == Nanos(0) {
            other.begin
        } else {
            self.begin.min(other.begin)
        };
        self.end = self.end.max(other.end);
        self.cpu = self.cpu.max(other.cpu);
        self.cpu_total = self.cpu_total + other.cpu.unwrap_or_default();
        self.overflows += other.overflows;
    }
}

fn add(sum: &mut BTreeMap<Loss, u64>, more: &BTreeMap<Loss, u64>) {
    for (loss, count) in more {
        *sum.entry(*loss).or_default() += count;
    }
}
