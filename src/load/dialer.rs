//! Opening connections, without sockets or a clock: which to dial when, and which to give up.
//!
//! A window limits how many connection attempts are in progress at once, so that the target's accept queue does not
//! overflow. It starts at 1 and grows by 1 with every connection that opens (slow start), unless an older one is still
//! in progress (head-of-line rule); a lost SYN halves it. The numbers of all workers interleave.

use std::collections::VecDeque;

use crate::clock::Nanos;
use crate::load::workload::Workload;
use crate::slab::Key;

#[cfg(test)]
mod model;

/// The largest window of all workers together: below the shortest accept queue in common use (128), so that no SYN is
/// dropped. Each worker has its part, and at least one.
const WINDOW: usize = 96;

/// Connections dialled per pass during the ramp-up. The kernel makes one after the other, and each seems to have taken
/// as long as all of the pass.
const DIALS: usize = 4;

/// A handshake that took this long has lost a SYN: the kernel sends it again after 1 s (RFC 6298).
const SYN_LOST: Nanos = Nanos(900_000_000);

/// After this long without a connection that opens, the window doubles: those in progress may not be typical.
const STALL: Nanos = Nanos::SECOND;

/// How long a connection that is opening may stand still: three lost SYNs are retransmitted within 7 s. Bytes of its
/// first message are progress, so a large one takes the time that it needs.
const TIMEOUT: Nanos = Nanos(10_000_000_000);

/// How long to wait before replacing a connection that could not be opened, or was lost (churn).
pub(super) const RETRY_DELAY: Nanos = Nanos(1_000_000);

/// Which connections of one worker are still to be opened, and which attempts are in progress.
#[derive(Debug)]
pub(super) struct Dialer {
    /// The numbers of the initial connections that have not been dialled: from `initial` in steps up to `end`.
    initial: u64,
    end: u64,
    /// The number of the next replacement.
    replacement: u64,
    /// Distance between two numbers of this worker: how many workers there are.
    step: u64,
    /// Connections that this worker holds at once.
    share: usize,
    /// True if connections that end are replaced (churn).
    churn: bool,
    /// In progress, in the order of dialling, which is that of their numbers.
    attempts: VecDeque<Attempt>,
    /// None of them times out before.
    timeout: Nanos,
    window: usize,
    /// The largest window of this worker.
    limit: usize,
    /// Initial connections that may still be dialled in this pass.
    dials: usize,
    /// Replacements to dial now, and when to dial more.
    due: usize,
    retries: VecDeque<Nanos>,
    /// When a connection last opened or moved, or dialling began.
    progress: Nanos,
    /// When the window was last doubled, or a connection last opened.
    widened: Nanos,
}

/// A connection attempt in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attempt {
    number: u64,
    key: Key,
    deadline: Nanos,
}

impl Dialer {
    /// The dialer of worker `worker`. `opened`: how many of its connections are open already.
    pub(super) fn new(workload: &Workload, worker: usize, opened: u64, now: Nanos) -> Dialer {
        let (first, step) = (worker as u64, u64::from(workload.threads));
        let share = workload.share_of(worker);
        let end = first + share * step;
        Dialer {
            initial: first + opened * step,
            end,
            replacement: end,
            step,
            share: share as usize,
            churn: workload.churn.is_some(),
            attempts: VecDeque::new(),
            timeout: Nanos::NEVER,
            window: 1,
            limit: (WINDOW / workload.threads as usize).max(1),
            dials: 0,
            due: 0,
            retries: VecDeque::new(),
            progress: now,
            widened: now,
        }
    }

    /// How many connections this worker holds at once.
    pub(super) fn share(&self) -> usize {
        self.share
    }

    /// True once every initial connection has opened or failed, and no replacement is being opened.
    pub(super) fn is_complete(&self) -> bool {
        self.attempts.is_empty() && self.initial == self.end
    }

    /// Begins a pass. `replacing`: connections that end are replaced; requests to do so are dropped otherwise.
    pub(super) fn begin_pass(&mut self, now: Nanos, replacing: bool) {
        self.dials = DIALS;
        if !replacing {
            self.due = 0;
            self.retries.clear();
        }
        if now >= self.widened + STALL {
            self.widened = now;
            self.window = (self.window * 2).min(self.limit);
        }
    }

    /// The number of the next connection to dial in this pass. The caller reports [`dialed`](Dialer::dialed), or
    /// [`replace`](Dialer::replace) if there is no socket for it.
    pub(super) fn next(&mut self, now: Nanos) -> Option<u64> {
        if self.due == 0 && self.retries.front().is_some_and(|&due| due <= now) {
            self.retries.pop_front();
            self.due = 1;
        }
        if self.due > 0 {
            self.due -= 1;
            self.replacement += self.step;
            return Some(self.replacement - self.step);
        }
        if self.dials > 0 && self.has_room() {
            self.dials -= 1;
            self.initial += self.step;
            return Some(self.initial - self.step);
        }
        None
    }

    /// The connect of connection `number` is in the kernel.
    pub(super) fn dialed(&mut self, number: u64, key: Key, now: Nanos) {
        let deadline = now + TIMEOUT;
        self.timeout = self.timeout.min(deadline);
        self.attempts.push_back(Attempt { number, key, deadline });
    }

    /// Bytes of the first message of connection `number` have been sent or received.
    pub(super) fn moved(&mut self, number: u64, now: Nanos) {
        if let Some(index) = self.index_of(number) {
            self.attempts[index].deadline = now + TIMEOUT;
            self.progress = now;
        }
    }

    /// A handshake is complete, after `took`.
    pub(super) fn connected(&mut self, took: Nanos) {
        if took >= SYN_LOST {
            self.window = (self.window / 2).max(1);
        }
    }

    /// Connection `number` has opened.
    pub(super) fn opened(&mut self, number: u64, now: Nanos) {
        self.remove(number);
        (self.progress, self.widened) = (now, now);
        // An older one may have lost its SYN. More at once would lose more, which all come back at the same instant.
        let waits_for_older = self.attempts.front().is_some_and(|oldest| oldest.number < number);
        if !waits_for_older {
            self.window = (self.window + 1).min(self.limit);
        }
    }

    /// Connection `number` has not opened.
    pub(super) fn failed(&mut self, number: u64) {
        self.remove(number);
    }

    /// Requests a replacement of a connection that has ended (churn), after `delay`: zero or [`RETRY_DELAY`].
    pub(super) fn replace(&mut self, now: Nanos, delay: Nanos) {
        if !self.churn {
            return;
        }
        if delay == Nanos(0) {
            self.due += 1;
        } else {
            self.retries.push_back(now + delay);
        }
    }

    /// Requests as many replacements as are missing, with `open` connections open (churn).
    pub(super) fn refill(&mut self, open: usize) {
        if self.churn {
            self.due = self.share.saturating_sub(open + self.attempts.len());
            self.retries.clear();
        }
    }

    /// Takes the next connection attempt that has taken too long.
    pub(super) fn timed_out(&mut self, now: Nanos) -> Option<Key> {
        if now < self.timeout {
            return None;
        }
        let late = self.attempts.iter().position(|attempt| attempt.deadline <= now);
        if late.is_none() {
            let deadlines = self.attempts.iter().map(|attempt| attempt.deadline);
            self.timeout = deadlines.min().unwrap_or(Nanos::NEVER);
        }
        self.attempts.remove(late?).map(|attempt| attempt.key)
    }

    /// After a time-out: gives up all that have not been dialled, if nothing has opened or moved for as long.
    /// Returns how many. A server that serves one connection at a time would keep us busy for hours.
    pub(super) fn give_up(&mut self, now: Nanos) -> u64 {
        if now < self.progress + TIMEOUT {
            return 0;
        }
        let left = (self.end - self.initial) / self.step;
        self.initial = self.end;
        left
    }

    /// When to call it again though nothing has completed; at once if there is something to dial.
    pub(super) fn wake_up(&self, now: Nanos) -> Nanos {
        if self.due > 0 || self.has_room() {
            return now;
        }
        let retry = self.retries.front().copied().unwrap_or(Nanos::NEVER);
        let stall = if self.initial < self.end {
            self.widened + STALL
        } else {
            Nanos::NEVER
        };
        self.timeout.min(retry).min(stall)
    }

    fn has_room(&self) -> bool {
        self.initial < self.end && self.attempts.len() < self.window
    }

    fn remove(&mut self, number: u64) {
        if let Some(index) = self.index_of(number) {
            self.attempts.remove(index);
        }
    }

    fn index_of(&self, number: u64) -> Option<usize> {
        self.attempts
            .binary_search_by_key(&number, |attempt| attempt.number)
            .ok()
    }
}
