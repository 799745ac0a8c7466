//! A whole server worker on io_uring: one thread, one ring, its share of the connections.
//!
//! The first worker also accepts, and hands each connection to the worker that has the fewest.

pub mod echo;
pub mod fault;
mod sharing;
mod spin;
mod stream_detector;

use std::collections::VecDeque;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Result};
use crate::ring::{Chain, Completion, Event, Received, Ring, SizeClass};
use crate::serve::counters::{Counters, Doing};
use crate::serve::drain::Drain;
use crate::serve::uring::echo::{Echo, Next, Receive};
use crate::serve::{Shared, handoff};
use crate::slab::{Key, Slab};
use crate::sys::socket;
use fault::FaultInjector;
use spin::Spinning;
use stream_detector::StreamDetector;

/// How long accepting pauses when descriptors have run out and none of ours closes meanwhile.
const PAUSE: Nanos = Nanos(100_000_000);

/// Keys of what is not a connection. Slots are counted from zero, so these are out of their way.
const LISTENER: Key = Key {
    slot: u32::MAX,
    generation: 0,
};
const STOP: Key = Key {
    slot: u32::MAX - 1,
    generation: 0,
};

/// One worker. Made and run on its own thread.
pub(super) struct Worker<'a> {
    index: usize,
    shared: &'a Shared,
    ring: Ring,
    connections: Slab<Connection>,
    /// Connections whose receive found no buffer, longest waiting first.
    starved: VecDeque<Key>,
    /// Streams whose receive found no large buffer, the same.
    hungry: VecDeque<Key>,
    /// Until when a large buffer must come back, or the hungry get small ones.
    patience: Nanos,
    /// How many connections stream.
    streams: usize,
    spinning: Spinning,
    /// True while peers that do not read hold most of the pool: see [`Worker::ration`].
    scarce: bool,
    accepting: Accepting,
    drain: Drain,
    counters: Counters,
    injected: Option<FaultInjector>,
}

struct Connection {
    socket: OwnedFd,
    echo: Echo,
    flow: StreamDetector,
    /// True when something was received or sent since the last sweep.
    busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepting {
    /// Another worker's job, or over.
    No,
    /// The accept is in the kernel.
    Armed,
    /// Something had run out; try again then, or when a connection of ours closes.
    Paused(Nanos),
}

impl<'a> Worker<'a> {
    pub(super) fn new(index: usize, shared: &'a Shared, ring: Ring) -> Worker<'a> {
        Worker {
            index,
            shared,
            ring,
            connections: Slab::with_capacity(0),
            starved: VecDeque::new(),
            hungry: VecDeque::new(),
            patience: Nanos::NEVER,
            streams: 0,
            spinning: Spinning::of_this_thread(shared.plan.spin),
            scarce: false,
            accepting: Accepting::No,
            drain: Drain::new(shared.plan.drain_timeout),
            counters: Counters::default(),
            injected: shared.plan.inject.map(FaultInjector::new),
        }
    }

    /// Serves until stopped and drained. Errors: the ring broke.
    pub(super) fn run(mut self) -> Result<Counters> {
        self.ring.watch(STOP, self.shared.stop.as_fd());
        if self.index == 0 {
            self.accept();
        }
        let mut completions = Vec::new();
        while !self.is_done() {
            self.ring.set_spin(self.spinning.next_turn(self.streams));
            self.ring.turn(self.wake_up(), &mut completions)?;
            if let Some(injected) = &mut self.injected {
                let data = |one: &&Completion| matches!(one.event, Event::Received(Received::Data(_)));
                injected.apply(completions.iter().filter(data).count());
            }
            for completion in completions.drain(..) {
                self.handle(completion);
            }
            self.ration();
            self.feed();
            self.feed_hungry();
            self.retry_accept();
            self.say_goodbye();
        }
        self.counters.cut = self.connections.len() as u64;
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            if let Some(connection) = self.connections.get_mut(key) {
                socket::shutdown_both(connection.socket.as_fd());
            }
        }
        self.counters.overflows = self.ring.counts().overflows;
        let lent = |class| self.ring.lent(class) as u64;
        self.counters.lent = lent(SizeClass::Small) + lent(SizeClass::Large);
        Ok(self.counters)
    }

    fn handle(&mut self, completion: Completion) {
        let Completion { key, more, event } = completion;
        match event {
            Event::Accepted(result) => self.accepted(result, more),
            Event::Adopted(socket) => self.open(socket),
            Event::Undelivered(..) => self.counters.refused += 1,
            Event::Received(what) => self.received(key, what, more),
            Event::Sent { sent, rest } => self.sent(key, sent, rest),
            Event::Cancelled => self.update(key, |echo, cap| echo.cancelled(cap)),
            Event::Woken => self.leave(),
            Event::Connected(_) => unreachable!("a server dials nobody"),
        }
    }

    fn received(&mut self, key: Key, what: Received, more: bool) {
        match &what {
            Received::Data(chunk) => self.counters.bytes_in += chunk.len() as u64,
            Received::Failed(errno) => self.counters.error(Doing::Receive, *errno),
            Received::End | Received::Cancelled | Received::Starved => {}
        }
        let cap = self.cap();
        let Some(connection) = self.connections.get_mut(key) else {
            let lost = match what {
                Received::Data(chunk) => Chain::of(chunk, self.ring.links()),
                _ => Chain::default(),
            };
            return self.stale(lost);
        };
        if let Received::Data(chunk) = &what
            && connection.echo.is_finished()
        {
            self.counters.discarded += chunk.len() as u64;
        }
        connection.busy = true;
        let changes = match &what {
            Received::Data(chunk) => {
                let (small, class) = (self.shared.plan.buffers.size, self.ring.class(chunk));
                let room = self.ring.offered(SizeClass::Large) > 0 && !self.scarce;
                let flow = &mut connection.flow;
                flow.saw(chunk.len(), class, small as usize, room)
            }
            _ => false,
        };
        let cap = connection.flow.cap(cap);
        let next = connection.echo.received(what, more, cap, self.ring.links());
        if changes {
            self.mind_stream(key);
        }
        self.apply(key, next);
        if changes && self.connections.get_mut(key).is_some() {
            self.update(key, |echo, _| echo.renew());
        }
    }

    fn sent(&mut self, key: Key, sent: std::result::Result<u32, Errno>, rest: Chain) {
        match sent {
            Ok(bytes) => self.counters.bytes_out += u64::from(bytes),
            Err(errno) => self.counters.error(Doing::Send, errno),
        }
        let cap = self.cap();
        let Some(connection) = self.connections.get_mut(key) else {
            return self.stale(rest);
        };
        connection.busy = true;
        let cap = connection.flow.cap(cap);
        let next = connection.echo.sent(sent.is_ok(), rest, cap, self.ring.links());
        self.apply(key, next);
    }

    /// Passes an event without data to the connection, and does what it says.
    fn update(&mut self, key: Key, event: impl FnOnce(&mut Echo, usize) -> Next) {
        let cap = self.cap();
        match self.connections.get_mut(key) {
            Some(connection) => {
                let next = event(&mut connection.echo, connection.flow.cap(cap));
                self.apply(key, next);
            }
            None => self.stale(Chain::default()),
        }
    }

    fn apply(&mut self, key: Key, next: Next) {
        self.ring.give_back_all(next.give_back);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let peer = connection.socket.as_fd();
        if !next.send.is_empty() {
            self.ring.send(key, peer, next.send);
        }
        match next.receive {
            Receive::Keep => {}
            Receive::Arm => match connection.flow.class() {
                SizeClass::Small if self.scarce => {
                    self.ring.receive_once(key, peer, SizeClass::Small);
                }
                class => self.ring.receive(key, peer, class),
            },
            Receive::Starve => match connection.flow.class() {
                SizeClass::Large => self.hungry.push_back(key),
                SizeClass::Small => {
                    self.counters.starved += 1;
                    self.starved.push_back(key);
                }
            },
            Receive::Cancel => self.ring.cancel_receive(key),
        }
        if next.finish && socket::readable_bytes(peer) == 0 {
            // The peer may be gone already; then its receive says so.
            let _ = socket::shutdown_write(peer);
            connection.echo.farewell();
        }
        if next.close {
            self.close(key);
        }
    }

    /// Nothing of a connection is left in the kernel when it closes, so this is a mistake of ours: survive it.
    fn stale(&mut self, chain: Chain) {
        debug_assert!(false, "a completion for a connection that has left");
        self.ring.give_back_all(chain);
        self.counters.stale += 1;
    }
}

/// Opening and closing.
impl Worker<'_> {
    fn accept(&mut self) {
        self.ring.accept(LISTENER, self.shared.listener.as_fd());
        self.accepting = Accepting::Armed;
    }

    fn accepted(&mut self, result: std::result::Result<OwnedFd, Errno>, more: bool) {
        match result {
            Ok(socket) => {
                self.counters.accepted += 1;
                self.place(socket);
                if !more {
                    self.accept();
                }
            }
            // The listener was shut down by us.
            Err(_) if self.drain.has_begun() => self.accepting = Accepting::No,
            Err(errno) => {
                self.counters.error(Doing::Accept, errno);
                if !more {
                    // Whatever has run out has not come back yet: arming at once would only spin.
                    self.counters.pauses += 1;
                    self.accepting = Accepting::Paused(clock::now() + PAUSE);
                }
            }
        }
    }

    fn retry_accept(&mut self) {
        if let Accepting::Paused(until) = self.accepting
            && clock::now() >= until
        {
            self.accept();
        }
    }

    /// Gives a new connection to the worker that has the fewest.
    fn place(&mut self, socket: OwnedFd) {
        let handoffs = self.shared.handoffs();
        let index = handoff::choose(handoffs);
        if index == self.index {
            self.open(socket);
        } else {
            self.ring.post(handoffs[index].mailbox(), socket);
        }
    }

    fn open(&mut self, socket: OwnedFd) {
        self.counters.busiest += 1;
        let (echo, next) = Echo::new();
        let key = self.connections.insert(Connection {
            socket,
            echo,
            flow: StreamDetector::default(),
            busy: true,
        });
        self.apply(key, next);
    }

    /// With everything echoed, close(2) sends FIN behind the last byte.
    fn close(&mut self, key: Key) {
        let connection = self.connections.remove(key);
        if connection.is_some_and(|mut connection| connection.flow.shrink()) {
            self.mind_stream(key);
        }
        self.counters.closed += 1;
        self.shared.handoffs()[self.index].left();
        if let Accepting::Paused(_) = self.accepting
            && !self.drain.has_begun()
        {
            self.accept();
        }
    }

    /// Starts the drain: no more connections, and each one ends once it is quiet and has its echo.
    fn leave(&mut self) {
        if !self.drain.begin() {
            return;
        }
        if self.index == 0 {
            // Refuses newcomers, and ends the accept.
            socket::shutdown_both(self.shared.listener.as_fd());
            if let Accepting::Paused(_) = self.accepting {
                self.accepting = Accepting::No;
            }
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
            let connection = self.connections.get_mut(key);
            if connection.is_some_and(|connection| !mem::take(&mut connection.busy)) {
                self.update(key, Echo::leave);
            }
        }
    }

    fn is_done(&self) -> bool {
        let drained = self.connections.is_empty() && self.accepting == Accepting::No;
        self.drain.has_begun() && (drained || self.drain.is_over())
    }

    /// When to wake up though nothing completes.
    fn wake_up(&self) -> Nanos {
        if self.can_feed() {
            // Those fed last may have nothing to receive, and then no completion would feed the next ones.
            return clock::now();
        }
        let next = self.drain.next().min(self.patience).min(self.refill());
        match self.accepting {
            Accepting::Paused(until) => next.min(until),
            _ => next,
        }
    }
}
