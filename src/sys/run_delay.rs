//! How long a thread has waited for a CPU.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::clock::Nanos;

/// Time that a thread was runnable and did not run, because other tasks had its CPU.
///
/// The second field of /proc/thread-self/schedstat (Documentation/scheduler/sched-stats.rst). Involuntary context
/// switches are no substitute: kernel threads cause about a hundred of them a second and take next to no time.
#[derive(Debug)]
pub struct RunDelay(Option<File>);

impl RunDelay {
    /// Of the calling thread.
    pub fn of_this_thread() -> RunDelay {
        RunDelay(File::open("/proc/thread-self/schedstat").ok())
    }

    /// Total since the thread started. Always zero if the kernel does not report it (CONFIG_SCHED_INFO).
    pub fn read(&self) -> Nanos {
        let mut text = [0; 96];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = std::str::from_utf8(&text[..read.unwrap_or(0)]).unwrap_or_default();
        let waited = text.split_ascii_whitespace().nth(1).and_then(|ns| ns.parse().ok());
        Nanos(waited.unwrap_or(0))
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
    fn a_thread_that_shares_its_cpu_has_run_delay() {
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
            let run_delay = RunDelay::of_this_thread();
            let deadline = clock::now() + Nanos(20_000_000_000);
            while run_delay.read() < Nanos(1_000_000) {
                assert!(clock::now() < deadline, "{run_delay:?}");
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
