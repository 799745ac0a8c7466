//! The server: a plan in, an echo of everything that comes, counters out.
//!
//! `echo` is one connection and pure; `uring` is a whole worker; this file starts workers and waits for them.

pub mod counters;
pub mod echo;
mod uring;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::ring::{Buffers, Mailbox, Queues, Ring};
use crate::sys::signal::Stop;
use crate::sys::{affinity, socket};
use counters::Counters;
use uring::{Door, Worker};

/// What to serve, where, and with how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads, each with a ring of its own.
    pub workers: usize,
    /// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
    pub backlog: u32,
    /// Socket options of the listener, inherited by every connection.
    pub options: socket::Options,
    /// The CPU of each worker, reused from the start when there are more workers; empty for none.
    pub cpus: Vec<usize>,
    /// How long a stop may take.
    pub drain_timeout: Nanos,
    /// Queue sizes of each ring.
    pub queues: Queues,
    /// Receive buffers of each ring.
    pub buffers: Buffers,
}

impl Plan {
    /// One worker on a free port of the loopback interface; the rest as `urecho serve` has it.
    pub fn loopback() -> Plan {
        Plan {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 1,
            backlog: 4096,
            options: socket::Options {
                nodelay: true,
                congestion: None,
            },
            cpus: Vec::new(),
            drain_timeout: Nanos(5_000_000_000),
            queues: Queues {
                submissions: 256,
                completions: 4096,
            },
            // 256 × 4 KiB = 1 MiB circulate: the L2 of one core. 64 MiB of address space stand behind them
            // for peers that do not read, untouched until they come.
            buffers: Buffers {
                hot: 256,
                total: 16_384,
                size: 4096,
            },
        }
    }
}

/// A server that accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The real address, with the real port.
    pub address: SocketAddr,
    /// The engine, and how it found the kernel.
    pub engine: String,
    /// How many threads serve.
    pub workers: usize,
}

/// What all workers see.
struct Shared {
    plan: Plan,
    listener: OwnedFd,
    stop: Stop,
    doors: OnceLock<Vec<Door>>,
}

impl Shared {
    fn doors(&self) -> &[Door] {
        self.doors
            .get()
            .expect("doors are set before any worker runs")
    }
}

/// Serves until `stop` fires and the connections are drained. Calls `ready` once, when it accepts.
///
/// Errors: [`Error::Machine`] when the address, the ring or a CPU cannot be had; nothing is left running.
pub fn run(plan: Plan, stop: &Stop, ready: impl FnOnce(&Listening)) -> Result<Counters> {
    let listener = socket::listen(plan.listen, plan.backlog, &plan.options)?;
    let address = socket::local_address(listener.as_fd()).map_err(|cause| {
        Error::Machine(format!("cannot tell the address of the listener: {cause}"))
    })?;
    let shared = Shared {
        plan,
        listener,
        stop: stop.clone(),
        doors: OnceLock::new(),
    };
    let workers = shared.plan.workers;
    thread::scope(|scope| {
        let hands: Vec<Hand<'_>> = (0..workers)
            .map(|index| hire(scope, &shared, index))
            .collect::<Result<_>>()?;
        // A worker without a ring ends the others: their start never comes.
        let made: Vec<Made> = hands.iter().map(Hand::made).collect::<Result<_>>()?;
        let engine = format!("uring ({})", made[0].mode);
        let door = |made: Made| Door {
            mailbox: made.mailbox,
            open: AtomicUsize::new(0),
        };
        let _ = shared.doors.set(made.into_iter().map(door).collect()); // Set once, here.
        for hand in &hands {
            let _ = hand.start.send(()); // A worker that has died is found when it is joined.
        }
        ready(&Listening {
            address,
            engine,
            workers,
        });
        let mut total = Counters::default();
        for hand in hands {
            let ended = hand.thread.join();
            total.merge(&ended.map_err(|_| Error::Bug("a server worker panicked".into()))??);
        }
        Ok(total)
    })
}

/// A worker's thread, from outside.
struct Hand<'scope> {
    thread: ScopedJoinHandle<'scope, Result<Counters>>,
    /// What it says when it has a ring, or could not make one.
    made: mpsc::Receiver<Result<Made>>,
    start: mpsc::Sender<()>,
}

/// What a worker shows of its ring.
struct Made {
    mailbox: Mailbox,
    mode: &'static str,
}

impl Hand<'_> {
    /// Waits for its ring.
    fn made(&self) -> Result<Made> {
        let died = |_| Error::Bug("a server worker died before it had a ring".into());
        self.made.recv().map_err(died)?
    }
}

fn hire<'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'scope Shared,
    index: usize,
) -> Result<Hand<'scope>> {
    let (made_sender, made) = mpsc::channel();
    let (start, started) = mpsc::channel();
    let body = move || work(index, shared, &made_sender, &started);
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn_scoped(scope, body);
    let thread =
        thread.map_err(|cause| Error::Machine(format!("cannot start a thread: {cause}")))?;
    Ok(Hand {
        thread,
        made,
        start,
    })
}

/// A worker's thread, from inside: make the ring here, show it, wait for the start, serve.
fn work(
    index: usize,
    shared: &Shared,
    made: &mpsc::Sender<Result<Made>>,
    started: &mpsc::Receiver<()>,
) -> Result<Counters> {
    // Whatever ends one worker ends all: a server that has silently lost one is worse than none.
    let _last_wish = StopOnDrop(&shared.stop);
    let ring = match make_ring(index, shared) {
        Ok((ring, mailbox)) => {
            let mode = ring.mode().name();
            let _ = made.send(Ok(Made { mailbox, mode })); // Nobody waits any more: no start comes either.
            ring
        }
        Err(error) => {
            let _ = made.send(Err(error)); // Told there.
            return Ok(Counters::default());
        }
    };
    if started.recv().is_err() {
        return Ok(Counters::default()); // Another worker could not start.
    }
    Worker::new(index, shared, ring).run()
}

fn make_ring(index: usize, shared: &Shared) -> Result<(Ring, Mailbox)> {
    let plan = &shared.plan;
    if !plan.cpus.is_empty() {
        affinity::pin(plan.cpus[index % plan.cpus.len()])?;
    }
    let ring = Ring::new(plan.queues, plan.buffers)?;
    let mailbox = ring.mailbox().map_err(|cause| {
        Error::Machine(format!("cannot share a ring: {cause}. Raise `ulimit -n`"))
    })?;
    Ok((ring, mailbox))
}

struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.fire();
    }
}
