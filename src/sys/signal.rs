//! Stopping on SIGINT and SIGTERM, as a descriptor that rings and pollers can wait for.
//!
//! The signals are blocked in all threads and taken by a thread that does nothing else, so no system call is interrupted.
//! A [`Stop`] stays readable once fired: any number of rings can watch it, and late ones see it too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use nix::sys::signal::{SigSet, Signal};

use crate::error::{self, Error, Outcome, Result};
use crate::sys::shortage;
use crate::sys::waker::Waker;

/// A request to stop, shared by all threads that must react to it.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waker: Waker,
    /// The signal that fired it, or zero.
    signal: AtomicI32,
    fired: AtomicBool,
}

impl Stop {
    /// Not fired yet. Errors: [`Error::Machine`] when descriptors have run out.
    pub fn new() -> Result<Stop> {
        Ok(Stop(Arc::new(Inner {
            waker: Waker::new()?,
            signal: AtomicI32::new(0),
            fired: AtomicBool::new(false),
        })))
    }

    /// Fires it. Repeating that has no effect.
    pub fn fire(&self) {
        self.0.fired.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Fires at the first SIGINT or SIGTERM; the second ends the process at once with [`exit_code`].
    ///
    /// Call it before other threads are started: they inherit the blocked signals. Errors: [`Error::Machine`].
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop::new()?;
        stop.watch_signals()?;
        Ok(stop)
    }

    /// True once it has fired.
    pub fn has_fired(&self) -> bool {
        self.0.fired.load(Ordering::Acquire)
    }

    /// The number of the signal that fired it, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.0.signal.load(Ordering::Acquire)).filter(|&signal| signal != 0)
    }
}

impl AsFd for Stop {
    /// Readable once it has fired, for ever.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.waker.as_fd()
    }
}

/// The exit code of a program that a signal ended, by the convention of shells.
pub fn exit_code(signal: i32) -> u8 {
    error::exit_code([Outcome::Interrupted(signal)])
}

impl Stop {
    fn watch_signals(&self) -> Result<()> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        let failed = |cause: io::Error| Error::Machine(format!("cannot block signals: {cause}"));
        signals.thread_block().map_err(|errno| failed(errno.into()))?;
        let stop = self.clone();
        let waiter = move || {
            if let Ok(signal) = signals.wait() {
                stop.0.signal.store(signal as i32, Ordering::Release);
                stop.fire();
            }
            if let Ok(signal) = signals.wait() {
                // The user has asked twice: no destructors. The kernel cleans up, except for what our children started.
                super::child::kill_groups();
                // SAFETY: _exit(2) ends the process and touches no memory.
                unsafe { libc::_exit(exit_code(signal as i32).into()) }
            }
        };
        let started = thread::Builder::new().name("signals".into()).spawn(waiter);
        started.map_err(|cause| {
            let why = shortage::of_threads();
            Error::Machine(format!(
                "cannot start the thread that waits for signals: {cause}. {why}"
            ))
        })?;
        Ok(())
    }
}
