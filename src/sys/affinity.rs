//! Which CPUs this thread may run on, and keeping it on one.
//!
//! Choosing the CPU is the caller's affair. sched_setaffinity(2), cpuset(7).

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// sched_setaffinity(2) takes this for the calling thread.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPUs the calling thread may use, ascending; never empty. A process starts with those that taskset, a container
/// or a cpuset left it, and threads inherit: look before the first [`pin`], after it only one is left.
pub fn allowed() -> Vec<usize> {
    match sched_getaffinity(THIS_THREAD) {
        // An index beyond the set is an error, and not a CPU.
        Ok(set) => (0..CpuSet::count())
            .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
            .collect(),
        // Only a kernel built for more CPUs than a `CpuSet` holds (1024) refuses: then we know how many, not which.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Keeps the calling thread on one CPU from now on; no other thread moves. Threads it starts later inherit this.
///
/// A CPU that taskset left out may be chosen, one outside the cpuset or the machine is an [`Error::Machine`].
pub fn pin(cpu: usize) -> Result<()> {
    set_affinity(&[cpu])
}

/// Keeps the calling thread to these CPUs from now on, as [`pin`] does to one.
pub fn set_affinity(cpus: &[usize]) -> Result<()> {
    let mut only = CpuSet::new();
    let chosen = cpus.iter().try_for_each(|&cpu| only.set(cpu));
    chosen
        .and_then(|()| sched_setaffinity(THIS_THREAD, &only))
        .map_err(|cause| {
            Error::Machine(format!(
                "cannot keep this thread to CPU {}: {}. The CPUs it may use are {}: choose one of them",
                show(cpus),
                cause.desc(),
                show(&allowed()),
            ))
        })
}

/// CPUs as cpuset(7) lists them, `0-3,8`. Expects them ascending.
pub fn show(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|&left, &right| left + 1 == right);
    let shown = runs.filter_map(|run| match run {
        [] => None,
        [only] => Some(only.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    shown.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_cpu_and_its_neighbours_keep_theirs() {
        let before = allowed();
        let chosen = before[before.len() - 1];
        let after = std::thread::spawn(move || pin(chosen).map(|()| allowed()))
            .join()
            .unwrap();
        assert_eq!(after, Ok(vec![chosen]));
        assert_eq!(allowed(), before);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_refused_with_the_ones_that_are() {
        // 1,000 fits into a set and is hardly there; 5,000 does not even fit.
        for cpu in [1_000, 5_000] {
            let refusal = pin(cpu).unwrap_err();
            assert!(matches!(refusal, Error::Machine(_)));
            let text = refusal.to_string();
            assert!(
                text.contains(&format!("CPU {cpu}")) && text.contains(&show(&allowed())),
                "{text}"
            );
        }
    }

    #[test]
    fn neighbouring_cpus_are_shown_as_a_range() {
        for (cpus, shown) in [
            (&[][..], ""),
            (&[3], "3"),
            (&[0, 1], "0-1"),
            (&[0, 1, 2, 5, 8, 9], "0-2,5,8-9"),
        ] {
            assert_eq!(show(cpus), shown);
        }
    }
}
