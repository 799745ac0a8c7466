//! Timer slack: how late the kernel may fire a timer.

use nix::sys::prctl;

/// Lets timers of this thread fire when they are due, not up to 50 µs later together with others (PR_SET_TIMERSLACK,
/// prctl(2)). Threads that it starts later inherit the setting.
pub fn minimise_timer_slack() {
    // In nanoseconds. Setting the slack of the calling thread cannot be refused.
    let _ = prctl::set_timerslack(1);
}
