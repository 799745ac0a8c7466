//! What changes the speed of a CPU from moment to moment: boost, and idle states that take time to leave.
//! The kernel's Documentation/admin-guide/pm; what is hidden is `None`.

use std::fs;

/// An idle state of a CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleState {
    /// Its name, `C6`.
    pub name: String,
    /// How long a CPU takes to leave it, in microseconds.
    pub exit_us: u64,
}

/// True if CPUs may run faster than their nominal frequency for a time.
pub fn boost() -> Option<bool> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let cpufreq = read("/sys/devices/system/cpu/cpufreq/boost");
    let intel = read("/sys/devices/system/cpu/intel_pstate/no_turbo");
    boost_in(cpufreq.as_deref(), intel.as_deref())
}

/// From the file of the general driver, or the one of Intel's, which says the opposite.
fn boost_in(boost: Option<&str>, no_turbo: Option<&str>) -> Option<bool> {
    let flag = |text: &str| match text.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    boost.and_then(flag).or_else(|| no_turbo.and_then(flag).map(|off| !off))
}

/// The idle state of this CPU that takes longest to leave, of those that are enabled.
pub fn deepest_idle_state(cpu: usize) -> Option<IdleState> {
    let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cpuidle");
    let states = fs::read_dir(folder).ok()?.flatten().filter_map(|state| {
        let read = |name: &str| fs::read_to_string(state.path().join(name)).ok();
        idle_state(&read("name")?, &read("latency")?, &read("disable")?)
    });
    states.max_by_key(|state| state.exit_us)
}

fn idle_state(name: &str, latency: &str, disabled: &str) -> Option<IdleState> {
    let is_enabled = disabled.trim() == "0";
    let exit_us = latency.trim().parse().ok()?;
    is_enabled.then(|| IdleState {
        name: name.trim().to_owned(),
        exit_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_parsed_as_the_kernel_writes_them() {
        assert_eq!(boost_in(Some("1\n"), None), Some(true));
        assert_eq!(boost_in(None, Some("1\n")), Some(false));
        assert_eq!(boost_in(None, None), None);
        assert_eq!(boost_in(Some(""), None), None);
        let state = idle_state("C6\n", "133\n", "0\n").unwrap();
        assert_eq!((state.name.as_str(), state.exit_us), ("C6", 133));
        assert_eq!(idle_state("C6\n", "133\n", "1\n"), None);
        assert_eq!(idle_state("C6\n", "", "0\n"), None);
    }
}
