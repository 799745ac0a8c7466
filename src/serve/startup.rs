//! How the workers of a server start together.
//!
//! Each worker sets itself up on its own thread, reports that it is ready and how connections reach it, and waits until
//! all others have done so. If one fails, none begins.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{OnceLock, mpsc};

use crate::error::{Error, Result};
use crate::serve::Plan;
use crate::serve::handoff::{Channel, Handoff};
use crate::sys::signal::Stop;

/// What all workers of a server share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) listener: OwnedFd,
    /// Fired when the server is to stop.
    pub(super) stop: Stop,
    /// Fired when the acceptor has ended accepting and has handed over all connections. No worker ends before.
    pub(super) accept_ended: Stop,
    handoffs: OnceLock<Vec<Handoff>>,
}

impl Shared {
    /// Errors: [`Error::Machine`] when descriptors have run out.
    pub(super) fn new(plan: Plan, listener: OwnedFd, stop: Stop) -> Result<Shared> {
        Ok(Shared {
            plan,
            listener,
            stop,
            accept_ended: Stop::new()?,
            handoffs: OnceLock::new(),
        })
    }

    /// The handoffs to all workers, by index.
    pub(super) fn handoffs(&self) -> &[Handoff] {
        self.handoffs
            .get()
            .expect("the handoffs are set before any worker begins")
    }

    pub(super) fn set_handoffs(&self, ready: Vec<Ready>) {
        let handoffs = ready.into_iter().map(|ready| Handoff::new(ready.channel));
        assert!(
            self.handoffs.set(handoffs.collect()).is_ok(),
            "the handoffs are set once"
        );
    }

    /// A copy of the listener for the first worker, which accepts; none for the others. Errors: [`Error::Machine`] when
    /// descriptors have run out.
    pub(super) fn listener_of(&self, index: usize) -> Result<Option<TcpListener>> {
        let copy = (index == 0).then(|| self.listener.try_clone()).transpose();
        let copy = copy.map_err(|cause| {
            Error::Machine(format!(
                "cannot duplicate the listener: {cause}. Raise the limit with `ulimit -n`"
            ))
        })?;
        Ok(copy.map(TcpListener::from))
    }

    /// Ends accepting for the other workers when the acceptor ends in any way, by an error or a panic as well.
    pub(super) fn end_accepting_on_drop(&self, index: usize) -> EndAccepting {
        EndAccepting((index == 0).then(|| self.accept_ended.clone()))
    }
}

/// See [`Shared::end_accepting_on_drop`].
pub(super) struct EndAccepting(Option<Stop>);

impl Drop for EndAccepting {
    fn drop(&mut self) {
        if let Some(accept_ended) = &self.0 {
            accept_ended.fire();
        }
    }
}

/// What a worker reports when it is ready.
pub(super) struct Ready {
    /// How connections reach it.
    pub(super) channel: Channel,
    /// The engine, and the ring mode that the kernel supports.
    pub(super) engine: String,
}

/// The side of the thread that starts the workers.
pub(super) struct StarterSide {
    ready: mpsc::Receiver<Ready>,
    begin: mpsc::Sender<()>,
}

/// The side of a worker.
pub(super) struct WorkerSide {
    ready: mpsc::Sender<Ready>,
    begin: mpsc::Receiver<()>,
}

/// Both sides for one worker.
pub(super) fn handshake() -> (StarterSide, WorkerSide) {
    let (report, ready) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let starter = StarterSide { ready, begin };
    let startup = WorkerSide {
        ready: report,
        begin: begun,
    };
    (starter, startup)
}

/// Waits until all workers are ready. None if one of them has failed.
pub(super) fn all_ready(starters: &[StarterSide]) -> Option<Vec<Ready>> {
    starters.iter().map(|starter| starter.ready.recv().ok()).collect()
}

/// Lets all workers begin.
pub(super) fn begin(starters: Vec<StarterSide>) {
    for starter in starters {
        let _ = starter.begin.send(()); // A worker that has died meanwhile is found when it is joined.
    }
}

impl WorkerSide {
    /// Reports that this worker is ready and waits for the others. False if one of them has failed.
    #[must_use]
    pub(super) fn ready(self, ready: Ready) -> bool {
        // If the other side is gone, no begin comes either.
        let _ = self.ready.send(ready);
        self.begin.recv().is_ok()
    }
}
