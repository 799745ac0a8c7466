//! How a poller waits: it busy-polls and sleeps as a ring does, and sleeps to the nanosecond where the kernel can.

use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll;

use super::super::Spin;
use super::{Poller, failure};
use crate::clock::{self, Nanos};
use crate::error::Result;

/// What a wait is rounded down to where the kernel has no finer timer. The rest is polled.
const MILLISECOND: Nanos = Nanos(1_000_000);

/// A day. Longer waits have no end.
const FOREVER: Nanos = Nanos(86_400_000_000_000);

impl Poller {
    /// As a ring waits: busy-polls first as `spin` says, and sleeps until shortly before the deadline.
    pub(super) fn wait(&mut self, until: Nanos) -> Result<()> {
        let now = clock::now();
        self.submitted = Some(now);
        let (Spin::Always(window) | Spin::Adaptive(window)) = self.spin else {
            return self.poll(Some(until - now));
        };
        if self.busy_poll(until.min(now + window))? {
            return Ok(());
        }
        let early = if until == Nanos::NEVER { until } else { until - window };
        let now = clock::now();
        if early > now {
            self.poll(Some(early - now))?;
        }
        if self.events.is_empty() {
            self.busy_poll(until.min(clock::now() + window))?;
        }
        Ok(())
    }

    /// Polls until there is an event (true) or the time is over.
    fn busy_poll(&mut self, until: Nanos) -> Result<bool> {
        // A system call takes half a microsecond. One that took this long was preempted, which costs no CPU time.
        const PREEMPTED: Nanos = Nanos(5_000);
        let mut now = clock::now();
        loop {
            let begin = now;
            self.poll(Some(Nanos(0)))?;
            now = clock::now();
            if !self.events.is_empty() {
                return Ok(true);
            }
            if now - begin < PREEMPTED {
                self.counts.spun = self.counts.spun + (now - begin);
            }
            if now >= until {
                return Ok(false);
            }
        }
    }

    /// One epoll_wait(2), or epoll_pwait2(2) (Linux 5.11) where milliseconds do not suffice.
    pub(super) fn poll(&mut self, timeout: Option<Nanos>) -> Result<()> {
        self.counts.enters += 1;
        let timeout = timeout.filter(|&timeout| timeout < FOREVER);
        let waited = match self.wait_once(timeout) {
            // Refused by the kernel or by a seccomp filter. What is less than a millisecond is waited for by the
            // caller.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if self.nanoseconds => {
                self.nanoseconds = false;
                self.wait_once(timeout)
            }
            waited => waited,
        };
        match waited {
            Ok(()) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(failure(errno.into())),
        }
    }

    fn wait_once(&mut self, timeout: Option<Nanos>) -> rustix::io::Result<()> {
        let whole = |timeout: Nanos| Nanos(timeout.0 / MILLISECOND.0 * MILLISECOND.0);
        let timeout = timeout.map(|timeout| if self.nanoseconds { timeout } else { whole(timeout) });
        let timespec = timeout.map(|timeout| {
            let timeout = Duration::from(timeout);
            Timespec {
                tv_sec: timeout.as_secs() as i64,
                tv_nsec: timeout.subsec_nanos().into(),
            }
        });
        self.events.clear();
        epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            timespec.as_ref(),
        )
        .map(drop)
    }
}

#[cfg(test)]
impl Poller {
    /// As a kernel before 5.11 waits.
    pub(in crate::ring) fn without_nanoseconds(&mut self, refused: bool) {
        self.nanoseconds = !refused;
    }
}
