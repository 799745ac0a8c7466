//! What happened in one second: recorded by workers, merged by the thread that watches.
//!
//! Workers record into intervals only. Each sends one per second and gets empty ones back, so that no second costs an
//! allocation, and nothing on the data path is shared.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};

use crate::clock::Nanos;
use crate::histogram::Recorder;
use crate::load::pipeline::Message;
use crate::load::result::{Latencies, Messages, Span};

/// Empty intervals that a worker can have in store.
const EMPTY: usize = 2;

/// Full intervals per worker that the merger may be behind before workers keep theirs.
const BACKLOG: usize = 4;

/// One second of one worker, or of all.
#[derive(Debug, Clone, Default)]
pub struct Interval {
    /// Which second of the measurement, from 0.
    pub index: u64,
    /// When it began and ended, in time since measuring began.
    pub span: Span,
    /// Latencies of the messages that ended in it; those that did not complete are censored at their age.
    pub latencies: Latencies,
    /// Time to connect of the connections dialled while measuring (churn) that opened, or were given up, in it.
    pub connect: Recorder,
    /// How long after the planned instant messages were issued in it (open loop).
    pub send_lag: Recorder,
    /// Messages: those `sent` were due in it, the others ended in it.
    pub messages: Messages,
    /// Messages completed in it and while measuring, whenever they were due.
    pub achieved: u64,
    /// Connections that opened in it, that we closed in it (churn), and that the target ended in it.
    pub opened: u64,
    /// See [`opened`](Interval::opened).
    pub closed: u64,
    /// See [`opened`](Interval::opened).
    pub lost: u64,
    /// True if the run was interrupted in it: it is the last one.
    pub is_cut: bool,
}

impl Interval {
    fn clear(&mut self) {
        self.latencies.service.clear();
        self.latencies.response.clear();
        self.connect.clear();
        self.send_lag.clear();
        self.messages = Messages::default();
        self.achieved = 0;
        (self.opened, self.closed, self.lost) = (0, 0, 0);
        self.is_cut = false;
    }

    /// Records a message that was echoed by `now`.
    pub(super) fn completed(&mut self, message: Message, now: Nanos, open_loop: bool) {
        self.messages.completed += 1;
        self.latencies.service.record(now - message.submitted);
        if open_loop {
            self.latencies.response.record(now - message.planned);
        }
    }

    /// Records `count` messages like this one that are given up at `now`: censored at the age it has reached. A message
    /// of a closed loop that waits for a buffer counts from when it was due; it has no other latency.
    pub(super) fn censored(&mut self, message: Message, count: u64, now: Nanos, open_loop: bool) {
        let Latencies { service, response } = &mut self.latencies;
        if message.submitted <= now {
            service.record_many_censored(now - message.submitted, count);
        } else if !open_loop {
            service.record_many_censored(now - message.planned, count);
        }
        if open_loop {
            response.record_many_censored(now - message.planned, count);
        }
    }

    /// Adds what another worker recorded in the same second, or what was recorded in the next.
    pub(super) fn merge(&mut self, other: &Interval) {
        self.span.end = self.span.end.max(other.span.end);
        self.latencies.service.merge(&other.latencies.service);
        self.latencies.response.merge(&other.latencies.response);
        self.connect.merge(&other.connect);
        self.send_lag.merge(&other.send_lag);
        self.messages.merge(&other.messages);
        self.achieved += other.achieved;
        self.opened += other.opened;
        self.closed += other.closed;
        self.lost += other.lost;
        self.is_cut |= other.is_cut;
    }
}

/// A worker's end: where it gets empty intervals and sends full ones.
pub(super) struct IntervalWriter {
    worker: usize,
    full: SyncSender<(usize, Interval)>,
    empty: Receiver<Interval>,
}

impl IntervalWriter {
    /// An empty interval. The merger returns those it has read; one that is late costs an allocation, not a wait.
    pub(super) fn empty(&self) -> Interval {
        self.empty.try_recv().unwrap_or_default()
    }

    /// Sends an interval, or returns it if the merger is [`BACKLOG`] intervals behind: the worker goes on with it.
    pub(super) fn try_send(&self, full: Interval) -> Option<Interval> {
        match self.full.try_send((self.worker, full)) {
            Err(TrySendError::Full((_, full))) => Some(full),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None, // If the merger is gone, nothing reads it any more.
        }
    }

    /// Sends the last interval of a run or slice, after measuring: it may wait.
    pub(super) fn send(&self, last: Interval) {
        let _ = self.full.send((self.worker, last)); // As above.
    }
}

/// The receiving end: merges the intervals of all workers, second by second.
pub(super) struct IntervalMerger {
    full: Receiver<(usize, Interval)>,
    empty: Vec<SyncSender<Interval>>,
    /// How many intervals each worker has sent.
    sent: Vec<u64>,
    /// By index; not from all workers yet.
    partial: BTreeMap<u64, Interval>,
}

impl IntervalMerger {
    /// A merger, and the writer of each worker.
    pub(super) fn new(workers: usize) -> (IntervalMerger, Vec<IntervalWriter>) {
        let (full_sender, full) = sync_channel(BACKLOG * workers);
        let mut empty_senders = Vec::new();
        let mut writers = Vec::new();
        for worker in 0..workers {
            let (empty_sender, empty) = sync_channel(EMPTY);
            let _ = empty_sender.send(Interval::default()); // Cannot fail: there is room, and `empty` is alive.
            empty_senders.push(empty_sender);
            writers.push(IntervalWriter {
                worker,
                full: full_sender.clone(),
                empty,
            });
        }
        let merger = IntervalMerger {
            full,
            empty: empty_senders,
            sent: vec![0; workers],
            partial: BTreeMap::new(),
        };
        (merger, writers)
    }

    /// Waits up to `timeout` for an interval. False once all workers have returned.
    pub(super) fn wait(&mut self, timeout: Nanos) -> bool {
        match self.full.recv_timeout(timeout.into()) {
            Ok((worker, interval)) => {
                self.add(worker, interval);
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    fn add(&mut self, worker: usize, mut interval: Interval) {
        self.sent[worker] = interval.index + 1;
        self.partial
            .entry(interval.index)
            .and_modify(|sum| sum.merge(&interval))
            .or_insert_with(|| interval.clone());
        interval.clear();
        let _ = self.empty[worker].try_send(interval); // The worker has enough, or has returned.
    }

    /// True if all workers have sent the oldest interval.
    pub(super) fn is_complete(&self) -> bool {
        let oldest = self.partial.first_key_value();
        oldest.is_some_and(|(oldest, _)| self.sent.iter().all(|count| count > oldest))
    }

    /// The oldest interval, once all workers have sent it; or whatever is left when `all_returned`.
    pub(super) fn next_complete(&mut self, all_returned: bool) -> Option<Interval> {
        if self.is_complete() || all_returned {
            self.partial.pop_first().map(|(_, interval)| interval)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(index: u64, completed: u64, end: u64) -> Interval {
        let mut interval = Interval {
            index,
            ..Interval::default()
        };
        interval.messages.completed = completed;
        interval.span.end = Nanos(end);
        interval
    }

    #[test]
    fn an_interval_is_complete_once_every_worker_has_sent_it() {
        let (mut merger, writers) = IntervalMerger::new(2);
        writers[0].send(interval(0, 3, 10));
        assert!(merger.wait(Nanos(0)));
        assert!(merger.next_complete(false).is_none());
        writers[1].send(interval(0, 4, 12));
        assert!(merger.wait(Nanos(0)));
        let interval = merger.next_complete(false).unwrap();
        assert_eq!(
            (interval.index, interval.messages.completed, interval.span.end),
            (0, 7, Nanos(12))
        );
    }

    #[test]
    fn intervals_left_when_all_workers_have_returned_are_not_lost() {
        let (mut merger, writers) = IntervalMerger::new(2);
        writers[1].send(interval(0, 4, 10));
        drop(writers);
        while merger.wait(Nanos::SECOND) {}
        assert_eq!(merger.next_complete(true).unwrap().messages.completed, 4);
        assert!(merger.next_complete(true).is_none());
    }

    #[test]
    fn a_worker_keeps_what_the_merger_has_no_room_for() {
        let (mut merger, writers) = IntervalMerger::new(1);
        let mut kept = None;
        for index in 0..20 {
            let mut next = interval(index, 1, index + 1);
            if let Some(kept) = kept.take() {
                next.merge(&kept);
            }
            kept = writers[0].try_send(next);
        }
        assert!(merger.wait(Nanos(0))); // There is room again.
        writers[0].send(kept.unwrap());
        drop(writers);
        while merger.wait(Nanos::SECOND) {}
        let completed = std::iter::from_fn(|| merger.next_complete(true)).map(|one| one.messages.completed);
        assert_eq!(completed.sum::<u64>(), 20);
    }

    #[test]
    fn intervals_come_back_empty() {
        let (mut merger, writers) = IntervalMerger::new(1);
        for index in 0..10 {
            let mut interval = interval(index, 1, index);
            interval.latencies.service.record(Nanos(5));
            interval.lost = 1;
            writers[0].send(interval);
            assert!(merger.wait(Nanos(0)));
            assert_eq!(merger.next_complete(false).unwrap().latencies.service.count(), 1);
            let empty = writers[0].empty();
            assert_eq!((empty.latencies.service.count(), empty.lost), (0, 0));
            assert_eq!(empty.messages, Messages::default());
        }
    }
}
