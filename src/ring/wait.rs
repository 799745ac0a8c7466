//! When to submit, when to sleep, and full queues: they are nobody else's problem.

use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, opcode};

use super::token::{Op, Token};
use super::{Completion, PATIENCE, Ring, Spin};
use crate::clock::{self, Nanos};
use crate::error::Errno;
use crate::slab::Key;

/// IORING_ENTER_ABS_TIMER (Linux 6.12), which the crate does not name yet: io_uring_enter(2).
const ABS_TIMER: u32 = 1 << 5;

impl Ring {
    pub(super) fn push(&mut self, entry: Entry, op: Op, key: Key) {
        self.in_flight += 1;
        self.enqueue(entry.user_data(Token { op, key }.pack()));
    }

    pub(super) fn enqueue(&mut self, entry: Entry) {
        loop {
            // SAFETY: what the entry points to is owned by this ring: pool buffers whose chunks `outgoing` holds
            // until the send completes, and scratch that stays untouched until the entry is submitted.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.flush();
            if self.broken.is_some() {
                return; // The next turn reports it.
            }
        }
    }

    pub(super) fn cancel(&mut self, op: Op, key: Key) {
        let aim = CancelBuilder::user_data(Token { op, key }.pack());
        self.push(opcode::AsyncCancel2::new(aim).build(), Op::Cancel, key);
    }

    /// Makes sure that the next entry, and the scratch that it points to, go out with the same submission: a flush
    /// between the two would give the scratch to somebody else. False if the ring is broken.
    pub(super) fn make_room(&mut self) -> bool {
        if self.scratch.is_full() || self.uring.submission().is_full() {
            self.flush();
        }
        self.broken.is_none()
    }

    /// Submits all that was pushed, without waiting.
    pub(super) fn flush(&mut self) {
        while self.broken.is_none() && !self.uring.submission().is_empty() {
            self.enter(0, Nanos(0));
            self.collect();
        }
    }

    /// Submits everything and waits for a completion until `until`: looking while it may be near, asleep else.
    pub(super) fn wait(&mut self, until: Nanos) {
        let window = match self.spin {
            Spin::Always(window) => window,
            Spin::Adaptive(window) if self.history.is_worth_it() => {
                let found = self.look(until.min(clock::now() + window));
                self.history.polled(found);
                if !found {
                    self.sleep(until);
                }
                return;
            }
            Spin::Adaptive(_) | Spin::Never => return self.sleep(until),
        };
        if self.look(until.min(clock::now() + window)) {
            return;
        }
        // Asleep until shortly before the deadline, so that waking up does not make us late.
        let early = if until == Nanos::NEVER { until } else { until - window };
        if early > clock::now() {
            self.sleep(early);
        }
        if self.uring.completion().is_empty() {
            self.look(until.min(clock::now() + window));
        }
    }

    /// Submits everything, then looks for completions until one has come (true) or the time is over.
    fn look(&mut self, until: Nanos) -> bool {
        self.enter(0, Nanos(0));
        let begin = clock::now();
        let mut now = begin;
        while now < until && self.uring.completion().is_empty() {
            if self.uring.submission().taskrun() {
                self.enter(0, Nanos(0)); // Something has come; the kernel posts it when we enter.
            }
            std::hint::spin_loop();
            now = clock::now();
        }
        self.counts.spun = self.counts.spun + (now - begin);
        !self.uring.completion().is_empty()
    }

    fn sleep(&mut self, until: Nanos) {
        let want = usize::from(until > clock::now());
        self.enter(want, until);
    }

    /// One io_uring_enter(2): submits everything, runs what the kernel deferred, and waits for `want` completions,
    /// not beyond `until`.
    fn enter(&mut self, want: usize, until: Nanos) {
        self.counts.enters += 1;
        let pending = self.uring.submission().len() as u32;
        let mut flags = EnterFlags::GETEVENTS.bits() | EnterFlags::EXT_ARG.bits();
        let timespec = if self.absolute {
            flags |= ABS_TIMER;
            Timespec::from(Duration::from(self.epoch + until))
        } else {
            // Before Linux 6.12 the time runs from the end of the submission: late by as much as that takes.
            Timespec::from(Duration::from(until - clock::now()))
        };
        let mut args = SubmitArgs::new();
        if want > 0 && until != Nanos::NEVER {
            args = args.timespec(&timespec);
        }
        let submitter = self.uring.submitter();
        // SAFETY: the arguments match the flags; entries were vetted when they were pushed.
        match unsafe { submitter.enter(pending, want as u32, flags, Some(&args)) } {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // A signal, the deadline, or a kernel that wants its completions reaped first: all normal.
                Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => {}
                Some(libc::EINVAL) if self.absolute => self.absolute = false,
                _ => self.broken = Some(Errno::from(error)),
            },
        }
        if self.uring.submission().is_empty() {
            self.scratch.clear();
        }
    }

    /// Copies all completions out of the shared queue, so that handlers may push freely.
    pub(super) fn collect(&mut self) {
        if self.uring.submission().cq_overflow() {
            self.counts.overflows += 1;
        }
        self.ready.extend(self.uring.completion());
    }

    /// Reaps until nothing is in flight, or nothing has completed for as long as `patience`.
    fn reap(&mut self, patience: Nanos, last: &mut Vec<Completion>) {
        let mut progress = clock::now();
        let mut before = self.in_flight + 1;
        while self.in_flight > 0 && self.broken.is_none() {
            if self.in_flight < before {
                (before, progress) = (self.in_flight, clock::now());
            } else if clock::now() >= progress + patience {
                return;
            }
            // Descriptors in here are closed as they fall out of scope.
            last.clear();
            let _ = self.turn(progress + patience, last); // Broken: the loop ends by itself.
        }
    }
}

impl Drop for Ring {
    /// Takes back everything from the kernel; only then may the buffers go.
    ///
    /// Owners of many connections shut them down first: cancelling everything takes the kernel the square of its number.
    fn drop(&mut self) {
        let mut last = Vec::new();
        self.reap(Nanos(0), &mut last);
        if self.in_flight > 0 {
            let key = Key { slot: 0, generation: 0 };
            let everything = opcode::AsyncCancel2::new(CancelBuilder::any());
            self.push(everything.build(), Op::Cancel, key);
            self.reap(PATIENCE, &mut last);
        }
        if self.in_flight > 0 {
            eprintln!(
                "urecho: {} operations never completed; their buffers are left mapped",
                self.in_flight
            );
            self.pool.leak();
        }
    }
}
