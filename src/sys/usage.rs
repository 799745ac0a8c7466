//! What threads and processes have used: CPU time, memory, context switches. And which process listens where.
//!
//! Everything about another process is an `Option`: it may be gone, or not ours to see. clock_getcpuclockid(3), proc(5).

mod cpus;
mod listener;

pub use cpus::{cpus_of, parallelism_of};
pub use listener::listener_of;

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use crate::clock::Nanos;

/// CPU time of the calling thread, user and system.
pub fn thread_cpu() -> Nanos {
    read_clock(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a CPU clock")
}

/// CPU time of all threads of a process, user and system, those that have exited included. None if there is no such
/// process; a child that has exited can be asked until it is waited for.
///
/// Read from the process's CPU clock: the same nanoseconds as in /proc/PID/task/*/schedstat, but a thread that exits
/// does not take its time with it, and one system call does for all threads. /proc/PID/stat would round to 10 ms.
/// A thread that is running at this moment on another CPU was last counted at its scheduler tick: up to one tick
/// (1 to 10 ms, CONFIG_HZ) per CPU is missing, which evens out over differences.
pub fn process_cpu(pid: i32) -> Option<Nanos> {
    // PID_MAX_LIMIT, proc_sys_kernel(5). Zero means ourselves to the kernel, and so do numbers of more than 29 bits,
    // which are cut when they are packed into a clock's id.
    const HIGHEST: i32 = 1 << 22;
    if !(1..=HIGHEST).contains(&pid) {
        return None;
    }
    read_clock(ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?)
}

/// Physical memory a process has mapped, in bytes (VmRSS, which counts shared pages in full). None for kernel threads.
pub fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, "VmRSS")? * 1024)
}

/// Context switches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// Times a thread gave up its CPU: it slept.
    pub voluntary: u64,
    /// Times a thread was preempted.
    pub involuntary: u64,
}

impl Switches {
    /// Those since `before`. A thread that has exited meanwhile counts as zero.
    pub fn since(self, before: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }
}

/// Context switches of all threads of a process so far.
/// Threads that have exited are not counted, so differences can be too small, never too large.
pub fn context_switches(pid: i32) -> Option<Switches> {
    let mut sum = None;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may exit between the listing and the look.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let others: Switches = sum.unwrap_or_default();
        sum = Some(Switches {
            voluntary: others.voluntary + field(&status, "voluntary_ctxt_switches")?,
            involuntary: others.involuntary + field(&status, "nonvoluntary_ctxt_switches")?,
        });
    }
    sum
}

/// The processes of a process group: a child that was [spawned](crate::sys::child::spawn), and all that it has started and
/// that did not leave. proc_pid_stat(5).
pub fn group(leader: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|&id| group_of(id) == Some(leader)).collect()
}

/// The fifth field; the second is in parentheses and may hold anything.
fn group_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(2)?.parse().ok()
}

fn read_clock(clock: ClockId) -> Option<Nanos> {
    clock_gettime(clock).ok().map(|time| Nanos::from(Duration::from(time)))
}

/// The first number of the line `name:` in a /proc status file.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::io::Write;
    use std::process::{Child, Command, Stdio};
    use std::time::Instant;

    use super::*;

    fn me() -> i32 {
        std::process::id().cast_signed()
    }

    /// A child that waits for input, with one thread.
    fn cat() -> Child {
        Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Computes until this thread has used so much CPU.
    fn burn(span: Nanos) {
        let start = thread_cpu();
        while thread_cpu() - start < span {
            (0..10_000_u64).for_each(|k| _ = black_box(k));
        }
    }

    #[test]
    fn the_time_of_a_thread_that_has_exited_stays_with_its_process() {
        let before = process_cpu(me()).unwrap();
        std::thread::spawn(|| burn(Nanos(50_000_000))).join().unwrap();
        assert!(process_cpu(me()).unwrap() - before >= Nanos(50_000_000));
    }

    #[test]
    fn a_thread_is_not_charged_for_its_neighbours() {
        let before = thread_cpu();
        std::thread::spawn(|| burn(Nanos(100_000_000))).join().unwrap();
        assert!(thread_cpu() - before < Nanos(50_000_000));
    }

    #[test]
    fn a_child_can_be_asked_until_it_is_waited_for() {
        let mut child = cat();
        let pid = child.id().cast_signed();
        assert!(process_cpu(pid).is_some());
        // Its output ends when it exits.
        drop(child.stdin.take());
        std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
        assert!(process_cpu(pid).is_some());
        child.wait().unwrap();
        assert_eq!(process_cpu(pid), None);
    }

    #[test]
    fn memory_that_is_touched_becomes_resident() {
        let before = resident(me()).unwrap();
        let touched = black_box(vec![1_u8; 64 << 20]);
        // Other tests free memory meanwhile: half of it is proof enough.
        assert!(resident(me()).unwrap() > before + touched.len() as u64 / 2);
    }

    #[test]
    fn a_process_that_waits_for_input_switches_of_its_own_will() {
        let mut child = cat();
        let pid = child.id().cast_signed();
        let before = context_switches(pid).unwrap().voluntary;
        child.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
        // It copies the line, and then waits for the next: that switch must come, though we cannot know when.
        let deadline = Instant::now() + Duration::from_secs(20);
        while context_switches(pid).is_some_and(|switches| switches.voluntary <= before) {
            assert!(Instant::now() < deadline, "still {before} voluntary switches");
            std::thread::yield_now();
        }
        assert!(context_switches(pid).is_some());
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn nothing_is_known_of_a_process_that_is_not_there() {
        // The kernel gives no id above 2^22, proc_sys_kernel(5).
        for pid in [(1 << 22) + 1, i32::MAX, 0, -1, i32::MIN] {
            assert_eq!(process_cpu(pid), None, "{pid}");
            assert_eq!(resident(pid), None, "{pid}");
            assert_eq!(context_switches(pid), None, "{pid}");
        }
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "VmRSSx:\t1 kB\nVmRSS:\t  4096 kB\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(field(status, "VmRSS"), Some(4_096));
        assert_eq!(field(status, "voluntary_ctxt_switches"), None);
    }
}
