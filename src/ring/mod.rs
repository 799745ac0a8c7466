//! io_uring for echo: every byte the kernel may touch is owned in this room.
//!
//! No pointer from outside enters a submission. Received bytes leave as [`Chunk`]s, are queued as [`Chain`]s,
//! and a send takes its chain in and its completion hands the rest out. So `serve/` and `load/` are safe Rust.
//! What to do with bytes is their affair; when to submit, when to sleep, and full queues are ours.

#![allow(unsafe_code)] // this room and sys/ are where unsafe lives; tests/it/tidy watches

mod chain;
mod completion;
mod group;
mod memory;
mod pool;
mod scratch;
mod setup;
mod spin;
mod token;
mod wait;

use std::io::{self, Write};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use io_uring::squeue::Flags;
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode};

#[cfg(test)]
pub(crate) use chain::fake;
pub use chain::{Chain, Chunk, Links};
pub use completion::{Completion, Event, Received};
pub use group::SizeClass;
pub use pool::{Buffers, Large};
pub use setup::{Mode, Queues};
pub use spin::{Spin, SpinLimits, SpinPolicy};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::slab::Key;
use completion::Raw;
use pool::Pool;
use scratch::Scratch;
use spin::SpinHistory;
use token::{Op, Token};

/// How long the first completion of a ring may take, and its last ones when it is dropped.
const PATIENCE: Nanos = Nanos::SECOND;

/// One ring, its buffers and everything of ours that is in the kernel. For one thread.
pub struct Ring {
    // Dropped in this order: the ring is closed before the memory it may write to is unmapped.
    uring: IoUring,
    pool: Pool,
    /// What is being sent, by slot: one send in flight per connection.
    outgoing: Vec<Chain>,
    scratch: Scratch,
    /// Completion entries taken out of the shared queue but not yet handed out.
    ready: Vec<cqueue::Entry>,
    /// Operations whose last completion is still to come.
    in_flight: usize,
    /// The first error of the ring itself; the next turn reports it.
    broken: Option<Errno>,
    mode: Mode,
    spin: Spin,
    history: SpinHistory,
    /// True while the kernel takes deadlines instead of spans; found out at the first wait.
    absolute: bool,
    /// CLOCK_MONOTONIC at zero of our clock.
    epoch: Nanos,
    counts: Counts,
    not_send: PhantomData<*mut ()>,
}

/// What a ring has been through, for summaries and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// System calls made.
    pub enters: u64,
    /// Times the completion queue was found overflown. The kernel keeps the entries, slowly.
    pub overflows: u64,
    /// Time spent looking for completions that had not come yet.
    pub spun: Nanos,
}

/// Another thread's way to hand this ring a connection.
#[derive(Debug, Clone)]
pub struct Mailbox(Arc<OwnedFd>);

impl Ring {
    /// Makes a ring on the thread that will use it. Errors: [`Error::Machine`] with advice.
    pub fn new(queues: Queues, buffers: Buffers) -> Result<Ring> {
        let (uring, mode) = setup::build(queues)?;
        let pool = Pool::register(&uring.submitter(), buffers)
            .map_err(|cause| setup::refusal("register the receive buffers with io_uring", cause))?;
        let mut ring = Ring {
            uring,
            pool,
            outgoing: Vec::new(),
            scratch: Scratch::new(),
            ready: Vec::with_capacity(queues.completions as usize),
            in_flight: 0,
            broken: None,
            mode,
            spin: Spin::Never,
            history: SpinHistory::default(),
            absolute: true,
            epoch: monotonic() - clock::now(),
            counts: Counts::default(),
            not_send: PhantomData,
        };
        ring.probe()
            .map_err(|cause| setup::refusal("receive through io_uring", cause))?;
        Ok(ring)
    }

    /// How completions reach us on this kernel.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What this ring has been through.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// From now on looks for completions before going to sleep, or does not.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spin = spin;
    }

    /// Where other threads hand connections to this ring. Errors: EMFILE.
    pub fn mailbox(&self) -> io::Result<Mailbox> {
        // SAFETY: the descriptor is open as long as `self.uring`, which outlives this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) };
        Ok(Mailbox(Arc::new(fd.try_clone_to_owned()?)))
    }

    /// Accepts connections until it fails or is cancelled ([`Event::Accepted`]).
    pub fn accept(&mut self, key: Key, listener: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(fd(listener)).flags(libc::SOCK_CLOEXEC);
        self.push(entry.build(), Op::Accept, key);
    }

    /// Receives into small pool buffers until the end, an error, or a cancel ([`Event::Received`]).
    pub fn receive(&mut self, key: Key, socket: BorrowedFd<'_>, class: SizeClass) {
        let entry = opcode::RecvMulti::new(fd(socket), class.group());
        self.push(entry.build(), Op::Receive, key);
    }

    /// Receives into one pool buffer, once ([`Event::Received`]).
    pub fn receive_once(&mut self, key: Key, socket: BorrowedFd<'_>, class: SizeClass) {
        let entry = opcode::Recv::new(fd(socket), std::ptr::null_mut(), 0);
        let entry = entry.buf_group(class.group());
        let entry = entry.build().flags(Flags::BUFFER_SELECT);
        self.push(entry, Op::Receive, key);
    }

    /// Sends the first chunks of a chain, in order ([`Event::Sent`]). One send per slot at a time.
    pub fn send(&mut self, key: Key, socket: BorrowedFd<'_>, chain: Chain) {
        let slot = key.slot as usize;
        if slot >= self.outgoing.len() {
            self.outgoing.resize_with(slot + 1, Chain::default);
        }
        assert!(
            !chain.is_empty() && self.outgoing[slot].is_empty(),
            "one send in flight per connection"
        );
        self.outgoing[slot] = chain;
        if !self.make_room() {
            return; // Broken; the next turn says so.
        }
        let entry = self.scratch.send(fd(socket), &self.outgoing[slot], &self.pool);
        self.push(entry, Op::Send, key);
    }

    /// Connects a socket ([`Event::Connected`]).
    pub fn connect(&mut self, key: Key, socket: BorrowedFd<'_>, target: SocketAddr) {
        if !self.make_room() {
            return; // Broken; the next turn says so.
        }
        let entry = self.scratch.connect(fd(socket), target);
        self.push(entry, Op::Connect, key);
    }

    /// Reports when a descriptor is readable ([`Event::Woken`]), until cancelled.
    pub fn watch(&mut self, key: Key, readable: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(fd(readable), libc::POLLIN as u32).multi(true);
        self.push(entry.build(), Op::Watch, key);
    }

    /// Cancels the receive under this key; it completes on its own.
    pub fn cancel_receive(&mut self, key: Key) {
        self.cancel(Op::Receive, key);
    }

    /// Cancels the connect under this key; it completes on its own.
    pub fn cancel_connect(&mut self, key: Key) {
        self.cancel(Op::Connect, key);
    }

    /// Hands a connection to another ring ([`Event::Adopted`] there, [`Event::Undelivered`] here).
    pub fn post(&mut self, to: &Mailbox, connection: OwnedFd) {
        let number = connection.into_raw_fd();
        let key = Key {
            slot: number as u32,
            generation: 0,
        };
        let delivered = Token {
            op: Op::Adopt,
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

    /// Fills a leased chunk: `fill` writes from the start of the buffer and says how many bytes count.
    pub fn fill(&mut self, chunk: &mut Chunk, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.pool.write(chunk, fill);
    }

    /// Returns a chunk's buffer to the kernel.
    pub fn give_back(&mut self, chunk: Chunk) {
        self.pool.give_back(chunk);
    }

    /// Returns all buffers of a chain to the kernel.
    pub fn give_back_all(&mut self, mut chain: Chain) {
        while let Some(chunk) = chain.pop(&self.pool.links) {
            self.pool.give_back(chunk);
        }
    }

    /// Submits everything pushed so far, without waiting.
    pub fn submit(&mut self) {
        self.flush();
    }

    /// The table that chains of this ring are linked through.
    pub fn links(&mut self) -> &mut Links {
        &mut self.pool.links
    }

    /// True while the next turn may offer more small buffers than there are now: it takes those for stuck that are not
    /// back by then.
    pub fn has_spare(&self) -> bool {
        self.pool.has_spare()
    }

    /// How many buffers the kernel may still fill.
    pub fn offered(&self, class: SizeClass) -> usize {
        self.pool.offered(class)
    }

    /// How many chunks exist: zero when every buffer has come home.
    pub fn lent(&self, class: SizeClass) -> usize {
        self.pool.lent(class)
    }

    /// Submits what was pushed, waits for at least one completion (not beyond `until`), and moves all that
    /// have come into `out`. Comes back empty at the deadline, and now and then without a reason.
    ///
    /// Errors: the ring itself is broken; nothing more will come of it.
    pub fn turn(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
        if self.ready.is_empty() {
            self.wait(until);
        } else {
            self.flush();
        }
        self.collect();
        if let Some(errno) = self.broken {
            return Err(Error::Bug(format!("the io_uring of this worker broke: {errno}")));
        }
        self.history.turned(self.ready.len());
        let mut ready = std::mem::take(&mut self.ready);
        let mut fresh = 0;
        for entry in ready.drain(..) {
            let completion = self.decode(&entry);
            if let Event::Received(Received::Data(chunk)) = &completion.event {
                fresh += usize::from(self.pool.links.class(chunk) == SizeClass::Small);
            }
            out.push(completion);
        }
        self.ready = ready;
        self.pool.settle(fresh);
        Ok(())
    }
}

/// From completion entries to events.
impl Ring {
    fn decode(&mut self, entry: &cqueue::Entry) -> Completion {
        let Token { op, key } = Token::unpack(entry.user_data());
        let raw = Raw::of(entry);
        if raw.ends(op) {
            self.in_flight -= 1;
        }
        let event = match op {
            Op::Accept => Event::Accepted(raw.result.map(owned)),
            Op::Adopt => Event::Adopted(owned(raw.result.expect("a posted descriptor is never negative"))),
            Op::Post => {
                let errno = raw.result.err().unwrap_or(Errno(0));
                Event::Undelivered(owned(key.slot), errno)
            }
            Op::Receive => Event::Received(self.received(&raw)),
            Op::Send => self.sent(key, raw.result),
            Op::Connect => Event::Connected(raw.result.map(|_| ())),
            Op::Cancel => Event::Cancelled,
            Op::Watch => Event::Woken,
        };
        Completion {
            key,
            more: raw.more,
            event,
        }
    }

    fn received(&mut self, raw: &Raw) -> Received {
        match (raw.result, raw.buffer) {
            (Ok(len), Some(buffer)) => {
                let chunk = self.pool.filled(buffer, len);
                if len > 0 {
                    return Received::Data(chunk);
                }
                // Some kernels pick a buffer before they find the end.
                self.give_back(chunk);
                Received::End
            }
            (Ok(_), None) => Received::End,
            (Err(Errno(libc::ENOBUFS)), _) => Received::Starved,
            (Err(Errno(libc::ECANCELED)), _) => Received::Cancelled,
            (Err(errno), _) => Received::Failed(errno),
        }
    }

    fn sent(&mut self, key: Key, sent: std::result::Result<u32, Errno>) -> Event {
        let mut rest = std::mem::take(&mut self.outgoing[key.slot as usize]);
        let mut left = sent.unwrap_or(0);
        while let Some(chunk) = rest.take_sent(&mut left, &self.pool.links) {
            self.pool.give_back(chunk);
        }
        debug_assert_eq!(left, 0, "the kernel sends no more than it was given");
        Event::Sent { sent, rest }
    }

    /// Sends one byte through a socket pair: what no version number tells.
    fn probe(&mut self) -> io::Result<()> {
        let (ours, mut theirs) = UnixStream::pair()?;
        theirs.write_all(b"?")?;
        drop(theirs);
        self.receive(Key { slot: 0, generation: 0 }, ours.as_fd(), SizeClass::Small);
        let deadline = clock::now() + PATIENCE;
        let (mut bytes, mut completions) = (0, Vec::new());
        while clock::now() < deadline {
            self.turn(deadline, &mut completions).map_err(io::Error::other)?;
            for completion in completions.drain(..) {
                match completion.event {
                    Event::Received(Received::Data(chunk)) => {
                        bytes += chunk.len();
                        self.give_back(chunk);
                    }
                    Event::Received(Received::End) if bytes == 1 => return Ok(()),
                    Event::Received(Received::Starved) => {
                        self.receive(completion.key, ours.as_fd(), SizeClass::Small);
                    }
                    Event::Received(Received::Failed(errno)) => {
                        return Err(io::Error::from_raw_os_error(errno.0));
                    }
                    other => return Err(io::Error::other(format!("a strange answer: {other:?}"))),
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
    }
}

fn monotonic() -> Nanos {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let time = time.expect("every Linux has CLOCK_MONOTONIC");
    Nanos(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

fn fd(of: BorrowedFd<'_>) -> Fd {
    Fd(of.as_raw_fd())
}

/// A descriptor that the kernel has just made for us, or that we gave away and got back.
fn owned(number: u32) -> OwnedFd {
    // SAFETY: it comes from the completion of an accept, or from a post that moved it here: nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number as i32) }
}

#[cfg(test)]
mod tests;
