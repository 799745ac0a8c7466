//! Description of the machine that a result belongs to.
//!
//! It has what a reader needs to repeat a measurement, and nothing that identifies the machine or its owner: no host
//! name, no address. What is hidden, as in many containers, is `None`, never an error. Files of /proc: proc(5).

use std::fs;

use serde::{Deserialize, Serialize};

use crate::sys::{affinity, throttling};

/// What the results of a run depend on apart from the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's own name, `AMD EPYC 9755 128-Core Processor`. None on ARM.
    pub cpu_model: Option<String>,
    /// CPUs that are online, whether or not this process may use them.
    pub cpus: Option<u64>,
    /// CPUs that this process may use, ascending.
    pub cpus_allowed: Vec<usize>,
    /// Kernel release, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// Physical memory in bytes.
    pub memory_bytes: Option<u64>,
    /// True if the CPU flags show a hypervisor (x86 only): then steal and noisy neighbours are possible.
    pub virtualised: Option<bool>,
    /// The default congestion control of new TCP sockets, `cubic`.
    pub congestion_control: Option<String>,
    /// Frequency governor of the CPUs that this process may use, `performance`; several are separated by commas.
    pub governor: Option<String>,
    /// True if simultaneous multithreading is on: two CPUs may then share a core.
    pub smt: Option<bool>,
    /// What the kernel reads the time from, `tsc`.
    pub clock_source: Option<String>,
    /// The tightest CPU quota of a control group, in thousandths of a CPU. Null if there is none, or none can be read.
    pub cpu_quota_millicpus: Option<u64>,
}

/// Describes this machine. Call it before the calling thread is pinned: `cpus_allowed` are those of the thread.
pub fn describe() -> Machine {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let cpus_allowed = affinity::allowed();
    Machine {
        cpu_model: value(&cpuinfo, "model name").map(str::to_owned),
        cpus: read("/sys/devices/system/cpu/online").and_then(|list| cpus_in(&list)),
        governor: governors(&cpus_allowed),
        cpus_allowed,
        kernel: read("/proc/sys/kernel/osrelease"),
        memory_bytes: read("/proc/meminfo").and_then(|meminfo| memory_bytes(&meminfo)),
        virtualised: value(&cpuinfo, "flags").map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control"),
        smt: read("/sys/devices/system/cpu/smt/active").map(|active| active == "1"),
        clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        cpu_quota_millicpus: cpu_quota(),
    }
}

/// The text of a file without surrounding white space; none if it cannot be read.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The first `name : value` in a /proc file.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| (key.trim(), value.trim()))
        .find(|&(key, _)| key == name)
        .map(|(_, value)| value)
}

/// Number of CPUs in a list like `0-3,8` (cpuset(7), list format).
fn cpus_in(list: &str) -> Option<u64> {
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.sum()
}

/// The governors of these CPUs, each once. Virtual machines have none.
fn governors(cpus: &[usize]) -> Option<String> {
    let path = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    let mut governors: Vec<String> = cpus.iter().filter_map(|&cpu| read(&path(cpu))).collect();
    governors.sort_unstable();
    governors.dedup();
    (!governors.is_empty()).then(|| governors.join(","))
}

/// The tightest quota of the groups that this process is in.
fn cpu_quota() -> Option<u64> {
    let quotas = throttling::groups().into_iter().filter_map(|group| {
        let read = |name: &str| read(group.join(name).to_str()?);
        // cgroup v2, or else v1.
        let quota = read("cpu.max").or_else(|| Some(read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?))?;
        millicpus(&quota)
    });
    quotas.min()
}

/// `50000 100000`: microseconds of CPU time, and the period in microseconds. `max` and -1 are no quota.
fn millicpus(quota: &str) -> Option<u64> {
    let (quota, period) = quota.split_once(' ')?;
    let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?);
    quota.saturating_mul(1_000).checked_div(period)
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = value(meminfo, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let machine = describe();
        assert!(!machine.cpus_allowed.is_empty());
        assert!(machine.kernel.is_some_and(|kernel| kernel.contains('.')));
        assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(machine.cpus.is_some_and(|cpus| cpus > 0));
    }

    #[test]
    fn the_description_does_not_identify_the_machine() {
        let json = serde_json::to_value(describe()).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = [
            "cpu_model",
            "cpus",
            "cpus_allowed",
            "kernel",
            "memory_bytes",
            "virtualised",
            "congestion_control",
            "governor",
            "smt",
            "clock_source",
            "cpu_quota_millicpus",
        ];
        assert_eq!(keys, expected, "a new field must not identify the machine");
    }

    #[test]
    fn the_files_are_parsed_as_the_kernel_writes_them() {
        assert_eq!(
            memory_bytes("MemTotal:       24684092 kB\nMemFree: 1 kB\n"),
            Some(24_684_092 * 1_024)
        );
        assert_eq!(
            value("processor\t: 0\nmodel name\t: AMD EPYC\n", "model name"),
            Some("AMD EPYC")
        );
        assert_eq!(["0", "0-3", "0-1,4,6-7"].map(cpus_in), [Some(1), Some(4), Some(5)]);
    }

    #[test]
    fn a_quota_is_a_share_of_its_period() {
        let quotas = ["50000 100000", "250000 100000", "max 100000", "-1 100000", "1 0", "1"].map(millicpus);
        assert_eq!(quotas, [Some(500), Some(2_500), None, None, None, None]);
    }

    #[test]
    fn missing_and_malformed_values_are_ignored() {
        for text in ["", "MemTotal: 1", "MemTotal: -1 kB", "3-1", "a-b"] {
            assert_eq!((memory_bytes(text), cpus_in(text)), (None, None), "{text}");
        }
    }
}
