//! What confines this process: seccomp filters, containers, security modules, missing capabilities.
//!
//! Read only after the kernel has refused something, to explain it: none of this proves that a call would be refused.
//! What is hidden is `None`. seccomp(2), namespaces(7), capabilities(7); the kernel's Documentation/admin-guide/LSM.

use std::fmt;
use std::fs;
use std::path::Path;

/// CAP_IPC_LOCK, capabilities(7): may lock any amount of memory.
pub const CAP_IPC_LOCK: u32 = 14;

/// CAP_SYS_ADMIN, capabilities(7).
pub const CAP_SYS_ADMIN: u32 = 21;

/// What confines this process, as far as it can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// True if a seccomp filter decides which system calls this process may make.
    pub seccomp_filter: Option<bool>,
    /// The container that it runs in.
    pub container: Option<Container>,
    /// The label that a security module has given to it: the profile of AppArmor, or the context of SELinux.
    pub label: Option<String>,
}

/// Which kind of container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// A pod of Kubernetes, whatever runs it.
    Kubernetes,
    /// Another one.
    Other,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Container::Docker => "a Docker container",
            Container::Podman => "a Podman container",
            Container::Kubernetes => "a Kubernetes pod",
            Container::Other => "a container",
        })
    }
}

impl Restrictions {
    /// Of this process.
    pub fn read() -> Restrictions {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        Restrictions {
            seccomp_filter: seccomp_mode(&status).or_else(asked_mode).map(|mode| mode == FILTER),
            container: Signs::read().container(),
            label: confining_label(&label),
        }
    }
}

/// SECCOMP_MODE_FILTER.
const FILTER: i32 = libc::SECCOMP_MODE_FILTER as i32;

/// The line `Seccomp:` of /proc/self/status, proc_pid_status(5).
fn seccomp_mode(status: &str) -> Option<i32> {
    let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
    mode.trim().parse().ok()
}

/// The same without /proc.
fn asked_mode() -> Option<i32> {
    // SAFETY: asks for a number, and changes nothing.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) };
    (mode >= 0).then_some(mode)
}

/// None if the security module leaves this process alone.
fn confining_label(label: &str) -> Option<String> {
    let label = label.trim_matches(['\0', '\n', ' ']);
    let is_free = label.is_empty() || label.starts_with("unconfined") || label.contains(":unconfined_t:");
    (!is_free).then(|| label.to_owned())
}

/// True if this process has a capability, and in the initial user namespace, where the kernel checks most of them.
pub fn has_capability(number: u32) -> bool {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    is_capable(number, &read("/proc/self/status"), &read("/proc/self/uid_map"))
}

fn is_capable(number: u32, status: &str, uid_map: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let is_initial = uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
    is_initial && effective.is_some_and(|mask| mask & (1 << number) != 0)
}

/// What container runtimes leave behind in a container. Images of virtual machines that were made from one keep the
/// files, so they prove nothing without a namespace.
#[derive(Debug, Clone, Default)]
struct Signs {
    /// /.dockerenv exists.
    dockerenv: bool,
    /// /run/.containerenv exists.
    containerenv: bool,
    /// The variable KUBERNETES_SERVICE_HOST is set.
    kubernetes: bool,
    /// The variable `container`, by the convention of systemd (container-interface).
    variable: Option<String>,
    /// /proc/self/mountinfo: runtimes mount files of their own folders.
    mounts: String,
    /// True if this process has a namespace of its own, or if that is hidden.
    isolated: bool,
}

impl Signs {
    fn read() -> Signs {
        Signs {
            dockerenv: Path::new("/.dockerenv").exists(),
            containerenv: Path::new("/run/.containerenv").exists(),
            kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            variable: std::env::var("container").ok(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(),
            isolated: is_isolated(),
        }
    }

    fn container(&self) -> Option<Container> {
        if !self.isolated {
            return None;
        }
        let variable = self.variable.as_deref().unwrap_or_default();
        let mounts = |folder: &str| self.mounts.contains(folder);
        if self.kubernetes || mounts("/kubelet/pods/") {
            Some(Container::Kubernetes)
        } else if self.containerenv || variable == "podman" || mounts("/containers/storage/") {
            Some(Container::Podman)
        } else if self.dockerenv || variable == "docker" || mounts("/docker/containers/") {
            Some(Container::Docker)
        } else {
            (!variable.is_empty()).then_some(Container::Other)
        }
    }
}

/// True if a namespace of this process is not the initial one, whose numbers are fixed (include/linux/proc_ns.h).
fn is_isolated() -> bool {
    const INITIAL: [(&str, &str); 4] = [
        ("pid", "pid:[4026531836]"),
        ("ipc", "ipc:[4026531839]"),
        ("uts", "uts:[4026531838]"),
        ("cgroup", "cgroup:[4026531835]"),
    ];
    let namespaces = INITIAL.map(|(name, initial)| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
        Some(link != Path::new(initial))
    });
    let mut known = namespaces.iter().flatten().peekable();
    known.peek().is_none() || known.any(|&own| own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs() -> Signs {
        Signs {
            isolated: true,
            ..Signs::default()
        }
    }

    #[test]
    fn every_runtime_is_recognised_by_what_it_leaves() {
        let mounts = |line: &str| Signs {
            mounts: line.into(),
            ..signs()
        };
        let variable = |name: &str| Signs {
            variable: Some(name.into()),
            ..signs()
        };
        let docker = "612 595 8:1 /var/lib/docker/containers/4c0f/hostname /etc/hostname rw - ext4 /dev/sda1 rw";
        let pod = "9 8 8:1 /var/lib/kubelet/pods/1d2e/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw";
        for (signs, container) in [
            (
                Signs {
                    dockerenv: true,
                    ..signs()
                },
                Some(Container::Docker),
            ),
            (mounts(docker), Some(Container::Docker)),
            (mounts(pod), Some(Container::Kubernetes)),
            (variable("podman"), Some(Container::Podman)),
            (variable("lxc"), Some(Container::Other)),
            (signs(), None),
        ] {
            assert_eq!(signs.container(), container, "{signs:?}");
        }
    }

    #[test]
    fn a_machine_that_was_made_from_an_image_is_no_container() {
        let machine = Signs {
            dockerenv: true,
            isolated: false,
            ..Signs::default()
        };
        assert_eq!(machine.container(), None);
    }

    #[test]
    fn a_pod_counts_as_kubernetes_whatever_runs_it() {
        let pod = Signs {
            containerenv: true,
            kubernetes: true,
            ..signs()
        };
        assert_eq!(pod.container(), Some(Container::Kubernetes));
    }

    #[test]
    fn the_files_are_parsed_as_the_kernel_writes_them() {
        let status = "NoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t1\nCapEff:\t00000000a80425fb\n";
        assert_eq!(seccomp_mode(status), Some(2));
        assert_eq!(seccomp_mode("Seccomp_filters:\t1\n"), None);
        let initial = "         0          0 4294967295\n";
        assert!(is_capable(0, status, initial) && !is_capable(CAP_SYS_ADMIN, status, initial));
        assert!(!is_capable(0, status, "0 1000 1\n"), "in a user namespace");
        assert!(!is_capable(0, "", ""));
    }

    #[test]
    fn a_label_that_confines_nothing_is_not_reported() {
        for label in [
            "",
            "\0",
            "unconfined\n",
            "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0",
        ] {
            assert_eq!(confining_label(label), None, "{label}");
        }
        assert_eq!(
            confining_label("docker-default (enforce)\n").as_deref(),
            Some("docker-default (enforce)")
        );
    }

    #[test]
    fn without_proc_the_mode_is_known_as_well() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert_eq!(asked_mode(), seccomp_mode(&status));
    }
}
