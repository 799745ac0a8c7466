//! When to submit, when to sleep, and what to do about full queues.

use std::thread;
use std::time::Duration;

use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};

use super::deadline::ABS_TIMER;
use super::token::{Op, Token};
use super::{Completion, RETRY_PERIOD, Ring, Spin, TIMEOUT};
use crate::clock::{self, Nanos};
use crate::error::Errno;
use crate::output::console;
use crate::slab::Key;

/// How long the kernel may refuse every call for want of memory before the ring counts as broken.
const RETRY_TIME: Nanos = Nanos(5_000_000_000);

impl Ring {
    pub(super) fn push(&mut self, entry: Entry, op: Op, key: Key) {
        self.in_flight += 1;
        self.enqueue(entry.user_data(Token { op, key }.pack()));
    }

    pub(super) fn enqueue(&mut self, entry: Entry) {
        loop {
            // SAFETY: the entry points to memory of this ring only: pool buffers whose chunks `outgoing` holds until
            // the send completes, and scratch that does not change until the entry is submitted.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.submit();
            if self.broken.is_some() {
                return; // The next turn returns the error.
            }
        }
    }

    pub(super) fn cancel(&mut self, op: Op, key: Key) {
        let target = CancelBuilder::user_data(Token { op, key }.pack());
        self.push(opcode::AsyncCancel2::new(target).build(), Op::Cancel, key);
    }

    /// Ensures that the next entry and the scratch that it points to are submitted together: a submission between them
    /// would free the scratch. False if the ring is broken.
    pub(super) fn make_room(&mut self) -> bool {
        if self.scratch.is_full() || self.uring.submission().is_full() {
            self.submit();
        }
        self.broken.is_none()
    }

    /// Submits everything pushed so far, without waiting.
    pub fn submit(&mut self) {
        while self.broken.is_none() && !self.uring.submission().is_empty() {
            self.poll();
        }
    }

    /// True if there is something to submit, to take, or to be run by the kernel when the ring is entered.
    pub(super) fn has_work(&mut self) -> bool {
        let queue = self.uring.submission();
        let pending = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        pending || !self.ready.is_empty() || !self.uring.completion().is_empty()
    }

    /// Submits everything, and takes what has completed.
    pub(super) fn poll(&mut self) {
        self.enter(0, Nanos(0));
        self.collect();
    }

    /// Submits everything and waits for a completion until `until`, busy-polling first as `spin` says.
    pub(super) fn wait(&mut self, until: Nanos) {
        let window = match self.spin {
            Spin::Always(window) => window,
            Spin::Adaptive(window) if self.history.is_worth_it() => {
                let before = self.counts.spun;
                let found = self.busy_poll(until.min(clock::now() + window));
                self.history.polled(found, self.counts.spun - before);
                if !found {
                    self.sleep(until);
                }
                return;
            }
            Spin::Adaptive(_) | Spin::Never => return self.sleep(until),
        };
        if self.busy_poll(until.min(clock::now() + window)) {
            return;
        }
        // Sleeps until shortly before the deadline, so that waking up in time does not matter.
        let early = if until == Nanos::NEVER { until } else { until - window };
        if early > clock::now() {
            self.sleep(early);
        }
        if self.uring.completion().is_empty() {
            self.busy_poll(until.min(clock::now() + window));
        }
    }

    /// Submits everything, then polls for completions until there is one (true) or the time is over.
    fn busy_poll(&mut self, until: Nanos) -> bool {
        // An iteration takes some 50 ns. One that took this long was preempted, which costs no CPU time.
        const PREEMPTED: Nanos = Nanos(2_000);
        self.enter(0, Nanos(0));
        let mut now = clock::now();
        self.submitted.get_or_insert(now);
        while now < until && self.uring.completion().is_empty() {
            let begin = now;
            let deferred = self.uring.submission().taskrun();
            if deferred {
                self.enter(0, Nanos(0)); // Deferred work: the kernel posts its completions on entry.
            }
            std::hint::spin_loop();
            now = clock::now();
            if !deferred && now - begin < PREEMPTED {
                self.counts.spun = self.counts.spun + (now - begin);
            }
        }
        !self.uring.completion().is_empty()
    }

    fn sleep(&mut self, until: Nanos) {
        let now = clock::now();
        self.submitted.get_or_insert(now);
        let want = usize::from(until > now);
        self.enter(want, until);
    }

    /// One io_uring_enter(2): submits everything, runs deferred work of the kernel, and waits for `want` completions
    /// until `until`.
    fn enter(&mut self, want: usize, until: Nanos) {
        self.counts.enters += 1;
        let pending = self.uring.submission().len() as u32;
        let mut flags = self.enter_flags;
        let timespec = match self.epoch {
            Some(epoch) => {
                flags |= ABS_TIMER;
                Timespec::from(Duration::from(epoch + until))
            }
            // The time runs from the end of the submission: late by the duration of that.
            None => Timespec::from(Duration::from(until - clock::now())),
        };
        let mut args = SubmitArgs::new();
        if want > 0 && until != Nanos::NEVER {
            args = args.timespec(&timespec);
        }
        let submitter = self.uring.submitter();
        // SAFETY: the arguments match the flags; `enqueue` has checked the entries.
        match unsafe { submitter.enter(pending, want as u32, flags, Some(&args)) } {
            Ok(_) => self.refused_since = None,
            Err(error) => self.enter_failed(Errno::from(error)),
        }
        if self.uring.submission().is_empty() {
            self.scratch.clear();
        }
    }

    fn enter_failed(&mut self, errno: Errno) {
        match errno.0 {
            // A signal, or the deadline: normal.
            libc::EINTR | libc::ETIME => self.refused_since = None,
            // The kernel is short of memory, or wants completions to be reaped first: over with one of the next calls.
            libc::EAGAIN | libc::EBUSY | libc::ENOMEM | libc::EBADR if self.may_retry() => {}
            _ => self.broken = Some(errno),
        }
    }

    /// True if the next call may succeed: at once if there are completions to reap, or after a pause, for a time.
    fn may_retry(&mut self) -> bool {
        if !self.uring.completion().is_empty() {
            return true;
        }
        let now = clock::now();
        if now - *self.refused_since.get_or_insert(now) > RETRY_TIME {
            return false;
        }
        thread::sleep(RETRY_PERIOD);
        true
    }

    /// Copies all completions out of the shared queue, so that handlers may push entries.
    pub(super) fn collect(&mut self) {
        if self.uring.submission().cq_overflow() {
            self.counts.overflows += 1;
        }
        self.ready.extend(self.uring.completion());
    }

    /// Reaps until nothing is in flight, or nothing has completed for `timeout`.
    fn reap(&mut self, timeout: Nanos, last: &mut Vec<Completion>) {
        let mut progress = clock::now();
        let mut before = self.in_flight + 1;
        while self.in_flight > 0 && self.broken.is_none() {
            if self.in_flight < before {
                (before, progress) = (self.in_flight, clock::now());
            } else if clock::now() >= progress + timeout {
                return;
            }
            // Descriptors in it are closed.
            last.clear();
            let _ = self.submit_and_wait(progress + timeout, last); // If it is broken, the loop ends.
        }
    }
}

impl Drop for Ring {
    /// Takes everything back from the kernel before the buffers are unmapped.
    ///
    /// An owner of many connections should shut them down first: the time to cancel everything grows with the square of
    /// the number of operations.
    fn drop(&mut self) {
        let mut last = Vec::new();
        self.submit(); // Closes.
        self.reap(Nanos(0), &mut last);
        if self.in_flight > 0 {
            let key = Key { slot: 0, generation: 0 };
            let everything = opcode::AsyncCancel2::new(CancelBuilder::any());
            self.push(everything.build(), Op::Cancel, key);
            self.reap(TIMEOUT, &mut last);
        }
        if self.in_flight > 0 {
            self.pool.leak();
        }
        if self.in_flight > 0 && self.broken.is_none() {
            console::note(format_args!(
                "urecho: {} io_uring operations did not complete after a cancel; their buffers stay mapped until exit",
                self.in_flight
            ));
        }
    }
}
