//! How a poller waits: it busy-polls as a ring does, and sleeps with a time-out in nanoseconds.

use std::time::Duration;

use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::super::Spin;
use super::{Poller, failure};
use crate::clock::{self, Nanos};
use crate::error::Result;

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

    /// Waits for events until the time is over, and takes those that are there.
    ///
    /// ppoll(2) has a time-out in nanoseconds on every kernel. That of epoll_wait(2) is in milliseconds: messages of an
    /// open loop would be sent up to one late. epoll_pwait2(2) is not there before Linux 5.11, nor where a seccomp
    /// filter refuses it.
    pub(super) fn poll(&mut self, timeout: Option<Nanos>) -> Result<()> {
        match timeout.filter(|&timeout| timeout < FOREVER) {
            None => self.take(None),
            Some(Nanos(0)) => self.take(Some(&Timespec::default())),
            Some(timeout) => {
                self.counts.enters += 1;
                let timespec = Timespec::try_from(Duration::from(timeout)).unwrap_or_default();
                let mut epoll = [PollFd::new(&self.epoll, PollFlags::IN)];
                done(rustix::event::poll(&mut epoll, Some(&timespec)))?;
                self.take(Some(&Timespec::default()))
            }
        }
    }

    fn take(&mut self, timeout: Option<&Timespec>) -> Result<()> {
        self.counts.enters += 1;
        self.events.clear();
        let events = rustix::buffer::spare_capacity(&mut self.events);
        done(epoll::wait(&self.epoll, events, timeout))
    }
}

/// A signal ends a wait early, which is no error.
fn done(waited: rustix::io::Result<usize>) -> Result<()> {
    match waited {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(failure(errno.into())),
    }
}
