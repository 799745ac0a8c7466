//! Why io_uring is refused here, and what to do about it: one diagnosis for every error number, which `serve`, `load`
//! and `doctor` print.
//!
//! An error number alone does not say who refuses: EPERM is the kernel's (a sysctl), a seccomp filter's, or a security
//! module's. So the kernel is asked something that it answers with EBADF, and a filter does not. io_uring_setup(2),
//! seccomp(2); the kernel's Documentation/admin-guide/sysctl/kernel.rst.

mod evidence;
mod filters;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use crate::sys::{limits, shortage};
use evidence::Evidence;

/// Something to do, as a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Remedy {
    /// The command. Words in capitals stand for what the reader knows.
    pub command: String,
    /// When it is the right one, and what it costs; may be empty.
    pub note: String,
}

impl Remedy {
    /// A command with a note.
    pub fn new(command: impl Into<String>, note: impl Into<String>) -> Remedy {
        Remedy {
            command: command.into(),
            note: note.into(),
        }
    }
}

/// Why io_uring is refused, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause in one sentence, without a full stop.
    pub cause: String,
    /// The same for a reader who has never heard of what the cause names: paragraphs, none if the cause says it all.
    pub explanation: Vec<String>,
    /// What to do; one of them is enough. The first is the shortest.
    pub remedies: Vec<Remedy>,
}

impl Diagnosis {
    /// Of an error of one of the system calls of io_uring, here and now.
    pub fn of(errno: i32) -> Diagnosis {
        of(errno, &Evidence::read())
    }

    /// Of ENOMEM for rings whose queues take `bytes`.
    pub(super) fn of_ring_memory(bytes: usize) -> Diagnosis {
        Diagnosis::of_shortage(shortage::of_ring_memory(bytes))
    }

    /// Of ENOMEM for buffers that take `bytes`.
    pub(super) fn of_memory(bytes: usize) -> Diagnosis {
        Diagnosis::of_shortage(shortage::of_memory(bytes))
    }

    fn of_shortage(cause: String) -> Diagnosis {
        let limits = ["ulimit -l unlimited", "ulimit -v unlimited"];
        let limits = limits.into_iter().filter(|command| cause.contains(command));
        let mut remedies: Vec<Remedy> = limits
            .map(|command| Remedy::new(command, "as root, or with LimitMEMLOCK= and LimitAS= in a unit"))
            .collect();
        if remedies.is_empty() {
            remedies.push(Remedy::new(
                "free -h",
                "shows what is left; in a container, docker run --memory=4g",
            ));
        }
        Diagnosis {
            remedies,
            explanation: Vec::new(),
            cause,
        }
    }

    /// Of a process that a signal ended when it made one of these calls: some seccomp filters do not return an error.
    pub fn of_killed(signal: i32) -> Diagnosis {
        Diagnosis {
            cause: format!("a test call was killed by signal {signal}: a seccomp filter with a kill action"),
            ..blocked_by_filter(&Evidence::read())
        }
    }

    /// Of a table of direct descriptors that does not work.
    pub(super) fn of_direct_descriptors() -> Diagnosis {
        Diagnosis {
            cause:
                "direct descriptors need Linux 6.13 or newer; fewer connections, or more descriptors, do without them"
                    .into(),
            explanation: Vec::new(),
            remedies: vec![Remedy::new(
                "ulimit -n 1048576",
                "as root, in the shell that starts urecho",
            )],
        }
    }

    /// For the end of an error message, in one line.
    pub fn message(&self) -> String {
        let first = self.remedies.first().map(|remedy| remedy.command.as_str());
        // The sentence for a shortage has its command in it.
        let command = first.filter(|&command| !self.cause.contains(command) && command != SERVE_WITHOUT);
        let command = command.map(|command| format!(": `{command}`")).unwrap_or_default();
        let mut cause = self.cause.clone();
        if let Some(first) = cause.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let has_alternative = self.remedies.iter().any(|remedy| remedy.command == SERVE_WITHOUT);
        let alternative = if has_alternative {
            ". Without io_uring: `--engine epoll` for the server, `--io epoll` for the load"
        } else {
            ""
        };
        format!("{cause}{command}{alternative}. `urecho doctor` explains it")
    }

    fn new(cause: impl Into<String>, remedies: Vec<Remedy>) -> Diagnosis {
        Diagnosis {
            cause: cause.into(),
            explanation: Vec::new(),
            remedies,
        }
    }
}

/// The command of a server without io_uring.
const SERVE_WITHOUT: &str = "urecho serve --engine epoll";

/// Serves where io_uring is blocked.
fn epoll() -> Remedy {
    Remedy::new(
        SERVE_WITHOUT,
        "the server without io_uring; for load, bench, compare, check and find-max: --io epoll",
    )
}

fn of(errno: i32, evidence: &Evidence) -> Diagnosis {
    let is_refused = matches!(errno, libc::EPERM | libc::EACCES);
    match errno {
        _ if is_refused && evidence.is_disabled() => disabled(evidence),
        libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EOPNOTSUPP if evidence.has_filter() => {
            filtered(errno, evidence)
        }
        libc::EPERM | libc::EACCES => confined(evidence),
        libc::ENOSYS => absent(evidence),
        libc::EOPNOTSUPP => Diagnosis::new(
            "the host blocks io_uring, as some managed platforms do: Linux itself does not return this error. Run this on \
             another host",
            vec![epoll()],
        ),
        libc::EINVAL => too_old(evidence),
        libc::EMFILE => Diagnosis::new(
            format!(
                "this process has no descriptors left (limit {} files)",
                limits::descriptors().soft
            ),
            vec![Remedy::new("ulimit -n 65536", "or LimitNOFILE= in a unit")],
        ),
        libc::ENFILE => Diagnosis::new(
            "the file table of this machine is full",
            vec![Remedy::new(
                "sysctl -w fs.file-max=9223372036854775807",
                "as root, on the host",
            )],
        ),
        libc::ENOMEM => Diagnosis::of_ring_memory(1),
        libc::ETIMEDOUT => Diagnosis::new(
            "a ring was made, and nothing came through it for a second: this process was stopped, or the kernel is \
             broken. Linux 6.0 or newer with io_uring is required",
            vec![epoll()],
        ),
        _ => Diagnosis::new(
            "Linux does not return this error for this call. Linux 6.0 or newer with io_uring is required",
            vec![
                Remedy::new(
                    "strace -f -e trace=/io_uring urecho doctor --noise 0s",
                    "shows who answers",
                ),
                epoll(),
            ],
        ),
    }
}

/// The sysctl.
fn disabled(evidence: &Evidence) -> Diagnosis {
    let who = match evidence.disabled {
        Some(1) => "only processes with CAP_SYS_ADMIN, and the group kernel.io_uring_group, may use io_uring",
        _ => "no process may use io_uring",
    };
    let host = match evidence.restrictions.container {
        Some(_) => "as root on the host: a container cannot change it",
        None => "as root; lasts until the next boot, or forever as a line in /etc/sysctl.d/",
    };
    let mut remedies = vec![Remedy::new("sysctl -w kernel.io_uring_disabled=0", host)];
    if evidence.disabled == Some(1) {
        let command = "groupadd -f io_uring && usermod -aG io_uring USER && sysctl -w kernel.io_uring_group=$(getent \
                       group io_uring | cut -d: -f3)";
        remedies.push(Remedy::new(command, "for one user only, who then has to log in again"));
    }
    remedies.push(epoll());
    Diagnosis {
        cause: format!("kernel.io_uring_disabled is {}: {who}", evidence.disabled.unwrap_or(2)),
        explanation: vec![format!(
            "The administrator of this machine, or its distribution, has switched io_uring off with a setting of the \
             kernel, because flaws in it can be used to take over a machine. Nothing is wrong with the kernel or \
             with urecho. {}",
            match evidence.restrictions.container {
                Some(_) => "Containers share the kernel of their host, and its setting.",
                None => "Its administrator can switch it on.",
            }
        )],
        remedies,
    }
}

/// A seccomp filter that answers with an error.
fn filtered(errno: i32, evidence: &Evidence) -> Diagnosis {
    let place = evidence
        .restrictions
        .container
        .map_or("this process".to_owned(), |container| container.to_string());
    let runtime = match errno {
        libc::ENOSYS => "Podman's default profile does",
        libc::EOPNOTSUPP => "some managed platforms do",
        _ => "Docker's default profile does",
    };
    let cause = match errno {
        libc::ENOSYS => format!("a seccomp filter of {place} hides io_uring, as {runtime}"),
        _ => format!("a seccomp filter of {place} blocks io_uring, as {runtime}"),
    };
    Diagnosis {
        cause,
        ..blocked_by_filter(evidence)
    }
}

/// All of a diagnosis but the cause.
fn blocked_by_filter(evidence: &Evidence) -> Diagnosis {
    let container = evidence.restrictions.container;
    let mut remedies = filters::remedies(container);
    remedies.push(epoll());
    Diagnosis {
        cause: String::new(),
        explanation: filters::explanation(container),
        remedies,
    }
}

/// No sysctl and no filter: a security module, or something that stands between this process and the kernel.
fn confined(evidence: &Evidence) -> Diagnosis {
    let module = match &evidence.restrictions.label {
        Some(label) => format!("probably the security module that has labelled this process `{label}`"),
        None => "probably a security module (SELinux, AppArmor, or a BPF program of the host)".to_owned(),
    };
    Diagnosis {
        cause: format!("neither kernel.io_uring_disabled nor a seccomp filter blocks it, so {module} does"),
        explanation: vec![
            "A security module is a set of rules of the administrator about what each program may do, on top of users \
             and file modes. The kernel log says which rule refused what."
                .into(),
        ],
        remedies: vec![
            Remedy::new(
                "dmesg | grep -iE 'apparmor|avc|denied' | tail",
                "as root: shows the rule",
            ),
            Remedy::new(
                "ausearch -m avc -ts recent | audit2allow -M urecho && semodule -i urecho.pp",
                "as root, with SELinux",
            ),
            Remedy::new(
                "aa-complain /PATH/TO/urecho",
                "as root, with AppArmor: reports what its profile forbids, and lets it pass",
            ),
            epoll(),
        ],
    }
}

/// ENOSYS without a filter that this process can see.
fn absent(evidence: &Evidence) -> Diagnosis {
    let release = evidence.release.as_deref().unwrap_or("of unknown version");
    if evidence.is_in_kernel {
        return Diagnosis {
            cause: format!(
                "this kernel ({release}) has io_uring, and something hides it from this process: a container's seccomp \
                 profile (as Podman's does), or a sandbox that stands between this process and the kernel"
            ),
            ..blocked_by_filter(evidence)
        };
    }
    Diagnosis::new(
        format!(
            "this kernel ({release}) has no io_uring, which is part of Linux 5.1 and newer with CONFIG_IO_URING, and \
             urecho needs 6.0; or a container's seccomp profile hides it (as Podman's does), or gVisor stands in for \
             the kernel, which has none"
        ),
        vec![
            Remedy::new(
                "uname -r; zgrep IO_URING /proc/config.gz /boot/config-$(uname -r)",
                "shows what this kernel has",
            ),
            epoll(),
        ],
    )
}

fn too_old(evidence: &Evidence) -> Diagnosis {
    let release = evidence.release.as_deref().unwrap_or("of unknown version");
    Diagnosis::new(
        format!(
            "this kernel ({release}) refuses a flag or operation that urecho needs: Linux 6.0 or newer has them \
             (multishot receive into provided buffers). If it is newer, something that stands in for the kernel does \
             not know them"
        ),
        vec![
            Remedy::new("uname -r", "if that is below 6.0, boot a newer kernel"),
            epoll(),
        ],
    )
}

#[cfg(test)]
mod tests;
