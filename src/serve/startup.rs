//! How the workers of a server start together.
//!
//! Each worker sets itself up on its own thread, reports that it is ready and how connections reach it, and waits until
//! all others have done so. If one fails, none begins.

use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{OnceLock, mpsc};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::serve::admission::{Admission, Headroom, Place, Refusal};
use crate::serve::handoff::{self, Channel, Handoff};
use crate::serve::snapshots::Snapshots;
use crate::serve::{Plan, Sandbox};
use crate::sys::signal::Stop;
use crate::sys::{sandbox, socket};

/// How long a drain may take after a worker has failed.
const DRAIN_AFTER_FAILURE: Nanos = Nanos(500_000_000);

/// What all workers of a server share.
pub(super) struct Shared {
    pub(super) plan: Plan,
    /// At least one.
    pub(super) listeners: Vec<OwnedFd>,
    /// Fired when the server is to stop.
    pub(super) stop: Stop,
    /// True once a worker has failed: the others end soon, because connections of that worker hang.
    failed: AtomicBool,
    /// Fired when the acceptor has ended accepting and has handed over all connections. No worker ends before.
    pub(super) accept_ended: Stop,
    pub(super) admission: Admission,
    pub(super) snapshots: Snapshots,
    /// True once another process accepts on the listeners.
    handed_over: AtomicBool,
    handoffs: OnceLock<Vec<Handoff>>,
}

impl Shared {
    /// Errors: [`Error::Machine`] when descriptors have run out.
    pub(super) fn new(plan: Plan, listeners: Vec<OwnedFd>, stop: Stop) -> Result<Shared> {
        Ok(Shared {
            admission: Admission::new(plan.limits)?,
            snapshots: Snapshots::new(plan.workers)?,
            handed_over: AtomicBool::new(false),
            plan,
            listeners,
            stop,
            failed: AtomicBool::new(false),
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

    /// The size of a receive buffer that a connection may hold as a whole.
    pub(super) fn within_limit(&self, buffer_size: u32) -> u32 {
        buffer_size.min(u32::try_from(self.plan.buffer_limit).unwrap_or(u32::MAX))
    }

    /// Connections that can wait in the queues of all listeners. The kernel queues one more than it was asked to.
    pub(super) fn queued_max(&self) -> u32 {
        let queue = self.plan.backlog.saturating_add(1);
        queue.saturating_mul(self.listeners.len() as u32)
    }

    /// Headroom for another connection. If there is none, the acceptor is woken when one closes.
    pub(super) fn headroom(&self) -> Headroom {
        // More than the queues hold: they fill up again while they are emptied.
        let waiting = 2 * self.queued_max() as usize;
        let room = || self.admission.headroom(handoff::open(self.handoffs()), waiting);
        match room() {
            Headroom::Full => {
                self.admission.wait_for_close();
                room() // A connection that closed before that call has not woken it.
            }
            room => room,
        }
    }

    /// Index of the worker that serves a new connection, or why none does. That worker has one connection more then.
    /// `peer` as for [`Admission::admit`].
    pub(super) fn place(
        &self,
        connection: &impl AsRawFd,
        peer: impl FnOnce() -> Option<IpAddr>,
    ) -> std::result::Result<usize, Refusal> {
        let open = handoff::open(self.handoffs());
        self.admission.admit(connection, peer, open)?;
        Ok(handoff::choose(self.handoffs()))
    }

    /// Closes a connection that worker `index` served, or was to serve.
    pub(super) fn close(&self, index: usize, connection: impl AsRawFd) {
        let place = Place::Descriptor(connection.as_raw_fd());
        self.close_with(index, place, || drop(connection));
    }

    /// The same by `close`.
    pub(super) fn close_with(&self, index: usize, place: Place, close: impl FnOnce()) {
        self.admission.release(place);
        close();
        self.handoffs()[index].connection_removed();
        self.admission.connection_closed();
    }

    /// Copies of the listeners for the first worker, which accepts; none for the others. Errors: [`Error::Machine`]
    /// when descriptors have run out.
    pub(super) fn listeners_of(&self, index: usize) -> Result<Vec<TcpListener>> {
        let copy = |listener: &OwnedFd| {
            let copy = listener.try_clone().map_err(|cause| {
                Error::Machine(format!(
                    "cannot duplicate a listener: {cause}. Raise the limit with `ulimit -n`"
                ))
            })?;
            Ok(TcpListener::from(copy))
        };
        let own = if index == 0 { &self.listeners[..] } else { &[] };
        own.iter().map(copy).collect()
    }

    /// Confines the calling thread, as the plan says. Errors: [`Error::Machine`] where that is not possible,
    /// [`Error::Bug`] if it does not hold.
    pub(super) fn confine(&self) -> Result<()> {
        let mode = self.plan.sandbox;
        if matches!(mode, Sandbox::On | Sandbox::Tested) {
            sandbox::confine()?;
        }
        if mode.is_tested() {
            let escapes = sandbox::escapes();
            if !escapes.is_empty() {
                return Err(Error::Bug(format!("a worker could {}", escapes.join(", "))));
            }
        }
        Ok(())
    }

    /// True once the server drains.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.has_fired()
    }

    /// Begins a drain that leaves the listeners to another process.
    pub(super) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
        self.stop.fire();
    }

    /// True if another process accepts on the listeners.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// Refuses new connections, unless another process accepts on the listeners.
    pub(super) fn shut_listeners_down(&self) {
        if !self.is_handed_over() {
            self.listeners
                .iter()
                .for_each(|listener| socket::shutdown_both(listener.as_fd()));
        }
    }

    /// How long the drain of a worker may take.
    pub(super) fn drain_timeout(&self) -> Nanos {
        match self.failed.load(Ordering::Acquire) {
            true => self.plan.drain_timeout.min(DRAIN_AFTER_FAILURE),
            false => self.plan.drain_timeout,
        }
    }

    /// What the end of worker `index` means for the others, in whichever way it ends.
    pub(super) fn on_end(&self, index: usize) -> OnEnd<'_> {
        OnEnd {
            shared: self,
            index,
            failed: true,
        }
    }
}

/// See [`Shared::on_end`].
pub(super) struct OnEnd<'a> {
    shared: &'a Shared,
    index: usize,
    /// True unless the worker has returned its counters.
    pub(super) failed: bool,
}

impl Drop for OnEnd<'_> {
    fn drop(&mut self) {
        let shared = self.shared;
        if self.failed {
            shared.failed.store(true, Ordering::Release);
            // At once, and not by the acceptor: it may be this worker.
            shared.shut_listeners_down();
            shared.stop.fire();
        }
        if self.index == 0 {
            shared.accept_ended.fire();
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
