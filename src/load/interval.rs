//! What happened in one second: filled by workers, put together by the thread that watches.
//!
//! Workers record into intervals only. A worker hands in one a second and gets blank ones back, so that no second
//! costs an allocation, and nothing on the data path is shared.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use crate::clock::Nanos;
use crate::histogram::Recorder;
use crate::load::pinger::Message;
use crate::load::result::Messages;

/// One second of one worker, or of all.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Which second of the measurement, from 0.
    pub second: u64,
    /// When it began and ended, since measuring began.
    pub from: Nanos,
    /// See `from`.
    pub to: Nanos,
    /// Latencies from the submit.
    pub service: Recorder,
    /// Latencies from the planned instant; empty in a closed loop.
    pub response: Recorder,
    /// What became of messages in it: `sent` were asked for in it, the others ended in it.
    pub messages: Messages,
    /// Connections lost in it.
    pub lost: u64,
}

impl Interval {
    fn blank() -> Interval {
        Interval {
            second: 0,
            from: Nanos(0),
            to: Nanos(0),
            service: Recorder::new(),
            response: Recorder::new(),
            messages: Messages::default(),
            lost: 0,
        }
    }

    fn wipe(&mut self) {
        self.service.clear();
        self.response.clear();
        self.messages = Messages::default();
        self.lost = 0;
    }

    /// A message has come back at `now`.
    pub(super) fn answered(&mut self, message: Message, now: Nanos, open_loop: bool) {
        self.messages.ok += 1;
        self.service.record(now - message.submitted);
        if open_loop {
            self.response.record(now - message.planned);
        }
    }

    /// A message will not be waited for any longer: it counts with the age it has reached.
    pub(super) fn missing(&mut self, message: Message, now: Nanos, open_loop: bool) {
        self.messages.missing += 1;
        if message.submitted <= now {
            self.service.record_missing(now - message.submitted);
        }
        if open_loop {
            self.response.record_missing(now - message.planned);
        }
    }

    /// Adds what another worker, or a later second, has recorded.
    pub fn merge(&mut self, other: &Interval) {
        self.to = self.to.max(other.to);
        self.service.merge(&other.service);
        self.response.merge(&other.response);
        self.messages.merge(&other.messages);
        self.lost += other.lost;
    }
}

/// A worker's end: the interval it writes on, and where it hands it in.
pub(super) struct IntervalWriter {
    worker: usize,
    pub(super) interval: Interval,
    finished: SyncSender<(usize, Interval)>,
    blank: Receiver<Interval>,
}

impl IntervalWriter {
    /// Hands in the interval and takes a blank one for the second `second`.
    pub(super) fn turn_over(&mut self, second: u64, now: Nanos) {
        self.interval.to = now;
        let mut blank = match self.blank.try_recv() {
            Ok(blank) => blank,
            // The watcher is slow for once: better an allocation than a wait.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Interval::blank(),
        };
        (blank.second, blank.from, blank.to) = (second, now, now);
        let full = std::mem::replace(&mut self.interval, blank);
        let _ = self.finished.send((self.worker, full)); // Nobody watches any more: nobody wants it.
    }
}

/// The watcher's end: puts intervals of the same second together.
pub(super) struct IntervalMerger {
    finished: Receiver<(usize, Interval)>,
    blanks: Vec<SyncSender<Interval>>,
    /// How many seconds each worker has handed in.
    handed_in: Vec<u64>,
    open: BTreeMap<u64, Interval>,
}

impl IntervalMerger {
    /// A ledger and a desk for each worker.
    pub(super) fn with_desks(workers: usize) -> (IntervalMerger, Vec<IntervalWriter>) {
        let (finish, finished) = sync_channel(4 * workers);
        let mut blanks = Vec::new();
        let desks = (0..workers).map(|worker| {
            let (sender, blank) = sync_channel(2);
            let _ = sender.send(Interval::blank()); // There is room for two.
            blanks.push(sender);
            IntervalWriter {
                worker,
                interval: Interval::blank(),
                finished: finish.clone(),
                blank,
            }
        });
        let desks = desks.collect();
        (
            IntervalMerger {
                finished,
                blanks,
                handed_in: vec![0; workers],
                open: BTreeMap::new(),
            },
            desks,
        )
    }

    /// Waits for a interval for at most `patience`. False when all workers have left.
    pub(super) fn wait(&mut self, patience: Nanos) -> bool {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.finished.recv_timeout(patience.into()) {
            Ok((worker, interval)) => {
                self.enter(worker, interval);
                true
            }
            Err(Timeout) => true,
            Err(Disconnected) => false,
        }
    }

    fn enter(&mut self, worker: usize, mut interval: Interval) {
        self.handed_in[worker] = interval.second + 1;
        match self.open.entry(interval.second) {
            std::collections::btree_map::Entry::Occupied(mut both) => both.get_mut().merge(&interval),
            std::collections::btree_map::Entry::Vacant(first) => {
                first.insert(interval.clone());
            }
        }
        interval.wipe();
        let _ = self.blanks[worker].try_send(interval); // It has enough, or has left.
    }

    /// True if all workers have handed in the oldest second.
    pub(super) fn is_whole(&self) -> bool {
        let oldest = self.open.first_key_value();
        oldest.is_some_and(|(oldest, _)| self.handed_in.iter().all(|seconds| seconds > oldest))
    }

    /// The oldest second that all workers have handed in; any that is left once they have `all_left`.
    pub(super) fn next_whole(&mut self, all_left: bool) -> Option<Interval> {
        let (&oldest, _) = self.open.first_key_value()?;
        if self.is_whole() || all_left {
            self.open.remove(&oldest)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_whole_once_every_worker_has_handed_it_in() {
        let (mut ledger, mut desks) = IntervalMerger::with_desks(2);
        desks[0].interval.messages.ok = 3;
        desks[0].turn_over(1, Nanos(10));
        assert!(ledger.wait(Nanos(0)));
        assert!(ledger.next_whole(false).is_none());
        desks[1].interval.messages.ok = 4;
        desks[1].turn_over(1, Nanos(12));
        assert!(ledger.wait(Nanos(0)));
        let whole = ledger.next_whole(false).unwrap();
        assert_eq!((whole.second, whole.messages.ok, whole.to), (0, 7, Nanos(12)));
    }

    #[test]
    fn what_is_left_when_all_have_gone_is_not_lost() {
        let (mut ledger, mut desks) = IntervalMerger::with_desks(2);
        desks[1].interval.messages.ok = 4;
        desks[1].turn_over(1, Nanos(10));
        drop(desks);
        while ledger.wait(Nanos::SECOND) {}
        assert_eq!(ledger.next_whole(true).unwrap().messages.ok, 4);
        assert!(ledger.next_whole(true).is_none());
    }

    #[test]
    fn blank_sheets_come_back_wiped() {
        let (mut ledger, mut desks) = IntervalMerger::with_desks(1);
        for second in 1..10 {
            desks[0].interval.service.record(Nanos(5));
            desks[0].interval.lost = 1;
            desks[0].turn_over(second, Nanos(second));
            assert!(ledger.wait(Nanos(0)));
            assert_eq!((desks[0].interval.service.count(), desks[0].interval.lost), (0, 0));
            assert_eq!(ledger.next_whole(false).unwrap().service.count(), 1);
        }
    }
}
