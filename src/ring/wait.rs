//! When to submit, when to sleep, and full queues: they are nobody else's problem.

use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, opcode};

use super::Ring;
use super::token::{Op, Token};
use crate::clock::{self, Nanos};
use crate::error::Errno;
use crate::slab::Key;

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

    /// Submits all that was pushed, without waiting.
    pub(super) fn flush(&mut self) {
        while self.broken.is_none() && !self.uring.submission().is_empty() {
            self.enter(0, Nanos(0));
            self.collect();
        }
    }

    pub(super) fn wait(&mut self, until: Nanos) {
        let span = if until == Nanos::NEVER {
            until
        } else {
            until - clock::now()
        };
        self.enter(usize::from(span > Nanos(0)), span);
    }

    /// One io_uring_enter(2): submits everything, runs what the kernel deferred, waits for `want` completions.
    fn enter(&mut self, want: usize, span: Nanos) {
        self.counts.enters += 1;
        let pending = self.uring.submission().len() as u32;
        let timespec = Timespec::from(Duration::from(span));
        let mut args = SubmitArgs::new();
        if span != Nanos::NEVER {
            args = args.timespec(&timespec);
        }
        let flags = (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG).bits();
        let submitter = self.uring.submitter();
        // SAFETY: the arguments match the flags; entries were vetted when they were pushed.
        match unsafe { submitter.enter(pending, want as u32, flags, Some(&args)) } {
            Ok(_) => {}
            Err(error) => match error.raw_os_error() {
                // A signal, the deadline, or a kernel that wants its completions reaped first: all normal.
                Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY) => {}
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
}
