//! Processes of servers that have left everything by which they could be found: process group, parent and environment.
//!
//! When their parent ends they become children of this process (PR_SET_CHILD_SUBREAPER, prctl(2)), and not of the init
//! process: every child that this process has not started is one of them.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::offspring::{self, ROUND, ROUNDS};

/// All children that this process has started, also those that have ended.
static STARTED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Orphans become children of this process from now on. Not if it has children that it did not start (`exec` in a
/// script), or is the init process of a container: then others may become its children as well.
pub(super) fn collect() {
    collects();
}

fn collects() -> bool {
    static COLLECTS: OnceLock<bool> = OnceLock::new();
    *COLLECTS.get_or_init(|| {
        let has_others = std::process::id() == 1 || !strangers().is_empty();
        !has_others && prctl::set_child_subreaper(true).is_ok()
    })
}

/// This process has started a child.
pub(super) fn started(child: u32) {
    lock().push(child.cast_signed());
}

/// The orphans that have become children of this process, and that run.
pub(super) fn all() -> Vec<i32> {
    match collects() {
        true => strangers(),
        false => Vec::new(),
    }
}

/// Kills all orphans, with their descendants, until none is left. Call it when no server runs: an orphan may be of any.
pub(super) fn kill_all() {
    for _ in 0..ROUNDS {
        let orphans = all();
        if orphans.is_empty() {
            break;
        }
        offspring::kill(&orphans);
        thread::sleep(ROUND);
    }
    if collects() {
        for ended in offspring::children_of_this_process(true) {
            if !lock().contains(&ended) {
                let _ = waitpid(Pid::from_raw(ended), Some(WaitPidFlag::WNOHANG)); // Nothing else waits for it.
            }
        }
    }
}

/// Running children that this process did not start.
fn strangers() -> Vec<i32> {
    let mut children = offspring::children_of_this_process(false);
    children.retain(|child| !lock().contains(child));
    children
}

fn lock() -> std::sync::MutexGuard<'static, Vec<i32>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}
