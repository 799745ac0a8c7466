//! What is measured in a run: counts of messages and connections, of each worker and of all, and of the machine.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::error::Errno;
use crate::histogram::Recorder;
use crate::load::by_target::ByTarget;
use crate::sys::disturbance::Disturbance;
use crate::sys::netstat::Netstat;
use crate::sys::throttling::Throttling;
use crate::sys::usage::Switches;

/// Why a connection did not open, or did not stay open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The target closed it gracefully (FIN).
    Eof,
    /// The target reset it (RST), or had closed it when we wrote.
    Reset,
    /// Nothing listens there (ECONNREFUSED).
    Refused,
    /// No reply in time.
    Timeout,
    /// We ended it: what came back was no echo.
    WrongData,
    /// Any other error.
    Other(Errno),
}

impl Loss {
    /// True if the kernel found no source port: the fault of this machine, not of the target.
    fn is_lack_of_ports(self) -> bool {
        let Loss::Other(Errno(number)) = self else {
            return false;
        };
        std::io::Error::from_raw_os_error(number).kind() == std::io::ErrorKind::AddrNotAvailable
    }
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

impl Serialize for Loss {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Loss {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Loss, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = [Loss::Eof, Loss::Reset, Loss::Refused, Loss::Timeout, Loss::WrongData];
        let other = || Some(Loss::Other(Errno(name.strip_prefix("errno_")?.parse().ok()?)));
        let found = known.into_iter().find(|loss| loss.to_string() == name).or_else(other);
        found.ok_or_else(|| D::Error::custom(format!("`{name}` is no way to lose a connection")))
    }
}

#[cfg(test)]
impl schemars::JsonSchema for Loss {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Loss".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(eof|reset|refused|timeout|wrong_data|errno_[0-9]+)$" })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Eof => f.write_str("eof"),
            Loss::Reset => f.write_str("reset"),
            Loss::Refused => f.write_str("refused"),
            Loss::Timeout => f.write_str("timeout"),
            Loss::WrongData => f.write_str("wrong_data"),
            Loss::Other(errno) => write!(f, "errno_{}", errno.0),
        }
    }
}

/// What became of the messages due while measuring: `sent == completed + failed + missing` once a run is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// Due while measuring.
    pub sent: u64,
    /// Echoed completely and correctly.
    pub completed: u64,
    /// Their connection ended before the reply.
    pub failed: u64,
    /// No reply by the end of the drain, or never issued: no connection was left, or the generator fell behind.
    pub missing: u64,
}

impl Messages {
    /// Adds those of another worker or interval.
    pub fn merge(&mut self, other: &Messages) {
        self.sent += other.sent;
        self.completed += other.completed;
        self.failed += other.failed;
        self.missing += other.missing;
    }
}

/// The two latencies of a message.
#[derive(Debug, Clone, Default)]
pub struct Latencies<T = Recorder> {
    /// From submission to the last byte of the reply.
    pub service: T,
    /// From the planned instant to the last byte of the reply. Empty in a closed loop, which has no plan.
    pub response: T,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Its first instant.
    pub begin: Nanos,
    /// The instant at which it is over.
    pub end: Nanos,
}

impl Span {
    /// How long it is.
    pub fn length(self) -> Nanos {
        self.end - self.begin
    }

    /// The shortest span that covers both.
    fn union(self, other: Span) -> Span {
        Span {
            begin: self.begin.min(other.begin),
            end: self.end.max(other.end),
        }
    }
}

/// Messages of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ConnectionMessages {
    /// The connection's number in the run, from 0.
    pub connection: u64,
    /// Its messages completed while measuring.
    pub messages: u64,
}

/// CPU time that the generator's threads used while measuring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GeneratorCpu {
    /// All threads together.
    pub total: Nanos,
    /// The busiest thread.
    pub busiest: Nanos,
    /// The thread that was busiest apart from busy-polling: its CPU time without that.
    pub busiest_without_spin: Nanos,
}

/// Stalls of a worker's event loop: times in which it neither waited nor worked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stalls {
    /// The longest one.
    pub longest: Nanos,
    /// All together, of the worker that was stalled for longest.
    pub total: Nanos,
}

/// What one worker counted outside of its intervals; merged, what all did.
#[derive(Debug, Clone, Default)]
pub struct WorkerStats {
    /// Connections that have echoed a first message; of those opened during the run (churn), all that have connected.
    pub opened: u64,
    /// Connections that never opened, by reason.
    pub unopened: BTreeMap<Loss, u64>,
    /// Connections that opened and ended before we closed them, by reason.
    pub lost: BTreeMap<Loss, u64>,
    /// Connections that we closed before the run was over (churn).
    pub closed: u64,
    /// Connections that were still opening when the run ended.
    pub unfinished: u64,
    /// Connections that opened while measuring (churn).
    pub opened_measuring: u64,
    /// How long connecting took before messages began: the initial connections. Here and below those that did not get
    /// there are censored at their age.
    pub ramp_up: Recorder,
    /// How long connecting took, dialled while measuring (churn).
    pub connect: Recorder,
    /// From dialling, while measuring, to the first byte of the first reply (churn).
    pub first_byte: Recorder,
    /// From our FIN, sent while measuring, to the target's (churn).
    pub close: Recorder,
    /// How long after the planned instant messages were issued (open loop).
    pub send_lag: Recorder,
    /// Messages completed by each connection that was open at the end or lost (not for churn).
    pub by_connection: Vec<ConnectionMessages>,
    /// What became of the messages of each target, if there are several.
    pub by_target: ByTarget,
    /// Messages completed within `measured`, those sent in the warm-up too: what the server achieved in that time.
    pub achieved: u64,
    /// Bytes that came back within `measured`.
    pub received_bytes: u64,
    /// The first wrong byte that came back, in words: it has ended the run.
    pub wrong_data: Option<String>,
    /// Messages that were due before the end of measuring and completed after it.
    pub late: u64,
    /// How long after the end of measuring the last of them completed.
    pub overrun: Nanos,
    /// All messages completed once the run had started, those of warm-up and drain too.
    pub echoed: u64,
    /// Smoothed round-trip times of the kernel, sampled from a few connections every second (TCP_INFO).
    pub smoothed_rtt: Recorder,
    /// Of the missing messages, those that the target had for longer than the drain (0.1 s to 1 s).
    pub overdue: u64,
    /// Retransmitted segments of all connections that were open at the end (TCP_INFO).
    pub retransmits: u64,
    /// Segments that arrived there out of order.
    pub out_of_order: u64,
    /// When it measured; `None` for a worker that was stopped before.
    pub measured: Option<Span>,
    /// CPU time used meanwhile.
    pub cpu: GeneratorCpu,
    /// Stalls of the event loop, from the beginning of measuring to the end of the run.
    pub stalls: Stalls,
    /// How long the passes of the loop took while measuring, by what they handled: no latency is more exact than the
    /// pass that handled it is short.
    pub pass: Recorder,
    /// How long the thread waited for a CPU while measuring; of all, the one that waited for longest.
    pub run_delay: Nanos,
    /// Times a completion queue overflowed.
    pub overflows: u64,
}

impl WorkerStats {
    /// How long was measured; zero if a run ended before.
    pub fn elapsed(&self) -> Nanos {
        self.measured.map_or(Nanos(0), Span::length)
    }

    /// Connections that never opened because this machine had no source port for them.
    pub fn without_port(&self) -> u64 {
        let lost = self.unopened.iter().filter(|(loss, _)| loss.is_lack_of_ports());
        lost.map(|(_, count)| count).sum()
    }

    /// Adds another worker's counts.
    pub(super) fn merge(&mut self, other: &WorkerStats) {
        self.opened += other.opened;
        self.unfinished += other.unfinished;
        self.opened_measuring += other.opened_measuring;
        self.closed += other.closed;
        self.achieved += other.achieved;
        self.late += other.late;
        self.overrun = self.overrun.max(other.overrun);
        self.echoed += other.echoed;
        self.overdue += other.overdue;
        self.retransmits += other.retransmits;
        self.out_of_order += other.out_of_order;
        self.received_bytes += other.received_bytes;
        if self.wrong_data.is_none() {
            self.wrong_data.clone_from(&other.wrong_data);
        }
        self.overflows += other.overflows;
        add(&mut self.unopened, &other.unopened);
        add(&mut self.lost, &other.lost);
        self.ramp_up.merge(&other.ramp_up);
        self.connect.merge(&other.connect);
        self.first_byte.merge(&other.first_byte);
        self.close.merge(&other.close);
        self.send_lag.merge(&other.send_lag);
        self.smoothed_rtt.merge(&other.smoothed_rtt);
        self.pass.merge(&other.pass);
        self.run_delay = self.run_delay.max(other.run_delay);
        self.stalls = Stalls {
            longest: self.stalls.longest.max(other.stalls.longest),
            total: self.stalls.total.max(other.stalls.total),
        };
        self.by_connection.extend_from_slice(&other.by_connection);
        self.by_target.merge(&other.by_target);
        self.measured = match (self.measured, other.measured) {
            (Some(ours), Some(theirs)) => Some(ours.union(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        self.cpu.merge(other.cpu);
    }
}

impl GeneratorCpu {
    fn merge(&mut self, other: GeneratorCpu) {
        self.total = self.total + other.total;
        self.busiest = self.busiest.max(other.busiest);
        self.busiest_without_spin = self.busiest_without_spin.max(other.busiest_without_spin);
    }
}

fn add(sum: &mut BTreeMap<Loss, u64>, more: &BTreeMap<Loss, u64>) {
    for (loss, count) in more {
        *sum.entry(*loss).or_default() += count;
    }
}

/// What the processes that listen at the targets, and their descendants, used while measuring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUsage {
    /// Names of those that listen, each once.
    pub listening: Vec<String>,
    /// How many processes there were when measuring began or ended, whichever is more; descendants included.
    pub processes: u64,
    /// CPU time, that of descendants which came and went included.
    pub cpu: Nanos,
    /// Context switches; `None` if processes ended meanwhile.
    pub context_switches: Option<Switches>,
    /// Resident memory in bytes at the end, or at the beginning of measuring if processes ended meanwhile; pages
    /// shared by these processes count once. `None` if it is not readable.
    pub resident: Option<u64>,
    /// How many of their threads could run at once, by their number and the CPUs they may use.
    pub parallelism: usize,
}

/// What else happened on this machine while measuring. `None` where the kernel does not report it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostActivity {
    /// CPU time that others took.
    pub disturbance: Disturbance,
    /// How often a CPU quota stopped this process, by its control group.
    pub throttling: Option<Throttling>,
    /// The same of servers in control groups that this process is not in.
    pub server_throttling: Option<Throttling>,
    /// Counters of the network stack, of the whole network namespace, since before the first connect.
    pub network: Option<Netstat>,
}
