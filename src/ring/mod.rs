//! io_uring for echo: this room owns every byte that the kernel may read or write.
//!
//! No pointer from outside enters a submission. Received bytes leave as [`Chunk`]s and are queued as [`ChunkQueue`]s; a
//! send takes a queue, and its completion returns the rest. So `serve/` and `load/` are safe Rust. They decide what to
//! do with bytes; this room decides when to submit and when to sleep, and copes with full queues.

#![allow(unsafe_code)] // `unsafe` is allowed in this room and in sys/ only; tests/it/tidy checks

mod chunk;
mod completion;
mod deadline;
mod diagnosis;
mod features;
mod group;
mod memory;
mod pipes;
mod poller;
mod pool;
mod probe;
mod scratch;
mod set;
mod setup;
mod socket;
mod spin;
mod splicing;
mod token;
mod transport;
mod wait;

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};

#[cfg(any(test, fuzzing))]
pub(crate) use chunk::fake;
pub use chunk::{Chunk, ChunkQueue, ChunkTable, Store};
pub use completion::{Completion, Event, Received};
pub use diagnosis::{Diagnosis, Remedy};
pub use features::{Feature, Purpose, Trial, features, has_direct_descriptors, killed_by};
pub use pipes::PIPE_BYTES;
pub use poller::Poller;
pub use pool::Buffers;
pub use probe::probe;
pub use set::RingSet;
pub use setup::{Mode, Queues, Refused, Role, rings_within_locked_memory};
pub use socket::{Descriptor, Socket, SocketRef};
pub use spin::{Spin, SpinLimits, SpinPolicy};
pub use transport::Transport;

use crate::clock::Nanos;
use crate::error::{Errno, Result};
use crate::slab::Key;
use pool::{GROUP, Pool};
use scratch::Scratch;
use setup::SetupError;
use spin::SpinHistory;
use token::{Op, Token};

/// How long the probe of a new ring may take, and the last completions of one that is dropped.
const TIMEOUT: Nanos = Nanos::SECOND;

/// Between two attempts at what the kernel has refused for a moment.
const RETRY_PERIOD: Duration = Duration::from_millis(1);

/// One ring with its buffers and its operations in flight. For one thread.
pub struct Ring {
    // Dropped in this order: the ring is closed before the memory it may write to is unmapped.
    uring: IoUring,
    /// Of its table of direct descriptors.
    entries: u32,
    pool: Pool,
    /// What is being sent, by slot: one send in flight per connection.
    outgoing: Vec<ChunkQueue>,
    /// The sockets that are to be spliced from or into as soon as they are ready, by slot.
    spliced: Vec<RawFd>,
    scratch: Scratch,
    /// Completion entries taken out of the shared queue and not yet returned by [`Ring::submit_and_wait`].
    ready: Vec<cqueue::Entry>,
    /// Completed without the kernel, to be returned by the next pass.
    done: Vec<Completion>,
    /// Operations that have not completed for the last time.
    in_flight: usize,
    /// The first error of the ring itself; the next pass returns it.
    broken: Option<Errno>,
    /// Since when the kernel has refused every call, though only for a moment; none if the last one succeeded.
    refused_since: Option<Nanos>,
    mode: Mode,
    spin: Spin,
    history: SpinHistory,
    /// See [`deadline::epoch`].
    epoch: Option<Nanos>,
    /// Flags of each io_uring_enter(2).
    enter_flags: u32,
    counts: Counts,
    /// When this pass was first submitted; none before.
    submitted: Option<Nanos>,
    not_send: PhantomData<*mut ()>,
}

/// What a ring is for, and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingPlan {
    /// What it is for.
    pub role: Role,
    /// Sizes of its queues.
    pub queues: Queues,
    /// Its receive buffers.
    pub buffers: Buffers,
    /// Entries of its table of direct descriptors; zero for none.
    pub entries: u32,
}

/// Statistics of a ring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of io_uring_enter(2).
    pub enters: u64,
    /// Times the completion queue had overflowed. The kernel keeps the entries, but slowly.
    pub overflows: u64,
    /// Time spent busy-polling: without entering the kernel, and without being preempted.
    pub spun: Nanos,
}

impl Counts {
    fn plus(self, other: Counts) -> Counts {
        Counts {
            enters: self.enters + other.enters,
            overflows: self.overflows + other.overflows,
            spun: self.spun + other.spun,
        }
    }
}

/// Where other threads post connections to a ring.
#[derive(Debug, Clone)]
pub struct Mailbox(Arc<OwnedFd>);

/// Operations are submitted by a later pass, when the borrow of their descriptor has ended: the caller keeps the
/// descriptor open until they have completed. The kernel would use whatever file has its number then.
impl Ring {
    /// Creates a ring on the thread that will use it, one of `rings` that this process has at once. Queues and buffers
    /// are made smaller where a limit of this process requires it. Errors:
    /// [`Error::Machine`](crate::error::Error::Machine) with advice.
    pub fn new(plan: RingPlan, rings: usize) -> Result<Ring> {
        Ok(Ring::attempt(plan, rings)?)
    }

    /// The same, with the diagnosis as data.
    pub fn attempt(plan: RingPlan, rings: usize) -> std::result::Result<Ring, Refused> {
        Ring::attempt_with(plan, rings, None)
    }

    /// The same; the ring signals an eventfd when it may have completed something.
    fn attempt_with(
        mut plan: RingPlan,
        rings: usize,
        signal: Option<BorrowedFd<'_>>,
    ) -> std::result::Result<Ring, Refused> {
        plan.queues = plan.queues.within_locked_memory(rings);
        loop {
            let refused = match Ring::build(plan, signal) {
                Ok(ring) => return Ok(ring),
                Err(refused) => refused,
            };
            let smaller = plan.queues.halved().zip(plan.buffers.halved());
            match smaller {
                Some(smaller) if refused.is_for_memory() => (plan.queues, plan.buffers) = smaller,
                _ => return Err(refused.diagnosed(plan.queues, plan.buffers)),
            }
            // The kernel takes the memory of a ring back a moment after it was closed.
            thread::sleep(RETRY_PERIOD);
        }
    }

    fn build(plan: RingPlan, signal: Option<BorrowedFd<'_>>) -> std::result::Result<Ring, SetupError> {
        let doing = if plan.entries > 0 {
            setup::WITH_TABLE
        } else {
            "create an io_uring"
        };
        let (mut uring, mode) = setup::build(plan, signal).map_err(SetupError::of(doing))?;
        let epoch = deadline::epoch(&mut uring).map_err(SetupError::of("wait for an io_uring"))?;
        let pool = Pool::map(plan.buffers).map_err(SetupError::of("map the receive buffers"))?;
        pool.register(&uring.submitter())
            .map_err(SetupError::of("register the receive buffers with io_uring"))?;
        let enter_flags = setup::enter_flags(&uring);
        let mut ring = Ring {
            uring,
            entries: plan.entries,
            pool,
            outgoing: Vec::with_capacity(plan.entries as usize),
            spliced: Vec::new(),
            scratch: Scratch::new(),
            ready: Vec::with_capacity(plan.queues.completions as usize),
            done: Vec::new(),
            in_flight: 0,
            broken: None,
            refused_since: None,
            mode,
            spin: Spin::Never,
            history: SpinHistory::default(),
            epoch,
            enter_flags,
            counts: Counts::default(),
            submitted: None,
            not_send: PhantomData,
        };
        ring.self_test().map_err(SetupError::of("receive through io_uring"))?;
        if plan.entries > 1 {
            ring.test_table().map_err(SetupError::of(setup::WITH_TABLE))?;
        }
        Ok(ring)
    }

    /// How the kernel delivers completions.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Statistics so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the operations before the last wait were submitted; none if it did not wait.
    pub fn submitted(&self) -> Option<Nanos> {
        self.submitted
    }

    /// Sets whether to busy-poll before sleeping.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spin = spin;
    }

    /// Where other threads post connections to this ring. Errors: EMFILE.
    pub fn mailbox(&self) -> io::Result<Mailbox> {
        // SAFETY: `self.uring` keeps the descriptor open and outlives this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) };
        Ok(Mailbox(Arc::new(fd.try_clone_to_owned()?)))
    }

    /// Accepts connections until that fails or is cancelled ([`Event::Accepted`]).
    pub fn accept(&mut self, key: Key, listener: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC);
        self.push(entry.build(), Op::Accept, key);
    }

    /// Accepts one connection ([`Event::Accepted`]).
    pub fn accept_once(&mut self, key: Key, listener: BorrowedFd<'_>) {
        let entry = opcode::Accept::new(fd(listener), std::ptr::null_mut(), std::ptr::null_mut());
        self.push(entry.flags(libc::SOCK_CLOEXEC).build(), Op::Accept, key);
    }

    /// Receives into buffers until FIN, an error or a cancel ([`Event::Received`]).
    pub fn receive<'a>(&mut self, key: Key, socket: impl Into<SocketRef<'a>>) {
        let socket = socket.into();
        let entry = opcode::RecvMulti::new(socket.number(), GROUP).build();
        self.push(entry.flags(socket.flags()), Op::Receive, key);
    }

    /// Receives into one buffer, once ([`Event::Received`]).
    pub fn receive_once<'a>(&mut self, key: Key, socket: impl Into<SocketRef<'a>>) {
        let socket = socket.into();
        let entry = opcode::Recv::new(socket.number(), std::ptr::null_mut(), 0);
        let entry = entry.buf_group(GROUP).build();
        self.push(entry.flags(Flags::BUFFER_SELECT | socket.flags()), Op::Receive, key);
    }

    /// Sends the first chunks of a queue, in order ([`Event::Sent`]). One send per slot at a time.
    pub fn send<'a>(&mut self, key: Key, socket: impl Into<SocketRef<'a>>, chunks: ChunkQueue) {
        let slot = key.slot as usize;
        if slot >= self.outgoing.len() {
            self.outgoing.resize_with(slot + 1, ChunkQueue::default);
        }
        assert!(
            !chunks.is_empty() && self.outgoing[slot].is_empty(),
            "one send in flight per connection"
        );
        self.outgoing[slot] = chunks;
        let socket = socket.into();
        if let Some(pipe) = self.pipe_to_send(key) {
            self.set_spliced(key, socket);
            return self.splice_out(key, pipe, false);
        }
        if !self.make_room() {
            return; // It is broken; the next pass returns the error.
        }
        let entry = self.scratch.send(socket.number(), &self.outgoing[slot], &self.pool);
        self.push(entry.flags(socket.flags()), Op::Send, key);
    }

    /// Connects a socket ([`Event::Connected`]).
    pub fn connect<'a>(&mut self, key: Key, socket: impl Into<SocketRef<'a>>, target: SocketAddr) {
        if !self.make_room() {
            return; // It is broken; the next pass returns the error.
        }
        let socket = socket.into();
        let entry = self.scratch.connect(socket.number(), target);
        self.push(entry.flags(socket.flags()), Op::Connect, key);
    }

    /// Reports when a descriptor is readable ([`Event::Woken`]), until cancelled.
    pub fn watch(&mut self, key: Key, readable: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(fd(readable), libc::POLLIN as u32).multi(true);
        self.push(entry.build(), Op::Watch, key);
    }

    /// Reports once when a descriptor is readable ([`Event::Woken`]).
    fn watch_once(&mut self, key: Key, readable: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(fd(readable), libc::POLLIN as u32);
        self.push(entry.build(), Op::Watch, key);
    }

    /// Cancels the accept of this key, which completes on its own ([`Event::Cancelled`] for the cancel).
    pub fn cancel_accept(&mut self, key: Key) {
        self.cancel(Op::Accept, key);
    }

    /// Cancels the receive of this key, which completes on its own ([`Event::Cancelled`] for the cancel).
    pub fn cancel_receive(&mut self, key: Key) {
        self.cancel(Op::Receive, key);
    }

    /// Cancels the connect of this key, which completes on its own ([`Event::Cancelled`] for the cancel).
    pub fn cancel_connect(&mut self, key: Key) {
        self.cancel(Op::Connect, key);
    }

    /// Posts a connection to another ring ([`Event::Delivered`] there, or [`Event::Undelivered`] with `recipient` here,
    /// which is less than 2^24).
    pub fn post(&mut self, to: &Mailbox, recipient: u32, connection: OwnedFd) {
        let number = connection.into_raw_fd();
        let key = Key {
            slot: number as u32,
            generation: recipient,
        };
        let delivered = Token {
            op: Op::Deliver,
            key: Key { slot: 0, generation: 0 },
        };
        let entry = opcode::MsgRingData::new(Fd(to.0.as_raw_fd()), number, delivered.pack(), None);
        let entry = entry.build().flags(Flags::SKIP_SUCCESS);
        self.enqueue(entry.user_data(Token { op: Op::Post, key }.pack()));
    }

    /// The bytes of a chunk.
    pub fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.pool.bytes(chunk)
    }

    /// An empty buffer to fill and send; none while all are in use.
    pub fn lease(&mut self) -> Option<Chunk> {
        self.pool.lease()
    }

    /// Fills a leased chunk: `fill` writes from the start of the buffer and returns the number of bytes.
    pub fn fill(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.pool.write(chunk, fill);
    }

    /// Returns a chunk's buffer to the kernel.
    pub fn give_back(&mut self, chunk: Chunk) {
        self.pool.give_back(chunk);
    }

    /// Returns all buffers of a queue to the kernel.
    pub fn give_back_all(&mut self, chunks: ChunkQueue) {
        self.pool.give_back_all(chunks);
    }

    /// The table that links the queued chunks of this ring.
    pub fn chunk_table(&mut self) -> &mut ChunkTable {
        &mut self.pool.chunk_table
    }

    /// Number of buffers: as planned, or fewer if memory is limited.
    pub fn total(&self) -> usize {
        self.pool.total()
    }

    /// True if the next pass may offer more buffers: it replaces those that have not been given back by then.
    pub fn has_spare(&self) -> bool {
        self.pool.has_spare()
    }

    /// Number of buffers that the kernel may fill, or of pipes that are empty.
    pub fn offered(&self, store: Store) -> usize {
        self.pool.offered(store)
    }

    /// Number of chunks that exist: zero if everything has been given back.
    pub fn in_use(&self, store: Store) -> usize {
        self.pool.in_use(store)
    }

    /// Submits everything pushed so far, waits for a completion until `until`, and moves all completions into `out`.
    /// May return without one at the deadline, and sometimes before it.
    ///
    /// Errors: the kernel does not serve the ring any more, or the ring itself is broken. It cannot be used then.
    pub fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
        self.submitted = None;
        if self.ready.is_empty() && self.done.is_empty() {
            self.wait(until);
        } else {
            self.submit();
        }
        self.collect();
        if let Some(errno) = self.broken {
            return Err(setup::failure(errno));
        }
        self.history.waited(self.ready.len());
        let mut ready = std::mem::take(&mut self.ready);
        let mut fresh = 0;
        for entry in ready.drain(..) {
            let Some(completion) = self.decode(&entry) else {
                continue;
            };
            if let Event::Received(Received::Data(chunk)) = &completion.event {
                fresh += usize::from(self.pool.chunk_table.store(chunk) == Store::Buffer);
            }
            out.push(completion);
        }
        out.append(&mut self.done);
        self.ready = ready;
        self.pool.replenish(fresh);
        Ok(())
    }
}

fn fd(of: BorrowedFd<'_>) -> Fd {
    Fd(of.as_raw_fd())
}

#[cfg(test)]
mod tests;
