//! Looking for completions instead of sleeping: what a worker does while nobody else wants its CPU.

use crate::clock::{self, Nanos};
use crate::ring::{self, Ring};
use crate::sys::timer::Contention;

/// How long to look for completions before sleeping, and before a deadline. Waking a sleeping CPU of a virtual
/// machine takes about as long.
const SPIN: Nanos = Nanos(100_000);

/// How often to check that nobody else wants our CPU while we spin, and for how long we leave it to somebody who does. A
/// pause doubles the latencies that are measured in it, so it must not be made for a moment's contention.
const SPIN_CHECK: Nanos = Nanos(10_000_000);
const SPIN_PAUSE: Nanos = Nanos(250_000_000);

/// Looking instead of sleeping, while nobody else wants this CPU.
pub(super) struct Spin {
    /// True if the plan allows it at all.
    on: bool,
    /// When to check next.
    check: Nanos,
    contention: Contention,
}

impl Spin {
    pub(super) fn new(on: bool) -> Spin {
        Spin {
            on,
            check: Nanos(0),
            contention: Contention::of_this_thread(clock::now()),
        }
    }

    /// Switches it on and off in the ring, now and then.
    pub(super) fn check(&mut self, now: Nanos, ring: &mut Ring) {
        if !self.on || now < self.check {
            return;
        }
        let contended = self.contention.lasts(now);
        self.check = now + if contended { SPIN_PAUSE } else { SPIN_CHECK };
        ring.set_spin(if contended {
            ring::Spin::Never
        } else {
            ring::Spin::Always(SPIN)
        });
    }
}
