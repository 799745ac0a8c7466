//! The processes that a command has started, however they were started: `sh -c`, a script that forks, a supervisor.
//!
//! They are those of its process group, their descendants, and all that have inherited its mark in their environment: a
//! process that called setsid(2), and whose parent has ended, has only that. A process that leaves the group, loses its
//! parent *and* cleans its environment is found by `orphans`. proc_pid_stat(5), proc_pid_environ(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::usage::processes;

/// The variable that marks the processes of a command.
pub(super) const MARK: &str = "URECHO_SERVER";

/// Processes are killed again while any is left, because they may fork meanwhile; this often at most.
pub(super) const ROUNDS: u32 = 500;

/// Between two rounds.
pub(super) const ROUND: Duration = Duration::from_millis(2);

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    group: i32,
    /// True once it has ended and waits to be reaped.
    ended: bool,
    /// In clock ticks since boot: an id alone may be reused.
    started: u64,
}

/// The living processes of these process groups, and all descendants of those and of `roots`, ascending.
pub fn of_groups(groups: &[i32], roots: &[i32]) -> Vec<i32> {
    let stats: BTreeMap<i32, Stat> = processes().filter_map(|pid| Some((pid, Stat::read(pid)?))).collect();
    members(&stats, |pid, stat| groups.contains(&stat.group) || roots.contains(&pid))
}

/// The children of this process: those that have ended and wait to be reaped, or those that run.
pub(super) fn children_of_this_process(ended: bool) -> Vec<i32> {
    let me = std::process::id().cast_signed();
    let is_child = |pid: &i32| Stat::read(*pid).is_some_and(|stat| stat.parent == me && stat.ended == ended);
    processes().filter(is_child).collect()
}

/// When a process started, in clock ticks since boot; None once it has ended.
pub(super) fn started(pid: i32) -> Option<u64> {
    Stat::read(pid).filter(|stat| !stat.ended).map(|stat| stat.started)
}

/// The processes that have inherited a mark that begins with this text.
pub fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let has_mark = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default(); // That of another user is not readable.
        environ
            .split(|&byte| byte == 0)
            .any(|variable| variable.starts_with(wanted.as_bytes()))
    };
    processes().filter(has_mark).collect()
}

/// Kills all processes of these groups, and all with the mark, with their descendants, until none is left. The calling
/// process is never one of them.
pub(super) fn kill_all(groups: &[i32], mark: &str) {
    let me = std::process::id().cast_signed();
    let mut was_empty = false;
    for _ in 0..ROUNDS {
        for &group in groups {
            let _ = signal::killpg(Pid::from_raw(group), Signal::SIGKILL); // ESRCH: all have already ended.
        }
        let mut left = of_groups(groups, &marked(mark));
        left.retain(|&pid| pid != me);
        if !left.is_empty() {
            kill(&left);
        } else if was_empty {
            return;
        }
        was_empty = left.is_empty(); // Looked at twice: in the middle of execve(2) a process has no environment.
        std::thread::sleep(ROUND);
    }
}

/// Kills these processes and their descendants.
pub(super) fn kill(pids: &[i32]) {
    for pid in of_groups(&[], pids) {
        let _ = signal::kill(Pid::from_raw(pid), Signal::SIGKILL); // ESRCH: it has ended meanwhile.
    }
}

/// The living processes for which `starts` holds, and all of their descendants.
fn members(stats: &BTreeMap<i32, Stat>, starts: impl Fn(i32, &Stat) -> bool) -> Vec<i32> {
    let mut found: BTreeSet<i32> = BTreeSet::new();
    loop {
        let known = found.len();
        let more = stats
            .iter()
            .filter(|&(&pid, stat)| starts(pid, stat) || found.contains(&stat.parent))
            .map(|(&pid, _)| pid);
        found = found.iter().copied().chain(more).collect();
        if found.len() == known {
            break;
        }
    }
    found.retain(|pid| !stats[pid].ended);
    found.into_iter().collect()
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is in parentheses and may contain anything; behind it are state, parent and group.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        let state = fields.next()?;
        Some(Stat {
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            ended: matches!(state, "Z" | "X"),
            started: fields.nth(16)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_of_a_group_belong_to_it_wherever_they_went() {
        let stat = |parent, group| Stat {
            parent,
            group,
            ended: false,
            started: 0,
        };
        let mut stats = BTreeMap::from([
            (1, stat(0, 1)),
            (10, stat(1, 10)),
            (11, stat(10, 10)),
            (12, stat(11, 12)), // It has called setsid(2), and so has its child.
            (13, stat(12, 13)),
            (20, stat(1, 20)),
        ]);
        let of_ten = |stats: &BTreeMap<i32, Stat>| members(stats, |_, stat| stat.group == 10);
        assert_eq!(of_ten(&stats), [10, 11, 12, 13]);
        stats.get_mut(&11).unwrap().ended = true;
        assert_eq!(of_ten(&stats), [10, 12, 13], "a zombie is not left running");
    }

    #[test]
    fn a_name_may_contain_anything() {
        let rest = "7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0";
        let stat = Stat::parse(&format!("42 (a) b (c) S {rest}")).unwrap();
        assert_eq!((stat.parent, stat.group, stat.ended), (7, 8, false));
        assert_eq!(stat.started, 12_345);
        assert!(Stat::parse(&format!("42 (gone) Z {rest}")).unwrap().ended);
        for text in ["", "42 (x)", "42 (x) S 1", "42 x S 1 2 3"] {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_child_inherits_the_mark_of_its_command() {
        let mark = format!("test-{}", std::process::id());
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", "echo ready; read -r line"]) // Not `exec`: in the middle of it there is no environment.
            .env(MARK, format!("{mark}-1"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert_eq!(marked(&mark), [child.id().cast_signed()]);
        kill_all(&[], &mark);
        assert!(!child.wait().unwrap().success());
        assert_eq!(marked(&mark), [0; 0]);
    }
}
