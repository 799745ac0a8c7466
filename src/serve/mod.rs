//! The server: a plan goes in, every connection is echoed, counters come out.
//!
//! `engine` has the contract that all engines keep. `accept`, `handoff`, `drain` and `counters` are the same for all of
//! them; `uring`, `tokio_uring` and `epoll` are one engine each and use nothing of each other. This file starts the
//! workers; `startup` is how they agree on the moment to begin.

mod accept;
pub mod counters;
mod drain;
pub mod engine;
mod epoll;
mod handoff;
mod startup;
mod tokio_uring;
pub mod uring;

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::sys::signal::Stop;
use crate::sys::socket;
use crate::sys::threads::ThreadGroup;
use counters::Counters;
use engine::Engine;
use startup::Shared;
use uring::UringPlan;

/// What to serve, where, and with which resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The engine and its settings.
    pub engine: EnginePlan,
    /// Addresses of which the first that this machine has is listened on, at least one; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Number of worker threads.
    pub workers: usize,
    /// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
    pub backlog: u32,
    /// Socket options of the listener, inherited by every connection.
    pub options: socket::Options,
    /// CPUs that the workers are pinned to, in turn; empty for no pinning.
    pub cpus: Vec<usize>,
    /// How long a stop may take before the remaining connections are cut.
    pub drain_timeout: Nanos,
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
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            workers: 1,
            backlog: 4096,
            options: socket::Options {
                nodelay: true,
                congestion: None,
            },
            cpus: Vec::new(),
            drain_timeout: Nanos(5_000_000_000),
        }
    }
}

/// A server that accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The address, with the port that was taken.
    pub address: SocketAddr,
    /// The engine, and the ring mode that the kernel supports.
    pub engine: String,
    /// Number of worker threads.
    pub workers: usize,
}

/// Serves until `stop` fires and the connections are drained. Calls `on_listening` once, when connections are accepted.
/// Returns the counters of each worker.
///
/// Errors: [`Error::Machine`] when the address, an engine or a CPU is not available; [`Error::Bug`] when a worker fails
/// later. Every worker has ended when it returns.
pub fn run(plan: Plan, stop: &Stop, on_listening: impl FnOnce(&Listening)) -> Result<Vec<Counters>> {
    let listener = socket::listen(&plan.listen, plan.backlog, &plan.options)?;
    let address = socket::local_address(listener.as_fd())
        .map_err(|cause| Error::Machine(format!("cannot read the address of the listener: {cause}")))?;
    let workers = plan.workers;
    let mut threads = ThreadGroup::new("worker", &plan.cpus, stop);
    let shared = Arc::new(Shared::new(plan, listener, stop.clone())?);
    let starters = (0..workers)
        .map(|index| spawn(&mut threads, index, &shared))
        .collect::<Result<Vec<_>>>()?;
    if let Some(ready) = startup::all_ready(&starters) {
        let engine = ready[0].engine.clone();
        shared.set_handoffs(ready);
        startup::begin(starters);
        on_listening(&Listening {
            address,
            engine,
            workers,
        });
    } else {
        drop(starters); // A worker failed: the others end, and the join returns its error.
    }
    threads.join()
}

fn spawn(threads: &mut ThreadGroup<Counters>, index: usize, shared: &Arc<Shared>) -> Result<startup::StarterSide> {
    let (starter, startup) = startup::handshake();
    let shared = Arc::clone(shared);
    threads.spawn(move || {
        let _end = shared.end_accepting_on_drop(index);
        match shared.plan.engine {
            EnginePlan::Uring(plan) => uring::run(index, &shared, plan, startup),
            EnginePlan::TokioUring { buffer_size } => tokio_uring::run(index, &shared, buffer_size, startup),
            EnginePlan::Epoll { buffer_size } => epoll::run(index, &shared, buffer_size, startup),
        }
    })?;
    Ok(starter)
}
