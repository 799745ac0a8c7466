//! A whole server worker on the crate tokio-uring: a task for each connection that reads into a buffer of its own and
//! writes back what came. io_uring as an async library has it, to compare with.
//!
//! The contract is kept within the limits of the crate (0.5):
//! - An operation cannot be cancelled. A stop ends the pending accept by shutting the listener down, and a pending read
//!   only by FIN from either side or a cut; so bytes that come in the very moment of our FIN are read and dropped
//!   (counted as discarded), where the other engines would look first and echo them.
//! - Every connection owns its buffer for as long as it lasts: memory grows with connections, not with traffic.
//! - Its completion queue must never overflow, or it hangs; there is room for one operation per descriptor, up to
//!   65,536 connections a worker.
//! - It hangs with completions that run when we wait (DEFER_TASKRUN), so it does without, and makes two system calls a
//!   turn: it waits for its ring with epoll.
//! - A stream cannot be taken back from it. One that is handed to another worker is duplicated, and where descriptors
//!   have run out, it stays with the worker that accepted it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{Shutdown, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::tokio_uring::Runtime;
use ::tokio_uring::buf::BoundedBuf;
use ::tokio_uring::net::{TcpListener, TcpStream};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::ring::{Buffers, Queues, Ring};
use crate::serve::counters::{Counters, Doing};
use crate::serve::drain::Drain;
use crate::serve::{Shared, handoff};
use crate::slab::{Key, Slab};
use crate::sys::{limits, socket};

/// How long accepting pauses when descriptors have run out and none of ours closes meanwhile.
const PAUSE: Nanos = Nanos(100_000_000);

/// What a worker runs on. Errors: io_uring cannot be had, with advice.
pub(super) fn runtime() -> Result<Runtime> {
    // Ours says why a ring cannot be had and what to do; the crate only passes an error number on.
    let queues = Queues {
        submissions: 8,
        completions: 8,
    };
    let buffers = Buffers {
        hot: 1,
        total: 1,
        size: 64,
        large: None,
    };
    drop(Ring::new(queues, buffers)?);
    let completions = limits::descriptors().0.clamp(4096, 65_536) as u32;
    let mut ring = ::tokio_uring::uring_builder();
    ring.dontfork().setup_clamp().setup_cqsize(completions);
    let mut builder = ::tokio_uring::builder();
    builder.uring_builder(&ring);
    Runtime::new(&builder).map_err(|cause| {
        Error::Machine(format!(
            "cannot start tokio-uring ({completions} completion entries): {cause}. Raise `ulimit -n` for descriptors, \
             `ulimit -l` for memory"
        ))
    })
}

/// Serves until stopped and drained. Errors: the runtime broke, or a task panicked.
pub(super) fn run(
    runtime: Runtime,
    listener: Option<StdListener>,
    index: usize,
    shared: &Arc<Shared>,
) -> Result<Counters> {
    let worker = Worker::new(index, shared);
    let ended = runtime.block_on(Rc::clone(&worker).serve(listener));
    // Counted before the tasks that are left go with the runtime.
    let counters = worker.counters.take();
    drop(runtime);
    ended.map(|()| counters)
}

/// What the tasks of a worker share. They take turns on one thread, and hold no borrow across a wait.
struct Worker {
    index: usize,
    shared: Arc<Shared>,
    peers: RefCell<Slab<Rc<Peer>>>,
    counters: RefCell<Counters>,
    /// True while the task that accepts lives.
    accepting: Cell<bool>,
    draining: Cell<bool>,
    panicked: Cell<bool>,
    /// Something to look at for [`Worker::serve`].
    news: Notify,
    /// A connection has closed, or no more are wanted: no need to pause.
    room: Notify,
}

/// A connection, as its own task and the way out see it.
struct Peer {
    stream: TcpStream,
    /// True when something was received or sent since the last sweep.
    busy: Cell<bool>,
    /// True while an echo is on its way.
    writing: Cell<bool>,
    /// True once our FIN is out: what still comes is read and dropped, so that close sends no RST.
    finished: Cell<bool>,
}

impl Worker {
    fn new(index: usize, shared: &Arc<Shared>) -> Rc<Worker> {
        Rc::new(Worker {
            index,
            shared: Arc::clone(shared),
            peers: RefCell::new(Slab::with_capacity(0)),
            counters: RefCell::new(Counters::default()),
            accepting: Cell::new(false),
            draining: Cell::new(false),
            panicked: Cell::new(false),
            news: Notify::new(),
            room: Notify::new(),
        })
    }

    /// The main task: starts the others, and sees them out.
    async fn serve(self: Rc<Self>, listener: Option<StdListener>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let stop = watch(shared.stop.as_fd())?;
        let handed_in = watch(self.inbox().as_fd())?;
        let mut drain = Drain::new(shared.plan.drain_timeout);
        if let Some(listener) = listener {
            self.accepting.set(true);
            ::tokio_uring::spawn(Rc::clone(&self).accept(TcpListener::from_std(listener)));
        }
        while !self.is_done(&drain) {
            let stopped = self.wait(&stop, &handed_in, drain.next()).await;
            for connection in self.inbox().take() {
                self.open(TcpStream::from_std(StdStream::from(connection)));
            }
            if stopped && drain.begin() {
                self.leave();
            }
            if drain.sweeps() {
                self.say_goodbye();
            }
        }
        self.cut();
        if self.panicked.get() {
            return Err(Error::Bug("a task of a server worker panicked".into()));
        }
        Ok(())
    }

    /// Until something happens, or the time has come; true if it is the stop.
    async fn wait(&self, stop: &Watched<'_>, handed_in: &Watched<'_>, until: Nanos) -> bool {
        let mut news = pin!(self.news.notified());
        let mut time = pin!(sleep((until - clock::now()).into()));
        poll_fn(|cx| {
            let stopped = has_rung(stop, cx);
            let woken = has_rung(handed_in, cx) | news.as_mut().poll(cx).is_ready() | time.as_mut().poll(cx).is_ready();
            match stopped || woken {
                true => Poll::Ready(stopped),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn is_done(&self, drain: &Drain) -> bool {
        let drained = self.peers.borrow().is_empty() && !self.accepting.get();
        self.panicked.get() || drain.has_begun() && (drained || drain.is_over())
    }

    /// The task that accepts, until the listener is shut down.
    async fn accept(self: Rc<Self>, listener: TcpListener) {
        let _watch = Watch(&self);
        while !self.draining.get() {
            match listener.accept().await {
                Ok((stream, _)) => {
                    self.counters.borrow_mut().accepted += 1;
                    self.place(stream);
                }
                Err(_) if self.draining.get() => break,
                Err(cause) => {
                    self.error(Doing::Accept, cause.into());
                    self.counters.borrow_mut().pauses += 1;
                    self.pause().await;
                }
            }
        }
        self.accepting.set(false);
        self.news.notify_one();
    }

    /// Whatever has run out has not come back yet: trying at once would only spin.
    async fn pause(&self) {
        let mut room = pin!(self.room.notified());
        let mut time = pin!(sleep(PAUSE.into()));
        poll_fn(
            |cx| match room.as_mut().poll(cx).is_ready() || time.as_mut().poll(cx).is_ready() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            },
        )
        .await;
    }

    /// Gives a new connection to the worker that has the fewest.
    fn place(self: &Rc<Self>, stream: TcpStream) {
        let handoffs = self.shared.handoffs();
        let index = handoff::choose(handoffs);
        if index == self.index {
            return self.open(stream);
        }
        match socket::duplicate(&stream) {
            Ok(copy) => {
                if !handoffs[index].inbox().push(copy) {
                    self.counters.borrow_mut().refused += 1;
                }
            }
            Err(_) => {
                // No descriptor for a moment: it is served here.
                handoffs[index].left();
                self.shared.handoffs()[self.index].entered();
                self.open(stream);
            }
        }
    }

    fn open(self: &Rc<Self>, stream: TcpStream) {
        self.counters.borrow_mut().busiest += 1;
        let peer = Rc::new(Peer {
            stream,
            busy: Cell::new(true),
            writing: Cell::new(false),
            finished: Cell::new(false),
        });
        let key = self.peers.borrow_mut().insert(Rc::clone(&peer));
        ::tokio_uring::spawn(Rc::clone(self).echo(key, peer));
    }

    /// The task of one connection: reads and writes back until the peer has finished or is gone.
    async fn echo(self: Rc<Self>, key: Key, peer: Rc<Peer>) {
        let _watch = Watch(&self);
        let mut buffer = Vec::with_capacity(self.shared.plan.buffers.size as usize);
        loop {
            let (read, back) = peer.stream.read(buffer).await;
            buffer = back;
            let len = match read {
                Ok(0) => break,
                Ok(len) => len,
                Err(cause) => break self.error(Doing::Receive, cause.into()),
            };
            peer.busy.set(true);
            self.counters.borrow_mut().bytes_in += len as u64;
            if peer.finished.get() {
                self.counters.borrow_mut().discarded += len as u64;
                continue;
            }
            peer.writing.set(true);
            let (written, back) = peer.stream.write_all(buffer.slice(..len)).await;
            peer.writing.set(false);
            peer.busy.set(true);
            buffer = back.into_inner();
            if let Err(cause) = written {
                break self.error(Doing::Send, cause.into());
            }
            self.counters.borrow_mut().bytes_out += len as u64;
        }
        self.close(key, peer);
    }

    fn error(&self, doing: Doing, errno: Errno) {
        self.counters.borrow_mut().error(doing, errno);
    }

    /// With everything echoed and nothing pending, the last drop of the stream sends FIN behind the last byte.
    fn close(&self, key: Key, peer: Rc<Peer>) {
        self.peers.borrow_mut().remove(key);
        drop(peer);
        self.counters.borrow_mut().closed += 1;
        self.shared.handoffs()[self.index].left();
        self.room.notify_waiters();
        if self.draining.get() {
            self.news.notify_one();
        }
    }

    fn inbox(&self) -> &handoff::Inbox {
        self.shared.handoffs()[self.index].inbox()
    }

    /// Starts the drain: no more connections, and each one ends once it is quiet and has its echo.
    fn leave(&self) {
        self.draining.set(true);
        if self.index == 0 {
            // Refuses newcomers, and ends the accept.
            socket::shutdown_both(self.shared.listener.as_fd());
            self.room.notify_waiters();
        }
        // Quiet counts from here, not from when somebody last looked.
        self.for_each(|peer| peer.busy.set(false));
    }

    /// Says goodbye to every peer that has been quiet since the last sweep.
    fn say_goodbye(&self) {
        self.for_each(|peer| {
            if !peer.busy.take() && !peer.writing.get() && !peer.finished.replace(true) {
                // The peer may be gone already; then the read says so.
                let _ = peer.stream.shutdown(Shutdown::Write);
            }
        });
    }

    /// Ends what is left, so that nothing of it stays pending.
    fn cut(&self) {
        let mut counters = self.counters.borrow_mut();
        counters.refused += self.inbox().close();
        counters.cut = self.peers.borrow().len() as u64;
        drop(counters);
        self.for_each(|peer| {
            // Fails only when it is down already.
            let _ = peer.stream.shutdown(Shutdown::Both);
        });
    }

    fn for_each(&self, action: impl Fn(&Peer)) {
        let mut peers = self.peers.borrow_mut();
        let keys: Vec<Key> = peers.keys().collect();
        for key in keys {
            action(peers.get_mut(key).expect("listed just now"));
        }
    }
}

/// The runtime keeps a task's panic to itself, so each task has one of these: a panic ends the server.
struct Watch<'a>(&'a Worker);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.set(true);
            self.0.news.notify_one();
        }
    }
}

/// A descriptor whose edges the runtime waits for.
type Watched<'a> = AsyncFd<BorrowedFd<'a>>;

// Deprecated for descriptors that may be closed meanwhile, which a borrowed one cannot be; what replaces it is unsafe.
#[allow(deprecated)]
fn watch(descriptor: BorrowedFd<'_>) -> Result<Watched<'_>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE).map_err(|cause| failed("watch a descriptor", &cause))
}

/// True if there was an edge since the last look.
fn has_rung(waker: &Watched<'_>, cx: &mut Context<'_>) -> bool {
    match waker.poll_read_ready(cx) {
        Poll::Ready(Ok(mut guard)) => {
            guard.clear_ready();
            true
        }
        // Pending, or the runtime is ending.
        _ => false,
    }
}

fn failed(doing: &str, cause: &std::io::Error) -> Error {
    Error::Machine(format!("cannot {doing}: {cause}. Raise `ulimit -n`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::handoff::{Handoff, Inbox, Way};
    use crate::serve::{Engine, Plan};
    use crate::sys::signal::Stop;
    use std::sync::OnceLock;

    #[test]
    fn a_task_that_panics_ends_the_worker_with_an_error() {
        let plan = Plan::of(Engine::TokioUring);
        let listener = socket::listen(plan.listen, 1, &plan.options).unwrap();
        let handoff = Handoff::new(Way::Inbox(Inbox::new().unwrap()));
        let shared = Arc::new(Shared {
            plan,
            listener,
            stop: Stop::new().unwrap(),
            handoffs: OnceLock::from(vec![handoff]),
        });
        let worker = Worker::new(0, &shared);
        let broken = Rc::clone(&worker);
        let ended = runtime().unwrap().block_on(async {
            ::tokio_uring::spawn(async move {
                let _watch = Watch(&broken);
                panic!("on purpose");
            });
            worker.serve(None).await
        });
        assert_eq!(ended.unwrap_err().exit_code(), 70);
    }
}
