//! Child processes that cannot outlive us.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use nix::sys::prctl;
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getppid};

/// Process groups of tied children that were not ended yet: for an end that leaves no time for destructors.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Spawns a child that is [tied](tie), in a process group of its own. End that with [`kill_group`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    let child = tie(command).spawn()?;
    groups.push(child.id());
    Ok(child)
}

/// Makes the command's process die with the thread that spawns it, however that ends (PR_SET_PDEATHSIG, prctl(2)),
/// and keeps the terminal's Ctrl-C from it: we end it ourselves, after our report.
///
/// Spawn from the main thread: its end is the process's end.
fn tie(command: &mut Command) -> &mut Command {
    let parent = Pid::this();
    let before_exec = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        prctl::set_thp_disable(false)?; // Ours, not theirs: see `limits::disable_thp`.
        // So are the signals that we block to take them: a server that inherits that never sees our SIGTERM.
        SigSet::empty().thread_set_mask()?;
        // The parent may have died before the line above; then nobody would ever send the signal.
        if getppid() == parent {
            Ok(())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    };
    command.process_group(0);
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(before_exec) }
}

/// Asks a child of ours to end (SIGTERM). Must not have been waited for yet, or the id may be another's.
pub fn terminate(child: u32) {
    // ESRCH: it has ended by itself.
    let _ = signal::kill(Pid::from_raw(child as i32), Signal::SIGTERM);
}

/// Ends a tied child and all that it has started (SIGKILL to its process group). Must not have been waited for yet.
pub fn kill_group(child: u32) {
    kill(child);
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.retain(|&group| group != child);
}

/// Ends all groups that are left, because we end now.
pub(super) fn kill_groups() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.iter().copied().for_each(kill);
}

fn kill(group: u32) {
    let _ = signal::killpg(Pid::from_raw(group as i32), Signal::SIGKILL); // ESRCH: all have ended.
}

/// True if a child of ours has ended. Does not wait for it: its id stays its own, and its group's.
pub fn has_ended(child: u32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let status = waitid(Id::Pid(Pid::from_raw(child as i32)), flags);
    !matches!(status, Ok(WaitStatus::StillAlive))
}
