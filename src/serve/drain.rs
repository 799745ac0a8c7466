//! When a server that stops looks after its connections, and when it has waited long enough.

use crate::clock::{self, Nanos};

/// How long a peer must be quiet before a server that stops says goodbye. Between two segments of a stream the
/// socket is empty for a moment too: for as long as pacing or a delayed ACK (40 ms) takes.
const QUIET: Nanos = Nanos(100_000_000);

/// The way out of one worker.
#[derive(Debug)]
pub(super) struct Drain {
    timeout: Nanos,
    /// When the rest is cut; never while serving.
    end: Option<Nanos>,
    /// When to look for quiet peers; never while serving.
    sweep: Nanos,
}

impl Drain {
    /// Not begun, and at most this long once it is.
    pub(super) fn new(timeout: Nanos) -> Drain {
        Drain {
            timeout,
            end: None,
            sweep: Nanos::NEVER,
        }
    }

    /// Begins; false if it had begun before.
    pub(super) fn begin(&mut self) -> bool {
        if self.has_begun() {
            return false;
        }
        let now = clock::now();
        self.end = Some(now + self.timeout);
        self.sweep = now + self.quiet();
        true
    }

    pub(super) fn has_begun(&self) -> bool {
        self.end.is_some()
    }

    /// True when it is time to look who has been quiet since the last time; the next time is set.
    pub(super) fn sweeps(&mut self) -> bool {
        if !self.has_begun() || clock::now() < self.sweep {
            return false;
        }
        self.sweep = clock::now() + self.quiet();
        true
    }

    /// True when no connection gets any more time.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| clock::now() >= end)
    }

    /// When to wake up for it.
    pub(super) fn next(&self) -> Nanos {
        self.end.unwrap_or(Nanos::NEVER).min(self.sweep)
    }

    /// Short drains have time for a few sweeps too.
    fn quiet(&self) -> Nanos {
        QUIET.min(Nanos(self.timeout.0 / 4))
    }
}
