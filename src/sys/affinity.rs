//! The CPUs that this thread may run on, and pinning. sched_setaffinity(2), cpuset(7).

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// The calling thread, for sched_setaffinity(2).
const THIS_THREAD: Pid = Pid::from_raw(0);

/// More CPUs than Linux can be built for (NR_CPUS, 8,192).
const CPUS_MAX: usize = 10_000;

/// The CPUs that the calling thread may use, ascending; never empty. A process starts with those that taskset, a
/// container or a cpuset allow, and threads inherit them. Call this before the first [`pin`], which leaves only one.
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

/// How many CPUs this process may use at once: by its affinity, and by the CPU quota of its control group.
pub fn parallelism() -> usize {
    let allowed = allowed().len();
    std::thread::available_parallelism().map_or(allowed, |cpus| cpus.get().min(allowed))
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

/// Reads the list format of cpuset(7) and taskset(1): `3`, `0-3,8`, and every second CPU of a range as `0-6:2`. In the
/// order given. Errors: one line that shows the form, without the text itself.
pub fn parse(text: &str) -> std::result::Result<Vec<usize>, String> {
    const FORMS: &str = "write CPUs like `0`, `0-3` or `0,2,4-7`";
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&cpu| cpu < CPUS_MAX);
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (number(first), number(last), number(step)) {
            (Some(first), Some(last), Some(step)) if first <= last && step > 0 => {
                cpus.extend((first..=last).step_by(step))
            }
            (Some(first), Some(last), _) if first > last => {
                return Err(format!("the range runs backwards: write `{last}-{first}`"));
            }
            _ => return Err(FORMS.into()),
        }
    }
    Ok(cpus)
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
    use crate::random::Random;

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

    #[test]
    fn a_list_of_cpus_is_read_as_other_tools_show_it() {
        for (text, cpus) in [
            ("3", &[3][..]),
            ("0-1", &[0, 1]),
            ("0,1", &[0, 1]),
            ("1,0", &[1, 0]),
            ("0-2,5,8-9", &[0, 1, 2, 5, 8, 9]),
            ("0 - 1, 3", &[0, 1, 3]),
            ("0-6:2", &[0, 2, 4, 6]),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(cpus), "{text}");
        }
        for wrong in ["", "a", "0-", "-1", "0..3", "0,,1", "0-3:0", "0-99999999", "0x1", "all"] {
            assert!(parse(wrong).unwrap_err().contains("`0-3`"), "{wrong}");
        }
        assert!(parse("3-1").unwrap_err().contains("`1-3`"));
    }

    #[test]
    fn a_list_that_is_shown_can_be_read() {
        let mut random = Random::new(1, 0);
        for _ in 0..1_000 {
            let cpus: Vec<usize> = (0..40).filter(|_| random.below(2) == 0).collect();
            if !cpus.is_empty() {
                assert_eq!(parse(&show(&cpus)), Ok(cpus));
            }
        }
    }
}
