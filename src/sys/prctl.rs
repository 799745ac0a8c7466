//! Settings of this process and its threads: prctl(2), and signals that it ignores.

use nix::sys::prctl;
use nix::sys::signal::{self, SigHandler, Signal};

/// Names this process `urecho` if it was started as /proc/self/exe: that path is its name otherwise, also in reports.
pub fn restore_name() {
    if prctl::get_name().is_ok_and(|name| name.as_c_str() == c"exe") {
        let _ = prctl::set_name(c"urecho"); // Fails for names that are too long only.
    }
}

/// Disables transparent huge pages for this process (PR_SET_THP_DISABLE). The allocator asks for them, and a server
/// with 10,000 connections then has 2 MiB resident for every few kilobytes in use: 30 MB instead of 11 (measured).
///
/// Children inherit the setting; `child::spawn` resets it.
pub fn disable_huge_pages() {
    let _ = prctl::set_thp_disable(true); // Fails only on a kernel without huge pages.
}

/// Lets timers of this thread fire when they are due, not up to 50 µs later together with others (PR_SET_TIMERSLACK).
/// Threads that it starts later inherit the setting.
pub fn minimise_timer_slack() {
    let _ = prctl::set_timerslack(1); // In nanoseconds. Cannot be refused for the calling thread.
}

/// The exit status of every child is kept until this process asks for it, also where SIGCHLD was ignored when it
/// started.
pub fn keep_exit_statuses() {
    // SAFETY: the default handler runs no code of this process.
    let _ = unsafe { signal::signal(Signal::SIGCHLD, SigHandler::SigDfl) }; // Cannot fail: the number is that of a signal.
}

/// A file that has reached the limit of its size (`ulimit -f`) is an output that cannot be written, as one on a full
/// disk is: without this, SIGXFSZ would end the process. Children inherit it; `child::spawn` resets it.
pub fn survive_file_size_limits() {
    handle_file_size_limits(SigHandler::SigIgn);
}

/// Undoes [`survive_file_size_limits`]. May be called between fork and exec.
pub(super) fn reset_file_size_limits() {
    handle_file_size_limits(SigHandler::SigDfl);
}

fn handle_file_size_limits(handler: SigHandler) {
    // SAFETY: neither of the two handlers runs code of this process.
    let _ = unsafe { signal::signal(Signal::SIGXFSZ, handler) }; // Cannot fail: the number is that of a signal.
}
