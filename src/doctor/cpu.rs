//! CPUs, what else may run on them, and what measures time and work.

use std::io;

use super::finding::Finding;
use crate::clock::{self, Nanos};
use crate::sys::disturbance;
use crate::sys::frequency::{self, IdleState};
use crate::sys::machine::Machine;
use crate::sys::perf::Counter;
use crate::sys::{affinity, sysctl};
use crate::units::{plural, show_duration, show_percent};

/// Findings about CPUs and clocks.
pub(super) fn findings(machine: &Machine) -> Vec<Finding> {
    let first = machine.cpus_allowed.first().copied().unwrap_or(0);
    vec![
        cpus(machine),
        quota(machine.cpu_quota_millicpus),
        governor(machine.governor.as_deref()),
        boost(frequency::boost()),
        idle_states(frequency::deepest_idle_state(first)),
        smt(machine.smt),
        clock_source(machine.clock_source.as_deref(), cost_of_reading_the_clock()),
        virtualisation(machine.virtualised, disturbance::steal_since_boot()),
        counters(
            Counter::Cycles.attempt(),
            Counter::CpuClock.attempt(),
            sysctl::text("kernel.perf_event_paranoid").as_deref(),
        ),
    ]
}

fn cpus(machine: &Machine) -> Finding {
    let allowed = &machine.cpus_allowed;
    let online = match machine.cpus {
        Some(online) if online as usize > allowed.len() => format!(" of {online}"),
        _ => String::new(),
    };
    let model = machine.cpu_model.as_deref().unwrap_or("model not known");
    let what = format!(
        "this process may use {}{online}: {} ({model})",
        plural(allowed.len() as u64, "CPU"),
        affinity::show(allowed)
    );
    if allowed.len() > 1 {
        return Finding::ok("CPUs", what);
    }
    let what = format!("{what}; server and generator share it, so a run is SUSPECT at best");
    Finding::warning("CPUs", what).remedy_if(
        !online.is_empty(),
        "taskset -pc 0-1 $$",
        "in the shell that starts urecho; in a container `--cpuset-cpus=0-1`",
    )
}

fn quota(millicpus: Option<u64>) -> Finding {
    let Some(millicpus) = millicpus else {
        return Finding::ok("CPU quota", "none");
    };
    let what = format!(
        "{:.2} CPUs, by its control group: threads that use more are stopped for up to 100 ms, which shows in every \
         percentile",
        millicpus as f64 / 1_000.0
    );
    Finding::warning("CPU quota", what)
        .remedy(
            "docker update --cpus=0 CONTAINER",
            "on the host: no quota. In Kubernetes, leave out resources.limits.cpu",
        )
        .remedy(
            "systemctl set-property UNIT CPUQuota=",
            "as root, for a unit; otherwise write `max` to cpu.max of the group",
        )
}

fn governor(governor: Option<&str>) -> Finding {
    match governor {
        None => Finding::ok(
            "governor",
            "none that can be seen, as in virtual machines: the host decides on frequencies",
        ),
        Some("performance") => Finding::ok("governor", "performance"),
        Some(other) => Finding::warning(
            "governor",
            format!("{other}: the frequency follows the load, so figures depend on what ran before"),
        )
        .remedy("cpupower frequency-set -g performance", "as root; until the next boot"),
    }
}

fn boost(boost: Option<bool>) -> Finding {
    match boost {
        None => Finding::ok("boost", "cannot be seen, as in virtual machines"),
        Some(false) => Finding::ok("boost", "off"),
        Some(true) => Finding::note(
            "boost",
            "on: the frequency also depends on temperature and on the other cores",
        )
        .remedy(
            "echo 0 > /sys/devices/system/cpu/cpufreq/boost",
            "as root, for figures that can be repeated; with intel_pstate, echo 1 > \
             /sys/devices/system/cpu/intel_pstate/no_turbo",
        ),
    }
}

fn idle_states(deepest: Option<IdleState>) -> Finding {
    // A round trip on loopback takes some 20 µs.
    const LONG_US: u64 = 20;
    match deepest {
        None => Finding::ok("idle states", "none that can be seen, as in virtual machines"),
        Some(IdleState { name, exit_us }) if exit_us < LONG_US => Finding::ok(
            "idle states",
            format!("the deepest is {name}, which takes {exit_us} µs to leave"),
        ),
        Some(IdleState { name, exit_us }) => Finding::note(
            "idle states",
            format!(
                "the deepest is {name}: a CPU that was idle takes {exit_us} µs to wake up, which low rates have in \
             every latency"
            ),
        )
        .remedy(
            format!("cpupower idle-set -D {LONG_US}"),
            "as root: disables those that take longer; uses more power",
        ),
    }
}

fn smt(smt: Option<bool>) -> Finding {
    match smt {
        None => Finding::unknown("SMT", "/sys/devices/system/cpu/smt/active cannot be read"),
        Some(false) => Finding::ok("SMT", "off: every CPU is a core"),
        Some(true) => Finding::note(
            "SMT",
            "on: two CPUs may share a core, and slow each other down. Give server and generator different cores \
             (--pin, --server-pin)",
        )
        .remedy("lscpu -e=CPU,CORE,SOCKET", "shows which CPUs share a core")
        .remedy(
            "echo off > /sys/devices/system/cpu/smt/control",
            "as root, for figures that can be repeated",
        ),
    }
}

/// Mean over many readings.
fn cost_of_reading_the_clock() -> Nanos {
    const READINGS: u64 = 10_000;
    let begin = clock::now();
    (1..READINGS).for_each(|_| _ = std::hint::black_box(clock::now()));
    Nanos((clock::now() - begin).0 / READINGS)
}

fn clock_source(name: Option<&str>, cost: Nanos) -> Finding {
    // 20 to 60 ns through the vDSO; a system call and a slow device take more.
    const SLOW: Nanos = Nanos(250);
    let name = name.unwrap_or("not known");
    let what = format!("{name}, {} to read the time", show_duration(cost));
    if cost < SLOW {
        return Finding::ok("clock", what);
    }
    Finding::warning(
        "clock",
        format!("{what}: that is part of every latency and of the CPU time per message"),
    )
    .remedy(
        "cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
        "shows the choice",
    )
    .remedy(
        "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource",
        "as root, if tsc is available; the kernel log says why it was given up",
    )
}

fn virtualisation(virtualised: Option<bool>, steal: Option<f64>) -> Finding {
    let stolen = steal.map(|share| format!("; {} of CPU time stolen since boot", show_percent(share, 2)));
    let stolen = stolen.unwrap_or_default();
    match virtualised {
        None => Finding::unknown("virtual machine", format!("the CPU flags do not show it{stolen}")),
        Some(false) => Finding::ok("virtual machine", "no"),
        Some(true) => Finding::note(
            "virtual machine",
            format!(
                "yes{stolen}. Other guests may take CPU time at any moment: compare interleaved (compare, check), \
                 never two runs"
            ),
        ),
    }
}

fn counters(cycles: io::Result<bool>, clock: io::Result<bool>, paranoid: Option<&str>) -> Finding {
    let paranoid = paranoid.unwrap_or("hidden");
    let setting = format!("kernel.perf_event_paranoid is {paranoid}");
    // EPERM and EACCES.
    let is_refused = |cause: &io::Error| cause.kind() == io::ErrorKind::PermissionDenied;
    match (cycles, clock) {
        (Ok(true), _) => Finding::ok("counters", format!("the processor counts cycles ({setting})")),
        (Err(cause), _) | (Ok(false), Err(cause)) if is_refused(&cause) => Finding::note(
            "counters",
            format!("this process may not count: {cause} ({setting}); profilers will not work"),
        )
        .remedy("sysctl -w kernel.perf_event_paranoid=1", "as root, on the host")
        .remedy(
            "docker run --cap-add=PERFMON IMAGE",
            "in a container, whose seccomp profile forbids it as well",
        ),
        (_, Ok(true)) => Finding::note(
            "counters",
            format!("the processor's are not available, as in most virtual machines; CPU time is counted ({setting})"),
        )
        .remedy(
            "perf record -e cpu-clock urecho serve",
            "profiles by time instead of cycles",
        ),
        (_, Ok(false)) => Finding::note("counters", format!("they can be opened and stay at zero ({setting})")),
        (_, Err(cause)) => Finding::note("counters", format!("not available: {cause} ({setting})")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;
    use crate::sys::machine;

    fn refused(errno: i32) -> io::Result<bool> {
        Err(io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn one_cpu_is_a_warning() {
        let mut machine = machine::describe();
        (machine.cpus, machine.cpus_allowed) = (Some(4), vec![2]);
        let finding = cpus(&machine);
        assert_eq!((finding.state, finding.remedies.len()), (State::Warning, 1));
        assert!(finding.what.contains("1 CPU of 4: 2"), "{}", finding.what);
        machine.cpus_allowed = vec![0, 1, 2, 3];
        assert!(cpus(&machine).what.contains("4 CPUs: 0-3"));
    }

    #[test]
    fn what_makes_a_machine_uneven_has_a_command() {
        let findings = [
            quota(Some(500)),
            governor(Some("powersave")),
            boost(Some(true)),
            smt(Some(true)),
            clock_source(Some("hpet"), Nanos(1_500)),
            idle_states(Some(IdleState {
                name: "C6".into(),
                exit_us: 133,
            })),
        ];
        for finding in findings {
            assert!(matches!(finding.state, State::Warning | State::Note), "{finding:?}");
            assert!(!finding.remedies.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn what_a_virtual_machine_hides_is_no_warning() {
        for finding in [governor(None), boost(None), idle_states(None), quota(None)] {
            assert_eq!(finding.state, State::Ok, "{finding:?}");
        }
        assert_eq!(smt(None).state, State::Unknown);
    }

    #[test]
    fn counters_are_distinguished_by_what_the_kernel_says() {
        const ENOENT: i32 = 2;
        const EACCES: i32 = 13;
        let what = |cycles, clock| counters(cycles, clock, Some("2")).what;
        assert!(what(Ok(true), Ok(true)).contains("counts cycles"));
        assert!(what(refused(ENOENT), Ok(true)).contains("virtual machines"));
        assert!(what(refused(EACCES), refused(EACCES)).contains("may not count"));
        assert!(what(Ok(false), Ok(false)).contains("zero"));
        assert!(what(refused(ENOENT), refused(ENOENT)).contains("not available"));
    }
}
