//! The course of a run on one worker: its start, what becomes due, slices, its end.

use std::os::fd::AsFd;

use super::{Client, Worker};
use crate::clock::{self, Nanos};
use crate::load::accounting::ThreadUsage;
use crate::load::result::WorkerStats;
use crate::load::stalls::HEARTBEAT;
use crate::load::timeline::{Milestone, Planned};
use crate::ring::{Spin, Transport};
use crate::slab::Key;
use crate::sys::{socket, tcp_info, usage};

/// First messages, or planned messages, that are sent per pass before completions are handled again.
const BATCH: usize = 64;

/// How often a worker that is ready checks whether the start is known: less than the 5 ms from there to the start.
const POLL_INTERVAL: Nanos = Nanos(1_000_000);

/// Connections whose round-trip time is read from the kernel every second.
const RTT_SAMPLES: usize = 4;

impl<T: Transport> Worker<'_, T> {
    pub(super) fn advance(&mut self) {
        if !self.timeline.is_running() {
            self.start_when_due();
        }
        if self.timeline.is_running() {
            let spin = self.spin.check(self.now);
            self.transport.set_spin(spin);
            self.pass_marks();
            if self.accounting.has_caught_up() {
                self.timeline.catch_up(self.now);
            }
            self.send_due();
        }
    }

    fn start_when_due(&mut self) {
        if !self.ready && self.dialer.is_complete() {
            self.ready = true;
            self.shared.worker_ready(self.now);
        }
        let start = self.shared.start();
        if self.timeline.is_due(start, self.now) {
            self.timeline.start(self.workload, start, self.shared.seed());
            self.accounting
                .started(self.timeline.measuring_ends().unwrap_or(Nanos::NEVER));
            self.dialer.refill(self.timeline.active());
        }
    }

    fn pass_marks(&mut self) {
        if self.stopped {
            self.timeline.interrupt(self.now);
        }
        if self.timeline.drain_has_ended(self.now) {
            self.hold_connections();
        }
        if self.is_without_connections() && !self.without_connections {
            self.without_connections = true;
            self.shared.worker_lost_all_connections();
        }
        if self.without_connections && self.shared.all_without_connections() {
            self.timeline.cut_short(self.now); // No connection is left anywhere: waiting would measure nothing.
        }
        while let Some(mark) = self.timeline.next_milestone(self.now) {
            self.pass(mark);
        }
    }

    /// Lets every connection finish the message that it has begun, and begin no other.
    fn hold_connections(&mut self) {
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            if let Some(Client { connection, .. }) = self.connections.get_mut(key) {
                connection.hold();
            }
        }
    }

    /// True if it has no connection, and will not have one any more.
    fn is_without_connections(&self) -> bool {
        self.connections.is_empty() && self.workload.churn.is_none()
    }

    fn pass(&mut self, mark: Milestone) {
        match mark {
            Milestone::Begin(at) => {
                self.accounting.begin_measuring(at, self.usage());
                self.stalls.begin(at);
            }
            Milestone::End(at) => self.accounting.end_measuring(at, self.usage()),
            Milestone::Second(since) => {
                self.sample_round_trips();
                let end = self.timeline.measuring_begins().unwrap_or_default() + since;
                self.accounting.due(self.timeline.count_waiting(end));
                self.rotate(since);
            }
        }
    }

    fn send_due(&mut self) {
        for _ in 0..BATCH {
            self.timeline.set_outstanding(self.accounting.outstanding(), self.now);
            let Some(key) = self.timeline.next_starting(self.now) else {
                break;
            };
            self.first_messages(key);
        }
        while let Some(key) = self.timeline.next_thinking(self.now) {
            self.issue(key, self.now);
        }
        if !self.workload.pace.is_open() {
            return;
        }
        if let Some(per_s) = self.shared.rate.wanted() {
            self.timeline.set_rate(per_s, self.now);
        }
        for _ in 0..BATCH {
            // The instant of the pass is old by now: a late message must not look early.
            let now = clock::now();
            self.timeline.set_outstanding(self.accounting.outstanding(), now);
            let Some(Planned { at, key }) = self.timeline.next_planned(now) else {
                return;
            };
            self.now = now;
            if self.timeline.measures(at) {
                self.accounting.send_lag(now - self.timeline.issuable(at));
            }
            self.issue(key, at);
        }
    }

    fn sample_round_trips(&mut self) {
        for _ in 0..RTT_SAMPLES.min(self.timeline.active()) {
            if let Some(key) = self.timeline.pick()
                && let Some(client) = self.connections.get_mut(key)
                && let Ok(socket) = self.transport.descriptor(key, &client.socket)
                && let Some(info) = tcp_info::of(socket.as_fd())
            {
                self.accounting.smoothed_rtt(info.rtt);
            }
        }
    }

    fn usage(&self) -> ThreadUsage {
        ThreadUsage {
            cpu: usage::thread_cpu(),
            spun: self.transport.counts().spun,
            run_delay: self.spin.run_delay(),
        }
    }

    /// The pass that began at `began` and handled as many completions was followed by a wait until `deadline`.
    pub(super) fn pass_ended(&mut self, began: Nanos, deadline: Nanos, handled: usize) {
        self.stalls.passed(began, deadline, self.now);
        if let Some(submitted) = self.transport.submitted()
            && self.timeline.measures(began)
        {
            self.accounting.pass(submitted - began, handled);
        }
        self.pass = self.now;
    }

    fn rotate(&mut self, end: Nanos) {
        let full = self.accounting.rotate(end, self.writer.empty());
        if let Some(full) = self.writer.try_send(full) {
            self.accounting.keep(full);
        }
    }

    pub(super) fn publish(&self) {
        let (opened, completed) = (self.accounting.opened_total(), self.accounting.completed_total());
        self.shared.publish(self.index, opened, completed);
    }

    /// How long to wait. During a run or slice not longer than a heartbeat.
    pub(super) fn deadline(&mut self) -> Nanos {
        let (due, heartbeat) = (self.wake_up(), self.pass + HEARTBEAT);
        if !self.timeline.is_running() {
            return due;
        }
        if due > heartbeat && self.accounting.is_idle() {
            self.transport.set_spin(Spin::Never); // No reply can come and nothing is due: nothing to be in time for.
        }
        due.min(heartbeat)
    }

    /// When to wake up though nothing completes.
    fn wake_up(&self) -> Nanos {
        let first = self.starved.front();
        let can_feed = first.is_some_and(|&key| self.transport.offered(key) > 0);
        if can_feed {
            return self.now;
        }
        let (dialer, timeline) = (self.dialer.wake_up(self.now), self.timeline.wake_up(self.now));
        dialer.min(timeline).min(self.start_wake_up())
    }

    /// When to check whether the start is known or due.
    fn start_wake_up(&self) -> Nanos {
        match &self.shared.slices {
            _ if self.timeline.is_running() || !self.ready => Nanos::NEVER,
            Some(_) => self.timeline.due_at(self.shared.start()), // The waker says when it is known.
            None => self.now + POLL_INTERVAL,
        }
    }
}

/// The end of a run or slice.
impl<T: Transport> Worker<'_, T> {
    pub(super) fn is_done(&self) -> bool {
        if !self.timeline.is_running() {
            return self.stopped;
        }
        if self.shared.slices.is_some() && self.is_without_connections() {
            return true;
        }
        // What is not active is opening or closing.
        let settled = self.connections.len() == self.timeline.active();
        self.timeline.is_over(settled && self.accounting.is_idle(), self.now)
    }

    /// Hands over what was counted in a slice. False in a run without slices, or if it did not end idle.
    pub(super) fn end_slice(&mut self) -> bool {
        let Some(control) = &self.shared.slices else {
            return false;
        };
        if self.stopped || !self.accounting.is_idle() || self.is_without_connections() {
            return false;
        }
        self.end_measuring();
        self.end_interval();
        self.accounting.stalls(self.stalls.stalls());
        let _ = control.results.send(self.accounting.take_stats()); // The session is gone: a stop follows.
        self.timeline.end_slice();
        true
    }

    /// Ends all connections. What has not come back by now is missing.
    pub(super) fn finish(mut self) -> WorkerStats {
        self.end_measuring();
        let keys: Vec<Key> = self.connections.keys().collect();
        let mut unwanted = Vec::new();
        for some in keys.chunks(BATCH) {
            some.iter().for_each(|&key| self.conclude(key));
            // Now, or those of a million connections would take memory at once. A ring that breaks ends as well.
            let _ = self.transport.submit_and_wait(Nanos(0), &mut unwanted);
            unwanted.clear();
        }
        while let Some(unissued) = self.timeline.next_unissued(self.now) {
            if self.timeline.measures(unissued.at) {
                self.accounting.unissued(&unissued, self.now);
            }
        }
        self.end_interval();
        self.accounting.overflows(self.transport.counts().overflows);
        self.accounting.stalls(self.stalls.stalls());
        self.publish();
        self.accounting.take_stats()
    }

    /// Hands over what was counted until an error ended it. What is in flight is in no figure.
    pub(super) fn abandon(&mut self) {
        self.shared.stop.fire(); // First, so that its last interval counts as cut short.
        if self.timeline.measuring_begins().is_some_and(|begin| begin < self.now) {
            self.end_measuring();
            self.end_interval();
        }
    }

    fn conclude(&mut self, key: Key) {
        let Some(Client { socket, connection }) = self.connections.get_mut(key) else {
            return;
        };
        self.accounting
            .conclude(connection, self.now, |since| self.timeline.phase_of(since));
        let Ok(socket) = self.transport.descriptor(key, socket) else {
            return;
        };
        // One after the other: cancelling all receives of the ring at once takes the kernel the square of their number.
        socket::shutdown_both(socket.as_fd());
        if connection.is_established()
            && let Some(info) = tcp_info::of(socket.as_fd())
        {
            self.accounting.segments(info);
        }
    }

    /// Ends measuring, if that has not happened.
    fn end_measuring(&mut self) {
        if let Some(mark) = self.timeline.end_measuring(self.now) {
            self.pass(mark);
        }
    }

    /// Ends the last interval of a run or slice, with measuring; what the drain has brought is in it as well.
    fn end_interval(&mut self) {
        let measure = self.timeline.measuring_begins().unwrap_or(self.now);
        let end = self.timeline.measuring_ends().unwrap_or(self.now).min(self.now);
        let last = self.accounting.rotate(end - measure, self.writer.empty());
        self.writer.send(last);
    }
}
