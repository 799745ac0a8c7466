//! The CPUs that this thread may run on, and pinning. sched_setaffinity(2), cpuset(7).

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// The calling thread, for sched_setaffinity(2).
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPUs that the calling thread may use, ascending; never empty. A process starts with those that taskset, a container or
/// a cpuset allow, and threads inherit them. Call this before the first [`pin`], which leaves only one.
pub fn allowed() -> Vec<usize> {
    match sched_getaffinity(THIS_THREAD) {
        // An index beyond the set is an error, not a CPU.
        Ok(set) => (0..CpuSet::count())
            .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
            .collect(),
        // Fails only on a kernel built for more CPUs than a `CpuSet` holds (1024): then only their number is known.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Pins the calling thread to one CPU. Threads that it starts later inherit this; other threads are not affected.
///
/// Errors: [`Error::Machine`] for a CPU outside of the cpuset or the machine. A CPU that taskset left out is allowed.
pub fn pin(cpu: usize) -> Result<()> {
    set_affinity(&[cpu])
}

/// Restricts the calling thread to these CPUs, as [`pin`] does to one.
pub fn set_affinity(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    let filled = cpus.iter().try_for_each(|&cpu| set.set(cpu));
    filled
        .and_then(|()| sched_setaffinity(THIS_THREAD, &set))
        .map_err(|cause| {
            Error::Machine(format!(
                "cannot pin a thread to CPU {}: {}. Choose from the CPUs that it may use: {}",
                show(cpus),
                cause.desc(),
                show(&allowed()),
            ))
        })
}

/// CPUs in the list format of cpuset(7), `0-3,8`. Expects them ascending.
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
    fn pinning_a_thread_does_not_affect_others() {
        let before = allowed();
        let chosen = before[before.len() - 1];
        let after = std::thread::spawn(move || pin(chosen).map(|()| allowed()))
            .join()
            .unwrap();
        assert_eq!(after, Ok(vec![chosen]));
        assert_eq!(allowed(), before);
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_refused_with_those_that_do() {
        // 1,000 fits into a set and hardly exists; 5,000 does not fit.
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
    fn consecutive_cpus_are_shown_as_a_range() {
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
