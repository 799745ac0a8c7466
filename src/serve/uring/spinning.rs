//! When a worker busy-polls: while no other task wants its CPU, and no connection streams.

use crate::clock::{self, Nanos};
use crate::ring::{Spin, SpinLimits, SpinPolicy};

/// Waits between two readings of the clock: about 10 ms if each brings one message.
const WAITS: u32 = 1024;

/// Chooses how the ring waits.
pub(super) struct Spinning {
    policy: SpinPolicy,
    /// The last decision of the policy.
    allowed: Spin,
    /// Waits since then.
    waits: u32,
}

impl Spinning {
    /// For the calling thread: busy-polls for up to `window`; zero for never.
    pub(super) fn of_this_thread(window: Nanos) -> Spinning {
        let spin = match window {
            Nanos(0) => Spin::Never,
            window => Spin::Adaptive(window),
        };
        let mut policy = SpinPolicy::of_this_thread(SpinLimits {
            spin,
            check_every: Nanos(10_000_000),
            backoff: Nanos(80_000_000),
        });
        Spinning {
            allowed: policy.check(clock::now()),
            policy,
            waits: 0,
        }
    }

    /// How the next wait should spin while `streams` connections stream. What a stream waits for takes longer than
    /// busy-polling lasts.
    pub(super) fn next_wait(&mut self, streams: usize) -> Spin {
        self.waits += 1;
        if self.waits == WAITS {
            self.waits = 0;
            self.allowed = self.policy.check(clock::now());
        }
        if streams == 0 { self.allowed } else { Spin::Never }
    }
}
