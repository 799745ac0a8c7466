//! One thread of the load: its ring, its connections, its record.
//!
//! Everything that happens in one turn of the ring happens at one instant, read once from the clock: before the
//! handlers, after the wait. Times are therefore never shorter than the truth.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::load::outcome::{Loss, Yield};
use crate::load::payload::Voice;
use crate::load::phases::Phases;
use crate::load::pinger::{Message, Pinger, Wrong};
use crate::load::{Plan, Shared};
use crate::ring::{Chain, Chunk, Completion, Event, Received, Ring};
use crate::slab::{Key, Slab};
use crate::sys::{socket, usage};

/// Key of the stop, out of the way of connections.
const STOP: Key = Key {
    slot: u32::MAX,
    generation: 0,
};

/// Connections that may be on their way at once, connected but not yet answered: below the shortest accept queue
/// in common use (128), so that no SYN is dropped. Halved whenever one was.
const WINDOW: usize = 96;

/// A connection that took this long has lost a SYN: the kernel repeats it after 1 s (RFC 6298).
const SYN_LOST: Nanos = Nanos(900_000_000);

/// How long one connection may take to open and answer.
const OPENING: Nanos = Nanos(5_000_000_000);

/// Connections that get their first message in one turn: all at once would need a buffer each.
const STARTS: usize = 64;

/// How often a worker that has opened its share looks whether the others have.
const GLANCE: Nanos = Nanos(1_000_000);

/// One thread's share of a run. Made and run on its own thread.
pub(super) struct Worker<'a> {
    index: usize,
    shared: &'a Shared,
    ring: Ring,
    connections: Slab<Connection>,
    ramp: Ramp,
    /// None until all workers have opened their connections.
    phases: Option<Phases>,
    /// Connections that wait for their first message, for a buffer to receive into, and for one to send from.
    starting: VecDeque<Key>,
    starved: VecDeque<Key>,
    waiting: VecDeque<Key>,
    /// Open connections whose messages have not all come back.
    busy: usize,
    now: Nanos,
    cpu_before: Nanos,
    stopped: bool,
    result: Yield,
}

struct Connection {
    socket: OwnedFd,
    /// Its number in the whole run, from 0.
    number: u64,
    pinger: Pinger,
    stage: Stage,
    /// Operations that are in the kernel.
    in_flight: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Dialled then; not connected yet.
    Connecting(Nanos),
    /// Connected; its first message has not come back.
    Proving,
    /// Has echoed.
    Open,
    /// Ended; kept until nothing of it is in the kernel.
    Gone,
}

/// Which connections are still to be opened, and how many at once.
struct Ramp {
    /// Numbers of those to open, in order.
    left: VecDeque<u64>,
    /// On their way, oldest first, with the instant by which each must be open.
    opening: VecDeque<(Nanos, Key)>,
    under_way: usize,
    window: usize,
}

impl<'a> Worker<'a> {
    /// Makes the ring on this thread. `first` is the connection that has proven the target, for one of the workers.
    pub(super) fn new(
        index: usize,
        shared: &'a Shared,
        first: Option<OwnedFd>,
    ) -> Result<Worker<'a>> {
        let plan = &shared.plan;
        let threads = plan.threads as usize;
        let numbers = (0..u64::from(plan.connections))
            .skip(index)
            .step_by(threads);
        let left: VecDeque<u64> = numbers.skip(usize::from(first.is_some())).collect();
        let share = left.len() + 1;
        let mut worker = Worker {
            index,
            shared,
            ring: Ring::new(plan.queues(), plan.buffers(share))?,
            connections: Slab::with_capacity(share),
            ramp: Ramp {
                left,
                opening: VecDeque::new(),
                under_way: 0,
                window: 1,
            },
            phases: None,
            starting: VecDeque::new(),
            starved: VecDeque::new(),
            waiting: VecDeque::new(),
            busy: 0,
            now: clock::now(),
            cpu_before: Nanos(0),
            stopped: false,
            result: Yield::default(),
        };
        worker.ring.watch(STOP, shared.stop.as_fd());
        if let Some(socket) = first {
            worker.adopt(socket);
        }
        Ok(worker)
    }

    /// Opens, warms up, measures, drains. Errors: wrong data, or a ring that broke.
    pub(super) fn run(mut self) -> Result<Yield> {
        let mut completions = Vec::new();
        self.widen();
        while !self.is_done() {
            self.ring.turn(self.wake_up(), &mut completions)?;
            self.now = clock::now();
            for completion in completions.drain(..) {
                self.handle(completion)?;
            }
            self.feed();
            self.progress();
        }
        self.finish();
        Ok(self.result)
    }

    fn handle(&mut self, completion: Completion) -> Result<()> {
        let Completion { key, more, event } = completion;
        if matches!(event, Event::Woken) {
            self.stopped = true;
            return Ok(());
        }
        if !more && let Some(connection) = self.connections.get_mut(key) {
            connection.in_flight -= 1;
        }
        match event {
            Event::Connected(result) => self.connected(key, result),
            Event::Received(Received::Data(chunk)) => {
                let outcome = self.data(key, &chunk);
                self.ring.give_back(chunk);
                outcome?;
                if !more {
                    self.receive(key);
                }
            }
            Event::Received(Received::Starved) => self.starved.push_back(key),
            Event::Received(Received::End) => self.lost(key, Loss::Eof),
            Event::Received(Received::Failed(errno)) => self.lost(key, Loss::from(errno)),
            Event::Sent { sent, rest } => self.sent(key, sent, rest),
            Event::Received(Received::Cancelled) | Event::Cancelled | Event::Woken => {}
            Event::Accepted(_) | Event::Adopted(_) | Event::Undelivered(..) => {
                unreachable!("a load generator accepts nobody")
            }
        }
        self.bury(key);
        Ok(())
    }

    /// Verifies what came back, records what it answers, and asks for the next.
    fn data(&mut self, key: Key, chunk: &Chunk) -> Result<()> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        if connection.stage == Stage::Gone {
            return Ok(());
        }
        let (now, result) = (self.now, &mut self.result);
        let mut answers = 0;
        let checked = connection
            .pinger
            .received(self.ring.bytes(chunk), |message| {
                answers += 1;
                result.answered(message, now);
            });
        let number = connection.number;
        let target = self.shared.plan.target;
        checked.map_err(|wrong| wrong_data(target, number, wrong))?;
        if answers == 0 {
            return Ok(());
        }
        if connection.stage == Stage::Proving {
            connection.stage = Stage::Open;
            self.proven();
        } else {
            self.busy -= usize::from(connection.pinger.is_quiet());
            for _ in 0..answers {
                self.ask(key);
            }
        }
        Ok(())
    }

    /// Asks for one more message, if it is time for messages.
    fn ask(&mut self, key: Key) {
        let Some(phases) = self.phases else { return };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if self.now >= phases.end || connection.stage != Stage::Open {
            return;
        }
        let measured = phases.measures(self.now);
        self.result.messages.sent += u64::from(measured);
        self.busy += usize::from(connection.pinger.is_quiet());
        connection.pinger.ask(self.now, measured);
        self.send(key);
    }

    fn send(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.stage == Stage::Gone || !connection.pinger.wants_to_send() {
            return;
        }
        let Some(mut chunk) = self.ring.lease() else {
            self.waiting.push_back(key);
            return;
        };
        self.ring
            .fill(&mut chunk, |out| connection.pinger.write(out, self.now));
        let chain = Chain::of(chunk, self.ring.links());
        connection.in_flight += 1;
        self.ring.send(key, connection.socket.as_fd(), chain);
    }

    fn sent(&mut self, key: Key, sent: std::result::Result<u32, Errno>, rest: Chain) {
        let Some(connection) = self.connections.get_mut(key) else {
            return self.ring.give_back_all(rest);
        };
        if let Err(errno) = sent {
            self.ring.give_back_all(rest);
            connection.pinger.sent();
            return self.lost(key, Loss::from(errno));
        }
        if !rest.is_empty() {
            connection.in_flight += 1;
            return self.ring.send(key, connection.socket.as_fd(), rest);
        }
        connection.pinger.sent();
        self.send(key);
    }

    fn receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.stage != Stage::Gone {
            connection.in_flight += 1;
            self.ring.receive(key, connection.socket.as_fd());
        }
    }

    /// Serves those that wait, in order.
    fn feed(&mut self) {
        for _ in 0..STARTS.min(self.starting.len()) {
            if let Some(key) = self.starting.pop_front() {
                self.ask(key);
            }
        }
        for _ in 0..self.starved.len().min(self.ring.offered()) {
            if let Some(key) = self.starved.pop_front() {
                self.receive(key);
            }
        }
        for _ in 0..self.waiting.len() {
            if let Some(key) = self.waiting.pop_front() {
                self.send(key);
            }
        }
    }
}

/// Opening and losing connections.
impl Worker<'_> {
    /// The connection that has proven the target: open, one message told.
    fn adopt(&mut self, socket: OwnedFd) {
        let key = self.insert(socket, 0, 1, Stage::Open);
        self.result.opened += 1;
        self.receive(key);
    }

    fn insert(&mut self, socket: OwnedFd, number: u64, told: u64, stage: Stage) -> Key {
        let plan = &self.shared.plan;
        let pinger = Pinger::new(Voice::new(plan.seed, number), plan.size, told);
        self.connections.insert(Connection {
            socket,
            number,
            pinger,
            stage,
            in_flight: 0,
        })
    }

    /// Opens as many connections as the window has room for.
    fn widen(&mut self) {
        while self.ramp.under_way < self.ramp.window
            && let Some(number) = self.ramp.left.pop_front()
        {
            self.dial(number);
        }
    }

    fn dial(&mut self, number: u64) {
        let plan = &self.shared.plan;
        match socket::dial(plan.target, None, &plan.options) {
            Ok(socket) => {
                let begin = clock::now();
                let key = self.insert(socket, number, 0, Stage::Connecting(begin));
                self.ramp.under_way += 1;
                self.ramp.opening.push_back((begin + OPENING, key));
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.in_flight += 1;
                    self.ring
                        .connect(key, connection.socket.as_fd(), plan.target);
                }
            }
            Err(cause) => self.result.failed(Loss::from(Errno::from(cause))),
        }
    }

    fn connected(&mut self, key: Key, result: std::result::Result<(), Errno>) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Stage::Connecting(begin) = connection.stage else {
            return;
        };
        if let Err(errno) = result {
            return self.lost(key, Loss::from(errno));
        }
        connection.stage = Stage::Proving;
        connection.pinger.ask(now, false);
        let took = now - begin;
        self.result.connect.record(took);
        if took >= SYN_LOST {
            self.ramp.window = (self.ramp.window / 2).max(1);
        }
        self.receive(key);
        self.send(key);
    }

    /// One more connection has echoed.
    fn proven(&mut self) {
        self.result.opened += 1;
        self.ramp.under_way -= 1;
        self.ramp.window = (self.ramp.window + 1).min(WINDOW);
    }

    /// The connection has ended before we ended it.
    fn lost(&mut self, key: Key, loss: Loss) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.stage {
            Stage::Gone => return,
            Stage::Connecting(_) | Stage::Proving => {
                self.ramp.under_way -= 1;
                self.result.failed(loss);
            }
            Stage::Open => {
                self.busy -= usize::from(!connection.pinger.is_quiet());
                let measured = connection
                    .pinger
                    .open()
                    .filter(|message| message.measured)
                    .count();
                self.result.messages.failed += measured as u64;
                self.result.lost(loss);
            }
        }
        connection.stage = Stage::Gone;
        // A send or connect that hangs completes with this.
        socket::hang_up(connection.socket.as_fd());
    }

    /// Closes a connection that is gone once nothing of it is in the kernel.
    fn bury(&mut self, key: Key) {
        let gone = |connection: &mut Connection| {
            connection.stage == Stage::Gone && connection.in_flight == 0
        };
        if self.connections.get_mut(key).is_some_and(gone) {
            self.connections.remove(key);
        }
    }

    /// Gives up those that have taken too long to open.
    fn expire(&mut self) {
        while let Some(&(deadline, key)) = self.ramp.opening.front() {
            let stage = self
                .connections
                .get_mut(key)
                .map(|connection| connection.stage);
            match stage {
                Some(Stage::Connecting(_) | Stage::Proving) if self.now < deadline => return,
                Some(Stage::Connecting(_)) => {
                    self.ring.cancel_connect(key);
                    if let Some(connection) = self.connections.get_mut(key) {
                        connection.in_flight += 1;
                    }
                    self.lost(key, Loss::Timeout);
                }
                Some(Stage::Proving) => self.lost(key, Loss::Timeout),
                _ => {}
            }
            self.ramp.opening.pop_front();
        }
    }
}

/// From phase to phase.
impl Worker<'_> {
    /// What is to be done because of the time, or of what the others do.
    fn progress(&mut self) {
        self.shared.show(self.index, &self.result);
        let Some(phases) = self.phases else {
            return self.ramp_up();
        };
        let before = self.result.cpu.is_none() && self.cpu_before == Nanos(0);
        if before && self.now >= phases.measure {
            self.cpu_before = usage::thread_cpu();
            self.result.begin = self.now;
        }
        if self.stopped {
            self.phases.get_or_insert(phases).cut_short(self.now);
        }
        if self.result.cpu.is_none() && self.now >= self.phases.unwrap_or(phases).end {
            self.result.cpu = Some(usage::thread_cpu() - self.cpu_before);
            self.result.end = self.now;
        }
    }

    fn ramp_up(&mut self) {
        self.expire();
        self.widen();
        let open = self.ramp.under_way == 0 && self.ramp.left.is_empty();
        if open && !self.result.ramped {
            self.result.ramped = true;
            self.shared.arrive(self.now);
        }
        let start = Nanos(self.shared.start.load(Ordering::Acquire));
        if start <= self.now {
            self.start(start);
        }
    }

    /// All connections of all workers are open: speak.
    fn start(&mut self, start: Nanos) {
        let Plan {
            warmup,
            duration,
            drain,
            ..
        } = self.shared.plan;
        self.phases = Some(Phases::from(start, warmup, duration, drain));
        self.starting = self.connections.keys().collect();
        self.progress();
    }

    fn wake_up(&self) -> Nanos {
        match self.phases {
            Some(_) if !self.starting.is_empty() => self.now,
            Some(phases) => phases.next_change(self.now),
            None if self.result.ramped => self.now + GLANCE,
            None => self
                .ramp
                .opening
                .front()
                .map_or(self.now + GLANCE, |&(deadline, _)| deadline),
        }
    }

    fn is_done(&self) -> bool {
        let Some(phases) = self.phases else {
            return self.stopped;
        };
        let over = self.now >= phases.end && (self.busy == 0 || self.now >= phases.drained);
        over || self.connections.is_empty()
    }

    /// What has not come back by now is missing, and enters the record with its age.
    fn finish(&mut self) {
        let now = self.now;
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else {
                continue;
            };
            if connection.stage != Stage::Gone {
                let missing: Vec<Message> = connection.pinger.open().copied().collect();
                missing
                    .into_iter()
                    .for_each(|message| self.result.missing(message, now));
            }
        }
        if self.result.cpu.is_none() {
            self.result.cpu = Some(usage::thread_cpu() - self.cpu_before);
            self.result.end = now;
        }
        self.result.overflows = self.ring.counts().overflows;
        self.shared.show(self.index, &self.result);
    }
}

fn wrong_data(target: SocketAddr, connection: u64, wrong: Wrong) -> Error {
    let (message, offset, difference) = match wrong {
        Wrong::Byte { message, mismatch } => {
            let difference = format!(
                "expected 0x{:02x}, found 0x{:02x}",
                mismatch.expected, mismatch.found
            );
            (message, mismatch.offset, difference)
        }
        Wrong::Excess { message, bytes } => (
            message,
            0,
            format!("expected nothing (it had not been sent), found {bytes} bytes"),
        ),
    };
    Error::Data(format!(
        "wrong data from {target}: connection {connection}, message {message}, offset {offset}: {difference}"
    ))
}
