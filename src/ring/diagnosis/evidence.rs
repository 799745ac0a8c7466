//! What can be found out about a refusal of io_uring.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};

use crate::sys::restrictions::{self, CAP_SYS_ADMIN, Restrictions};

/// What is known about a refusal.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    /// kernel.io_uring_disabled; none before Linux 6.6, and if it is hidden.
    pub(super) disabled: Option<u8>,
    /// True if this process has CAP_SYS_ADMIN.
    pub(super) is_administrator: bool,
    /// What io_uring_enter(2) says about a number that is no descriptor. The kernel says EBADF, whatever its sysctl
    /// is.
    pub(super) entering: i32,
    /// True if the kernel surely has io_uring.
    pub(super) is_in_kernel: bool,
    /// What confines this process.
    pub(super) restrictions: Restrictions,
    /// The release of the kernel.
    pub(super) release: Option<String>,
}

impl Evidence {
    /// About this process.
    pub(super) fn read() -> Evidence {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
        let entering = enter_nothing();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Evidence {
            is_administrator: restrictions::has_capability(CAP_SYS_ADMIN),
            entering,
            is_in_kernel: disabled.is_some() || entering == libc::EBADF || is_in_symbols(),
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
            restrictions: Restrictions::read(),
            release: release.map(|text| text.trim().to_owned()),
        }
    }

    /// True if the sysctl refuses io_uring to this process.
    pub(super) fn is_disabled(&self) -> bool {
        match self.disabled {
            Some(1) => !self.is_administrator,
            Some(value) => value >= 2,
            None => false,
        }
    }

    /// True if a seccomp filter applies, or something answers in place of the kernel as one would.
    pub(super) fn has_filter(&self) -> bool {
        self.restrictions.seccomp_filter == Some(true) || !matches!(self.entering, libc::EBADF | libc::ENOSYS)
    }
}

/// The error number of io_uring_enter(2) for -1.
fn enter_nothing() -> i32 {
    // SAFETY: there is no descriptor -1, so nothing is done.
    let entered = unsafe { libc::syscall(libc::SYS_io_uring_enter, -1, 0, 0, 0, std::ptr::null::<u8>(), 0) };
    match entered {
        -1 => io::Error::last_os_error().raw_os_error().unwrap_or(0),
        _ => 0,
    }
}

/// True if the kernel's symbols have a function that only a kernel with io_uring has. False if they are hidden.
fn is_in_symbols() -> bool {
    File::open("/proc/kallsyms").is_ok_and(|file| has_io_uring(BufReader::new(file)))
}

fn has_io_uring(symbols: impl BufRead) -> bool {
    // Its name since 5.1. io_uring_setup itself is a symbol of kernels without io_uring as well (kernel/sys_ni.c).
    let is_it = |line: &String| line.split(' ').nth(2) == Some("io_uring_init");
    symbols.lines().map_while(Result::ok).any(|line| is_it(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_itself_has_one_answer_about_a_number_that_is_no_descriptor() {
        let evidence = Evidence::read();
        if evidence.has_filter() || !evidence.is_in_kernel {
            return println!("SKIPPED: needs io_uring");
        }
        assert_eq!(evidence.entering, libc::EBADF);
    }

    #[test]
    fn a_kernel_with_io_uring_has_its_functions() {
        let symbols = "0000000000000000 T __x64_sys_io_uring_setup\n0000000000000000 t io_uring_init\n";
        assert!(has_io_uring(symbols.as_bytes()));
        assert!(!has_io_uring(
            "0000000000000000 T __x64_sys_io_uring_setup\n".as_bytes()
        ));
    }

    #[test]
    fn the_sysctl_refuses_by_its_value() {
        let refuses = |disabled, is_administrator| {
            let evidence = Evidence {
                disabled,
                is_administrator,
                ..Evidence::default()
            };
            evidence.is_disabled()
        };
        assert!(refuses(Some(2), true) && refuses(Some(1), false));
        assert!(!refuses(Some(1), true) && !refuses(Some(0), false) && !refuses(None, false));
    }
}
