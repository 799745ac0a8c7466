//! Making a ring: the ladder of flags, a probe by doing, and refusals turned into advice.
//!
//! Kernel versions lie (backports, seccomp, gVisor), so nothing here asks for one: the ring is made with the
//! best flags that the kernel takes, and then a byte goes through it.

use std::fs;
use std::io;

use io_uring::IoUring;

use crate::error::Error;

/// How large the queues are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Entries of the submission queue; a full one is submitted early, nothing is lost.
    pub submissions: u32,
    /// Entries of the completion queue. Overflow is kept by the kernel, counted by us, and slow.
    pub completions: u32,
}

/// How completions reach us, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Completions run when we wait, without the indirection array (6.6).
    DeferredDirect,
    /// Completions run when we wait (6.1).
    Deferred,
    /// Completions run at our next system call (6.0).
    Cooperative,
}

impl Mode {
    const LADDER: [Mode; 3] = [Mode::DeferredDirect, Mode::Deferred, Mode::Cooperative];

    /// As printed beside the engine.
    pub fn name(self) -> &'static str {
        match self {
            Mode::DeferredDirect => "defer-taskrun, no-sqarray",
            Mode::Deferred => "defer-taskrun",
            Mode::Cooperative => "coop-taskrun",
        }
    }

    fn build(self, queues: Queues) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder
            .dontfork()
            .setup_single_issuer()
            .setup_submit_all()
            .setup_taskrun_flag()
            .setup_clamp()
            .setup_cqsize(queues.completions.max(queues.submissions));
        match self {
            Mode::DeferredDirect => builder.setup_defer_taskrun().setup_no_sqarray(),
            Mode::Deferred => builder.setup_defer_taskrun(),
            Mode::Cooperative => builder.setup_coop_taskrun(),
        };
        builder.build(queues.submissions)
    }
}

/// Makes the ring. Steps down the ladder on EINVAL, and halves the queues on ENOMEM (memlock).
pub(super) fn build(mut queues: Queues) -> Result<(IoUring, Mode), Error> {
    loop {
        let failure = match climb_down(queues) {
            Ok(made) => return Ok(made),
            Err(failure) => failure,
        };
        let smaller = Queues {
            submissions: queues.submissions / 2,
            completions: queues.completions / 2,
        };
        if failure.raw_os_error() != Some(libc::ENOMEM) || smaller.submissions < 8 {
            return Err(refusal("create an io_uring", failure));
        }
        queues = smaller;
    }
}

fn climb_down(queues: Queues) -> io::Result<(IoUring, Mode)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for mode in Mode::LADDER {
        match mode.build(queues) {
            Ok(ring) => return Ok((ring, mode)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// What failed, why on this machine, and what to do about it. Never silent, never another engine.
pub(super) fn refusal(doing: &str, cause: io::Error) -> Error {
    let advice = advice(cause.raw_os_error().unwrap_or(0));
    Error::Machine(format!("cannot {doing}: {cause}. {advice}"))
}

fn advice(errno: i32) -> String {
    match errno {
        libc::EPERM | libc::EACCES => blocked(),
        libc::ENOSYS => "This kernel has no io_uring (CONFIG_IO_URING, Linux 6.0 or newer), or a container's \
             seccomp profile hides it (Podman): allow io_uring_setup, io_uring_enter and io_uring_register there"
            .into(),
        libc::EOPNOTSUPP => "The host forbids io_uring (some managed platforms do): run where it is allowed".into(),
        libc::EINVAL => "The kernel is too old: Linux 6.0 or newer is needed (multishot receive into a registered \
             buffer ring)"
            .into(),
        libc::ENOMEM => format!(
            "Ring memory counts against the locked-memory limit, now {}: raise it with `ulimit -l unlimited` or \
             LimitMEMLOCK=infinity",
            limit("Max locked memory")
        ),
        libc::EMFILE => format!(
            "This process has used up its descriptors, now {}: raise the limit with `ulimit -n`",
            limit("Max open files")
        ),
        libc::ENFILE => "The machine has used up its file table: raise fs.file-max".into(),
        _ => "Linux 6.0 or newer with io_uring is needed".into(),
    }
}

/// Who forbids it: the sysctl, a seccomp filter, or neither that we can see.
fn blocked() -> String {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match sysctl.trim() {
        "2" => {
            return "kernel.io_uring_disabled is 2 (off for everybody): `sysctl -w kernel.io_uring_disabled=0`".into();
        }
        "1" => {
            return "kernel.io_uring_disabled is 1 (only for CAP_SYS_ADMIN and the group kernel.io_uring_group): \
                 `sysctl -w kernel.io_uring_disabled=0`, or join that group"
                .into();
        }
        _ => {}
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if status
        .lines()
        .any(|line| line.starts_with("Seccomp:") && line.trim_end().ends_with('2'))
    {
        return "A seccomp filter is on this process (Docker's default profile forbids io_uring): run with \
             `--security-opt seccomp=unconfined`, or a profile that allows io_uring_setup, io_uring_enter and \
             io_uring_register"
            .into();
    }
    "A security module seems to forbid it (SELinux: allow io_uring; AppArmor: see dmesg)".into()
}

/// A soft limit of this process as /proc/self/limits shows it, with its unit.
fn limit(name: &str) -> String {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.unwrap_or_default().split_whitespace();
    match (words.next(), words.nth(1)) {
        (Some(soft), Some(unit)) => format!("{soft} {unit}"),
        _ => "unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_cause_and_what_to_do() {
        let refusals = [
            (libc::ENOSYS, "seccomp"),
            (libc::EOPNOTSUPP, "host forbids"),
            (libc::EINVAL, "6.0 or newer"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "ulimit -n"),
            (libc::ENFILE, "fs.file-max"),
            (libc::EIO, "io_uring is needed"),
        ];
        for (errno, expected) in refusals {
            let error = refusal("create an io_uring", io::Error::from_raw_os_error(errno));
            assert_eq!(error.exit_code(), 4);
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains(&format!("os error {errno}")), "{text}");
        }
    }

    #[test]
    fn limits_are_read_with_their_unit() {
        assert!(
            limit("Max open files").ends_with(" files"),
            "{}",
            limit("Max open files")
        );
        assert_eq!(limit("Max of nothing"), "unknown");
    }
}
