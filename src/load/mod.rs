//! The load generator: a plan in, measured latencies out.
//!
//! `pinger` is one connection and pure, `payload` and `sizes` are what it says, `schedule` is when. `worker` is a
//! thread, with `ramp` for how connections come and go and `pacing` for when messages do. `preflight` and `fit`
//! refuse hopeless runs before they start. This file starts workers; `attend` watches them from outside.

mod attend;
mod fit;
pub mod outcome;
mod pacing;
pub mod payload;
mod phases;
pub mod pinger;
mod preflight;
mod ramp;
mod random;
pub mod schedule;
pub mod sheet;
pub mod sizes;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::ring::{Buffers, Queues};
use crate::sys::signal::Stop;
use crate::sys::socket::Options;
use crate::sys::{affinity, timer, usage};
pub use attend::{Outcome, ServerUse, Surroundings};
use outcome::Yield;
use phases::Phases;
use pinger::Manner;
pub use ramp::{Churn, Close};
use schedule::Pace;
use sheet::{Desk, Ledger, Sheet};
use sizes::Sizes;
use worker::Worker;

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
        let under_way = self
            .manner
            .sizes
            .max()
            .saturating_mul(self.manner.depth as u64);
        let size = under_way.clamp(4096, 65_536) as u32;
        // 1 MiB circulates, as in the server: 256 × 4 KiB to 16 × 64 KiB.
        let hot = ((1 << 20) / size) as u16;
        let total = (share + hot as usize).min(1 << 15) as u16;
        Buffers { hot, total, size }
    }
}

/// Somebody who watches a run.
pub trait Watch {
    /// How far it is, 4 times a second.
    fn news(&mut self, _news: News) {}

    /// One second is over, all workers together. The last one may be shorter, and comes after the drain.
    fn second(&mut self, _second: &Sheet) {}
}

impl Watch for () {}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Connections open so far.
    pub opened: u64,
    /// Messages answered so far, those of the warm-up not counted.
    pub ok: u64,
    /// Time since measuring began; zero before.
    pub elapsed: Nanos,
}

/// What all workers and the thread that watches them see.
struct Shared {
    plan: Plan,
    stop: Stop,
    /// Workers that still open connections.
    ramping: AtomicUsize,
    /// When messages begin, in nanoseconds of the clock; `NEVER` until all workers have opened their connections.
    start: AtomicU64,
    boards: Vec<Board>,
}

/// What one worker shows of itself. A cache line of its own: nobody else writes there.
#[derive(Default)]
#[repr(align(128))]
struct Board {
    opened: AtomicU64,
    ok: AtomicU64,
}

impl Shared {
    fn show(&self, index: usize, opened: u64, ok: u64) {
        self.boards[index].opened.store(opened, Ordering::Relaxed);
        self.boards[index].ok.store(ok, Ordering::Relaxed);
    }

    /// One more worker has opened its connections. The last one says when messages begin.
    fn arrive(&self, now: Nanos) {
        if self.ramping.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Late enough that every worker sees it in time, however it sleeps.
            let soon = now + Nanos(5_000_000);
            self.start.store(soon.0, Ordering::Release);
        }
    }

    fn phases(&self) -> Option<Phases> {
        let start = Nanos(self.start.load(Ordering::Acquire));
        let Plan {
            warmup,
            duration,
            drain,
            ..
        } = self.plan;
        (start != Nanos::NEVER).then(|| Phases::from(start, warmup, duration, drain))
    }

    fn news(&self) -> News {
        let sum = |of: fn(&Board) -> &AtomicU64| {
            self.boards
                .iter()
                .map(|board| of(board).load(Ordering::Relaxed))
                .sum()
        };
        let elapsed = self.phases().map_or(Nanos(0), |phases| {
            clock::now().min(phases.end) - phases.measure
        });
        News {
            opened: sum(|board| &board.opened),
            ok: sum(|board| &board.ok),
            elapsed,
        }
    }
}

/// Runs a plan until its time is over or `stop` fires.
///
/// Errors: [`Error::Machine`] if it cannot fit, [`Error::Target`] if there is no echo server, [`Error::Data`] at
/// the first wrong byte.
pub fn run(mut plan: Plan, stop: &Stop, watch: &mut dyn Watch) -> Result<Outcome> {
    fit::Room::look().check(&plan)?;
    let proven = preflight::prove(&plan)?;
    let server = usage::listener_of(plan.targets[0]);
    plan.spin &= attend::has_spare_cpu(&plan, server, 1);
    let threads = plan.threads as usize;
    let shared = Shared {
        plan,
        stop: stop.clone(),
        ramping: AtomicUsize::new(threads),
        start: AtomicU64::new(Nanos::NEVER.0),
        boards: (0..threads).map(|_| Board::default()).collect(),
    };
    let (ledger, desks) = Ledger::with_desks(threads);
    let (found, watched) = thread::scope(|scope| {
        let mut first = Some(OwnedFd::from(proven.stream));
        let mut handles = Vec::new();
        for (index, desk) in desks.into_iter().enumerate() {
            let (shared, first) = (&shared, first.take());
            let body = move || work(index, shared, desk, first);
            let handle = thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn_scoped(scope, body);
            handles.push(handle.map_err(|cause| {
                shared.stop.fire();
                Error::Machine(format!("cannot start a thread: {cause}"))
            })?);
        }
        let watched = attend::attend(&shared, server, ledger, watch);
        let mut found = Yield::default();
        found.connect.record(proven.connect);
        for handle in handles {
            found.merge(
                &handle
                    .join()
                    .map_err(|_| Error::Bug("a load worker panicked".into()))??,
            );
        }
        Ok((found, watched))
    })?;
    Ok(Outcome {
        plan: shared.plan,
        found,
        interrupted: stop.signal(),
        ..watched
    })
}

/// A worker's thread. Its end, however it comes, drops its desk.
fn work(index: usize, shared: &Shared, desk: Desk, first: Option<OwnedFd>) -> Result<Yield> {
    let mut last_wish = StopUnlessForgiven {
        stop: &shared.stop,
        forgiven: false,
    };
    let cpus = &shared.plan.cpus;
    if !cpus.is_empty() {
        affinity::pin(cpus[index % cpus.len()])?;
    }
    timer::be_punctual();
    let found = Worker::new(index, shared, desk, first)?.run()?;
    last_wish.forgiven = true;
    Ok(found)
}

/// One wrong byte, one broken ring, one panic: the run is over for all.
struct StopUnlessForgiven<'a> {
    stop: &'a Stop,
    forgiven: bool,
}

impl Drop for StopUnlessForgiven<'_> {
    fn drop(&mut self) {
        if !self.forgiven {
            self.stop.fire();
        }
    }
}
