//! The server: a plan in, an echo of everything that comes, counters out.
//!
//! `engine` says what every engine promises; `uring`, `tokio_uring` and `epoll` are whole workers, one engine each;
//! `echo` is one connection of the first, and pure. This file starts workers and waits for them.

pub mod counters;
mod drain;
pub mod engine;
mod epoll;
mod handoff;
mod tokio_uring;
pub mod uring;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, mpsc};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::ring::{Buffers, Large, Queues, Ring};
use crate::sys::signal::Stop;
use crate::sys::{self, socket};
use counters::Counters;
use engine::Engine;
use handoff::{Handoff, Inbox, Way};
use uring::fault::Fault;

/// What to serve, where, and with how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What moves the bytes.
    pub engine: Engine,
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
    /// How long a ring of ours looks for completions before it sleeps, while that pays; zero: not at all.
    pub spin: Nanos,
    /// Queue sizes of each ring of ours.
    pub queues: Queues,
    /// Receive buffers of each ring of ours. Of the other engines' buffers this is the size.
    pub buffers: Buffers,
    /// Slowness on order, `uring` only: what a check is tried with.
    pub inject: Option<Fault>,
}

impl Plan {
    /// One worker on a free port of the loopback interface; the rest as `urecho serve` has it.
    pub fn loopback() -> Plan {
        Plan::of(Engine::default())
    }

    /// The same on another engine.
    pub fn of(engine: Engine) -> Plan {
        Plan {
            engine,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: 1,
            backlog: 4096,
            options: socket::Options {
                nodelay: true,
                congestion: None,
            },
            cpus: Vec::new(),
            drain_timeout: Nanos(5_000_000_000),
            // As long as a peer on this machine takes to answer; longer finds no more (bench/README.md).
            spin: Nanos(20_000),
            queues: Queues {
                submissions: 256,
                completions: 4096,
            },
            // With uring 256 × 4 KiB = 1 MiB circulate: the L2 of one core. 64 MiB of address space stand behind them
            // for peers that do not read, untouched until they come.
            buffers: Buffers {
                hot: 256,
                total: 16_384,
                size: engine.buffer_size(),
                // 1 MiB more, untouched until a peer streams.
                large: Some(Large {
                    count: 16,
                    size: 65_536,
                }),
            },
            inject: None,
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
    handoffs: OnceLock<Vec<Handoff>>,
}

impl Shared {
    fn handoffs(&self) -> &[Handoff] {
        self.handoffs.get().expect("handoffs are set before any worker runs")
    }

    /// The listener, for a worker that has to own one and accepts: the first.
    fn listener_of(&self, index: usize) -> Result<Option<TcpListener>> {
        let copy = (index == 0).then(|| self.listener.try_clone());
        let copy = copy
            .transpose()
            .map_err(|cause| Error::Machine(format!("cannot share the listener: {cause}. Raise `ulimit -n`")))?;
        Ok(copy.map(TcpListener::from))
    }
}

/// Serves until `stop` fires and the connections are drained. Calls `ready` once, when it accepts.
///
/// Errors: [`Error::Machine`] when the address, the ring or a CPU cannot be had; nothing is left running.
pub fn run(plan: Plan, stop: &Stop, ready: impl FnOnce(&Listening)) -> Result<Counters> {
    let listener = socket::listen(plan.listen, plan.backlog, &plan.options)?;
    let address = socket::local_address(listener.as_fd())
        .map_err(|cause| Error::Machine(format!("cannot tell the address of the listener: {cause}")))?;
    let workers = plan.workers;
    let shared = Arc::new(Shared {
        plan,
        listener,
        stop: stop.clone(),
        handoffs: OnceLock::new(),
    });
    let mut threads = sys::workers::Workers::new("worker", &shared.plan.cpus, stop);
    let starts: Vec<Start> = (0..workers)
        .map(|index| spawn(&mut threads, &shared, index))
        .collect::<Result<_>>()?;
    // A worker that cannot be made ends the others: their start never comes.
    let made: Vec<Made> = starts.iter().map(Start::made).collect::<Result<_>>()?;
    let engine = made[0].engine.clone();
    let handoffs = made.into_iter().map(|made| Handoff::new(made.way));
    let _ = shared.handoffs.set(handoffs.collect()); // Set once, here.
    for start in &starts {
        let _ = start.go.send(()); // A worker that has died is found when it is joined.
    }
    ready(&Listening {
        address,
        engine,
        workers,
    });
    let mut total = Counters::default();
    threads.join()?.iter().for_each(|counters| total.merge(counters));
    Ok(total)
}

/// How a worker's start is agreed on: it says when it is ready, and waits for all others.
struct Start {
    made: mpsc::Receiver<Result<Made>>,
    go: mpsc::Sender<()>,
}

/// What a worker shows of itself.
struct Made {
    way: Way,
    /// The engine's name, and how it found the kernel.
    engine: String,
}

impl Start {
    /// Waits until it is ready.
    fn made(&self) -> Result<Made> {
        let died = |_| Error::Bug("a server worker died before it could start".into());
        self.made.recv().map_err(died)?
    }
}

fn spawn(threads: &mut sys::workers::Workers<Counters>, shared: &Arc<Shared>, index: usize) -> Result<Start> {
    let (made_sender, made) = mpsc::channel();
    let (go, started) = mpsc::channel();
    let shared = Arc::clone(shared);
    threads.spawn(move || work(index, &shared, &made_sender, &started))?;
    Ok(Start { made, go })
}

/// A worker's thread, from inside: make the worker here, show it, wait for the start, serve.
fn work(
    index: usize,
    shared: &Arc<Shared>,
    made: &mpsc::Sender<Result<Made>>,
    started: &mpsc::Receiver<()>,
) -> Result<Counters> {
    let worker = match Worker::make(index, shared) {
        Ok((worker, shown)) => {
            let _ = made.send(Ok(shown)); // Nobody waits any more: no start comes either.
            worker
        }
        Err(error) => {
            let _ = made.send(Err(error)); // Told there.
            return Ok(Counters::default());
        }
    };
    if started.recv().is_err() {
        return Ok(Counters::default()); // Another worker could not start.
    }
    match worker {
        Worker::Uring(ring) => uring::Worker::new(index, shared, *ring).run(),
        Worker::TokioUring(runtime, listener) => tokio_uring::run(runtime, listener, index, shared),
        Worker::Epoll(poll, listener) => epoll::Worker::new(index, shared, poll, listener).run(),
    }
}

/// What each engine needs before it can start, made on the worker's own thread.
enum Worker {
    Uring(Box<Ring>),
    TokioUring(::tokio_uring::Runtime, Option<TcpListener>),
    Epoll(mio::Poll, Option<TcpListener>),
}

impl Worker {
    fn make(index: usize, shared: &Shared) -> Result<(Worker, Made)> {
        let plan = &shared.plan;
        let engine = plan.engine.to_string();
        match plan.engine {
            Engine::Uring => {
                let ring = Ring::new(plan.queues, plan.buffers)?;
                let mailbox = ring
                    .mailbox()
                    .map_err(|cause| Error::Machine(format!("cannot share a ring: {cause}. Raise `ulimit -n`")))?;
                let engine = format!("{engine} ({})", ring.mode().name());
                let way = Way::Ring(mailbox);
                Ok((Worker::Uring(Box::new(ring)), Made { way, engine }))
            }
            Engine::TokioUring => {
                let way = Way::Inbox(Inbox::new()?);
                let runtime = tokio_uring::runtime()?;
                let worker = Worker::TokioUring(runtime, shared.listener_of(index)?);
                Ok((worker, Made { way, engine }))
            }
            Engine::Epoll => {
                let way = Way::Inbox(Inbox::new()?);
                let worker = Worker::Epoll(epoll::poll()?, shared.listener_of(index)?);
                Ok((worker, Made { way, engine }))
            }
        }
    }
}
