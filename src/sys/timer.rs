//! Waking up on time, and noticing that somebody else wants this CPU.

use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::sys::prctl;

use crate::clock::Nanos;

/// Lets timers of this thread fire when they are due instead of up to 50 µs later, together with others
/// (PR_SET_TIMERSLACK, prctl(2)). Threads it starts later inherit it.
pub fn minimise_timer_slack() {
    let _ = prctl::set_timerslack(1); // In nanoseconds. Refused by nobody; late by 50 µs if it were.
}

/// How long this thread has waited for a CPU while it wanted to run: what others took from it.
///
/// The second figure of /proc/thread-self/schedstat (sched-stats.rst of the kernel). Counting its involuntary context
/// switches instead would not do: threads of the kernel cause a hundred of them a second, and take next to nothing.
#[derive(Debug)]
pub struct RunDelay(Option<File>);

impl RunDelay {
    /// Of the calling thread.
    pub fn of_this_thread() -> RunDelay {
        RunDelay(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Since the thread began; zero for ever where the kernel does not tell (CONFIG_SCHED_INFO).
    pub fn read(&self) -> Nanos {
        let mut text = [0; 96];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = std::str::from_utf8(&text[..read.unwrap_or(0)]).unwrap_or_default();
        let waited = text.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse().ok());
        Nanos(waited.unwrap_or(0))
    }
}

/// Looks in a row that must feel contention: one of a hundred meets something of the kernel's, a peer is felt in all.
const SUSTAINED: u32 = 4;

/// Notices that somebody else wants this thread's CPU, and goes on wanting it.
#[derive(Debug)]
pub struct Contention {
    waiting: RunDelay,
    /// What it was at the last look, and when that was.
    waited: Nanos,
    looked: Nanos,
    /// Looks in a row that felt it.
    felt: u32,
}

impl Contention {
    /// Of the calling thread, from now on.
    pub fn of_this_thread(now: Nanos) -> Contention {
        let waiting = RunDelay::of_this_thread();
        Contention {
            waited: waiting.read(),
            waiting,
            looked: now,
            felt: 0,
        }
    }

    /// Looks, ten milliseconds or more after the last time. True if this thread has waited for its CPU for more than a
    /// fifth of the time before each of the last looks. A peer that answers on the same CPU takes a quarter of it and
    /// more; the kernel's own threads, and a neighbour who now and then has work to do, take less.
    pub fn lasts(&mut self, now: Nanos) -> bool {
        let waited = self.waiting.read();
        let felt = (waited - self.waited).0 > (now - self.looked).0 / 5;
        (self.waited, self.looked) = (waited, now);
        self.felt = if felt { self.felt.saturating_add(1) } else { 0 };
        self.felt >= SUSTAINED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::sys::affinity;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    #[test]
    fn a_thread_that_shares_its_cpu_notices() {
        let cpu = affinity::allowed()[0];
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                affinity::pin(cpu).unwrap();
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            affinity::pin(cpu).unwrap();
            let waiting = RunDelay::of_this_thread();
            let deadline = clock::now() + Nanos(20_000_000_000);
            while waiting.read() < Nanos(1_000_000) {
                assert!(clock::now() < deadline, "{waiting:?}");
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
