//! Servers as child processes that cannot outlive this one, and nothing that they have started can.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::prctl;
use nix::sys::signal::{self, SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getppid};

use super::{guard, offspring, orphans};

/// Process groups of tied children that have not been killed yet, for an exit without destructors.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// A child, and the mark of all processes that it starts.
#[derive(Debug)]
pub struct TiedChild {
    /// The process itself; its process group has the same id.
    pub process: Child,
    mark: String,
    /// Orphans of other servers, from before its start.
    others: Vec<i32>,
}

/// Spawns a child that is [tied](tie) to this process, in a process group of its own. End it with
/// [`TiedChild::kill_all`].
pub fn spawn(command: &mut Command) -> io::Result<TiedChild> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let mark = format!("{}-{number}.", guard::mark());
    let _ = guard::start(); // Without it only a SIGKILL of this process leaves anything behind.
    let others = orphans();
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    let process = tie(command).env(offspring::MARK, &mark).spawn()?;
    orphans::started(process.id());
    guard::watch(process.id());
    groups.push(process.id());
    Ok(TiedChild { process, mark, others })
}

impl TiedChild {
    /// Its process id. Valid until it has been waited for.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// All processes that it has started and that run, itself included: also those that left its process group.
    /// Milliseconds: reads the environment of all processes.
    pub fn family(&self) -> Vec<i32> {
        let mut orphans = self.orphans();
        loop {
            let found = [offspring::marked(&self.mark), orphans.clone()].concat();
            let family = offspring::of_groups(&[self.id().cast_signed()], &found);
            let now = self.orphans();
            if now == orphans {
                return family;
            }
            orphans = now; // One that lost its parent meanwhile may have been missed.
        }
    }

    fn orphans(&self) -> Vec<i32> {
        let mut orphans = orphans();
        orphans.retain(|orphan| !self.others.contains(orphan));
        orphans
    }

    /// These processes of its family, which are not in its group, are to be killed with this process as well.
    pub fn watch(&self, elsewhere: &[i32]) {
        elsewhere.iter().copied().for_each(guard::watch_process);
    }

    /// Kills it and everything it has started (SIGKILL). It must not have been waited for yet, or its id may belong to
    /// another process.
    pub fn kill_all(&self) {
        offspring::kill_all(&[self.id().cast_signed()], &self.mark);
        guard::release(self.id());
        let is_last = {
            let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
            groups.retain(|&group| group != self.id());
            groups.is_empty()
        };
        if is_last && guard::is_enabled() {
            orphans::kill_all();
        }
    }
}

/// Orphans of all servers. None in a process that has children of other kinds as well.
fn orphans() -> Vec<i32> {
    match guard::is_enabled() {
        true => orphans::all(),
        false => Vec::new(),
    }
}

/// Makes the command's process die with the thread that spawns it, however that ends (PR_SET_PDEATHSIG, prctl(2)), and
/// shields it from the terminal's Ctrl-C: this process ends it after its report.
///
/// Spawn from the main thread, which ends only with the process.
fn tie(command: &mut Command) -> &mut Command {
    let parent = Pid::this();
    let before_exec = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Settings of this process that a child must not inherit: see `super::prctl`, and the blocked signals in
        // `signal`. A server with SIGTERM blocked would never stop.
        prctl::set_thp_disable(false)?;
        SigSet::empty().thread_set_mask()?;
        super::prctl::reset_file_size_limits();
        // If the parent died before PR_SET_PDEATHSIG, no signal would ever come.
        if getppid() == parent {
            Ok(())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    };
    command.process_group(0);
    // SAFETY: between fork and exec it only makes system calls, and allocates nothing.
    unsafe { command.pre_exec(before_exec) }
}

/// Asks a child to end (SIGTERM). It must not have been waited for yet, or its id may belong to another process.
pub fn terminate(child: u32) {
    // ESRCH: it has already ended.
    let _ = signal::kill(Pid::from_raw(child as i32), Signal::SIGTERM);
}

/// Kills all groups that are left, before this process exits. Allocates nothing; the guard kills what left the groups.
pub(super) fn kill_groups() {
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.iter().copied().for_each(kill);
}

/// Kills all orphans that are left, before this process exits.
pub(super) fn kill_orphans() {
    offspring::kill(&orphans());
}

fn kill(group: u32) {
    let _ = signal::killpg(Pid::from_raw(group as i32), Signal::SIGKILL); // ESRCH: all have already ended.
}

/// True if a child has ended. Does not reap it: its id, and that of its group, remain valid.
pub fn has_ended(child: u32) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let status = waitid(Id::Pid(Pid::from_raw(child as i32)), flags);
    !matches!(status, Ok(WaitStatus::StillAlive))
}
