//! A whole server worker on epoll(7), through mio: the loop to compare io_uring with, as fast as it can honestly be
//! made, and the engine for hosts that block io_uring.
//!
//! One buffer serves all connections: what is read is written back at once, from where it lies. `connection` decides
//! what a connection does; this file waits for events, gives every connection its turn, accepts and drains.

mod connection;

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::serve::accept::Accepting;
use crate::serve::admission::Headroom;
use crate::serve::counters::{Counters, Operation};
use crate::serve::drain::{Activity, Drain};
use crate::serve::handoff::{Channel, Inbox};
use crate::serve::idle::IdleTimeout;
use crate::serve::notices::{Notice, Notices};
use crate::serve::startup::{Ready, Shared, WorkerSide};
use crate::slab::{Key, Slab};
use crate::sys::socket;
use connection::{Connection, IoScratch, Next};
pub(super) use connection::{KEPT_MAX, READ_MIN};

/// Events taken at once: enough to make epoll_wait(2) cheap, few enough that the last is not old when its turn comes.
const EVENTS: usize = 256;

/// Connections accepted in a row before the open ones get a turn.
const ACCEPTS: usize = 64;

/// Tokens of what is not a connection. Slots are counted from zero and never get as far. Those of the listeners follow.
const STOP: Token = Token(usize::MAX);
const INBOX: Token = Token(usize::MAX - 1);
const ACCEPT_ENDED: Token = Token(usize::MAX - 2);
const CONNECTION_CLOSED: Token = Token(usize::MAX - 3);
const SNAPSHOT: Token = Token(usize::MAX - 4);
const FIRST_LISTENER: usize = usize::MAX - 5;

/// A listener of the first worker.
struct Listener {
    socket: TcpListener,
    /// True from an event until its queue was empty.
    ready: bool,
}

/// Serves on the calling thread until stopped and drained. Errors: [`Error::Machine`] when epoll cannot be used.
pub(super) fn run(index: usize, shared: &Shared, buffer_size: u32, startup: WorkerSide) -> Result<Counters> {
    let poll = Poll::new().map_err(|cause| failed("create an epoll instance", &cause))?;
    let listeners = shared.listeners_of(index)?.into_iter().map(Listener::new).collect();
    let ready = Ready {
        channel: Channel::Inbox(Inbox::new()?),
        engine: "epoll".into(),
    };
    if startup.ready(ready) {
        let scratch = IoScratch::new(buffer_size as usize);
        shared.confine()?;
        Worker::new(index, shared, poll, listeners, scratch).run()
    } else {
        Ok(Counters::default())
    }
}

struct Worker<'a> {
    index: usize,
    shared: &'a Shared,
    poll: Poll,
    /// Of the first worker, while it accepts.
    listeners: Vec<Listener>,
    accepting: Accepting,
    /// True once no worker can hand over connections any more.
    accept_ended: bool,
    connections: Slab<Connection>,
    /// Connections whose turn ended before their bytes did, longest waiting first.
    unfinished: VecDeque<Key>,
    scratch: IoScratch,
    drain: Drain,
    idle: IdleTimeout,
    /// Time of this pass, while it is needed.
    now: Nanos,
    notices: Notices,
}

impl Listener {
    fn new(socket: std::net::TcpListener) -> Listener {
        Listener {
            socket: TcpListener::from_std(socket),
            ready: true,
        }
    }
}

fn failed(doing: &str, cause: &io::Error) -> Error {
    Error::Machine(format!("cannot {doing}: {cause}. Raise the limit with `ulimit -n`"))
}

impl<'a> Worker<'a> {
    fn new(index: usize, shared: &'a Shared, poll: Poll, listeners: Vec<Listener>, scratch: IoScratch) -> Worker<'a> {
        Worker {
            index,
            shared,
            poll,
            listeners,
            accepting: Accepting::at_start(index),
            accept_ended: false,
            connections: Slab::with_capacity(0),
            unfinished: VecDeque::new(),
            scratch,
            drain: Drain::new(),
            idle: IdleTimeout::new(shared.plan.idle_timeout),
            now: clock::now(),
            notices: Notices::new(index),
        }
    }

    fn run(mut self) -> Result<Counters> {
        self.watch(self.shared.stop.as_fd(), STOP)?;
        self.watch(self.shared.accept_ended.as_fd(), ACCEPT_ENDED)?;
        self.watch(self.shared.snapshots.as_fd(), SNAPSHOT)?;
        self.watch(self.inbox().as_fd(), INBOX)?;
        for (index, listener) in self.listeners.iter().enumerate() {
            let socket = listener.socket.as_fd();
            socket::set_nonblocking(socket, true).map_err(|cause| failed("prepare a listener", &cause))?;
            self.watch(socket, Token(FIRST_LISTENER - index))?;
        }
        if self.accepting.is_on() {
            self.watch(self.shared.admission.as_fd(), CONNECTION_CLOSED)?;
        }
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_done() {
            self.wait(&mut events)?;
            if self.idle.is_on() {
                self.now = clock::now();
            }
            self.scratch.counters.passes += 1;
            self.scratch.counters.enters += 1;
            for event in &events {
                self.scratch.counters.events += 1;
                self.handle(event);
            }
            self.continue_unfinished();
            self.accept();
            self.close_expired();
            if self.drain.is_over(clock::now) {
                self.end_accepting();
            }
            for (key, activity) in self
                .drain
                .sweep(clock::now, &mut self.connections, Connection::take_had_io)
            {
                match (activity, self.connections.get_mut(key)) {
                    (Activity::Idle, Some(connection)) => connection.close_idle(),
                    (Activity::Busy, Some(connection)) => connection.close_busy(),
                    (_, None) => {}
                }
            }
        }
        Ok(self.end())
    }

    fn watch(&self, readable: BorrowedFd<'_>, token: Token) -> Result<()> {
        let number = readable.as_raw_fd();
        let mut source = SourceFd(&number);
        let watched = self.poll.registry().register(&mut source, token, Interest::READABLE);
        watched.map_err(|cause| failed("watch a descriptor with epoll", &cause))
    }

    fn wait(&mut self, events: &mut Events) -> Result<()> {
        match self.poll.poll(events, self.timeout()) {
            Err(cause) if cause.kind() != io::ErrorKind::Interrupted => Err(failed("wait with epoll", &cause)),
            _ => Ok(()),
        }
    }

    /// How long to wait if nothing happens; none forever.
    fn timeout(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() || self.can_accept() {
            return Some(Duration::ZERO);
        }
        let until = self
            .drain
            .deadline()
            .min(self.accepting.deadline())
            .min(self.idle.deadline());
        (until != Nanos::NEVER).then(|| (until - clock::now()).into())
    }

    fn handle(&mut self, event: &Event) {
        match event.token() {
            STOP => self.begin_drain(),
            ACCEPT_ENDED => {
                self.open_handed_over();
                self.accept_ended = true;
            }
            INBOX => self.open_handed_over(),
            SNAPSHOT => self.shared.snapshots.answer(self.index, self.scratch.counters.clone()),
            CONNECTION_CLOSED => {
                self.accepting.connection_closed();
            }
            Token(token) if token > FIRST_LISTENER - self.listeners.len() => {
                self.listeners[FIRST_LISTENER - token].ready = true;
            }
            token => {
                let key = unpack(token);
                // It may have closed earlier in this batch of events.
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.on_event(event, self.now);
                    if !connection.unfinished {
                        self.echo_some(key);
                    }
                }
            }
        }
    }

    fn echo_some(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.echo_some(&mut self.scratch) {
            Next::Wait => {}
            Next::Continue => {
                connection.unfinished = true;
                self.unfinished.push_back(key);
            }
            Next::Close => self.close(key),
        }
    }

    /// Another turn for every connection that had not finished its last one.
    fn continue_unfinished(&mut self) {
        for _ in 0..self.unfinished.len() {
            let Some(key) = self.unfinished.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.get_mut(key) {
                connection.unfinished = false;
                self.echo_some(key);
            }
        }
    }

    fn is_done(&self) -> bool {
        let drained = || self.connections.is_empty() || self.drain.is_over(clock::now);
        self.drain.has_begun() && self.accept_ended && drained()
    }

    /// Cuts the connections that are left.
    fn end(mut self) -> Counters {
        self.scratch.counters.refused += self.inbox().close();
        self.scratch.counters.cut = self.connections.len() as u64;
        self.notices.report(Notice::DrainEnded(self.connections.len()));
        self.connections.values_mut().for_each(Connection::cut);
        self.scratch.counters
    }
}

/// Opening and closing.
impl Worker<'_> {
    fn can_accept(&self) -> bool {
        self.accepting.is_on() && self.listeners.iter().any(|listener| listener.ready)
    }

    /// Accepts a batch of connections on each listener. In a drain, ends accepting when no more wait.
    fn accept(&mut self) {
        self.accepting.pause_is_over(clock::now);
        for index in 0..self.listeners.len() {
            self.accept_batch(index);
        }
        let is_drained = || self.drain.has_begun() && self.listeners.iter().all(|listener| !listener.ready);
        if self.accepting.is_off() || is_drained() {
            self.end_accepting();
        }
    }

    fn accept_batch(&mut self, index: usize) {
        for _ in 0..ACCEPTS {
            if !(self.accepting.is_on() && self.listeners[index].ready) {
                return;
            }
            if self.shared.headroom() == Headroom::Full {
                self.scratch.counters.limit_pauses += 1;
                self.notices.report(Notice::AtLimit);
                return self.accepting.wait_for_room();
            }
            match self.listeners[index].socket.accept() {
                Ok((stream, peer)) => {
                    self.scratch.counters.accepted += 1;
                    self.accepting.accepted();
                    self.hand_over(stream, peer.ip());
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => self.listeners[index].ready = false,
                Err(cause) => {
                    let errno = Errno::from(cause);
                    self.scratch.counters.error(Operation::Accept, errno);
                    self.scratch.counters.accept_pauses += 1;
                    self.notices.report(Notice::AcceptFailed(errno));
                    self.shared.admission.wait_for_close();
                    self.accepting.pause(clock::now());
                }
            }
        }
    }

    /// Gives a new connection to the worker that has the fewest, or refuses it.
    fn hand_over(&mut self, stream: TcpStream, peer: IpAddr) {
        match self.shared.place(&stream, || Some(peer)) {
            Ok(index) if index == self.index => self.open(stream),
            Ok(index) => {
                let pushed = self.shared.handoffs()[index].inbox().push(OwnedFd::from(stream));
                if let Err(connection) = pushed {
                    self.scratch.counters.refused += 1;
                    self.shared.close(index, connection);
                }
            }
            Err(refusal) => {
                self.scratch.counters.refuse(refusal);
                self.notices.report(Notice::Refused(refusal));
            }
        }
    }

    fn open_handed_over(&mut self) {
        for connection in self.inbox().take() {
            self.open(TcpStream::from(connection));
        }
    }

    fn open(&mut self, stream: TcpStream) {
        let key = self.connections.insert(Connection::new(stream, self.now));
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let connection = self.connections.get_mut(key).expect("inserted just now");
        let watched = self.poll.registry().register(connection.stream(), pack(key), interest);
        match watched {
            Ok(()) => {
                self.scratch.counters.connections += 1;
                self.idle.watch(key, self.now);
            }
            Err(cause) => {
                // No memory, or too many watches (fs.epoll.max_user_watches).
                self.scratch.counters.error(Operation::Accept, Errno::from(cause));
                self.scratch.counters.refused += 1;
                self.remove(key);
            }
        }
    }

    /// The echo is complete, so close(2) sends FIN after the last byte. It also ends the watch.
    fn close(&mut self, key: Key) {
        self.remove(key);
        self.scratch.counters.closed += 1;
    }

    fn remove(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            self.shared.close(self.index, connection.end(&mut self.scratch));
        }
    }

    /// Closes connections that have been idle for too long. An event follows.
    fn close_expired(&mut self) {
        for key in self
            .idle
            .expired(clock::now, &mut self.connections, Connection::active_at)
        {
            if let Some(connection) = self.connections.get_mut(key)
                && socket::end_idle(connection.stream())
            {
                self.scratch.counters.timed_out += 1;
            }
        }
    }

    fn inbox(&self) -> &Inbox {
        self.shared.handoffs()[self.index].inbox()
    }

    fn begin_drain(&mut self) {
        let timeout = self.shared.drain_timeout();
        let begun = self
            .drain
            .begin(clock::now(), timeout, &mut self.connections, Connection::take_had_io);
        if begun {
            self.notices.report(Notice::DrainBegan(self.connections.len()));
            self.accepting.begin_drain(self.shared.queued_max());
            self.listeners.iter_mut().for_each(|listener| listener.ready = true);
            if self.shared.is_handed_over() {
                self.accepting.end();
            }
        }
    }

    /// Refuses new connections, and lets the other workers end. Only the first worker has listeners.
    fn end_accepting(&mut self) {
        if self.listeners.is_empty() {
            return;
        }
        self.accepting.end();
        self.listeners.clear();
        self.shared.shut_listeners_down();
        self.shared.accept_ended.fire();
    }
}

/// A key as epoll carries it. Slots are 31 bits, as descriptors are.
fn pack(key: Key) -> Token {
    Token(((key.generation as usize) << 32) | key.slot as usize)
}

fn unpack(token: Token) -> Key {
    Key {
        slot: token.0 as u32,
        generation: (token.0 >> 32) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::GENERATIONS;

    #[test]
    fn keys_survive_epoll_and_collide_with_no_reserved_token() {
        for (slot, generation) in [(0, 0), (1 << 31, 1), (7, GENERATIONS - 1)] {
            let key = Key { slot, generation };
            assert_eq!(unpack(pack(key)), key);
            assert!(pack(key).0 < FIRST_LISTENER - (1 << 16));
        }
    }
}
