//! The server: a plan goes in, every connection is echoed, counters come out.
//!
//! `engine` has the contract that all engines keep. `accept`, `handoff`, `drain` and `counters` are the same for all of
//! them; `uring`, `tokio_uring` and `epoll` are one engine each and use nothing of each other. This file starts the
//! workers; `startup` is how they agree on the moment to begin.

mod accept;
pub mod admission;
pub mod control;
pub mod counters;
mod drain;
pub mod engine;
mod epoll;
mod handoff;
mod idle;
pub mod memory_bound;
pub mod metrics;
mod notices;
pub mod service;
mod snapshots;
mod startup;
mod tokio_uring;
pub mod uring;

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::sys::signal::Stop;
use crate::sys::socket;
use crate::sys::threads::ThreadGroup;
use admission::Limits;
use control::Control;
use counters::Counters;
use engine::Engine;
use startup::Shared;
use uring::UringPlan;

/// What to serve, where, and with which resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The engine and its settings.
    pub engine: EnginePlan,
    /// Where [`listen`] opens listeners, at least in one place. Each is a list of addresses of which the first that
    /// this machine has is taken; port 0 takes a free one.
    pub listen: Vec<Vec<SocketAddr>>,
    /// Number of worker threads.
    pub workers: usize,
    /// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
    pub backlog: u32,
    /// Socket options of the listener, inherited by every connection.
    pub options: socket::Options,
    /// How many connections are let in.
    pub limits: Limits,
    /// Bytes received that one connection may hold in this process before its peer must read.
    pub buffer_limit: u64,
    /// After how long without traffic a connection is closed; none for never.
    pub idle_timeout: Option<Nanos>,
    /// What confines the threads that handle the bytes of peers.
    pub sandbox: Sandbox,
    /// CPUs that the workers are pinned to, in turn; empty for no pinning.
    pub cpus: Vec<usize>,
    /// How long a stop may take before the remaining connections are cut.
    pub drain_timeout: Nanos,
}

/// What a thread that handles the bytes of peers is kept from. See [`sandbox`](crate::sys::sandbox).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// Nothing.
    Off,
    /// All that serving does not need.
    On,
    /// The same, and it tries whether that holds. It ends with [`Error::Bug`] if something succeeds.
    Tested,
    /// Tries what a thread can do that is not confined, to show that the attempts succeed.
    TestedOff,
}

impl Sandbox {
    /// True if the confinement is tried.
    pub(crate) fn is_tested(self) -> bool {
        matches!(self, Sandbox::Tested | Sandbox::TestedOff)
    }
}

/// An engine and the settings that apply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnginePlan {
    /// [`Engine::Uring`]
    Uring(UringPlan),
    /// [`Engine::TokioUring`]
    TokioUring {
        /// Bytes in the receive buffer of each connection.
        buffer_size: u32,
    },
    /// [`Engine::Epoll`]
    Epoll {
        /// Bytes in the receive buffer of each worker.
        buffer_size: u32,
    },
}

impl EnginePlan {
    /// An engine with its default settings.
    pub fn of(engine: Engine) -> EnginePlan {
        match engine {
            Engine::Uring => EnginePlan::Uring(UringPlan::default()),
            Engine::TokioUring => EnginePlan::TokioUring { buffer_size: 4096 },
            // One buffer for all connections of a worker can be large and still take only a sixteenth of the L2.
            Engine::Epoll => EnginePlan::Epoll { buffer_size: 65_536 },
        }
    }
}

impl Plan {
    /// One worker on a free port of the loopback interface, with the default settings of the engine.
    pub fn loopback(engine: Engine) -> Plan {
        Plan {
            engine: EnginePlan::of(engine),
            listen: vec![vec![SocketAddr::from(([127, 0, 0, 1], 0))]],
            workers: 1,
            backlog: 4096,
            options: socket::Options::server(),
            limits: Limits::default(),
            buffer_limit: 262_144,
            idle_timeout: None,
            sandbox: Sandbox::Off,
            cpus: Vec::new(),
            drain_timeout: Nanos(5_000_000_000),
        }
    }
}

impl Plan {
    /// Connections for which the rings have entries; none if each has a descriptor of the process.
    fn entries(&self) -> Option<u64> {
        match &self.engine {
            EnginePlan::Uring(uring) if uring.direct => Some(u64::from(uring.entries(self)) * self.workers as u64),
            _ => None,
        }
    }
}

/// A server that accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The addresses, with the ports that were taken, in the order of the plan.
    pub addresses: Vec<SocketAddr>,
    /// The engine, and the ring mode that the kernel supports.
    pub engine: String,
    /// Number of worker threads.
    pub workers: usize,
    /// Connections that are let in at once.
    pub connections_max: usize,
}

/// What a server has counted, and why it ended if something failed.
#[derive(Debug)]
pub struct Served {
    /// Counters of the workers that did not fail.
    pub workers: Vec<Counters>,
    /// [`Error::Machine`] when the address, an engine or a CPU is not available; [`Error::Bug`] when a worker failed
    /// later.
    pub failure: Option<Error>,
}

/// Opens the listeners of a plan. Errors: [`Error::Machine`] that names the address and what to try.
pub fn listen(plan: &Plan) -> Result<Vec<OwnedFd>> {
    let open = |addresses: &Vec<SocketAddr>| socket::listen(addresses, plan.backlog, &plan.options);
    plan.listen.iter().map(open).collect()
}

/// Serves on these listeners until `stop` fires and the connections are drained. Calls `on_listening` once, when
/// connections are accepted.
///
/// Errors: the server could not start. A worker that fails later ends it, and is in [`Served::failure`]. Every worker
/// has ended when it returns.
pub fn run(
    plan: Plan,
    listeners: Vec<OwnedFd>,
    stop: &Stop,
    on_listening: impl FnOnce(&Listening, Control),
) -> Result<Served> {
    let addresses = listeners
        .iter()
        .map(|listener| socket::local_address(listener.as_fd()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|cause| Error::Machine(format!("cannot read the address of a listener: {cause}")))?;
    let workers = plan.workers;
    let mut threads = ThreadGroup::new("worker", &plan.cpus, stop);
    let shared = Arc::new(Shared::new(plan, listeners, stop.clone())?);
    let starters = (0..workers)
        .map(|index| spawn(&mut threads, index, &shared))
        .collect::<Result<Vec<_>>>()?;
    let Some(ready) = startup::all_ready(&starters) else {
        drop(starters); // The others end, too.
        threads.join()?;
        return Err(Error::Bug("a worker ended before it was ready".into()));
    };
    let engine = ready[0].engine.clone();
    let connections_max = shared.admission.fit_descriptors(shared.plan.entries())?;
    shared.set_handoffs(ready);
    startup::begin(starters);
    let listening = Listening {
        addresses,
        engine,
        workers,
        connections_max,
    };
    on_listening(&listening, Control(Arc::clone(&shared)));
    Ok(Served::of(threads.join_each()))
}

fn spawn(threads: &mut ThreadGroup<Counters>, index: usize, shared: &Arc<Shared>) -> Result<startup::StarterSide> {
    let (starter, startup) = startup::handshake();
    let shared = Arc::clone(shared);
    threads.spawn(move || {
        let mut end = shared.on_end(index);
        let result = match shared.plan.engine {
            EnginePlan::Uring(plan) => uring::run(index, &shared, plan, startup),
            EnginePlan::TokioUring { buffer_size } => {
                tokio_uring::run(index, &shared, shared.within_limit(buffer_size), startup)
            }
            EnginePlan::Epoll { buffer_size } => epoll::run(index, &shared, shared.within_limit(buffer_size), startup),
        };
        if let Ok(counters) = &result {
            shared.snapshots.end(index, counters.clone());
            end.failed = false;
        }
        result
    })?;
    Ok(starter)
}

impl Served {
    fn of(results: Vec<Result<Counters>>) -> Served {
        let mut served = Served {
            workers: Vec::new(),
            failure: None,
        };
        for result in results {
            match result {
                Ok(counters) => served.workers.push(counters),
                Err(error) => served.failure = served.failure.or(Some(error)),
            }
        }
        served
    }
}
