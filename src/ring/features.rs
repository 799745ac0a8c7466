//! Each feature of io_uring that urecho uses, or could use, tried for real: versions of kernels are misleading
//! (`setup`).
//!
//! A trial never fails as a whole: what the kernel says about one feature is the result. Names as in io_uring_setup(2),
//! io_uring_enter(2) and liburing.

mod trials;

use std::io;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::setup::Mode;
use crate::error::Errno;

/// A feature, and what became of its trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its name, `multishot-accept`.
    pub name: &'static str,
    /// The first release of Linux that has it.
    pub since: &'static str,
    /// What urecho does with it, and without it.
    pub purpose: Purpose,
    /// What became of the trial.
    pub trial: Trial,
}

/// What urecho does with a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Nothing works without it.
    Required,
    /// One of several modes of a ring; one of them is required.
    Mode,
    /// Makes something cheaper or more exact; there is a substitute.
    Used,
    /// Not used.
    Unused,
}

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// It did what it should.
    Works,
    /// The kernel does not know it.
    Absent,
    /// The kernel knows it and refused, or it did something else.
    Failed(Errno),
}

impl Trial {
    fn of(result: io::Result<()>) -> Trial {
        match result.map_err(Errno::from) {
            Ok(()) => Trial::Works,
            Err(Errno(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS)) => Trial::Absent,
            Err(errno) => Trial::Failed(errno),
        }
    }
}

/// Tries all features. Takes some milliseconds.
pub fn features() -> Vec<Feature> {
    let modes = Mode::BEST_FIRST.map(|mode| Feature {
        // By what distinguishes it: names are listed with commas.
        name: match mode {
            Mode::DeferredDirect => "no-sqarray",
            Mode::Deferred | Mode::Cooperative => mode.name(),
        },
        since: mode.since(),
        purpose: Purpose::Mode,
        trial: Trial::of(trials::mode(mode)),
    });
    type Attempt = fn() -> io::Result<()>;
    let others: [(&str, &str, Purpose, Attempt); 11] = [
        ("multishot-accept", "5.19", Purpose::Required, trials::multishot_accept),
        ("multishot-receive", "6.0", Purpose::Required, trials::multishot_receive),
        ("msg-ring", "5.18", Purpose::Required, trials::msg_ring),
        ("absolute-timer", "6.12", Purpose::Used, trials::absolute_deadlines),
        ("no-iowait", "6.15", Purpose::Used, trials::no_iowait),
        ("registered-ring", "5.18", Purpose::Unused, trials::registered_ring),
        ("direct-descriptors", "6.13", Purpose::Used, trials::direct_descriptors),
        ("msg-ring-fd", "6.0", Purpose::Unused, trials::msg_ring_descriptors),
        ("receive-bundles", "6.10", Purpose::Unused, trials::receive_bundles),
        ("min-wait", "6.12", Purpose::Unused, trials::min_wait),
        ("send-zero-copy", "6.0", Purpose::Unused, trials::send_zero_copy),
    ];
    let others = others.map(|(name, since, purpose, attempt)| Feature {
        name,
        since,
        purpose,
        trial: Trial::of(attempt()),
    });
    modes.into_iter().chain(others).collect()
}

/// True if sockets can be entries in the table of a ring here.
pub fn has_direct_descriptors() -> bool {
    killed_by().is_none() && trials::direct_descriptors().is_ok()
}

/// The signal that ends a process which makes the calls of io_uring: some seccomp filters kill. None if it survives,
/// or if that cannot be tried. In a child, because it may be ended.
pub fn killed_by() -> Option<i32> {
    // SAFETY: until it exits, the child makes system calls only, and uses only memory of its own stack.
    let child = match unsafe { fork() } {
        Ok(ForkResult::Child) => make_the_calls(),
        Ok(ForkResult::Parent { child }) => child,
        Err(_) => return None,
    };
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Signaled(_, signal, _)) => return Some(signal as i32),
            Err(nix::errno::Errno::EINTR) => {}
            _ => return None,
        }
    }
}

/// Makes each of the three calls once, and exits.
fn make_the_calls() -> ! {
    // More than the kernel reads or writes (struct io_uring_params, 120 bytes).
    let mut parameters = [0_u64; 32];
    let nothing = std::ptr::null_mut::<u64>();
    for (number, first, second) in [
        (libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr()),
        (libc::SYS_io_uring_enter, -1, nothing),
        (libc::SYS_io_uring_register, -1, nothing),
    ] {
        // SAFETY: a ring with one entry, described by memory that is large enough; the others refer to no descriptor.
        unsafe { libc::syscall(number, first, second, 0, 0, 0, 0) };
    }
    // SAFETY: _exit(2) ends the process and touches no memory.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_new_enough_has_each_feature() {
        if super::super::probe(1).is_err() {
            return println!("SKIPPED: needs io_uring");
        }
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let version = |text: &str| -> Vec<u32> {
            let numbers = text.split(|c: char| !c.is_ascii_digit());
            numbers.take(2).map(|number| number.parse().unwrap()).collect()
        };
        for feature in features() {
            if version(&release) >= version(feature.since) {
                assert_eq!(feature.trial, Trial::Works, "{feature:?}");
            }
        }
    }

    #[test]
    fn an_unknown_operation_is_absent_and_a_refused_one_has_failed() {
        let refused = |errno| Trial::of(Err(io::Error::from_raw_os_error(errno)));
        assert_eq!(refused(libc::EINVAL), Trial::Absent);
        assert_eq!(refused(libc::EPERM), Trial::Failed(Errno(libc::EPERM)));
    }

    #[test]
    fn where_nothing_kills_a_trial_survives() {
        assert_eq!(killed_by(), None);
    }
}
