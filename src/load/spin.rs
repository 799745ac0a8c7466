//! Looking for completions instead of sleeping: what a worker does while nobody else wants its CPU.

use crate::clock::Nanos;
use crate::ring::{self, Ring};
use crate::sys::timer::WaitingTime;

/// How long to look for completions before sleeping, and before a deadline. Waking a sleeping CPU of a virtual
/// machine takes about as long.
const SPIN: Nanos = Nanos(100_000);

/// How often to check that nobody else wants our CPU while we spin, and for how long we then leave it to them.
const SPIN_CHECK: Nanos = Nanos(10_000_000);
const SPIN_PAUSE: Nanos = Nanos(250_000_000);

/// Looking instead of sleeping, while nobody else wants this CPU.
pub(super) struct Spin {
    /// True if the plan allows it at all.
    on: bool,
    /// When to check next, and when the last check was.
    check: Nanos,
    checked: Nanos,
    waiting: WaitingTime,
    waited: Nanos,
}

impl Spin {
    pub(super) fn new(on: bool) -> Spin {
        let waiting = WaitingTime::of_this_thread();
        Spin {
            on,
            check: Nanos(0),
            checked: Nanos(0),
            waited: waiting.so_far(),
            waiting,
        }
    }

    /// Switches it on and off in the ring, now and then.
    pub(super) fn check(&mut self, now: Nanos, ring: &mut Ring) {
        if !self.on || now < self.check {
            return;
        }
        let waited = self.waiting.so_far();
        // The kernel's own threads take less than a tenth of a CPU; whoever takes more has work to do.
        let contended = (waited - self.waited).0 > (now - self.checked).0 / 10;
        (self.waited, self.checked) = (waited, now);
        self.check = now + if contended { SPIN_PAUSE } else { SPIN_CHECK };
        ring.set_spin(if contended {
            ring::Spin::Never
        } else {
            ring::Spin::Always(SPIN)
        });
    }
}
