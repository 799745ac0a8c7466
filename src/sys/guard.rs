//! A second process that ends the servers when this one is killed before it could (SIGKILL, the OOM killer).
//!
//! The kernel kills a direct child (PR_SET_PDEATHSIG), but not what that has started. The guard reads from a pipe which
//! servers run. The end of the pipe is the end of this process: the guard then kills what is left.

use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::{offspring, orphans};
use crate::random::Random;

/// The hidden command that runs [`run`]; its argument is the mark of the servers.
pub const COMMAND: &str = "guard";

/// How this executable is started again: also if its file has been replaced since.
pub const THIS_EXECUTABLE: &str = "/proc/self/exe";

static ENABLED: AtomicBool = AtomicBool::new(false);

/// None until the first server is started.
static GUARD: Mutex<Option<Child>> = Mutex::new(None);

/// Servers of this process are guarded from now on. Call it only if this executable knows [`COMMAND`].
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

/// True in a process that starts no children but servers and their guard.
pub(super) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// The beginning of the mark of all servers that this process starts.
pub(super) fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| format!("{:016x}", Random::seed_from_os()))
}

/// Starts the guard, if that has not been done.
pub(super) fn start() -> io::Result<()> {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_some() || !is_enabled() {
        return Ok(());
    }
    let mut command = Command::new(THIS_EXECUTABLE);
    command
        .arg0("urecho")
        .args([COMMAND, mark()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0); // Shielded from Ctrl-C.
    orphans::collect(); // Before the first child of this process.
    let started = command.spawn()?;
    orphans::started(started.id());
    *guard = Some(started);
    Ok(())
}

/// This server is to be killed with this process.
pub(super) fn watch(server: u32) {
    write(&format!("+{server}\n"));
}

/// This process is to be killed with this one, if it still runs then. It belongs to a server, but not to its group.
pub(super) fn watch_process(pid: i32) {
    if let Some(started) = offspring::started(pid) {
        write(&format!("={pid} {started}\n"));
    }
}

/// This server has ended, and all that it had started.
pub(super) fn release(server: u32) {
    write(&format!("-{server}\n"));
}

fn write(line: &str) {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pipe) = guard.as_mut().and_then(|guard| guard.stdin.as_mut()) {
        let _ = pipe.write_all(line.as_bytes()); // Without a guard servers still end with this process, unless it is killed.
    }
}

/// Ends the guard. Call it at the end of the process, when all servers have ended.
pub fn finish() {
    let guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut guard) = guard {
        let _ = guard.stdin.take().map(|mut pipe| pipe.write_all(b".\n"));
        let _ = guard.wait();
    }
}

/// The guard itself: reads lines from stdin until its end, then kills the servers that are left.
pub fn run(mark: &str) {
    let _ = nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None); // It ends with the pipe only.
    let mut servers: Vec<i32> = Vec::new();
    let mut processes: Vec<(i32, u64)> = Vec::new();
    let mut finished = false;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        if let Some(process) = line.strip_prefix('=').and_then(parse_process) {
            processes.push(process);
            continue;
        }
        match (line.get(..1), line.get(1..).and_then(|number| number.parse().ok())) {
            (Some("+"), Some(server)) => servers.push(server),
            (Some("-"), Some(server)) => servers.retain(|&other| other != server),
            _ => finished = line == ".",
        }
    }
    // A server that was started this instant may not be in the list: it has the mark.
    if !finished {
        let is_same = |&&(pid, started): &&(i32, u64)| offspring::started(pid) == Some(started);
        let processes: Vec<i32> = processes.iter().filter(is_same).map(|&(pid, _)| pid).collect();
        offspring::kill(&processes);
        offspring::kill_all(&servers, mark);
    }
}

/// `PID TICKS`, when it started.
fn parse_process(text: &str) -> Option<(i32, u64)> {
    let (pid, started) = text.split_once(' ')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}
