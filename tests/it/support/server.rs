//! A server on a thread of the test process.

use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use urecho::error::Result;
use urecho::serve::counters::Counters;
use urecho::serve::engine::Engine;
use urecho::serve::uring::UringPlan;
use urecho::serve::{self, EnginePlan, Plan, Served};
use urecho::sys::limits;
use urecho::sys::signal::Stop;

use super::engines::wants_direct_descriptors;
use super::{TIMEOUT, connect, connect_many};

/// A running server. Stopped when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Result<Served>>>,
}

impl Server {
    /// One worker of the default engine on a free loopback port.
    pub(crate) fn start() -> Server {
        Server::on(Engine::default())
    }

    pub(crate) fn on(engine: Engine) -> Server {
        Server::with(engine, |_| {})
    }

    /// On the engine `uring`, with settings that `change` has edited.
    pub(crate) fn on_uring(change: impl FnOnce(&mut UringPlan)) -> Server {
        Server::with(Engine::Uring, |plan| match &mut plan.engine {
            EnginePlan::Uring(uring) => change(uring),
            other => unreachable!("{other:?}"),
        })
    }

    /// A server whose plan `change` has edited.
    pub(crate) fn with(engine: Engine, change: impl FnOnce(&mut Plan)) -> Server {
        limits::raise_descriptors();
        let mut plan = Plan::loopback(engine);
        if let EnginePlan::Uring(uring) = &mut plan.engine {
            uring.direct = wants_direct_descriptors();
        }
        change(&mut plan);
        let stop = Stop::new().unwrap();
        let (ready, address) = mpsc::channel();
        let stopped = stop.clone();
        let body = move || {
            let listeners = serve::listen(&plan)?;
            serve::run(plan, listeners, &stopped, |listening, _| {
                ready.send(listening.addresses[0]).unwrap();
            })
        };
        let thread = Some(thread::spawn(body));
        let address = address.recv_timeout(TIMEOUT).expect("the server starts");
        Server { address, stop, thread }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// `count` connections, each of which has had one echo.
    pub(crate) fn connect_many(&self, count: usize) -> Vec<TcpStream> {
        connect_many(self.address, count)
    }

    /// Starts the drain and returns at once.
    pub(crate) fn fire(&self) {
        self.stop.fire();
    }

    /// Stops it and waits until it has drained.
    pub(crate) fn stop(mut self) -> Counters {
        self.stop.fire();
        Counters::total(&self.join().expect("the server ends without an error")).unwrap()
    }

    /// Stops it and returns the counters of each worker.
    pub(crate) fn stop_workers(mut self) -> Vec<Counters> {
        self.stop.fire();
        self.join().expect("the server ends without an error")
    }

    /// Stops it. Every connection must have been closed in order, and every buffer returned.
    pub(crate) fn stop_clean(self) -> Counters {
        let counters = self.stop();
        assert_eq!(counters.accepted, counters.closed, "{counters}");
        assert_eq!((counters.refused, counters.cut), (0, 0), "{counters}");
        assert_eq!((counters.stale, counters.in_use), (0, 0), "{counters}");
        counters
    }

    fn join(&mut self) -> Result<Vec<Counters>> {
        let thread = self.thread.take().expect("joined once");
        let served = thread.join().expect("the server does not panic")?;
        served.failure.map_or(Ok(served.workers), Err)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.fire();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // Dropped after a failed assertion: its result does not matter.
        }
    }
}
