//! How connections come and go: opened in windows, proven by their first echo, lost, or closed to churn.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use crate::clock::{self, Nanos};
use crate::error::Errno;
use crate::load::payload::PayloadStream;
use crate::load::pinger::Pinger;
use crate::load::result::{ConnectionMessages, Loss, WorkerStats};
use crate::load::worker::{Connection, Stage, Worker};
use crate::load::{Churn, Close, Workload};
use crate::slab::Key;
use crate::sys::socket;

/// Connections that may be on their way at once, connected but not yet answered: below the shortest accept queue
/// in common use (128), so that no SYN is dropped. Halved whenever one was.
const WINDOW: usize = 96;

/// Connections dialled in one turn. The kernel makes one after the other, and each seems to have taken as long as all.
const DIALS: usize = 4;

/// A connection that took this long has lost a SYN: the kernel repeats it after 1 s (RFC 6298).
const SYN_LOST: Nanos = Nanos(900_000_000);

/// Where nothing opens for so long, more are tried at once: what waits may not be typical.
const IMPATIENCE: Nanos = Nanos::SECOND;

/// How long one connection may take to open and answer: three lost SYN are repeated within 7 s.
const OPENING: Nanos = Nanos(10_000_000_000);

/// How long to wait before dialling again where a connection of a churning run could not be opened.
const BREATHER: Nanos = Nanos(1_000_000);

/// Which connections are still to be opened, and how many at once.
pub(super) struct Ramp {
    /// Numbers of those to open, in order.
    left: VecDeque<u64>,
    /// The number of the next one that replaces another (churn); numbers of all workers interleave.
    fresh: u64,
    step: u64,
    /// On their way, oldest first, with the instant by which each must be open.
    opening: VecDeque<(Nanos, Key)>,
    /// When to dial again after a failure (churn).
    again: VecDeque<Nanos>,
    /// When a connection last opened, or the ramp began; and when more were last tried because none had.
    progress: Nanos,
    impatient: Nanos,
    under_way: usize,
    window: usize,
    churn: Option<Churn>,
    share: usize,
}

impl Ramp {
    pub(super) fn new(plan: &Workload, index: usize, has_first: bool) -> Ramp {
        let (step, all) = (u64::from(plan.threads), u64::from(plan.connections));
        let numbers = (index as u64..all).step_by(step as usize);
        let share = numbers.clone().count();
        let left = numbers.skip(usize::from(has_first)).collect();
        let fresh = index as u64 + share as u64 * step;
        Ramp {
            left,
            fresh,
            step,
            opening: VecDeque::new(),
            again: VecDeque::new(),
            progress: clock::now(),
            impatient: clock::now(),
            under_way: 0,
            window: 1,
            churn: plan.churn,
            share,
        }
    }

    /// How many connections this worker holds at once.
    pub(super) fn share(&self) -> usize {
        self.share
    }

    /// True when every connection has opened or failed.
    pub(super) fn is_complete(&self) -> bool {
        self.under_way == 0 && self.left.is_empty()
    }

    /// True while there are connections to open, and the window has room for one.
    pub(super) fn has_room(&self) -> bool {
        self.under_way < self.window && !self.left.is_empty()
    }

    /// When something must be done about a connection that does not open, or could not.
    pub(super) fn deadline(&self) -> Nanos {
        let opening = self.opening.front().map_or(Nanos::NEVER, |&(deadline, _)| deadline);
        opening.min(self.again.front().copied().unwrap_or(Nanos::NEVER))
    }

    /// The first bytes of a churning connection's first answer are here.
    pub(super) fn first_byte(&self, connection: &mut Connection, now: Nanos, found: &mut WorkerStats) {
        let churning = self.churn.is_some() && connection.stage == Stage::Open;
        if churning && connection.begin != Nanos::NEVER {
            found.first_byte.record(now - connection.begin);
            connection.begin = Nanos::NEVER;
        }
    }
}

impl Worker<'_> {
    /// The connection that has proven the target: open, one message told.
    pub(super) fn adopt(&mut self, socket: OwnedFd) {
        let key = self.insert(socket, 0, 1, Stage::Open);
        self.found.opened += 1;
        self.speak(key);
        self.receive(key);
    }

    fn insert(&mut self, socket: OwnedFd, number: u64, told: u64, stage: Stage) -> Key {
        let plan = &self.shared.plan.workload;
        let pinger = Pinger::new(PayloadStream::new(plan.seed, number), told);
        let left = plan.churn.map_or(u64::MAX, |churn| churn.messages);
        let begin = if told > 0 { Nanos::NEVER } else { clock::now() };
        let connection = Connection {
            socket,
            number,
            pinger,
            stage,
            begin,
            place: 0,
            answers: 0,
            left,
            in_flight: 0,
        };
        self.connections.insert(connection)
    }

    /// Adds a connection to those that speak.
    fn speak(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.place = self.pacing.speakers.len() as u32;
            self.pacing.speakers.push(key);
        }
    }

    /// Takes it out again.
    fn fall_silent(&mut self, place: u32) {
        self.pacing.speakers.swap_remove(place as usize);
        if let Some(&moved) = self.pacing.speakers.get(place as usize)
            && let Some(connection) = self.connections.get_mut(moved)
        {
            connection.place = place;
        }
    }

    /// Opens some connections, as many as the window has room for.
    pub(super) fn widen(&mut self) {
        if self.now >= self.ramp.impatient + IMPATIENCE {
            self.ramp.impatient = self.now;
            self.ramp.window = (self.ramp.window * 2).min(WINDOW);
        }
        for _ in 0..DIALS {
            if !self.ramp.has_room() {
                return;
            }
            if let Some(number) = self.ramp.left.pop_front() {
                self.dial(number);
            }
        }
    }

    fn dial(&mut self, number: u64) {
        let plan = &self.shared.plan;
        let (target, source) = (plan.target_of(number), plan.source_of(number));
        match socket::client(target, source, &plan.workload.options) {
            Ok(socket) => {
                let key = self.insert(socket, number, 0, Stage::Connecting);
                self.ramp.under_way += 1;
                self.ramp.opening.push_back((clock::now() + OPENING, key));
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.in_flight += 1;
                    self.ring.connect(key, connection.socket.as_fd(), target);
                }
            }
            Err(cause) => {
                self.found.count_unopened(Loss::from(Errno::from(cause)));
                self.replace(BREATHER);
            }
        }
    }

    pub(super) fn connected(&mut self, key: Key, result: std::result::Result<(), Errno>) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.stage != Stage::Connecting {
            return;
        }
        if let Err(errno) = result {
            return self.lost(key, Loss::from(errno));
        }
        let took = now - connection.begin;
        self.found.connect.record(took);
        if took >= SYN_LOST {
            self.ramp.window = (self.ramp.window / 2).max(1);
        }
        if self.pacing.is_running() {
            // Churn: the target has proven itself; this one's messages count from the first.
            connection.stage = Stage::Open;
            self.receive(key);
            return self.opened(key);
        }
        connection.stage = Stage::Proving;
        connection.pinger.ask(now, false);
        self.receive(key);
        self.send(key);
    }

    /// One more connection has echoed.
    pub(super) fn proven(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.stage = Stage::Open;
            connection.begin = Nanos::NEVER;
        }
        self.opened(key);
    }

    fn opened(&mut self, key: Key) {
        self.found.opened += 1;
        (self.ramp.progress, self.ramp.impatient) = (self.now, self.now);
        self.ramp.under_way -= 1;
        self.expire();
        if !self.waits_for_an_older_one(key) {
            self.ramp.window = (self.ramp.window + 1).min(WINDOW);
        }
        self.speak(key);
        if self.pacing.is_running() {
            self.first_messages(key);
        }
    }

    /// True while a connection that was dialled before this one is on its way: its SYN may be lost, and more at once
    /// would lose more, all of which come back at the same instant. [`Worker::expire`] has put the oldest in front.
    fn waits_for_an_older_one(&mut self, key: Key) -> bool {
        let Some(&(_, oldest)) = self.ramp.opening.front() else {
            return false;
        };
        let mut number = |key| Some(self.connections.get_mut(key)?.number);
        number(oldest) < number(key)
    }

    /// The target has sent FIN: the end of a close that we began, or a loss.
    pub(super) fn ended(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        match connection.stage {
            Stage::Closing(since) => {
                connection.stage = Stage::Gone;
                self.found.close.record(self.now - since);
                self.replace(Nanos(0));
            }
            _ => self.lost(key, Loss::Eof),
        }
    }

    /// The connection has ended before we ended it.
    pub(super) fn lost(&mut self, key: Key, loss: Loss) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (stage, place) = (connection.stage, connection.place);
        if stage == Stage::Gone {
            return;
        }
        connection.stage = Stage::Gone;
        // A send or connect that hangs completes with this.
        socket::shutdown_both(connection.socket.as_fd());
        match stage {
            Stage::Connecting | Stage::Proving => {
                self.ramp.under_way -= 1;
                self.found.count_unopened(loss);
            }
            _ => {
                self.busy -= usize::from(!connection.pinger.is_quiet());
                let failed = connection.pinger.open().filter(|message| message.measured).count();
                self.found.by_connection.push(ConnectionMessages {
                    connection: connection.number,
                    messages: connection.answers,
                });
                self.desk.current.messages.failed += failed as u64;
                self.desk.current.lost += 1;
                self.found.count_lost(loss);
                if stage == Stage::Open {
                    self.fall_silent(place);
                }
            }
        }
        self.replace(BREATHER);
    }

    /// Ends a churning connection whose messages are all back.
    pub(super) fn close(&mut self, key: Key, churn: Churn) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let place = connection.place;
        self.found.closed += 1;
        match churn.close {
            Close::Fin => {
                connection.stage = Stage::Closing(now);
                // The target is gone already: its FIN or RST is on its way to us.
                let _ = socket::shutdown_write(connection.socket.as_fd());
            }
            Close::Rst => {
                connection.stage = Stage::Gone;
                socket::reset_on_close(connection.socket.as_fd());
                // The socket closes once its receive has left the kernel.
                connection.in_flight += 1;
                self.ring.cancel_receive(key);
            }
        }
        self.fall_silent(place);
        if churn.close == Close::Rst {
            self.replace(Nanos(0));
        }
    }

    /// In a run that churns, opens another connection in place of one that has ended.
    fn replace(&mut self, pause: Nanos) {
        if self.ramp.churn.is_none() || !self.pacing.is_asking(self.now) {
            return;
        }
        if pause > Nanos(0) {
            return self.ramp.again.push_back(self.now + pause);
        }
        let number = self.ramp.fresh;
        self.ramp.fresh += self.ramp.step;
        self.dial(number);
    }

    /// Replaces connections that were on their way out when the last slice ended (churn).
    pub(super) fn refill(&mut self) {
        let present = self.pacing.speakers.len() + self.ramp.under_way;
        for _ in present..self.ramp.share {
            self.replace(Nanos(0));
        }
    }

    /// Closes a connection that is gone once nothing of it is in the kernel.
    pub(super) fn bury(&mut self, key: Key) {
        let gone = |connection: &mut Connection| connection.stage == Stage::Gone && connection.in_flight == 0;
        if self.connections.get_mut(key).is_some_and(gone) {
            self.connections.remove(key);
        }
    }

    /// A connection did not open in time. If none of them all has for as long, the rest will not either: a server that
    /// serves one connection at a time would else keep us for hours.
    fn give_up(&mut self, key: Key) {
        self.lost(key, Loss::Timeout);
        self.bury(key);
        if self.now >= self.ramp.progress + OPENING {
            for _ in self.ramp.left.drain(..) {
                self.found.count_unopened(Loss::Timeout);
            }
        }
    }

    /// Gives up those that have taken too long to open, and dials again where it is time to.
    pub(super) fn expire(&mut self) {
        while self.ramp.again.front().is_some_and(|&due| due <= self.now) {
            self.ramp.again.pop_front();
            self.replace(Nanos(0));
        }
        while let Some(&(deadline, key)) = self.ramp.opening.front() {
            let stage = self.connections.get_mut(key).map(|connection| connection.stage);
            match stage {
                Some(Stage::Connecting | Stage::Proving) if self.now < deadline => return,
                Some(Stage::Connecting) => {
                    self.ring.cancel_connect(key);
                    if let Some(connection) = self.connections.get_mut(key) {
                        connection.in_flight += 1;
                    }
                    self.give_up(key);
                }
                Some(Stage::Proving) => self.give_up(key),
                _ => {}
            }
            self.ramp.opening.pop_front();
        }
    }
}
