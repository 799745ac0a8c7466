//! Stopping on SIGINT, SIGTERM and SIGHUP, as a descriptor that rings and pollers can wait for.
//!
//! The signals are blocked in all threads and taken by a thread that does nothing else, so no system call is
//! interrupted. A [`Stop`] stays readable once fired: any number of rings can watch it, and late ones see it too.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
pub use nix::sys::signal::Signal;
use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;

use crate::clock::{self, Nanos};
use crate::error::{self, Error, Outcome, Result};
use crate::sys::shortage;
use crate::sys::waker::Waker;

/// The signal of Ctrl-C.
pub const INTERRUPT: i32 = nix::sys::signal::Signal::SIGINT as i32;

/// A second signal within this time of the first is the same request: timeout(1) signals its child, and then the group
/// of both.
const SAME_REQUEST: Nanos = Nanos(300_000_000);

/// The number of the first signal, or zero.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// What is called before this process ends without destructors.
static ON_FORCED_EXIT: OnceLock<fn()> = OnceLock::new();

/// A request to stop, shared by all threads that must react to it.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    waker: Waker,
    /// The signal that fired it, or zero.
    signal: AtomicI32,
    fired: AtomicBool,
    /// Fire with it.
    children: Mutex<Vec<Weak<Inner>>>,
}

impl Stop {
    /// Not fired yet. Errors: [`Error::Machine`] when descriptors have run out.
    pub fn new() -> Result<Stop> {
        Ok(Stop(Arc::new(Inner {
            waker: Waker::new()?,
            signal: AtomicI32::new(0),
            fired: AtomicBool::new(false),
            children: Mutex::new(Vec::new()),
        })))
    }

    /// A stop that fires with this one, and can fire alone. Errors: [`Error::Machine`] when descriptors have run out.
    pub fn child(&self) -> Result<Stop> {
        let child = Stop::new()?;
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.0));
        if self.has_fired() {
            child.0.fire(self.0.signal.load(Ordering::Acquire));
        }
        drop(children);
        Ok(child)
    }

    /// Fires it. Repeating that has no effect.
    pub fn fire(&self) {
        self.0.fire(0);
    }

    /// Fires at the first SIGINT, SIGTERM or SIGHUP; the next SIGINT or SIGTERM, 300 ms later
    /// or more, ends the process at once with [`exit_code`]. A
    /// SIGHUP that was ignored when the process started stays ignored, for nohup(1).
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

    /// Waits until it has fired.
    pub fn wait(&self) {
        let mut watched = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        while poll(&mut watched, PollTimeout::NONE).is_err() {} // Interrupted.
    }

    /// The number of the signal that fired it, if one did.
    pub fn signal(&self) -> Option<i32> {
        Some(self.0.signal.load(Ordering::Acquire)).filter(|&signal| signal != 0)
    }
}

impl AsFd for Stop {
    /// Readable once it has fired, forever.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.waker.as_fd()
    }
}

/// The signal that has asked this process to stop, if one has.
pub fn received() -> Option<i32> {
    Some(RECEIVED.load(Ordering::Acquire)).filter(|&signal| signal != 0)
}

/// As a user does with Ctrl-C.
pub fn interrupt_this_process() {
    let _ = kill(Pid::this(), Signal::SIGINT); // It exists, and may signal itself.
}

/// Has this called before a second signal ends the process without destructors. The first call decides.
pub fn on_forced_exit(restore: fn()) {
    let _ = ON_FORCED_EXIT.set(restore);
}

/// The exit code of a program that a signal ended, by the convention of shells.
pub fn exit_code(signal: i32) -> u8 {
    error::exit_code([Outcome::Interrupted(signal)])
}

impl Inner {
    fn fire(&self, signal: i32) {
        if signal != 0 {
            self.signal.store(signal, Ordering::Release);
        }
        let children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        self.fired.store(true, Ordering::Release);
        self.waker.wake();
        for child in children.iter().filter_map(Weak::upgrade) {
            child.fire(signal);
        }
    }
}

impl Stop {
    fn watch_signals(&self) -> Result<()> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        if !is_ignored(Signal::SIGHUP) {
            signals.add(Signal::SIGHUP);
        }
        let failed = |cause: io::Error| Error::Machine(format!("cannot block signals: {cause}"));
        signals.thread_block().map_err(|errno| failed(errno.into()))?;
        let stop = self.clone();
        let waiter = move || wait_for_signals(&stop, &signals);
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

/// Signals that a thread waits for. They are blocked in every thread that is started after this.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Blocks these signals. Errors: [`Error::Machine`].
    pub fn block(signals: impl IntoIterator<Item = Signal>) -> Result<Signals> {
        let set: SigSet = signals.into_iter().collect();
        set.thread_block()
            .map_err(|errno| Error::Machine(format!("cannot block signals: {errno}")))?;
        Ok(Signals(set))
    }

    /// The next of them.
    pub fn wait(&self) -> Signal {
        loop {
            if let Ok(signal) = self.0.wait() {
                return signal;
            }
        }
    }
}

fn wait_for_signals(stop: &Stop, signals: &SigSet) {
    let mut asked = None;
    while let Ok(signal) = signals.wait() {
        if stop.signal().is_none() {
            RECEIVED.store(signal as i32, Ordering::Release);
            stop.0.fire(signal as i32);
        }
        // A terminal that closes, and a session that ends, send SIGHUP several times or together with another signal.
        if signal == Signal::SIGHUP {
            continue;
        }
        let Some(first) = asked else {
            asked = Some(clock::now());
            continue;
        };
        if clock::now() - first < SAME_REQUEST {
            continue;
        }
        // The user has asked twice: no destructors. The kernel cleans up, except for what our children started.
        if let Some(restore) = ON_FORCED_EXIT.get() {
            restore();
        }
        super::child::kill_groups();
        super::child::kill_orphans();
        // SAFETY: _exit(2) ends the process and touches no memory.
        unsafe { libc::_exit(exit_code(signal as i32).into()) }
    }
}

/// True if this process ignores the signal. sigaction(2).
fn is_ignored(signal: Signal) -> bool {
    // SAFETY: all fields are integers, for which zero is a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: changes nothing, and writes the present action.
    let failed = unsafe { libc::sigaction(signal as i32, ptr::null(), &raw mut action) };
    failed == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_fires_with_its_parent_and_alone() {
        let parent = Stop::new().unwrap();
        let [one, two] = [(); 2].map(|()| parent.child().unwrap());
        one.fire();
        assert!(one.has_fired() && !two.has_fired() && !parent.has_fired());
        parent.0.fire(15);
        assert!(two.has_fired());
        let late = parent.child().unwrap();
        assert_eq!((two.signal(), late.signal()), (Some(15), Some(15)));
    }
}
