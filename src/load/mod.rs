//! The load generator: a plan in, measured latencies out.
//!
//! `pinger` is one connection and pure, `payload` and `sizes` are what it says, `schedule` is when. `worker` is a
//! thread, with `ramp` for how connections come and go, and `pacing` for when messages do; a
//! `team` is all of them. `preflight` and `fit` refuse hopeless runs before they start. A plan is carried out in one
//! go, with `attend` watching from outside, or slice by slice, as a `session` that `compare` conducts.

mod capacity;
pub mod interval;
mod monitor;
mod pacing;
pub mod payload;
mod phases;
pub mod pinger;
mod preflight;
mod ramp;
pub mod result;
pub mod schedule;
mod session;
pub mod sizes;
mod worker;
mod workers;

use std::net::{IpAddr, SocketAddr};

use crate::clock::Nanos;
use crate::error::Result;
use crate::ring::{Buffers, Queues};
use crate::sys::signal::Stop;
use crate::sys::socket::Options;
pub use capacity::fits_at_once;
use interval::Interval;
pub use monitor::{RunResult, ServerUse, Surroundings};
use pinger::Manner;
pub use ramp::{Churn, Close};
use schedule::Pace;
pub use session::{Session, Slice};
use sizes::Sizes;
use workers::Workers;

/// What to do to whom, for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The servers; connections take them in turn. At least one.
    pub targets: Vec<SocketAddr>,
    /// Our addresses; connections take them in turn. Empty: the kernel chooses.
    pub sources: Vec<IpAddr>,
    /// Connections, all open at once.
    pub connections: u32,
    /// How connections end and are replaced; none: they stay.
    pub churn: Option<Churn>,
    /// What messages are like.
    pub manner: Manner,
    /// When messages go.
    pub pace: Pace,
    /// How long messages are measured.
    pub duration: Nanos,
    /// How long messages go before they count.
    pub warmup: Nanos,
    /// How long answers are waited for at the end.
    pub drain: Nanos,
    /// Threads, each with a ring and its share of the connections.
    pub threads: u32,
    /// From which payloads, sizes, arrivals and choices are made.
    pub seed: u64,
    /// The CPU of each thread, reused from the start when there are more threads; empty for none.
    pub cpus: Vec<usize>,
    /// True to look for completions before sleeping, where a CPU is spare. `run` turns it off where none is.
    pub spin: bool,
    /// Socket options of every connection.
    pub options: Options,
}

impl Plan {
    /// As `urecho load` has it without flags, against one target.
    pub fn against(target: SocketAddr) -> Plan {
        Plan {
            targets: vec![target],
            sources: Vec::new(),
            connections: 50,
            churn: None,
            manner: Manner {
                sizes: Sizes::Fixed(64),
                depth: 1,
                verify: true,
            },
            pace: Pace::Closed { think: Nanos(0) },
            duration: Nanos(10_000_000_000),
            warmup: Nanos::SECOND,
            drain: Nanos::SECOND,
            threads: 1,
            seed: 1,
            cpus: Vec::new(),
            spin: true,
            options: Options {
                nodelay: true,
                congestion: None,
            },
        }
    }

    fn queues(&self) -> Queues {
        Queues {
            submissions: 256,
            completions: 4096,
        }
    }

    /// Buffers for `share` connections: one each to send from, and what circulates to receive into.
    fn buffers(&self, share: usize) -> Buffers {
        let under_way = self.manner.sizes.max().saturating_mul(self.manner.depth as u64);
        let size = under_way.clamp(4096, 65_536) as u32;
        // 1 MiB circulates, as in the server: 256 × 4 KiB to 16 × 64 KiB.
        let hot = ((1 << 20) / size) as u16;
        let total = (share + hot as usize).min(1 << 15) as u16;
        Buffers {
            hot,
            total,
            size,
            large: None,
        }
    }
}

/// Somebody who watches a run.
pub trait Observer {
    /// How far it is, 4 times a second.
    fn news(&mut self, _news: Progress) {}

    /// One second is over, all workers together. The last one may be shorter, and comes after the drain.
    fn second(&mut self, _second: &Interval) {}
}

impl Observer for () {}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Connections open so far.
    pub opened: u64,
    /// Messages answered so far, those of the warm-up not counted.
    pub ok: u64,
    /// Time since measuring began; zero before.
    pub elapsed: Nanos,
}

/// Carries a plan out until its time is over or `stop` fires.
///
/// Errors: [`Error::Machine`](crate::error::Error::Machine) if it cannot fit, [`Error::Target`](crate::error::Error::Target) if
/// there is no echo server, [`Error::Data`](crate::error::Error::Data) at the first wrong byte.
pub fn run(plan: Plan, stop: &Stop, watch: &mut dyn Observer) -> Result<RunResult> {
    let mut team = Workers::gather(plan, stop, None)?;
    let watched = monitor::attend(&team.shared, team.server, &mut team.ledger, watch);
    let plan = team.shared.plan.clone();
    Ok(RunResult {
        plan,
        found: team.disband()?,
        interrupted: stop.signal(),
        ..watched
    })
}
