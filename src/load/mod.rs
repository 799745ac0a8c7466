//! The load generator: a plan in, measured latencies out.
//!
//! `pinger` is one connection and pure, `payload` what it says, `worker` a thread; `preflight` and `fit` refuse
//! hopeless runs before they start. This file starts workers, keeps them in step, and merges what they found.

mod fit;
pub mod outcome;
pub mod payload;
mod phases;
pub mod pinger;
mod preflight;
mod worker;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::ring::{Buffers, Queues};
use crate::sys::signal::Stop;
use crate::sys::socket::Options;
use crate::sys::{affinity, usage};
use outcome::Yield;
use payload::Voice;
use phases::Phases;
use worker::Worker;

/// How often whoever watches hears of the run: 4 times a second.
const NEWS: Nanos = Nanos(250_000_000);

/// What to do to whom, for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The server.
    pub target: SocketAddr,
    /// Connections, all open at once.
    pub connections: u32,
    /// How long messages are measured.
    pub duration: Nanos,
    /// Bytes in every message.
    pub size: u64,
    /// Threads, each with a ring and its share of the connections.
    pub threads: u32,
    /// How long messages go before they count.
    pub warmup: Nanos,
    /// How long answers are waited for at the end.
    pub drain: Nanos,
    /// From which all payloads are made.
    pub seed: u64,
    /// The CPU of each thread, reused from the start when there are more threads; empty for none.
    pub cpus: Vec<usize>,
    /// Socket options of every connection.
    pub options: Options,
}

impl Plan {
    /// A short run against one target; the rest as `urecho load` has it.
    pub fn against(target: SocketAddr) -> Plan {
        Plan {
            target,
            connections: 50,
            duration: Nanos(10_000_000_000),
            size: 64,
            threads: 1,
            warmup: Nanos::SECOND,
            drain: Nanos::SECOND,
            seed: 1,
            cpus: Vec::new(),
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
        let size = self.size.clamp(4096, 65_536) as u32;
        // 1 MiB circulates, as in the server: 256 × 4 KiB to 16 × 64 KiB.
        let hot = ((1 << 20) / size) as u16;
        let total = (share + hot as usize).min(1 << 15) as u16;
        Buffers { hot, total, size }
    }
}

/// What a run has found, and about whom.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What was asked for.
    pub plan: Plan,
    /// What was found.
    pub found: Yield,
    /// CPU time of the server's process while measuring, if it is local and could be found.
    pub server_cpu: Option<Nanos>,
    /// The signal that cut the run short, if one did.
    pub interrupted: Option<i32>,
}

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
    fn show(&self, index: usize, found: &Yield) {
        self.boards[index]
            .opened
            .store(found.opened, Ordering::Relaxed);
        self.boards[index]
            .ok
            .store(found.messages.ok, Ordering::Relaxed);
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

/// Runs a plan until its time is over or `stop` fires. `watch` hears of it 4 times a second.
///
/// Errors: [`Error::Machine`] if it cannot fit, [`Error::Target`] if there is no echo server, [`Error::Data`] at
/// the first wrong byte.
pub fn run(plan: Plan, stop: &Stop, mut watch: impl FnMut(News)) -> Result<Outcome> {
    fit::Room::look().check(plan.target, plan.connections.into(), plan.threads.into())?;
    let proven = preflight::prove(
        plan.target,
        &plan.options,
        Voice::new(plan.seed, 0),
        plan.size,
    )?;
    let server = usage::listener_of(plan.target);
    let threads = plan.threads as usize;
    let shared = Shared {
        plan,
        stop: stop.clone(),
        ramping: AtomicUsize::new(threads),
        start: AtomicU64::new(Nanos::NEVER.0),
        boards: (0..threads).map(|_| Board::default()).collect(),
    };
    let mut found = Yield::default();
    found.connect.record(proven.connect);
    let server_cpu = thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        let mut first = Some(OwnedFd::from(proven.stream));
        let mut handles = Vec::new();
        for index in 0..threads {
            let (shared, first, done) = (&shared, first.take(), done.clone());
            let body = move || work(index, shared, first, done);
            let handle = thread::Builder::new()
                .name(format!("load-{index}"))
                .spawn_scoped(scope, body);
            handles.push(handle.map_err(|cause| {
                shared.stop.fire();
                Error::Machine(format!("cannot start a thread: {cause}"))
            })?);
        }
        drop(done);
        let server_cpu = attend(&shared, server, &ended, &mut watch);
        for handle in handles {
            found.merge(
                &handle
                    .join()
                    .map_err(|_| Error::Bug("a load worker panicked".into()))??,
            );
        }
        Ok(server_cpu)
    })?;
    Ok(Outcome {
        plan: shared.plan,
        found,
        server_cpu,
        interrupted: stop.signal(),
    })
}

/// A worker's thread. Its end, however it comes, drops `_done`.
fn work(
    index: usize,
    shared: &Shared,
    first: Option<OwnedFd>,
    _done: mpsc::Sender<()>,
) -> Result<Yield> {
    let mut last_wish = StopUnlessForgiven {
        stop: &shared.stop,
        forgiven: false,
    };
    let cpus = &shared.plan.cpus;
    if !cpus.is_empty() {
        affinity::pin(cpus[index % cpus.len()])?;
    }
    let found = Worker::new(index, shared, first)?.run()?;
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

/// Watches until all workers have ended; measures the server from outside meanwhile.
fn attend(
    shared: &Shared,
    server: Option<i32>,
    ended: &mpsc::Receiver<()>,
    watch: &mut impl FnMut(News),
) -> Option<Nanos> {
    let mut used = (None, None);
    let mut news_due = clock::now() + NEWS;
    loop {
        let now = clock::now();
        let phases = shared.phases();
        if let (Some(phases), Some(server)) = (phases, server) {
            if now >= phases.measure && used.0.is_none() {
                used.0 = usage::process_cpu(server);
            }
            if now >= phases.end && used.1.is_none() {
                used.1 = usage::process_cpu(server);
            }
        }
        if now >= news_due {
            watch(shared.news());
            news_due = now + NEWS;
        }
        let change = phases.map_or(now + NEWS, |phases| phases.next_change(now));
        match ended.recv_timeout((change.min(news_due) - now).into()) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) | Ok(()) => break,
        }
    }
    let after = used.1.or_else(|| usage::process_cpu(server?));
    Some(after? - used.0?)
}
