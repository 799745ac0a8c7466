//! A whole server worker on epoll(7), through mio: the loop that the ring is compared with, as fast as it can be made
//! honestly, and the engine for hosts that block io_uring.
//!
//! One buffer serves all connections: what is read is written at once, from where it lies. What a connection does
//! is in `connection`; here are waiting, turns, accepting and the way out.

mod connection;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::serve::counters::{Counters, Doing};
use crate::serve::drain::Drain;
use crate::serve::{Shared, handoff};
use crate::slab::{Key, Slab};
use crate::sys::socket;
use connection::{After, Connection, Desk};

/// Events taken at once: enough to make epoll_wait(2) cheap, few enough that the first is still fresh at the last.
const EVENTS: usize = 256;

/// Connections accepted in a row before those that are there get a turn.
const ACCEPTS: usize = 64;

/// How long accepting pauses when descriptors have run out and none of ours closes meanwhile.
const PAUSE: Nanos = Nanos(100_000_000);

/// Tokens of what is not a connection. Slots are counted from zero, so these are out of their way.
const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);
const INBOX: Token = Token(usize::MAX - 2);

/// One worker. Runs on the thread that made its poll.
pub(super) struct Worker<'a> {
    index: usize,
    shared: &'a Shared,
    poll: Poll,
    /// The first worker's, while it accepts.
    listener: Option<TcpListener>,
    accepting: Accepting,
    connections: Slab<Connection>,
    /// Connections whose turn ended before their bytes did, longest waiting first.
    unfinished: VecDeque<Key>,
    desk: Desk,
    drain: Drain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepting {
    /// Another worker's job, or over.
    No,
    /// The queue was empty; an event tells when it is not.
    Waiting,
    /// There may be more in the queue.
    Going,
    /// Something had run out; try again then, or when a connection of ours closes.
    Paused(Nanos),
}

/// What a worker waits with. Errors: descriptors have run out.
pub(super) fn poll() -> Result<Poll> {
    Poll::new().map_err(|cause| failed("make an epoll instance", &cause))
}

fn failed(doing: &str, cause: &io::Error) -> Error {
    Error::Machine(format!("cannot {doing}: {cause}. Raise `ulimit -n`"))
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        index: usize,
        shared: &'a Shared,
        poll: Poll,
        listener: Option<std::net::TcpListener>,
    ) -> Worker<'a> {
        Worker {
            index,
            shared,
            poll,
            listener: listener.map(TcpListener::from_std),
            accepting: Accepting::No,
            connections: Slab::with_capacity(0),
            unfinished: VecDeque::new(),
            desk: Desk::new(shared.plan.buffers.size as usize),
            drain: Drain::new(shared.plan.drain_timeout),
        }
    }

    /// Serves until stopped and drained. Errors: epoll cannot be used.
    pub(super) fn run(mut self) -> Result<Counters> {
        self.watch(self.shared.stop.as_fd(), STOP)?;
        self.watch(self.inbox().as_fd(), INBOX)?;
        self.listen()?;
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_done() {
            self.wait(&mut events)?;
            for event in &events {
                self.handle(event);
            }
            self.go_on();
            self.accept();
            self.say_goodbye();
        }
        Ok(self.end())
    }

    fn wait(&mut self, events: &mut Events) -> Result<()> {
        match self.poll.poll(events, self.patience()) {
            Err(cause) if cause.kind() != io::ErrorKind::Interrupted => Err(failed("wait with epoll", &cause)),
            _ => Ok(()),
        }
    }

    fn handle(&mut self, event: &Event) {
        match event.token() {
            STOP => self.leave(),
            INBOX => self.adopt(),
            LISTENER if self.accepting == Accepting::Waiting => self.accepting = Accepting::Going,
            // Over, or it will look again anyway.
            LISTENER => {}
            token => {
                let key = unpack(token);
                // It may have closed earlier in this batch.
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.hear(event);
                    if !connection.queued {
                        self.turn(key);
                    }
                }
            }
        }
    }

    fn turn(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.turn(&mut self.desk) {
            After::Wait => {}
            After::GoOn => {
                connection.queued = true;
                self.unfinished.push_back(key);
            }
            After::Close => self.close(key),
        }
    }

    /// One more turn for everybody who had not come to an end.
    fn go_on(&mut self) {
        for _ in 0..self.unfinished.len() {
            let Some(key) = self.unfinished.pop_front() else {
                return;
            };
            if let Some(connection) = self.connections.get_mut(key) {
                connection.queued = false;
                self.turn(key);
            }
        }
    }

    /// How long to wait though nothing happens; none for ever.
    fn patience(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() || self.accepting == Accepting::Going {
            return Some(Duration::ZERO);
        }
        let until = match self.accepting {
            Accepting::Paused(until) => self.drain.next().min(until),
            _ => self.drain.next(),
        };
        (until != Nanos::NEVER).then(|| (until - clock::now()).into())
    }
}

/// Opening and closing.
impl Worker<'_> {
    fn watch(&self, readable: BorrowedFd<'_>, token: Token) -> Result<()> {
        let number = readable.as_raw_fd();
        let mut source = SourceFd(&number);
        let watched = self.poll.registry().register(&mut source, token, Interest::READABLE);
        watched.map_err(|cause| failed("watch a descriptor with epoll", &cause))
    }

    fn listen(&mut self) -> Result<()> {
        let Some(listener) = &self.listener else {
            return Ok(());
        };
        let ours = listener.as_fd();
        socket::set_nonblocking(ours).map_err(|cause| failed("prepare the listener", &cause))?;
        self.watch(ours, LISTENER)?;
        self.accepting = Accepting::Going;
        Ok(())
    }

    /// Takes newcomers, a batch at a time.
    fn accept(&mut self) {
        match self.accepting {
            Accepting::Going => {}
            Accepting::Paused(until) if clock::now() >= until => self.accepting = Accepting::Going,
            _ => return,
        }
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else {
                return;
            };
            match listener.accept() {
                Ok((stream, _)) => {
                    self.desk.counters.accepted += 1;
                    self.place(stream);
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    self.accepting = Accepting::Waiting;
                    return;
                }
                Err(cause) => {
                    self.desk.counters.error(Doing::Accept, cause.into());
                    self.desk.counters.pauses += 1;
                    // Whatever has run out has not come back yet: trying at once would only spin.
                    self.accepting = Accepting::Paused(clock::now() + PAUSE);
                    return;
                }
            }
        }
    }

    /// Gives a new connection to the worker that has the fewest.
    fn place(&mut self, stream: TcpStream) {
        let handoffs = self.shared.handoffs();
        let index = handoff::choose(handoffs);
        if index == self.index {
            self.open(stream);
        } else if !handoffs[index].inbox().push(OwnedFd::from(stream)) {
            self.desk.counters.refused += 1;
        }
    }

    fn adopt(&mut self) {
        for connection in self.inbox().take() {
            self.open(TcpStream::from(connection));
        }
    }

    fn open(&mut self, stream: TcpStream) {
        self.desk.counters.busiest += 1;
        let key = self.connections.insert(Connection::new(stream));
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let connection = self.connections.get_mut(key).expect("inserted just now");
        let stream = connection.stream();
        let watched = self.poll.registry().register(stream, pack(key), interest);
        if let Err(cause) = watched {
            // No memory, or too many watches (fs.epoll.max_user_watches).
            self.desk.counters.error(Doing::Accept, Errno::from(cause));
            self.desk.counters.refused += 1;
            self.connections.remove(key);
            self.door_left();
        }
    }

    /// With everything echoed, close(2) sends FIN behind the last byte. It also ends the watch.
    fn close(&mut self, key: Key) {
        if let Some(connection) = self.connections.remove(key) {
            connection.end(&mut self.desk);
        }
        self.desk.counters.closed += 1;
        self.door_left();
        if let Accepting::Paused(_) = self.accepting {
            self.accepting = Accepting::Going;
        }
    }

    fn door_left(&self) {
        self.shared.handoffs()[self.index].left();
    }

    fn inbox(&self) -> &handoff::Inbox {
        self.shared.handoffs()[self.index].inbox()
    }

    /// Starts the drain: no more connections, and each one ends once it is quiet and has its echo.
    fn leave(&mut self) {
        if !self.drain.begin() {
            return;
        }
        if self.listener.take().is_some() {
            socket::shutdown_both(self.shared.listener.as_fd());
            self.accepting = Accepting::No;
        }
        // Quiet counts from here, not from when somebody last looked.
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            self.connections.get_mut(key).expect("listed just now").busy = false;
        }
    }

    /// Says goodbye to every peer that has been quiet since the last sweep.
    fn say_goodbye(&mut self) {
        if !self.drain.sweeps() {
            return;
        }
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            let connection = self.connections.get_mut(key).expect("listed just now");
            if !mem::take(&mut connection.busy) {
                connection.leave();
            }
        }
    }

    fn is_done(&self) -> bool {
        self.drain.has_begun() && (self.connections.is_empty() || self.drain.is_over())
    }

    /// Cuts what is left.
    fn end(mut self) -> Counters {
        self.desk.counters.refused += self.inbox().close();
        self.desk.counters.cut = self.connections.len() as u64;
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            if let Some(connection) = self.connections.remove(key) {
                connection.cut();
            }
        }
        self.desk.counters
    }
}

/// A key as epoll carries it: slots are 31 bits, as descriptors are.
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
    fn keys_come_back_from_epoll_as_they_went_in_and_are_nobody_elses() {
        for (slot, generation) in [(0, 0), (1 << 31, 1), (7, GENERATIONS - 1)] {
            let key = Key { slot, generation };
            assert_eq!(unpack(pack(key)), key);
            assert!(![LISTENER, STOP, INBOX].contains(&pack(key)));
        }
    }
}
