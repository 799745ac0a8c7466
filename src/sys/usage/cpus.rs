//! The CPUs that processes work on, and how many of them at once. sched_getaffinity(2), proc_pid_schedstat(5).

use std::collections::BTreeSet;
use std::fs;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

/// A thread with less than this share of the busiest thread's CPU time is ignored. A server with pinned workers has
/// other threads that are not pinned: one that starts and joins the workers, one that waits for signals, io_uring's
/// helpers. They sleep, and would make every such server look as if it ran everywhere.
const IDLE: f64 = 0.1;

/// CPU time in nanoseconds from which a busy thread can be distinguished from an idle one. Up to that, it may have been
/// used for start-up: 2 ms by the first thread of `urecho serve`, less by its worker.
const STARTED: u64 = 50_000_000;

/// The CPUs that the working threads of some processes may run on, ascending: what taskset, a cpuset or the process
/// itself allow. A thread works if it has used a tenth of the busiest thread's CPU time. If the processes have just
/// started, their working threads are those that are restricted to fewer CPUs than others, or all if none is.
/// None if there are no such processes, or if they belong to another user.
pub fn cpus_of(pids: &[i32]) -> Option<Vec<usize>> {
    Some(union(&working(threads_of_all(pids)?)))
}

/// How many CPUs these processes can keep busy at once: one for each working thread, and no more than [`cpus_of`] has.
/// A process with a single thread is saturated at 1, however many CPUs there are.
pub fn parallelism_of(pids: &[i32]) -> Option<usize> {
    let workers = working(threads_of_all(pids)?);
    Some(workers.len().min(union(&workers).len()))
}

/// The threads of those processes that still exist; none if none does.
fn threads_of_all(pids: &[i32]) -> Option<Vec<Thread>> {
    let threads: Vec<Thread> = pids.iter().filter_map(|&pid| threads(pid)).flatten().collect();
    (!threads.is_empty()).then_some(threads)
}

/// A thread at the time of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thread {
    /// CPU time that it has used, in nanoseconds. Zero if the kernel does not report it (CONFIG_SCHED_INFO).
    used: u64,
    cpus: Vec<usize>,
}

/// The threads of a process. None if there is no such process.
fn threads(pid: i32) -> Option<Vec<Thread>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let ids = tasks
        .flatten()
        .filter_map(|task| task.file_name().to_str()?.parse().ok());
    // A thread may exit between the listing and the read.
    let threads: Vec<_> = ids.filter_map(|id| thread(pid, id)).collect();
    (!threads.is_empty()).then_some(threads)
}

fn thread(pid: i32, id: i32) -> Option<Thread> {
    // Fails only on a kernel built for more CPUs than a `CpuSet` holds (1024).
    let set = sched_getaffinity(Pid::from_raw(id)).ok()?;
    let cpus = (0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect();
    let schedstat = fs::read_to_string(format!("/proc/{pid}/task/{id}/schedstat"));
    let used = schedstat.map_or(0, |text| cpu_time(&text));
    Some(Thread { used, cpus })
}

/// The threads that do the process's work, or will do it: at least one.
fn working(mut threads: Vec<Thread>) -> Vec<Thread> {
    let most = threads.iter().map(|thread| thread.used).max().unwrap_or(0);
    if most >= STARTED {
        let least = IDLE * most as f64;
        threads.retain(|thread| thread.used as f64 >= least);
        return threads;
    }
    let widths = threads.iter().map(|thread| thread.cpus.len());
    let (narrowest, widest) = (widths.clone().min(), widths.max());
    threads.retain(|thread| narrowest == widest || Some(thread.cpus.len()) < widest);
    threads
}

fn union(threads: &[Thread]) -> Vec<usize> {
    let cpus: BTreeSet<_> = threads.iter().flat_map(|thread| &thread.cpus).collect();
    cpus.into_iter().copied().collect()
}

/// The first of the file's three numbers; zero if it is malformed.
fn cpu_time(schedstat: &str) -> u64 {
    let first = schedstat.split_whitespace().next();
    first.and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::sys::affinity;

    /// A child that waits for input, restricted to these CPUs.
    fn cat(cpus: &[usize]) -> Child {
        let cpus = cpus.to_vec();
        let start = move || {
            affinity::set_affinity(&cpus).unwrap();
            Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
        };
        std::thread::spawn(start).join().unwrap()
    }

    fn thread_with(used: u64, cpus: &[usize]) -> Thread {
        let cpus = cpus.to_vec();
        Thread { used, cpus }
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_child_pinned_to_one_cpu_is_found_there() {
        let ours = affinity::allowed();
        let last = ours[ours.len() - 1];
        let child = cat(&[last]);
        let pid = child.id().cast_signed();
        assert_eq!(cpus_of(&[pid]), Some(vec![last]));
        assert_eq!(parallelism_of(&[pid]), Some(1));
        end(child);
    }

    #[test]
    fn a_child_with_one_thread_uses_one_cpu_at_once() {
        let ours = affinity::allowed();
        let child = cat(&ours);
        let pid = child.id().cast_signed();
        assert_eq!(cpus_of(&[pid]), Some(ours));
        assert_eq!(parallelism_of(&[pid]), Some(1));
        end(child);
    }

    #[test]
    fn a_thread_that_sleeps_is_ignored_if_another_one_works() {
        let worker = thread_with(STARTED, &[1]);
        let helper = thread_with(STARTED / 10, &[0]);
        let waiter = thread_with(STARTED / 10 - 1, &[0, 1]);
        let workers = working(vec![waiter.clone(), worker.clone(), waiter]);
        assert_eq!(union(&workers), [1]);
        let workers = working(vec![worker, helper]);
        assert_eq!(union(&workers), [0, 1], "a tenth of the busiest is enough");
    }

    #[test]
    fn before_any_traffic_the_pinned_threads_are_those_that_will_work() {
        let first = thread_with(2_000_000, &[0, 1]);
        let worker = thread_with(100_000, &[1]);
        let workers = working(vec![first.clone(), worker]);
        assert_eq!(union(&workers), [1]);
        let workers = working(vec![first.clone(), first]);
        assert_eq!((workers.len(), union(&workers)), (2, vec![0, 1]), "none is pinned");
    }

    #[test]
    fn a_pinned_thread_that_sleeps_is_ignored_once_others_have_worked() {
        let worker = thread_with(10 * STARTED, &[0, 1]);
        let helper = thread_with(0, &[1]);
        assert_eq!(union(&working(vec![worker, helper])), [0, 1]);
    }

    #[test]
    fn nothing_is_known_about_a_process_that_does_not_exist() {
        for pid in [(1 << 22) + 1, i32::MAX, 0, -1, i32::MIN] {
            assert_eq!(cpus_of(&[pid]), None, "{pid}");
            assert_eq!(parallelism_of(&[pid]), None, "{pid}");
        }
    }

    #[test]
    fn the_first_number_of_schedstat_is_the_cpu_time() {
        assert_eq!(cpu_time("1234567 89 10\n"), 1_234_567);
        for text in ["", "x 1 2", "-1 0 0"] {
            assert_eq!(cpu_time(text), 0, "{text}");
        }
    }
}
