//! What threads and processes have used: CPU time, memory, context switches.
//!
//! Everything about another process is an `Option`: it may have ended, or belong to another user.
//! clock_getcpuclockid(3), proc(5).

mod cpus;
mod tree;

pub use cpus::{cpus_of, parallelism_of};
pub use tree::{ProcessTree, TreeUsage};

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

/// CPU time of all threads of this process, user and system.
pub fn own_cpu() -> Nanos {
    read_clock(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every process has a CPU clock")
}

/// CPU time of all threads of a process, user and system, including those that have exited. None if there is no such
/// process; a child that has exited still has one until it is waited for.
///
/// From the process's CPU clock: the same nanoseconds as in /proc/PID/task/*/schedstat, but the time of threads that
/// have exited is kept, and one system call suffices. /proc/PID/stat would round to 10 ms. A thread that is running on
/// another CPU was last accounted at its scheduler tick: up to one tick (1 to 10 ms, CONFIG_HZ) per CPU is missing,
/// which averages out in differences.
pub fn process_cpu(pid: i32) -> Option<Nanos> {
    // PID_MAX_LIMIT, proc_sys_kernel(5). To the kernel zero is the calling process, and so are numbers of more than 29
    // bits, which are truncated in the id of a clock.
    const HIGHEST: i32 = 1 << 22;
    if !(1..=HIGHEST).contains(&pid) {
        return None;
    }
    read_clock(ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?)
}

/// Resident memory of a process in bytes (VmRSS, which counts shared pages in full). None for kernel threads.
pub fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, "VmRSS")? * 1024)
}

/// Numbers of context switches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Switches {
    /// A thread went to sleep.
    pub voluntary: u64,
    /// A thread was preempted.
    pub involuntary: u64,
}

impl Switches {
    /// Those since `before`. If threads have exited meanwhile, the difference may be too small; it is never negative.
    pub fn since(self, before: Switches) -> Switches {
        Switches {
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }
}

/// Context switches of all threads that a process has now. Those of threads that have exited are not included.
pub fn context_switches(pid: i32) -> Option<Switches> {
    let mut sum = None;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        // A thread may exit between the listing and the read.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let so_far: Switches = sum.unwrap_or_default();
        sum = Some(Switches {
            voluntary: so_far.voluntary + field(&status, "voluntary_ctxt_switches")?,
            involuntary: so_far.involuntary + field(&status, "nonvoluntary_ctxt_switches")?,
        });
    }
    sum
}

/// All processes in /proc.
pub(super) fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
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

    /// Computes until this thread has used `span` of CPU time.
    fn burn(span: Nanos) {
        let start = thread_cpu();
        while thread_cpu() - start < span {
            (0..10_000_u64).for_each(|k| _ = black_box(k));
        }
    }

    #[test]
    fn a_process_keeps_the_time_of_threads_that_have_exited() {
        let before = process_cpu(me()).unwrap();
        std::thread::spawn(|| burn(Nanos(50_000_000))).join().unwrap();
        assert!(process_cpu(me()).unwrap() - before >= Nanos(50_000_000));
    }

    #[test]
    fn a_thread_is_not_charged_for_other_threads() {
        let before = thread_cpu();
        std::thread::spawn(|| burn(Nanos(100_000_000))).join().unwrap();
        assert!(thread_cpu() - before < Nanos(50_000_000));
    }

    #[test]
    fn a_child_has_cpu_time_until_it_is_waited_for() {
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
    fn touched_memory_becomes_resident() {
        let before = resident(me()).unwrap();
        let touched = black_box(vec![1_u8; 64 << 20]);
        // Other tests may free memory meanwhile: half of it is enough.
        assert!(resident(me()).unwrap() > before + touched.len() as u64 / 2);
    }

    #[test]
    fn a_process_that_waits_for_input_switches_voluntarily() {
        let mut child = cat();
        let pid = child.id().cast_signed();
        let before = context_switches(pid).unwrap().voluntary;
        child.stdin.as_mut().unwrap().write_all(b"a line\n").unwrap();
        // It copies the line and then waits for the next one: that switch must come, at an unknown time.
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
    fn nothing_is_known_about_a_process_that_does_not_exist() {
        // No process id exceeds 2^22, proc_sys_kernel(5).
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
