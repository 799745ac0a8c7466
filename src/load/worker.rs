//! One thread of the load, the event loop: dispatches completions to connections and carries out their decisions.
//!
//! Everything that one pass brings happens at one instant, read from the clock after the wait and before the handlers:
//! times are never shorter than the truth. What to do is decided by `connection`, `dialer` and `timeline`, and counted
//! by `accounting`; this file has the effects.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::clock::{self, Nanos};
use crate::error::{Errno, Result};
use crate::load::accounting::Accounting;
use crate::load::connection::{Change, Connection, Corruption, Next, Outgoing, Receive, Shutdown, Step};
use crate::load::dialer::{Dialer, RETRY_DELAY};
use crate::load::interval::IntervalWriter;
use crate::load::pipeline::EchoMismatch;
use crate::load::result::{Loss, WorkerStats};
use crate::load::shared::Shared;
use crate::load::stalls::StallDetector;
use crate::load::timeline::Timeline;
use crate::load::workload::Workload;
use crate::ring::{Chunk, ChunkQueue, Completion, Event, Received, Socket, Spin, SpinLimits, SpinPolicy, Transport};
use crate::slab::{Key, Slab};
use crate::sys::socket;

mod lifecycle;
mod opening;

/// Keys of the stop and of the waker.
const STOP: Key = Key::reserved(0);
const WAKER: Key = Key::reserved(1);

/// Busy-polls as long as an idle CPU of a virtual machine takes to wake. The backoff is long, because messages measured
/// without busy-polling take twice as long; it starts only when contention lasts.
const SPIN: SpinLimits = SpinLimits {
    spin: Spin::Always(Nanos(100_000)),
    check_every: Nanos(10_000_000),
    backoff: Nanos(250_000_000),
};

/// One thread's share of a run. Made and run on its own thread.
pub(super) struct Worker<'a, T> {
    index: usize,
    shared: &'a Shared,
    workload: &'a Workload,
    transport: T,
    connections: Slab<Client>,
    dialer: Dialer,
    timeline: Timeline,
    accounting: Accounting,
    writer: IntervalWriter,
    spin: SpinPolicy,
    /// Connections that wait for a buffer to receive into, longest waiting first; and for one to send from.
    starved: VecDeque<Key>,
    unsent: VecDeque<Key>,
    /// When this pass began, and the latest instant in it.
    pass: Nanos,
    now: Nanos,
    stalls: StallDetector,
    /// True once its initial connections have opened or failed.
    ready: bool,
    /// True once it has reported that it has no connections left.
    without_connections: bool,
    stopped: bool,
}

/// A connection and its socket.
struct Client {
    socket: Socket,
    connection: Connection,
}

impl<'a, T: Transport> Worker<'a, T> {
    /// Opens the transport on this thread. `first` is a connection that has echoed already, and how long connecting
    /// took.
    pub(super) fn new(
        index: usize,
        shared: &'a Shared,
        writer: IntervalWriter,
        first: Option<(OwnedFd, Nanos)>,
    ) -> Result<Worker<'a, T>> {
        let (workload, now) = (&shared.plan.workload, clock::now());
        let dialer = Dialer::new(workload, index, u64::from(first.is_some()), now);
        let limits = SpinLimits {
            spin: if shared.spin { SPIN.spin } else { Spin::Never },
            ..SPIN
        };
        let mut worker = Worker {
            index,
            shared,
            workload,
            transport: T::open(
                workload.queues(),
                workload.buffers(dialer.share()),
                if workload.direct { dialer.share() as u32 } else { 0 },
                workload.threads as usize,
            )?,
            connections: Slab::with_capacity(dialer.share()),
            dialer,
            timeline: Timeline::new(workload, index, shared.slices.is_some()),
            accounting: Accounting::new(workload.pace.is_open(), shared.plan.targets.len()),
            writer,
            spin: SpinPolicy::of_this_thread(limits),
            starved: VecDeque::new(),
            unsent: VecDeque::new(),
            pass: now,
            now,
            stalls: StallDetector::default(),
            ready: false,
            without_connections: false,
            stopped: false,
        };
        worker.accounting.set_drain(workload.drain);
        worker.transport.watch(STOP, shared.stop.as_fd());
        if let Some(control) = &shared.slices {
            worker.transport.watch(WAKER, control.waker.as_fd());
        }
        if let Some((socket, took)) = first {
            worker.take_over(socket, took);
        }
        Ok(worker)
    }

    /// Opens, warms up, measures and drains; again for every slice. Errors: a ring that broke.
    pub(super) fn run(mut self) -> Result<WorkerStats> {
        let mut completions = Vec::new();
        let mut handled = 0;
        loop {
            self.feed();
            self.dial();
            self.advance();
            self.publish();
            if self.is_done() && !self.end_slice() {
                return Ok(self.finish());
            }
            let (began, deadline) = (self.pass, self.deadline());
            let waited = self.transport.submit_and_wait(deadline, &mut completions);
            self.now = clock::now();
            if let Err(error) = waited {
                self.abandon();
                return Err(error);
            }
            self.pass_ended(began, deadline, handled);
            handled = completions.len();
            for completion in completions.drain(..) {
                self.handle(completion);
            }
        }
    }

    fn handle(&mut self, completion: Completion) {
        let Completion { key, more, event } = completion;
        let now = self.now;
        match event {
            Event::Received(Received::Data(chunk)) => self.received(key, chunk, more),
            Event::Sent { sent, rest } => self.sent(key, sent, rest),
            Event::Received(Received::Starved) => self.update(key, Connection::starved),
            Event::Received(Received::End) => self.update(key, |connection| connection.ended(now)),
            Event::Received(Received::Failed(errno)) => {
                self.update(key, |connection| connection.receive_failed(Loss::from(errno), now));
            }
            Event::Received(Received::Cancelled) => self.update(key, Connection::receive_cancelled),
            Event::Connected(result) => {
                let probe = !self.timeline.is_running(); // Churn: the target has proven itself.
                let result = result.and_then(|()| self.take_in(key));
                self.update(key, |connection| {
                    connection.connected(result.map_err(Loss::from), probe, now)
                });
            }
            Event::Cancelled => self.update(key, Connection::cancelled),
            Event::Woken => self.stopped |= key == STOP, // The waker only wakes.
            Event::Received(Received::NotForPipe)
            | Event::Accepted(_)
            | Event::Delivered(_)
            | Event::Undelivered { .. } => {
                unreachable!("a load generator accepts no connections and has no pipes")
            }
        }
    }

    fn received(&mut self, key: Key, chunk: Chunk, more: bool) {
        let (now, traffic) = (self.now, &self.workload.traffic);
        let (running, measuring) = (self.timeline.is_running(), self.timeline.is_measuring(now));
        let Some(Client { connection, .. }) = self.connections.get_mut(key) else {
            debug_assert!(false, "a completion of a connection that was removed");
            return self.transport.give_back(key, chunk);
        };
        let (accounting, number) = (&mut self.accounting, connection.number());
        let bytes = self.transport.bytes(key, &chunk);
        if measuring {
            accounting.received(bytes.len());
        }
        let result = connection.received(traffic, bytes, more, now, |message| {
            accounting.completed(number, message, now, running, measuring);
        });
        self.transport.give_back(key, chunk);
        note_progress(connection, &mut self.timeline, &mut self.dialer, now);
        let next = result.unwrap_or_else(|Corruption { mismatch, next }| {
            self.corrupted(number, mismatch);
            next
        });
        self.apply(key, next);
    }

    fn sent(&mut self, key: Key, sent: std::result::Result<u32, Errno>, rest: ChunkQueue) {
        let Some(Client { connection, socket }) = self.connections.get_mut(key) else {
            debug_assert!(false, "a completion of a connection that was removed");
            return self.transport.give_back_all(key, rest);
        };
        let result = sent.map(drop).map_err(Loss::from);
        let next = connection.sent(result, !rest.is_empty(), self.now);
        note_progress(connection, &mut self.timeline, &mut self.dialer, self.now);
        if next.send == Some(Outgoing::Rest) {
            self.transport.send(key, socket, rest);
        } else {
            self.transport.give_back_all(key, rest);
        }
        self.apply(key, next);
    }

    /// Passes an event without data to the connection, and does what it says.
    fn update(&mut self, key: Key, event: impl FnOnce(&mut Connection) -> Next) {
        if let Some(Client { connection, .. }) = self.connections.get_mut(key) {
            let next = event(connection);
            self.apply(key, next);
        }
    }

    fn apply(&mut self, key: Key, next: Next) {
        if let Some(sample) = next.sample {
            self.accounting.sample(sample, self.timeline.phase_of(sample.since));
            if sample.step == Step::Connect && !sample.censored {
                self.dialer.connected(sample.took);
            }
        }
        self.apply_to_socket(key, &next);
        if let Some(change) = next.change {
            self.changed(key, change);
        }
        if next.completed > 0 {
            self.accounting.returned(next.completed);
            for _ in 0..next.completed {
                if let Some(next) = self.timeline.completed(key, self.now) {
                    self.issue(next, self.now);
                }
            }
        }
        if next.remove
            && let Some(client) = self.connections.remove(key)
        {
            self.transport.close(key, client.socket);
        }
    }

    fn apply_to_socket(&mut self, key: Key, next: &Next) {
        if next.send == Some(Outgoing::Buffer) && !self.send(key) {
            self.unsent.push_back(key);
        }
        let Some(Client { socket, .. }) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(how) = next.shutdown
            && let Ok(socket) = self.transport.descriptor(key, socket)
        {
            shut_down(socket.as_fd(), how);
        }
        match next.receive {
            Receive::Keep => {}
            Receive::Arm => self.transport.receive(key, socket),
            Receive::Starve => self.starved.push_back(key),
            Receive::Cancel => self.transport.cancel_receive(key),
        }
        if next.cancel_connect {
            self.transport.cancel_connect(key);
        }
    }

    fn changed(&mut self, key: Key, change: Change) {
        let now = self.now;
        let phase = self.timeline.phase_of(now);
        let Some(Client { connection, .. }) = self.connections.get_mut(key) else {
            return;
        };
        match change {
            Change::Opened => {
                self.accounting.opened(connection.number(), phase);
                self.dialer.opened(connection.number(), now);
                if self.timeline.add(key, now) {
                    self.first_messages(key);
                }
            }
            Change::Failed(loss) => {
                self.accounting.unopened(loss);
                self.dialer.failed(connection.number());
                self.dialer.replace(now, RETRY_DELAY);
            }
            Change::Lost(loss) => {
                self.accounting.lost(connection, loss, now);
                self.timeline.remove(key);
                self.dialer.replace(now, RETRY_DELAY);
            }
            Change::Closing => {
                self.accounting.closing(phase);
                self.timeline.remove(key);
            }
            Change::Closed => self.dialer.replace(now, Nanos(0)),
            Change::Aborted => {
                self.accounting.closing(phase);
                self.timeline.remove(key);
                self.dialer.replace(now, Nanos(0));
            }
        }
    }

    /// Sends the next bytes of a connection that wants a buffer. False if none is free.
    fn send(&mut self, key: Key) -> bool {
        let Some(mut chunk) = self.transport.lease(key) else {
            return false;
        };
        match self.connections.get_mut(key) {
            Some(Client { socket, connection }) if connection.wants_buffer() => {
                let (traffic, now) = (&self.workload.traffic, self.now);
                self.transport
                    .fill(key, &mut chunk, |out| connection.write(traffic, out, now));
                let chunks = ChunkQueue::of(chunk, self.transport.chunk_table(key));
                self.transport.send(key, socket, chunks);
            }
            _ => self.transport.give_back(key, chunk), // It has ended meanwhile.
        }
        true
    }

    /// Issues a message on a connection; or closes the connection, if its messages are used up (churn).
    fn issue(&mut self, key: Key, planned: Nanos) {
        let Some(Client { connection, .. }) = self.connections.get_mut(key) else {
            return;
        };
        let next = if connection.takes_messages() {
            let measured = self.timeline.measures(planned);
            let counts = measured && !self.timeline.take_counted();
            self.accounting.issued(planned, counts);
            connection.issue(planned, measured)
        } else if let Some(churn) = self.workload.churn {
            connection.retire(churn.close, self.now)
        } else {
            return;
        };
        self.apply(key, next);
    }

    /// Closed loop: as many messages as a connection may have in flight.
    fn first_messages(&mut self, key: Key) {
        for _ in 0..self.timeline.first_messages(self.workload.traffic.depth) {
            self.issue(key, self.now);
        }
    }

    /// Serves those that wait for a buffer, in order.
    fn feed(&mut self) {
        let offered = self.starved.front().map_or(0, |&key| self.transport.offered(key));
        for _ in 0..self.starved.len().min(offered) {
            if let Some(key) = self.starved.pop_front() {
                self.update(key, Connection::buffer_available);
            }
        }
        while let Some(&key) = self.unsent.front()
            && self.send(key)
        {
            self.unsent.pop_front();
        }
    }

    /// Wrong data ends the run on all workers; what was measured before is reported.
    fn corrupted(&mut self, number: u64, mismatch: EchoMismatch) {
        let target = self.shared.plan.target_of(number);
        self.accounting
            .wrong_data(format!("wrong data from {target}: connection {number}, {mismatch}"));
        self.stopped = true;
        self.shared.stop.fire();
    }
}

fn shut_down(socket: BorrowedFd<'_>, how: Shutdown) {
    match how {
        // An error means that the target is gone: its FIN or RST is on its way to us.
        Shutdown::Write => drop(socket::shutdown_write(socket)),
        Shutdown::Both => socket::shutdown_both(socket),
        Shutdown::Reset => socket::reset_on_close(socket),
    }
}

/// Bytes of this connection have been sent or received: the rest is worth waiting for.
fn note_progress(connection: &Connection, timeline: &mut Timeline, dialer: &mut Dialer, now: Nanos) {
    if connection.is_partial() {
        timeline.moved(now);
    }
    if connection.is_opening() {
        dialer.moved(connection.number(), now);
    }
}
