//! One thread of the load: its ring, its connections, its record.
//!
//! Everything that one turn of the ring brings happens at one instant, read once from the clock: after the wait,
//! before the handlers. Times are therefore never shorter than the truth. How connections come and go is in
//! `ramp`, when messages go is in `pacing`; this file moves the bytes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Error, Result};
use crate::load::interval::IntervalWriter;
use crate::load::pacing::Pacing;
use crate::load::pinger::{Pinger, Wrong};
use crate::load::ramp::Ramp;
use crate::load::result::{Loss, WorkerStats};
use crate::load::shared::Shared;
use crate::ring::{Chain, Chunk, Completion, Event, Received, Ring, SizeClass};
use crate::slab::{Key, Slab};

/// Keys of the stop and the waker, out of the way of connections.
const STOP: Key = Key {
    slot: u32::MAX,
    generation: 0,
};
const WAKER: Key = Key {
    slot: u32::MAX - 1,
    generation: 0,
};

/// One thread's share of a run. Made and run on its own thread.
pub(super) struct Worker<'a> {
    pub(super) index: usize,
    pub(super) shared: &'a Shared,
    pub(super) ring: Ring,
    pub(super) connections: Slab<Connection>,
    pub(super) ramp: Ramp,
    pub(super) pacing: Pacing,
    pub(super) desk: IntervalWriter,
    /// Connections that wait for a buffer to receive into, and for one to send from.
    starved: VecDeque<Key>,
    waiting: VecDeque<Key>,
    /// Open connections whose messages have not all come back.
    pub(super) busy: usize,
    /// The instant of this turn.
    pub(super) now: Nanos,
    pub(super) stopped: bool,
    pub(super) found: WorkerStats,
}

pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// Its number in the whole run, from 0.
    pub(super) number: u64,
    pub(super) pinger: Pinger,
    pub(super) stage: Stage,
    /// When its connect began.
    pub(super) begin: Nanos,
    /// Where it stands in the list of those that speak.
    pub(super) place: u32,
    /// Messages answered while measuring.
    pub(super) answers: u64,
    /// Messages it may still be asked for before it is closed (churn).
    pub(super) left: u64,
    /// Operations that are in the kernel.
    pub(super) in_flight: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Dialled; not connected yet.
    Connecting,
    /// Connected; its first message has not come back.
    Proving,
    /// Has echoed, and takes messages.
    Open,
    /// All its messages are back and our FIN is out since then (churn).
    Closing(Nanos),
    /// Ended; kept until nothing of it is in the kernel.
    Gone,
}

impl<'a> Worker<'a> {
    /// Makes the ring on this thread. `first` is the connection that has proven the target, and how long connecting
    /// took, for one of the workers.
    pub(super) fn new(
        index: usize,
        shared: &'a Shared,
        desk: IntervalWriter,
        first: Option<(OwnedFd, Nanos)>,
    ) -> Result<Worker<'a>> {
        let ramp = Ramp::new(&shared.plan.workload, index, first.is_some());
        let share = ramp.share();
        let mut worker = Worker {
            index,
            shared,
            ring: Ring::new(shared.plan.workload.queues(), shared.plan.workload.buffers(share))?,
            connections: Slab::with_capacity(share),
            ramp,
            pacing: Pacing::new(&shared.plan.workload, shared.spin, index),
            desk,
            starved: VecDeque::new(),
            waiting: VecDeque::new(),
            busy: 0,
            now: clock::now(),
            stopped: false,
            found: WorkerStats::default(),
        };
        worker.ring.watch(STOP, shared.stop.as_fd());
        if let Some(control) = &shared.slices {
            worker.ring.watch(WAKER, control.waker.as_fd());
        }
        if let Some((socket, connect)) = first {
            worker.found.connect.record(connect);
            worker.adopt(socket);
        }
        Ok(worker)
    }

    /// Opens, warms up, measures, drains; again for every slice. Errors: wrong data, or a ring that broke.
    pub(super) fn run(mut self) -> Result<WorkerStats> {
        let mut completions = Vec::new();
        self.widen();
        loop {
            if self.is_done() && !self.rest() {
                break;
            }
            self.ring.turn(self.wake_up(), &mut completions)?;
            self.now = clock::now();
            for completion in completions.drain(..) {
                self.handle(completion)?;
            }
            self.feed();
            self.progress();
        }
        self.finish();
        Ok(self.found)
    }

    fn handle(&mut self, completion: Completion) -> Result<()> {
        let Completion { key, more, event } = completion;
        if matches!(event, Event::Woken) {
            self.stopped |= key == STOP;
            return Ok(()); // The waker only wakes.
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
            Event::Received(Received::End) => self.ended(key),
            Event::Received(Received::Failed(errno)) => self.lost(key, Loss::from(errno)),
            Event::Sent { sent, rest } => self.sent(key, sent, rest),
            Event::Received(Received::Cancelled) | Event::Cancelled | Event::Woken => {}
            Event::Accepted(_) | Event::Delivered(_) | Event::Undelivered(..) => {
                unreachable!("a load generator accepts nobody")
            }
        }
        self.bury(key);
        Ok(())
    }

    /// Verifies what came back, records what it answers, and asks for what is next.
    fn data(&mut self, key: Key, chunk: &Chunk) -> Result<()> {
        let Some(connection) = self.connections.get_mut(key) else {
            return Ok(());
        };
        if connection.stage == Stage::Gone {
            return Ok(());
        }
        let (now, open_loop) = (self.now, self.shared.plan.workload.pace.is_open());
        let interval = &mut self.desk.current;
        let (mut answers, mut counted) = (0, 0);
        let traffic = &self.shared.plan.workload.traffic;
        let checked = connection.pinger.received(traffic, self.ring.bytes(chunk), |message| {
            answers += 1;
            if message.measured {
                counted += 1;
                interval.completed(message, now, open_loop);
            }
        });
        connection.answers += counted;
        self.found.echoed += if self.pacing.is_running() {
            answers as u64
        } else {
            0 // It has proven its connection.
        };
        self.pacing.ok += counted;
        self.found.achieved += if self.pacing.measures(now) { answers as u64 } else { 0 };
        let number = connection.number;
        let target = self.shared.plan.target_of(number);
        checked.map_err(|wrong| wrong_data(target, number, wrong))?;
        self.answered(key, answers);
        Ok(())
    }

    /// So many messages of a connection have just come back.
    fn answered(&mut self, key: Key, answers: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        self.ramp.first_byte(connection, self.now, &mut self.found);
        if answers == 0 {
            return;
        }
        if connection.stage == Stage::Proving {
            return self.proven(key);
        }
        self.busy -= usize::from(connection.pinger.is_quiet());
        if self.shared.plan.workload.pace.is_open() {
            self.send(key); // One that was queued behind the answered one may go now.
        } else {
            for _ in 0..answers {
                self.ask_again(key);
            }
        }
    }

    /// Asks for one more message, due at `planned`.
    pub(super) fn ask(&mut self, key: Key, planned: Nanos) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.stage != Stage::Open {
            return;
        }
        let measured = self.pacing.measures(planned);
        self.desk.current.messages.sent += u64::from(measured);
        self.busy += usize::from(connection.pinger.is_quiet());
        connection.pinger.ask(planned, measured);
        self.send(key);
    }

    pub(super) fn send(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let traffic = &self.shared.plan.workload.traffic;
        if connection.stage == Stage::Gone || !connection.pinger.wants_to_send(traffic) {
            return;
        }
        let Some(mut chunk) = self.ring.lease() else {
            self.waiting.push_back(key);
            return;
        };
        self.ring
            .fill(&mut chunk, |out| connection.pinger.write(traffic, out, self.now));
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

    pub(super) fn receive(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.stage != Stage::Gone {
            connection.in_flight += 1;
            self.ring.receive(key, connection.socket.as_fd(), SizeClass::Small);
        }
    }

    /// True while those that wait for a buffer can be served, though nothing completes.
    pub(super) fn must_feed(&self) -> bool {
        !self.starved.is_empty() && self.ring.offered(SizeClass::Small) > 0
    }

    /// Serves those that wait for a buffer, in order.
    fn feed(&mut self) {
        for _ in 0..self.starved.len().min(self.ring.offered(SizeClass::Small)) {
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

fn wrong_data(target: SocketAddr, connection: u64, wrong: Wrong) -> Error {
    let (message, offset, difference) = match wrong {
        Wrong::Byte { message, mismatch } => {
            let difference = format!("expected 0x{:02x}, found 0x{:02x}", mismatch.expected, mismatch.found);
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
