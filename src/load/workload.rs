//! What a load consists of: connections, messages, pace, duration. Plain data, the same for every target.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::load::schedule::Pace;
use crate::load::sizes::Sizes;
use crate::load::target::Target;
use crate::ring::{Buffers, Queues};
use crate::sys::limits;
use crate::sys::socket::Options;

/// Two SYN that are lost are sent again after 1 s and 3 s (RFC 6298).
const PREFLIGHT_TIMEOUT: Nanos = Nanos(5_000_000_000);

/// A workload and the servers it goes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The servers; connections take them in turn. At least one.
    pub targets: Vec<Target>,
    /// What to send them.
    pub workload: Workload,
}

/// How many connections, which messages, when, for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Connections, all open at once.
    pub connections: u32,
    /// What every connection sends.
    pub traffic: Traffic,
    /// When messages are sent.
    pub pace: Pace,
    /// How connections end and are replaced; `None`: they stay open.
    pub churn: Option<Churn>,
    /// How long messages are sent before measuring begins.
    pub warmup: Nanos,
    /// How long to measure.
    pub duration: Nanos,
    /// How long to wait for outstanding replies at the end; for the rest of a message that has begun, without a byte
    /// of it.
    pub drain: Nanos,
    /// How long the first message of a target may take to connect, and then without a byte on its way.
    pub preflight_timeout: Nanos,
    /// Seed for payloads, sizes, arrival times and the choice of connections.
    pub seed: u64,
    /// Threads, each with a ring or an epoll instance, and its share of the connections.
    pub threads: u32,
    /// The CPU of each thread, taken in turn; empty: not pinned.
    pub cpus: Vec<usize>,
    /// True to busy-poll for completions before sleeping, as long as a CPU is spare.
    pub spin: bool,
    /// Addresses to connect from, with port 0; connections take them in turn. Empty: the kernel chooses.
    pub sources: Vec<SocketAddr>,
    /// Socket options of every connection.
    pub options: Options,
    /// How the generator talks to the kernel.
    pub io: Io,
    /// Messages that TCP memory has room for, if the connections may have more in flight. See
    /// [`in_flight_max`](Workload::in_flight_max).
    pub tcp_memory: Option<u32>,
    /// True if connections are direct descriptors, which count towards no limit of the process. With io_uring only.
    pub direct: bool,
}

/// How a generator sends and receives. The load is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring(7).
    #[default]
    Uring,
    /// epoll(7), for machines that block io_uring.
    Epoll,
}

/// The messages of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Message sizes.
    pub sizes: Sizes,
    /// Messages in flight per connection; those due beyond it wait their turn. At least 1.
    pub depth: usize,
    /// True to compare every byte that comes back, false to count bytes only.
    pub verify: bool,
}

/// Connections that are closed and replaced while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Messages on each connection before it is closed. At least 1.
    pub messages: u64,
    /// How it is closed.
    pub close: Close,
}

/// How we close a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Close {
    /// Graceful: FIN, then wait for the peer's.
    Fin,
    /// Abortive: RST. Nothing to wait for, and no port left in TIME_WAIT.
    Rst,
}

impl Io {
    /// What a report says of a generator that does not use the default.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Io::Uring => None,
            Io::Epoll => Some("generator on epoll"),
        }
    }
}

impl Default for Workload {
    /// What `urecho load` does without flags.
    fn default() -> Workload {
        Workload {
            connections: 50,
            traffic: Traffic {
                sizes: Sizes::Fixed(64),
                depth: 1,
                verify: true,
            },
            pace: Pace::Closed { think: Nanos(0) },
            churn: None,
            warmup: Nanos::SECOND,
            duration: Nanos(10_000_000_000),
            drain: Nanos::SECOND,
            preflight_timeout: PREFLIGHT_TIMEOUT,
            seed: 1,
            threads: 1,
            cpus: Vec::new(),
            spin: true,
            sources: Vec::new(),
            options: Options {
                nodelay: true,
                ..Options::default()
            },
            io: Io::default(),
            tcp_memory: None,
            direct: false,
        }
    }
}

impl Workload {
    /// Messages in flight over all connections, at most, where connections take turns: in a closed loop without pauses,
    /// on connections that stay open. None: as many as the connections may have.
    pub fn in_flight_max(&self) -> Option<u32> {
        let is_plain = matches!(self.pace, Pace::Closed { think: Nanos(0) }) && self.churn.is_none();
        self.tcp_memory.filter(|_| is_plain)
    }

    /// Messages after which a connection is closed (churn).
    pub(super) fn messages_per_connection(&self) -> u64 {
        self.churn.map_or(u64::MAX, |churn| churn.messages)
    }

    /// The connections of worker `worker`: their numbers interleave.
    pub(super) fn share_of(&self, worker: usize) -> u64 {
        let behind = u64::from(self.connections).saturating_sub(worker as u64);
        behind.div_ceil(u64::from(self.threads))
    }

    /// Rings of worker `worker`: several if its connections do not fit into the table of one.
    pub(super) fn rings_of(&self, worker: usize) -> u64 {
        match self.direct {
            true => self.share_of(worker).div_ceil(limits::ring_entries().into()).max(1),
            false => 1,
        }
    }

    /// How long all messages that are in flight at once take on a slow path: as much longer may a run take to end.
    pub(super) fn transfer_time(&self) -> Nanos {
        // 8 Mbit/s.
        const BYTES_PER_SECOND: f64 = 1_048_576.0;
        let messages = f64::from(self.connections) * self.traffic.depth as f64;
        Nanos::from_secs(messages * self.traffic.sizes.max() as f64 / BYTES_PER_SECOND)
    }

    /// The size of each thread's ring.
    pub(super) fn queues(&self) -> Queues {
        Queues {
            submissions: 256,
            completions: 4096,
        }
    }

    /// The buffers of a thread with `connections`: one each to send from, and those that circulate to receive into.
    pub(super) fn buffers(&self, connections: usize) -> Buffers {
        let in_flight = self.traffic.sizes.max().saturating_mul(self.traffic.depth as u64);
        let size = in_flight.clamp(4096, 65_536) as u32;
        // 1 MiB circulates, as in the server: 256 × 4 KiB to 16 × 64 KiB.
        let circulating = ((1 << 20) / size) as u16;
        let total = (connections + circulating as usize).min(1 << 15) as u16;
        Buffers {
            circulating,
            total,
            size,
            pipes: 0,
        }
    }
}

impl Plan {
    /// The server of connection `number`: targets in turn.
    pub(super) fn target_of(&self, number: u64) -> SocketAddr {
        self.targets[(number % self.targets.len() as u64) as usize].address()
    }

    /// The address from which connection `number` connects: every source serves one round of targets.
    pub(super) fn source_of(&self, number: u64) -> Option<SocketAddr> {
        let sources = &self.workload.sources;
        let round = number / self.targets.len() as u64;
        (!sources.is_empty()).then(|| sources[(round % sources.len() as u64) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_workers_add_up_and_differ_by_one_at_most() {
        for (connections, threads) in [(5, 4), (8, 4), (1, 3), (50, 7)] {
            let workload = Workload {
                connections,
                threads,
                ..Workload::default()
            };
            let shares: Vec<u64> = (0..threads as usize).map(|worker| workload.share_of(worker)).collect();
            assert_eq!(shares.iter().sum::<u64>(), u64::from(connections), "{shares:?}");
            assert!(
                shares[0] - shares[shares.len() - 1] <= 1 && shares.is_sorted_by(|a, b| a >= b),
                "{shares:?}"
            );
        }
    }

    #[test]
    fn every_source_serves_one_round_of_targets() {
        let targets = [1, 2]
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)).into())
            .to_vec();
        let sources = [1, 2].map(|host| SocketAddr::from(([127, 0, 1, host], 0))).to_vec();
        let workload = Workload {
            sources: sources.clone(),
            ..Workload::default()
        };
        let plan = Plan { targets, workload };
        let pairs: Vec<_> = (0..4)
            .map(|number| (plan.target_of(number).port(), plan.source_of(number)))
            .collect();
        let [first, second] = [Some(sources[0]), Some(sources[1])];
        assert_eq!(pairs, [(1, first), (2, first), (1, second), (2, second)]);
    }
}
