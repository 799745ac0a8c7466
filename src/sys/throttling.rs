//! How often the CPU quota of a control group stopped a process.
//!
//! `cpu.stat` of the process's group and of every group above it that is visible: a quota at any level stops all below.
//! cgroup v2 counts microseconds, v1 nanoseconds. Documentation/admin-guide/cgroup-v2.rst,
//! Documentation/scheduler/sched-bwc.rst.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;

/// What quotas have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Throttling {
    /// Periods (of 100 ms, unless set otherwise) in which the quota was used up.
    pub periods: u64,
    /// Time for which threads of the group were stopped, summed over CPUs.
    #[serde(rename = "throttled_ns")]
    pub throttled: Nanos,
}

impl Throttling {
    /// So far, of all groups that this process is in. None if no group reports it.
    pub fn read() -> Option<Throttling> {
        Throttling::of(&groups())
    }

    /// So far, of all groups that these processes are in and this one is not.
    pub fn of_others(pids: &[i32]) -> Option<Throttling> {
        let ours = groups();
        let mut groups: Vec<PathBuf> = pids.iter().flat_map(|pid| groups_in(&pid.to_string(), "cpu")).collect();
        groups.retain(|group| !ours.contains(group));
        groups.sort_unstable();
        groups.dedup();
        Throttling::of(&groups)
    }

    fn of(groups: &[PathBuf]) -> Option<Throttling> {
        let stats = groups
            .iter()
            .filter_map(|level| fs::read_to_string(level.join("cpu.stat")).ok());
        let found = stats.filter_map(|stat| parse(&stat));
        found.reduce(Throttling::plus)
    }

    /// Both together.
    pub fn plus(self, other: Throttling) -> Throttling {
        Throttling {
            periods: self.periods.saturating_add(other.periods),
            throttled: self.throttled + other.throttled,
        }
    }

    /// From one reading to another. None if one of them found nothing.
    pub fn between(before: Option<Throttling>, after: Option<Throttling>) -> Option<Throttling> {
        Some(after?.since(before?))
    }

    /// Since an earlier reading.
    pub fn since(self, before: Throttling) -> Throttling {
        Throttling {
            periods: self.periods.saturating_sub(before.periods),
            throttled: self.throttled - before.throttled,
        }
    }
}

/// The folders of this process's group and of those above it that are visible, in every hierarchy that has CPU quotas.
pub(super) fn groups() -> Vec<PathBuf> {
    groups_of("cpu")
}

/// The same for another controller.
pub(super) fn groups_of(controller: &str) -> Vec<PathBuf> {
    groups_in("self", controller)
}

fn groups_in(process: &str, controller: &str) -> Vec<PathBuf> {
    let [groups, mounts] = [format!("/proc/{process}/cgroup"), "/proc/self/mountinfo".into()]
        .map(|path| fs::read_to_string(path).unwrap_or_default());
    levels(&groups, &mounts, controller)
}

/// The folders of the process's group and of those above it, in every hierarchy that has this controller.
fn levels(groups: &str, mounts: &str, controller: &str) -> Vec<PathBuf> {
    let mut levels = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        // v2 has no controllers in this file.
        if !controllers.is_empty() && !controllers.split(',').any(|one| one == controller) {
            continue;
        }
        let Some((root, mount)) = mounts
            .lines()
            .find_map(|mount| mount_of(mount, controllers.is_empty(), controller))
        else {
            continue;
        };
        let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
        let mut level = Path::new(mount).join(below);
        while level.starts_with(mount) {
            levels.push(level.clone());
            level.pop();
        }
    }
    levels
}

/// The root within the hierarchy and the mount point, if this line of mountinfo mounts the one with this controller.
/// proc_pid_mountinfo(5).
fn mount_of<'a>(line: &'a str, v2: bool, controller: &str) -> Option<(&'a str, &'a str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    let found = if v2 {
        kind == "cgroup2"
    } else {
        kind == "cgroup" && options.split(',').any(|option| option == controller)
    };
    found.then_some((root, point))
}

fn parse(stat: &str) -> Option<Throttling> {
    let number = |name: &str| {
        let line = stat
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse::<u64>().ok()
    };
    let micros = || number("throttled_usec").map(|us| us.saturating_mul(1_000));
    Some(Throttling {
        periods: number("nr_throttled")?,
        throttled: Nanos(micros().or_else(|| number("throttled_time"))?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_parsed() {
        let expected = Some(Throttling {
            periods: 3,
            throttled: Nanos(250_000_000),
        });
        let v2 = "usage_usec 91\nuser_usec 60\nnr_periods 10\nnr_throttled 3\nthrottled_usec 250000\n";
        let v1 = "nr_periods 10\nnr_throttled 3\nthrottled_time 250000000\n";
        assert_eq!((parse(v2), parse(v1)), (expected, expected));
        // The root group of v2 has no quota.
        assert_eq!(parse("usage_usec 91\nuser_usec 60\n"), None);
    }

    #[test]
    fn the_own_group_and_all_above_it_are_read() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        let found = levels("0::/user.slice/a.service\n", v2, "cpu");
        let expected = [
            "/sys/fs/cgroup/user.slice/a.service",
            "/sys/fs/cgroup/user.slice",
            "/sys/fs/cgroup",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        let v1 = "33 28 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  34 28 0:31 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        let found = levels("5:memory:/m\n4:cpu,cpuacct:/docker/x/y\n", v1, "cpu");
        let expected = ["/sys/fs/cgroup/cpu/y", "/sys/fs/cgroup/cpu"];
        assert_eq!(found, expected.map(PathBuf::from));
        let found = levels("5:memory:/m\n4:cpu,cpuacct:/docker/x/y\n", v1, "memory");
        assert_eq!(
            found,
            ["/sys/fs/cgroup/memory/m", "/sys/fs/cgroup/memory"].map(PathBuf::from)
        );
        assert_eq!(levels("4:cpu:/a\n", v2, "cpu"), Vec::<PathBuf>::new(), "not mounted");
    }

    #[test]
    fn the_counters_never_decrease() {
        if let (Some(before), Some(after)) = (Throttling::read(), Throttling::read()) {
            assert!(after.periods >= before.periods && after.throttled >= before.throttled);
        } else {
            println!("SKIPPED: needs a control group with CPU quotas");
        }
    }
}
