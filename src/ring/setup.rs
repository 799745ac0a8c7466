//! Setting up a ring: the best mode that the kernel supports, and advice when it refuses.
//!
//! Kernel versions are misleading (backports, seccomp, gVisor), so none is checked: modes are tried from best to worst, and
//! `Ring::new` then receives a byte through the ring.

use std::fs;
use std::io;

use io_uring::IoUring;

use crate::error::Error;

/// Sizes of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Entries of the submission queue. A full one is submitted early.
    pub submissions: u32,
    /// Entries of the completion queue. The kernel keeps an overflow, but slowly; it is counted.
    pub completions: u32,
}

/// How the kernel delivers completions, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When the ring waits, and without the indirection array (Linux 6.6).
    DeferredDirect,
    /// When the ring waits (Linux 6.1).
    Deferred,
    /// At the next system call of the thread (Linux 6.0).
    Cooperative,
}

impl Mode {
    const BEST_FIRST: [Mode; 3] = [Mode::DeferredDirect, Mode::Deferred, Mode::Cooperative];

    /// As printed after the engine.
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

/// Creates a ring. Tries the next mode on EINVAL, and halves the queues on ENOMEM (memlock).
pub(super) fn build(mut queues: Queues) -> Result<(IoUring, Mode), Error> {
    loop {
        let failure = match build_best(queues) {
            Ok(ring) => return Ok(ring),
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

fn build_best(queues: Queues) -> io::Result<(IoUring, Mode)> {
    let mut refused = io::Error::from_raw_os_error(libc::EINVAL);
    for mode in Mode::BEST_FIRST {
        match mode.build(queues) {
            Ok(ring) => return Ok((ring, mode)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// The error for a refused system call: what failed, the cause, and what to do about it on this machine.
pub(super) fn refusal(doing: &str, cause: io::Error) -> Error {
    let advice = advice(cause.raw_os_error().unwrap_or(0));
    Error::Machine(format!("cannot {doing}: {cause}. {advice}"))
}

fn advice(errno: i32) -> String {
    match errno {
        libc::EPERM | libc::EACCES => blocked(),
        libc::ENOSYS => "This kernel has no io_uring (CONFIG_IO_URING, Linux 6.0 or newer), or a container's \
             seccomp profile hides it (Podman): allow io_uring_setup, io_uring_enter and io_uring_register in that profile"
            .into(),
        libc::EOPNOTSUPP => "The host forbids io_uring, as some managed platforms do: run this on another host".into(),
        libc::EINVAL => "The kernel is too old: io_uring needs Linux 6.0 or newer here (multishot receive into \
             provided buffers)"
            .into(),
        libc::ENOMEM => format!(
            "Ring memory counts towards the locked-memory limit of {}: raise it with `ulimit -l unlimited` or \
             LimitMEMLOCK=infinity",
            limit("Max locked memory")
        ),
        libc::EMFILE => format!(
            "This process has no descriptors left (limit {}): raise the limit with `ulimit -n`",
            limit("Max open files")
        ),
        libc::ENFILE => "The file table of this machine is full: raise fs.file-max".into(),
        _ => "Linux 6.0 or newer with io_uring is required".into(),
    }
}

/// What blocks io_uring: the sysctl, a seccomp filter, or neither as far as this process can see.
fn blocked() -> String {
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match sysctl.trim() {
        "2" => {
            return "kernel.io_uring_disabled is 2 (disabled for all processes): `sysctl -w kernel.io_uring_disabled=0`".into();
        }
        "1" => {
            return "kernel.io_uring_disabled is 1 (only CAP_SYS_ADMIN and the group kernel.io_uring_group may use it): \
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
        return "A seccomp filter applies to this process (Docker's default profile blocks io_uring): run with \
             `--security-opt seccomp=unconfined`, or with a profile that allows io_uring_setup, io_uring_enter and \
             io_uring_register"
            .into();
    }
    "Probably a security module blocks it (SELinux: allow io_uring; AppArmor: see dmesg)".into()
}

/// A soft limit of this process with its unit, from /proc/self/limits.
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
    fn every_refusal_names_the_cause_and_a_remedy() {
        let refusals = [
            (libc::ENOSYS, "seccomp"),
            (libc::EOPNOTSUPP, "host forbids"),
            (libc::EINVAL, "6.0 or newer"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EMFILE, "ulimit -n"),
            (libc::ENFILE, "fs.file-max"),
            (libc::EIO, "io_uring is required"),
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
    fn limits_have_their_unit() {
        assert!(
            limit("Max open files").ends_with(" files"),
            "{}",
            limit("Max open files")
        );
        assert_eq!(limit("Max of no resource"), "unknown");
    }
}
