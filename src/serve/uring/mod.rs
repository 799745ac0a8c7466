//! A whole server worker on io_uring: one thread, one ring, its share of the connections.
//!
//! `accepting` is how connections come in, `closing` how they end. `echo` decides what a connection does, with
//! `stream_detector`; `buffers` which connections get buffers; `spinning` when to busy-poll. This file waits on the
//! ring, passes completions to the connections and applies what they say. `fault` slows a worker down for tests of
//! `urecho check`.

mod accepting;
mod buffers;
mod closing;
pub mod echo;
pub mod fault;
mod plan;
mod spinning;
mod stream_detector;

use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::ring::{ChunkQueue, Completion, Event, Received, Ring, Socket, Store};
use crate::serve::admission::Place;
use crate::serve::counters::{Counters, Operation};
use crate::serve::drain::Drain;
use crate::serve::handoff::Channel;
use crate::serve::idle::IdleTimeout;
use crate::serve::notices::{Notice, Notices};
use crate::serve::startup::{Ready, Shared, WorkerSide};
use crate::slab::{Key, Slab};
use crate::sys::{affinity, socket};
use accepting::Acceptor;
use buffers::{BufferLevels, BufferShares, PipeShare};
use echo::{BufferAllowance, Echo, Next, Receive};
use fault::FaultInjector;
pub use plan::UringPlan;
use spinning::Spinning;

/// Keys of operations that belong to no connection. Those of the listeners follow.
const STOP: Key = Key::reserved(0);
const ACCEPT_ENDED: Key = Key::reserved(1);
const CONNECTION_CLOSED: Key = Key::reserved(2);
const SNAPSHOT: Key = Key::reserved(3);
const FIRST_LISTENER: u32 = 4;

fn listener_key(index: usize) -> Key {
    Key::reserved(FIRST_LISTENER + index as u32)
}

/// The index of the listener that an operation belongs to; more than any for one of something else.
fn listener_index(key: Key) -> usize {
    Key::reserved(FIRST_LISTENER).slot.wrapping_sub(key.slot) as usize
}

/// Serves on the calling thread until stopped and drained. Errors: [`Error::Machine`] when a ring cannot be created,
/// [`Error::Bug`] when it breaks.
pub(super) fn run(index: usize, shared: &Shared, plan: UringPlan, startup: WorkerSide) -> Result<Counters> {
    let plan = plan.within(&shared.plan);
    if index == 0 {
        for listener in &shared.listeners {
            // On a non-blocking one io_uring completes with EAGAIN. One that was passed to this process may be.
            socket::set_nonblocking(listener.as_fd(), false)
                .map_err(|cause| Error::Machine(format!("cannot prepare a listener: {cause}")))?;
        }
    }
    let ring = Ring::new(plan.ring(plan.entries(&shared.plan)), shared.plan.workers)?;
    let mailbox = ring.mailbox().map_err(|cause| {
        Error::Machine(format!(
            "cannot share a ring between workers: {cause}. Raise the limit with `ulimit -n`"
        ))
    })?;
    let ready = Ready {
        channel: Channel::Ring(mailbox),
        engine: format!("uring ({})", ring.mode().name()),
    };
    if startup.ready(ready) {
        let mut worker = Worker::new(index, shared, &plan, ring);
        shared.confine()?;
        if shared.plan.sandbox.is_tested() && !worker.ring.refuses_to_open_files() {
            return Err(Error::Bug("a ring of a worker could open a file".into()));
        }
        worker.run()
    } else {
        Ok(Counters::default())
    }
}

struct Worker<'a> {
    index: usize,
    shared: &'a Shared,
    ring: Ring,
    connections: Slab<Connection>,
    buffers: BufferShares,
    /// Number of connections that stream.
    streams: usize,
    spinning: Spinning,
    acceptor: Acceptor,
    /// True once no worker can hand over connections any more.
    accept_ended: bool,
    drain: Drain,
    idle: IdleTimeout,
    /// Time of this pass, while it is needed.
    now: Nanos,
    counters: Counters,
    notices: Notices,
    fault: Option<FaultInjector>,
}

struct Connection {
    socket: Socket,
    echo: Echo,
    /// True if something was received or sent since the last sweep of the drain.
    busy: bool,
    /// True once an operation has failed.
    failed: bool,
    /// When something was received or sent last, as far as that is noted ([`Worker::note_time`]).
    active_at: Nanos,
}

impl Connection {
    /// Where its socket is, on worker `worker`.
    fn place(&self, worker: usize) -> Place {
        match &self.socket {
            Socket::Descriptor(descriptor) => Place::Descriptor(descriptor.as_raw_fd()),
            Socket::Entry(entry) => Place::Entry {
                worker,
                slot: entry.slot(),
            },
        }
    }

    fn had_io(&mut self, now: Nanos) {
        self.busy = true;
        self.active_at = now;
    }

    fn take_had_io(&mut self) -> bool {
        mem::take(&mut self.busy)
    }
}

impl<'a> Worker<'a> {
    fn new(index: usize, shared: &'a Shared, plan: &UringPlan, ring: Ring) -> Worker<'a> {
        let cpus = match shared.plan.cpus.len() {
            0 => affinity::allowed().len(),
            pinned => pinned,
        };
        // Where workers share a CPU, each would busy-poll while another has work.
        let spin = if shared.plan.workers <= cpus {
            plan.spin
        } else {
            Nanos(0)
        };
        Worker {
            index,
            shared,
            connections: Slab::with_capacity(ring.entries() as usize),
            buffers: BufferShares::new(ring.total(), plan.buffers.size as usize, shared.plan.buffer_limit),
            ring,
            streams: 0,
            spinning: Spinning::of_this_thread(spin),
            acceptor: Acceptor::new(index, shared.listeners.len()),
            accept_ended: false,
            drain: Drain::new(),
            idle: IdleTimeout::new(shared.plan.idle_timeout),
            now: Nanos(0),
            counters: Counters::default(),
            notices: Notices::new(index),
            fault: plan.fault.map(|fault| FaultInjector::new(fault, index)),
        }
    }

    fn run(mut self) -> Result<Counters> {
        self.ring.watch(STOP, self.shared.stop.as_fd());
        self.ring.watch(ACCEPT_ENDED, self.shared.accept_ended.as_fd());
        self.ring.watch(SNAPSHOT, self.shared.snapshots.as_fd());
        if self.acceptor.state.is_on() {
            self.ring.watch(CONNECTION_CLOSED, self.shared.admission.as_fd());
            self.arm_accepts();
        }
        let mut completions = Vec::new();
        while !self.is_done() {
            self.ring.set_spin(self.spinning.next_wait(self.streams));
            self.ring.submit_and_wait(self.deadline(), &mut completions)?;
            self.note_time();
            self.counters.passes += 1;
            self.counters.events += completions.len() as u64;
            if let Some(fault) = &mut self.fault {
                fault.inject(&mut completions);
            }
            for completion in completions.drain(..) {
                self.handle(completion);
            }
            self.share_buffers();
            self.evict_stuck();
            self.close_expired();
            if self.acceptor.state.pause_is_over(clock::now) {
                self.resume_accepting();
            }
            self.continue_drain();
        }
        Ok(self.end())
    }

    fn handle(&mut self, completion: Completion) {
        let Completion { key, more, event } = completion;
        match event {
            Event::Accepted(result) => self.accepted(listener_index(key), result, more),
            Event::Delivered(socket) => self.open(socket),
            Event::Undelivered { connection, recipient } => {
                self.counters.refused += 1;
                self.shared.close(recipient as usize, connection);
            }
            Event::Received(what) => self.received(key, what, more),
            Event::Sent { sent, rest } => self.sent(key, sent, rest),
            Event::Cancelled if listener_index(key) < self.shared.listeners.len() => {} /* Its accept completes on */
            // its own.
            Event::Cancelled => self.update(key, Echo::cancelled),
            Event::Woken if key == STOP => self.begin_drain(),
            Event::Woken if key == CONNECTION_CLOSED => {
                if self.acceptor.state.connection_closed() {
                    self.resume_accepting();
                }
            }
            Event::Woken if key == SNAPSHOT => self.shared.snapshots.answer(self.index, self.counters_now()),
            Event::Woken => self.accept_ended = true,
            Event::Connected(_) => unreachable!("a server connects to nothing"),
        }
    }

    /// When to wake up although nothing completes.
    fn deadline(&self) -> Nanos {
        let buffers = self.buffers.deadline(self.buffer_levels(), clock::now);
        let fault = self.fault.as_ref().map_or(Nanos::NEVER, FaultInjector::deadline);
        buffers
            .min(self.drain.deadline())
            .min(self.acceptor.state.deadline())
            .min(self.idle.deadline())
            .min(fault)
    }

    fn is_done(&self) -> bool {
        let drained = || self.connections.is_empty() || self.drain.is_over(clock::now);
        self.drain.has_begun() && self.accept_ended && drained()
    }
}

/// Events of connections.
impl Worker<'_> {
    fn received(&mut self, key: Key, what: Received, more: bool) {
        match &what {
            Received::Data(chunk) => self.counters.bytes_in += chunk.len() as u64,
            Received::Failed(errno) => self.counters.error(Operation::Receive, *errno),
            Received::End | Received::Cancelled | Received::Starved | Received::NotForPipe => {}
        }
        let allowance = self.allowance();
        let Some(connection) = self.connections.get_mut(key) else {
            let chunks = match what {
                Received::Data(chunk) => ChunkQueue::of(chunk, self.ring.chunk_table()),
                _ => ChunkQueue::default(),
            };
            return self.stale(chunks);
        };
        if let Received::Data(chunk) = &what
            && connection.echo.is_fin_sent()
        {
            self.counters.discarded += chunk.len() as u64;
        }
        connection.had_io(self.now);
        connection.failed |= matches!(what, Received::Failed(_));
        let next = connection.echo.received(what, more, allowance, self.ring.chunk_table());
        self.apply(key, next);
    }

    fn sent(&mut self, key: Key, sent: std::result::Result<u32, Errno>, rest: ChunkQueue) {
        match sent {
            Ok(bytes) => self.counters.bytes_out += u64::from(bytes),
            Err(errno) => self.counters.error(Operation::Send, errno),
        }
        let allowance = self.allowance();
        let Some(connection) = self.connections.get_mut(key) else {
            return self.stale(rest);
        };
        connection.had_io(self.now);
        connection.failed |= sent.is_err();
        let next = connection
            .echo
            .sent(sent.is_ok(), rest, allowance, self.ring.chunk_table());
        self.apply(key, next);
    }

    /// Passes an event without data to a connection.
    fn update(&mut self, key: Key, event: impl FnOnce(&mut Echo, BufferAllowance) -> Next) {
        let allowance = self.allowance();
        match self.connections.get_mut(key) {
            Some(connection) => {
                let next = event(&mut connection.echo, allowance);
                self.apply(key, next);
            }
            None => self.stale(ChunkQueue::default()),
        }
    }

    fn apply(&mut self, key: Key, next: Next) {
        self.ring.give_back_all(next.give_back);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !next.send.is_empty() {
            self.ring.send(key, &connection.socket, next.send);
        }
        if let Some(when) = next.fin {
            closing::send_fin(&mut self.ring, connection, when);
        }
        let peer = &connection.socket;
        match next.receive {
            Receive::Keep => {}
            Receive::Arm(Store::Buffer) if self.buffers.is_low() => self.ring.receive_once(key, peer),
            Receive::Arm(Store::Buffer) => self.ring.receive(key, peer),
            Receive::Arm(Store::Pipe) => self.ring.receive_into_pipe(key, peer),
            Receive::Starve(store) => {
                self.counters.starved += u64::from(store == Store::Buffer);
                self.buffers.starve(key, store);
            }
            Receive::Cancel => self.ring.cancel_receive(key),
        }
        match next.switched {
            Some(Store::Pipe) => self.streams += 1,
            Some(Store::Buffer) => self.streams -= 1,
            None => {}
        }
        if next.close {
            self.close(key);
        }
    }

    fn allowance(&self) -> BufferAllowance {
        self.buffers
            .allowance(self.connections.len(), self.ring.offered(Store::Pipe))
    }

    /// Counts a completion for a closed connection. A connection closes only when nothing of it is in the kernel, so
    /// this is a bug; release builds survive it.
    fn stale(&mut self, chunks: ChunkQueue) {
        debug_assert!(false, "a completion for a connection that has been closed");
        self.ring.give_back_all(chunks);
        self.counters.stale += 1;
    }
}

/// Sharing buffers.
impl Worker<'_> {
    /// Follows the number of buffers in use, and serves starved connections as far as buffers go.
    fn share_buffers(&mut self) {
        if self.buffers.becomes_low(self.ring.in_use(Store::Buffer)) {
            self.notices.report(Notice::BuffersLow);
            let keys: Vec<Key> = self.connections.keys().collect();
            for key in keys {
                self.update(key, |echo, _| echo.renew());
            }
        }
        for _ in 0..self.ring.offered(Store::Buffer) {
            let Some(key) = self.buffers.next_for_buffer() else {
                break;
            };
            self.update_if_open(key, Echo::available);
        }
        let free = self.ring.offered(Store::Pipe);
        let (streams, event): (_, fn(&mut Echo, BufferAllowance) -> Next) =
            match self.buffers.pipe_share(free, clock::now) {
                PipeShare::Pipes(streams) => (streams, Echo::available),
                PipeShare::TimedOut(streams) => (streams, Echo::no_pipe),
            };
        for _ in 0..streams {
            let Some(key) = self.buffers.next_for_pipe() else {
                break;
            };
            self.update_if_open(key, event);
        }
    }

    /// Passes an event to a connection that may have closed while it was queued.
    fn update_if_open(&mut self, key: Key, event: impl FnOnce(&mut Echo, BufferAllowance) -> Next) {
        if self.connections.get_mut(key).is_some() {
            self.update(key, event);
        }
    }
}

impl Worker<'_> {
    /// Takes the time once for all completions of a pass, and only where it is used.
    fn note_time(&mut self) {
        if self.idle.is_on() || self.buffers.is_low() {
            self.now = clock::now();
        }
    }
}
