//! A whole server worker on the crate tokio-uring: one task per connection reads into a buffer of its own and writes
//! back what arrived. For comparison: io_uring as an async library offers it.
//!
//! The contract is kept within the limits of the crate (0.5):
//! - An operation cannot be cancelled. A stop ends a pending read only by FIN from either side or by a cut. So bytes
//!   that arrive at the very moment of our FIN are read and dropped (counted as discarded), where the other engines
//!   would check for them and echo them. A connection in use at the end of a drain gets FIN after its next echo.
//! - Every connection owns its buffer for its whole life: memory grows with connections, not with traffic.
//! - The runtime hangs if its completion queue overflows. The queue has room for one operation per descriptor, for up
//!   to 65,536 connections per worker.
//! - The runtime hangs with IORING_SETUP_DEFER_TASKRUN, so it goes without, and it waits for its ring with epoll: two
//!   system calls per pass.

mod accepting;
mod peer;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio_uring::Runtime;
use ::tokio_uring::net::TcpStream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::ring;
use crate::serve::accept::Accepting;
use crate::serve::counters::{Counters, Operation};
use crate::serve::drain::{Activity, Drain};
use crate::serve::handoff::{Channel, Inbox};
use crate::serve::idle::IdleTimeout;
use crate::serve::notices::{Notice, Notices};
use crate::serve::startup::{Ready, Shared, WorkerSide};
use crate::slab::{Key, Slab};
use crate::sys::{limits, shortage, socket};
use peer::Peer;

/// Serves on the calling thread until stopped and drained. Errors: [`Error::Machine`] when io_uring is not available,
/// [`Error::Bug`] when a task panics.
pub(super) fn run(index: usize, shared: &Arc<Shared>, buffer_size: u32, startup: WorkerSide) -> Result<Counters> {
    let listeners = if index == 0 { shared.listeners.len() } else { 0 }; // The first worker accepts.
    for listener in shared.listeners.iter().take(listeners) {
        socket::set_nonblocking(listener.as_fd(), true)
            .map_err(|cause| Error::Machine(format!("cannot prepare a listener: {cause}")))?;
    }
    let runtime = runtime(shared.plan.workers)?;
    let ready = Ready {
        channel: Channel::Inbox(Inbox::new()?),
        engine: "tokio-uring".into(),
    };
    if !startup.ready(ready) {
        return Ok(Counters::default());
    }
    let worker = Worker::new(index, shared, buffer_size as usize);
    shared.confine()?;
    let result = runtime.block_on(Rc::clone(&worker).serve(listeners));
    // Read before the runtime drops the tasks that are left.
    let counters = worker.counters.take();
    drop(runtime);
    result.map(|()| counters)
}

/// Fewest entries of a completion queue: tokio-uring hangs when it overflows.
const COMPLETIONS_MIN: u64 = 4096;

fn runtime(workers: usize) -> Result<Runtime> {
    ring::probe(workers)?; // With the cause and a remedy, where the crate returns a bare error number.
    let mut completions = limits::descriptors().soft.clamp(COMPLETIONS_MIN, 65_536) as u32;
    loop {
        let mut ring = ::tokio_uring::uring_builder();
        ring.dontfork().setup_clamp().setup_cqsize(completions);
        let mut builder = ::tokio_uring::builder();
        builder.uring_builder(&ring);
        match Runtime::new(&builder) {
            Ok(runtime) => return Ok(runtime),
            Err(cause) if cause.kind() == io::ErrorKind::OutOfMemory && u64::from(completions) > COMPLETIONS_MIN => {
                completions = (completions / 2).max(COMPLETIONS_MIN as u32);
            }
            Err(cause) => return Err(refused(completions, &cause)),
        }
    }
}

fn refused(completions: u32, cause: &io::Error) -> Error {
    let advice = match cause.kind() {
        io::ErrorKind::OutOfMemory => shortage::of_ring_memory(completions as usize * 16),
        _ => "Raise the descriptor limit with `ulimit -n`".into(),
    };
    Error::Machine(format!(
        "cannot start tokio-uring ({completions} completion entries): {cause}. {advice}"
    ))
}

/// What the tasks of a worker share. They take turns on one thread, and hold no borrow across an await.
struct Worker {
    index: usize,
    shared: Arc<Shared>,
    buffer_size: usize,
    peers: RefCell<Slab<Rc<Peer>>>,
    counters: RefCell<Counters>,
    notices: RefCell<Notices>,
    accepting: Cell<Accepting>,
    /// Tasks that accept, one per listener.
    acceptors: Cell<usize>,
    drain: RefCell<Drain>,
    idle: RefCell<IdleTimeout>,
    /// Why this worker has to end; none as long as it works.
    failure: RefCell<Option<Error>>,
    /// Wakes [`Worker::serve`] when one of its conditions may have changed.
    changed: Notify,
    /// Ends a pause of [`Worker::accept`].
    resume: Notify,
}

impl Worker {
    fn new(index: usize, shared: &Arc<Shared>, buffer_size: usize) -> Rc<Worker> {
        Rc::new(Worker {
            index,
            shared: Arc::clone(shared),
            buffer_size,
            peers: RefCell::new(Slab::with_capacity(0)),
            counters: RefCell::new(Counters::default()),
            notices: RefCell::new(Notices::new(index)),
            accepting: Cell::new(Accepting::at_start(index)),
            acceptors: Cell::new(0),
            drain: RefCell::new(Drain::new()),
            idle: RefCell::new(IdleTimeout::new(shared.plan.idle_timeout)),
            failure: RefCell::new(None),
            changed: Notify::new(),
            resume: Notify::new(),
        })
    }

    /// The main task: starts the others and drains them.
    async fn serve(self: Rc<Self>, listeners: usize) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let stop = watch(shared.stop.as_fd())?;
        let closed = watch(shared.admission.as_fd())?;
        let asked = watch(shared.snapshots.as_fd())?;
        let wakers = [watch(self.inbox().as_fd())?, watch(shared.accept_ended.as_fd())?];
        self.acceptors.set(listeners);
        for listener in 0..listeners {
            ::tokio_uring::spawn(Rc::clone(&self).accept(listener));
        }
        let mut accept_ended = false;
        while !self.is_done(accept_ended) {
            let woken = self.wait([&stop, &closed, &asked], &wakers).await;
            // Read before the inbox: once accepting has ended, nothing more is handed over.
            accept_ended = shared.accept_ended.has_fired();
            for connection in self.inbox().take() {
                self.open(TcpStream::from_std(StdStream::from(connection)));
            }
            if woken.stopped {
                self.begin_drain();
            }
            if woken.asked {
                let counters = self.counters.borrow().clone();
                shared.snapshots.answer(self.index, counters);
            }
            if woken.closed {
                self.resume.notify_waiters(); // Only a pause waits for it.
            }
            self.sweep();
            self.close_expired();
            if self.index == 0 && self.drain.borrow().is_over(clock::now) {
                self.end_accepting();
            }
        }
        self.cut();
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Until something has happened, or the drain or an idle connection needs attention.
    async fn wait(&self, [stop, closed, asked]: [&Watched<'_>; 3], wakers: &[Watched<'_>]) -> Woken {
        let deadline = self.drain.borrow().deadline().min(self.idle.borrow().deadline());
        let mut changed = pin!(self.changed.notified());
        let mut time = pin!(sleep((deadline - clock::now()).into()));
        poll_fn(|cx| {
            let reason = Woken {
                stopped: has_fired(stop, cx),
                closed: has_fired(closed, cx),
                asked: has_fired(asked, cx),
            };
            // Every one is polled, so that every one wakes this task next time.
            let woken = wakers.iter().fold(false, |woken, waker| woken | has_fired(waker, cx));
            let other = changed.as_mut().poll(cx).is_ready() | time.as_mut().poll(cx).is_ready();
            match reason.stopped || reason.closed || reason.asked || woken || other {
                true => Poll::Ready(reason),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn is_done(&self, accept_ended: bool) -> bool {
        let drain = self.drain.borrow();
        let drained = || self.peers.borrow().is_empty() || drain.is_over(clock::now);
        self.failure.borrow().is_some() || drain.has_begun() && accept_ended && drained()
    }

    fn open(self: &Rc<Self>, stream: TcpStream) {
        self.counters.borrow_mut().connections += 1;
        let now = clock::now();
        let peer = Rc::new(Peer::new(stream, now));
        let key = self.peers.borrow_mut().insert(Rc::clone(&peer));
        self.watch_idle(key, now);
        ::tokio_uring::spawn(Rc::clone(self).echo(key, peer));
    }

    /// The task of one connection: reads and writes back until the peer has finished or is gone.
    async fn echo(self: Rc<Self>, key: Key, peer: Rc<Peer>) {
        let _report = ReportPanic(&self);
        let mut buffer = Vec::with_capacity(self.buffer_size);
        loop {
            let (read, returned) = peer.read(buffer).await;
            buffer = returned;
            let len = match read {
                Ok(0) => break,
                Ok(len) => len,
                Err(cause) => break self.failed(Operation::Receive, cause.into()),
            };
            self.had_io(&peer);
            self.counters.borrow_mut().bytes_in += len as u64;
            if peer.fin_sent.get() {
                self.counters.borrow_mut().discarded += len as u64;
                continue;
            }
            peer.writing.set(true);
            let (written, returned) = peer.write_all(buffer, len).await;
            peer.writing.set(false);
            self.had_io(&peer);
            buffer = returned;
            if let Err(cause) = written {
                break self.failed(Operation::Send, cause.into());
            }
            self.counters.borrow_mut().bytes_out += len as u64;
            if peer.last_echo.get() {
                peer.send_fin();
            }
        }
        self.close(key, peer);
    }

    fn report(&self, notice: Notice) {
        self.notices.borrow_mut().report(notice);
    }

    /// Ends the worker with this error.
    fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.changed.notify_one();
    }

    /// An error has ended a connection.
    fn failed(&self, operation: Operation, errno: Errno) {
        self.error(operation, errno);
        self.counters.borrow_mut().failed += 1;
    }

    fn error(&self, operation: Operation, errno: Errno) {
        self.counters.borrow_mut().error(operation, errno);
    }

    fn had_io(&self, peer: &Peer) {
        peer.busy.set(true);
        if self.idle.borrow().is_on() {
            peer.active_at.set(clock::now());
        }
    }

    /// The main task may have to wake up earlier than it knows.
    fn watch_idle(&self, key: Key, now: Nanos) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.deadline();
        idle.watch(key, now);
        if idle.deadline() < before {
            self.changed.notify_one();
        }
    }

    /// Closes connections that have been idle for too long: ends their pending reads and writes.
    fn close_expired(&self) {
        let mut peers = self.peers.borrow_mut();
        let expired = self
            .idle
            .borrow_mut()
            .expired(clock::now, &mut peers, |peer| peer.active_at.get());
        for key in expired {
            if let Some(peer) = peers.get_mut(key)
                && socket::end_idle(peer.as_ref())
            {
                self.counters.borrow_mut().timed_out += 1;
            }
        }
    }

    /// The echo is complete and nothing is pending, so dropping the stream sends FIN after the last byte.
    fn close(&self, key: Key, peer: Rc<Peer>) {
        self.peers.borrow_mut().remove(key);
        self.shared.close(self.index, peer);
        self.counters.borrow_mut().closed += 1;
        if self.is_draining() {
            self.changed.notify_one();
        }
    }

    fn inbox(&self) -> &Inbox {
        self.shared.handoffs()[self.index].inbox()
    }

    fn is_draining(&self) -> bool {
        self.drain.borrow().has_begun()
    }

    fn begin_drain(self: &Rc<Self>) {
        let begun = {
            let (mut drain, mut peers) = (self.drain.borrow_mut(), self.peers.borrow_mut());
            drain.begin(clock::now(), self.shared.drain_timeout(), &mut peers, Peer::take_had_io)
        };
        if begun {
            self.report(Notice::DrainBegan(self.peers.borrow().len()));
            self.change_accepting(|accepting| accepting.begin_drain(self.shared.queued_max()));
            if self.shared.is_handed_over() {
                self.change_accepting(Accepting::end);
            }
            self.resume.notify_waiters();
        }
    }

    fn sweep(&self) {
        let (mut drain, mut peers) = (self.drain.borrow_mut(), self.peers.borrow_mut());
        for (key, activity) in drain.sweep(clock::now, &mut peers, Peer::take_had_io) {
            match (activity, peers.get_mut(key)) {
                (Activity::Idle, Some(peer)) => peer.close_idle(),
                (Activity::Busy, Some(peer)) => peer.last_echo.set(true),
                (_, None) => {}
            }
        }
    }

    /// Cuts the connections that are left, so that no operation stays pending.
    fn cut(&self) {
        let (mut counters, mut peers) = (self.counters.borrow_mut(), self.peers.borrow_mut());
        counters.refused += self.inbox().close();
        counters.cut = peers.len() as u64;
        self.report(Notice::DrainEnded(peers.len()));
        peers.values_mut().for_each(|peer| peer.cut());
    }
}

/// Why the main task was woken, where that matters.
struct Woken {
    stopped: bool,
    /// A connection has closed while the acceptor waited for that.
    closed: bool,
    /// For its counters.
    asked: bool,
}

/// Ends the worker when a task panics: the runtime would not report it. Every task holds one.
struct ReportPanic<'a>(&'a Worker);

impl Drop for ReportPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Bug("a task of a server worker panicked".into()));
        }
    }
}

/// A descriptor whose edges the runtime waits for.
type Watched<'a> = AsyncFd<BorrowedFd<'a>>;

// Deprecated because the descriptor might be closed meanwhile, which a borrowed one cannot be. The replacement is
// unsafe.
#[allow(deprecated)]
fn watch(descriptor: BorrowedFd<'_>) -> Result<Watched<'_>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE).map_err(|cause| {
        Error::Machine(format!(
            "cannot watch a descriptor: {cause}. Raise the limit with `ulimit -n`"
        ))
    })
}

/// True if there was an edge since the last call; otherwise the next one wakes the task.
fn has_fired(watched: &Watched<'_>, cx: &mut Context<'_>) -> bool {
    match watched.poll_read_ready(cx) {
        Poll::Ready(Ok(mut guard)) => {
            guard.clear_ready();
            true
        }
        // Pending, or the runtime is shutting down.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Plan;
    use crate::serve::engine::Engine;
    use crate::sys::signal::Stop;

    #[test]
    fn a_task_that_panics_ends_the_worker_with_an_error() {
        let plan = Plan::loopback(Engine::TokioUring);
        let listener = socket::listen(&plan.listen[0], 1, &plan.options).unwrap();
        let shared = Arc::new(Shared::new(plan, vec![listener], Stop::new().unwrap()).unwrap());
        shared.set_handoffs(vec![Ready {
            channel: Channel::Inbox(Inbox::new().unwrap()),
            engine: String::new(),
        }]);
        let worker = Worker::new(0, &shared, 64);
        let broken = Rc::clone(&worker);
        let ended = runtime(1).unwrap().block_on(async {
            ::tokio_uring::spawn(async move {
                let _report = ReportPanic(&broken);
                panic!("on purpose");
            });
            worker.serve(0).await
        });
        assert_eq!(ended.unwrap_err().exit_code(), 70);
    }
}
