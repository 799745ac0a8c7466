//! The operations of a load by readiness: epoll(7), for machines and containers that block io_uring.
//!
//! It does what a [`Ring`](super::Ring) does for a client, with the same buffers and the same completions: a
//! connection, a timeline or a report cannot distinguish them. A send is tried when it is requested, and waits for
//! EPOLLOUT only if the socket is full; a receive is tried when the socket is readable. Sockets are registered once,
//! edge-triggered, and what is known of their state is kept, so that a message costs one send(2), one recv(2), and its
//! share of an epoll_wait(2).

mod socket;
mod wait;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event as Readiness, EventData, EventFlags};
use socket2::SockRef;

use super::pool::Pool;
use super::{Buffers, Chunk, ChunkQueue, ChunkTable, Completion, Counts, Event, Received, Spin, Store};
use crate::clock::Nanos;
use crate::error::{Errno, Error, Result};
use crate::slab::Key;
use crate::sys::{shortage, socket as sys_socket};
use socket::Socket;

/// Events of one wait. Sockets beyond it have their turn with the next one.
const EVENTS: usize = 256;

/// Receives from one connection before the others have their turn.
const RECEIVES: usize = 4;

/// An epoll instance with its buffers and the operations that wait for readiness. For one thread.
pub struct Poller {
    epoll: OwnedFd,
    pool: Pool,
    /// By slot of their keys.
    sockets: Vec<Socket>,
    watched: Vec<Key>,
    /// Events of the last wait.
    events: Vec<Readiness>,
    /// Sockets that can be read without another event; and a list to swap it with.
    ready: Vec<Key>,
    spare: Vec<Key>,
    /// Completions that the next pass returns.
    done: Vec<Completion>,
    spin: Spin,
    /// The first error of the instance itself; the next pass returns it.
    broken: Option<Error>,
    counts: Counts,
    submitted: Option<Nanos>,
}

/// Descriptors are used by later passes, when the borrow has ended: the caller keeps them open until their operations
/// have completed, as for a ring.
impl Poller {
    /// Errors: [`Error::Machine`] when descriptors or memory have run out.
    pub fn new(buffers: Buffers) -> Result<Poller> {
        let failed = |cause: io::Error| {
            let why = shortage::of_files(&cause).unwrap_or_default();
            Error::Machine(format!("cannot create an epoll instance: {cause}. {why}"))
        };
        Ok(Poller {
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?,
            pool: Pool::map(buffers).map_err(failed)?,
            sockets: Vec::new(),
            watched: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            ready: Vec::new(),
            spare: Vec::new(),
            done: Vec::new(),
            spin: Spin::Never,
            broken: None,
            counts: Counts::default(),
            submitted: None,
        })
    }

    /// Statistics so far; a system call to wait counts as an `enter`.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the last wait began; none if the last pass did not wait.
    pub fn submitted(&self) -> Option<Nanos> {
        self.submitted
    }

    /// Sets whether to busy-poll before sleeping.
    pub fn set_spin(&mut self, spin: Spin) {
        self.spin = spin;
    }

    /// Reports when a descriptor becomes readable ([`Event::Woken`]).
    pub fn watch(&mut self, key: Key, readable: BorrowedFd<'_>) {
        let flags = EventFlags::IN | EventFlags::ET;
        if let Err(errno) = epoll::add(&self.epoll, readable, data(key), flags) {
            self.broken = Some(failure(errno.into()));
        }
        self.watched.push(key);
    }

    /// Connects a socket ([`Event::Connected`]).
    pub fn connect(&mut self, key: Key, socket: BorrowedFd<'_>, target: SocketAddr) {
        let connected = sys_socket::set_nonblocking(socket, true).and_then(|()| {
            let result = SockRef::from(&socket).connect(&target.into());
            // Registered now: before, it would be reported as closed.
            self.register(key, socket)?;
            result
        });
        match connected {
            Err(cause) if cause.raw_os_error() == Some(libc::EINPROGRESS) => {
                let state = self.socket(key, socket);
                (state.is_connecting, state.is_writable) = (true, false);
            }
            result => self.complete(key, false, Event::Connected(result.map_err(Errno::from))),
        }
    }

    /// Receives until FIN, an error or a cancel ([`Event::Received`]).
    pub fn receive(&mut self, key: Key, socket: BorrowedFd<'_>) {
        if let Err(cause) = self.register(key, socket) {
            return self.complete(key, false, Event::Received(Received::Failed(Errno::from(cause))));
        }
        self.socket(key, socket).is_receiving = true;
        self.make_ready(key);
    }

    /// Sends all chunks of a queue, in order ([`Event::Sent`]). One send per slot at a time.
    pub fn send(&mut self, key: Key, socket: BorrowedFd<'_>, chunks: ChunkQueue) {
        let registered = self.register(key, socket);
        let state = self.socket(key, socket);
        assert!(
            !chunks.is_empty() && state.outgoing.is_empty(),
            "one send in flight per connection"
        );
        if let Err(cause) = registered {
            let (sent, rest) = (Err(Errno::from(cause)), chunks);
            return self.complete(key, false, Event::Sent { sent, rest });
        }
        (state.outgoing, state.sent) = (chunks, 0);
        self.flush(key);
    }

    /// Cancels the receive of this key, which completes on its own ([`Event::Cancelled`] for the cancel).
    pub fn cancel_receive(&mut self, key: Key) {
        if let Some(state) = self.known(key)
            && std::mem::take(&mut state.is_receiving)
        {
            self.complete(key, false, Event::Received(Received::Cancelled));
        }
        self.complete(key, false, Event::Cancelled);
    }

    /// Cancels the connect of this key, which completes on its own ([`Event::Cancelled`] for the cancel).
    pub fn cancel_connect(&mut self, key: Key) {
        if let Some(state) = self.known(key)
            && std::mem::take(&mut state.is_connecting)
        {
            self.complete(key, false, Event::Connected(Err(Errno(libc::ECANCELED))));
        }
        self.complete(key, false, Event::Cancelled);
    }

    /// Waits for a completion until `until`, and moves all completions into `out`. May return without one at the
    /// deadline, and sometimes before it. Errors: epoll_wait(2) has failed.
    pub fn submit_and_wait(&mut self, until: Nanos, out: &mut Vec<Completion>) -> Result<()> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.submitted = None;
        if self.done.is_empty() && self.ready.is_empty() {
            self.wait(until)?;
        } else {
            self.poll(Some(Nanos(0)))?;
        }
        for index in 0..self.events.len() {
            let event = self.events[index];
            self.became_ready(key(event.data), event.flags);
        }
        self.events.clear();
        let mut ready = std::mem::replace(&mut self.ready, std::mem::take(&mut self.spare));
        let fresh: usize = ready.drain(..).map(|key| self.receive_some(key)).sum();
        self.spare = ready;
        self.pool.replenish(fresh);
        out.append(&mut self.done);
        Ok(())
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

    /// Returns a chunk's buffer to those that are received into.
    pub fn give_back(&mut self, chunk: Chunk) {
        self.pool.give_back(chunk);
    }

    /// Returns all buffers of a queue.
    pub fn give_back_all(&mut self, chunks: ChunkQueue) {
        self.pool.give_back_all(chunks);
    }

    /// The table that links the queued chunks.
    pub fn chunk_table(&mut self) -> &mut ChunkTable {
        &mut self.pool.chunk_table
    }

    /// Number of buffers that can be received into.
    pub fn offered(&self, store: Store) -> usize {
        self.pool.offered(store)
    }
}

/// What readiness brings.
impl Poller {
    fn became_ready(&mut self, key: Key, flags: EventFlags) {
        if self.watched.contains(&key) {
            return self.complete(key, true, Event::Woken);
        }
        let Some(state) = self.known(key) else {
            return; // Its connection has ended in this pass.
        };
        let ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        state.has_ended |= ended;
        state.is_readable |= ended || flags.contains(EventFlags::IN);
        state.is_writable |= ended || flags.contains(EventFlags::OUT);
        if state.is_writable && std::mem::take(&mut state.is_connecting) {
            let result = state.take_error().map_err(Errno::from);
            self.complete(key, false, Event::Connected(result));
        }
        self.flush(key);
        self.make_ready(key);
    }

    /// Sends what it takes of what waits to be sent.
    fn flush(&mut self, key: Key) {
        let Some(state) = find(&mut self.sockets, key) else {
            return;
        };
        while state.is_writable && !state.outgoing.is_empty() {
            match state.send_once(&self.pool) {
                Ok(sent) => {
                    state.sent += sent;
                    self.pool.take_sent(&mut state.outgoing, sent);
                }
                Err(Errno(libc::EAGAIN)) => state.is_writable = false,
                Err(Errno(libc::EINTR)) => {}
                Err(errno) => {
                    let rest = std::mem::take(&mut state.outgoing);
                    return self.complete(key, false, Event::Sent { sent: Err(errno), rest });
                }
            }
        }
        if state.sent > 0 && state.outgoing.is_empty() {
            let sent = Ok(std::mem::take(&mut state.sent));
            let rest = ChunkQueue::default();
            self.complete(key, false, Event::Sent { sent, rest });
        }
    }

    fn make_ready(&mut self, key: Key) {
        if let Some(state) = self.known(key)
            && state.is_receiving
            && state.is_readable
            && !std::mem::replace(&mut state.is_ready, true)
        {
            self.ready.push(key);
        }
    }

    /// Receives from a socket that is readable. Returns how many buffers that filled.
    fn receive_some(&mut self, key: Key) -> usize {
        let mut filled = 0;
        if let Some(state) = find(&mut self.sockets, key) {
            state.is_ready = false;
            for _ in 0..RECEIVES {
                if !state.is_receiving || !state.is_readable {
                    break;
                }
                let received = state.receive_once(&mut self.pool);
                let Some(received) = received else {
                    break;
                };
                let more = matches!(received, Received::Data(_));
                state.is_receiving = more;
                filled += usize::from(more);
                let event = Event::Received(received);
                self.done.push(Completion { key, more, event });
            }
        }
        self.make_ready(key);
        filled
    }

    /// What is known of a socket; new if its slot has been reused.
    fn socket(&mut self, key: Key, socket: BorrowedFd<'_>) -> &mut Socket {
        let slot = key.slot as usize;
        for slot in self.sockets.len()..=slot {
            let key = Key {
                slot: slot as u32,
                generation: u32::MAX, // No key has it.
            };
            self.sockets.push(Socket::new(key, -1));
        }
        let state = &mut self.sockets[slot];
        if state.key != key {
            debug_assert!(
                !state.is_receiving && !state.is_connecting && state.outgoing.is_empty(),
                "a slot was reused while operations of it waited"
            );
            *state = Socket::new(key, socket.as_raw_fd());
        }
        state
    }

    fn known(&mut self, key: Key) -> Option<&mut Socket> {
        find(&mut self.sockets, key)
    }

    fn register(&mut self, key: Key, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.socket(key, socket).is_registered {
            return Ok(());
        }
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, data(key), flags)?;
        let state = self.socket(key, socket);
        (state.is_registered, state.is_readable) = (true, false); // An event reports what it is now.
        Ok(())
    }

    fn complete(&mut self, key: Key, more: bool, event: Event) {
        self.done.push(Completion { key, more, event });
    }
}

fn find(sockets: &mut [Socket], key: Key) -> Option<&mut Socket> {
    let state = sockets.get_mut(key.slot as usize)?;
    (state.key == key).then_some(state)
}

fn data(key: Key) -> EventData {
    EventData::new_u64(u64::from(key.generation) << 32 | u64::from(key.slot))
}

fn key(data: EventData) -> Key {
    Key {
        slot: data.u64() as u32,
        generation: (data.u64() >> 32) as u32,
    }
}

fn failure(cause: io::Error) -> Error {
    Error::Machine(format!("epoll does not work any more: {cause}"))
}
