//! What a thread that handles the bytes of peers can still do: serve connections, and nothing else.
//!
//! seccomp(2) allows the system calls that serving needs; any other fails with EPERM, so that an error path ends in an
//! error and not in a kill. landlock(7) takes all files away besides. Neither can be undone. Both are for the calling
//! thread only. io_uring does not pass through seccomp(2), so rings are restricted on their own (`ring::setup`).

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use crate::error::{Error, Result};

/// What serving needs: sockets that exist, io_uring rings that exist, epoll, memory, time, threads that exist, and the
/// end.
const ALLOWED: [libc::c_long; 59] = [
    libc::SYS_io_uring_enter,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_pipe2,
    libc::SYS_splice,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_times,
    libc::SYS_timerfd_settime,
    libc::SYS_uname,
    libc::SYS_getcwd,
    libc::SYS_gettimeofday,
];

/// The same, where the architecture has kept older calls.
#[cfg(target_arch = "x86_64")]
const ALSO_ALLOWED: [libc::c_long; 3] = [libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_time];
#[cfg(not(target_arch = "x86_64"))]
const ALSO_ALLOWED: [libc::c_long; 0] = [];

/// Confines the calling thread. Errors: [`Error::Machine`] where seccomp(2) is not available. landlock(7) is used as
/// far as the kernel has it.
pub fn confine() -> Result<()> {
    let unavailable = |cause: String| {
        Error::Machine(format!(
            "cannot confine a worker with seccomp: {cause}. --no-sandbox serves without that"
        ))
    };
    let filter = filter().map_err(|cause| unavailable(cause.to_string()))?;
    take_files_away();
    seccompiler::apply_filter(&filter).map_err(|cause| unavailable(cause.to_string()))
}

fn filter() -> std::result::Result<BpfProgram, seccompiler::BackendError> {
    let calls = ALLOWED.into_iter().chain(ALSO_ALLOWED);
    SeccompFilter::new(
        calls.map(|call| (call, Vec::new())).collect(),
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?
    .try_into()
}

/// Handles every access and allows none.
fn take_files_away() {
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|rules| rules.create())
        .and_then(|rules| rules.restrict_self());
    drop(rules); // A kernel without landlock(7) leaves it to seccomp(2).
}

/// Tries what a confined thread must not be able to do; returns what has succeeded.
pub fn escapes() -> Vec<&'static str> {
    type Attempt = (&'static str, fn() -> bool);
    const ATTEMPTS: [Attempt; 6] = [
        ("open a file", || File::open("/etc/passwd").is_ok()),
        ("create a directory", create_directory),
        ("create a socket", || TcpListener::bind("127.0.0.1:0").is_ok()),
        ("create a ring", create_ring),
        ("start a thread", || std::thread::Builder::new().spawn(|| ()).is_ok()),
        ("execute a program", || execute(c"/bin/true").is_ok()),
    ];
    let mut succeeded = Vec::new();
    for (what, attempt) in ATTEMPTS {
        // The last one would end this process.
        if (what != "execute a program" || succeeded.is_empty()) && attempt() {
            succeeded.push(what);
        }
    }
    succeeded
}

fn create_directory() -> bool {
    let path = std::env::temp_dir().join(format!("urecho-escape-{:?}", std::thread::current().id()));
    let created = fs::create_dir(&path);
    created.is_ok_and(|()| fs::remove_dir(path).is_ok())
}

fn create_ring() -> bool {
    /// struct io_uring_params, io_uring_setup(2).
    const PARAMETERS: usize = 120;
    let mut parameters = [0u64; PARAMETERS / size_of::<u64>()];
    // SAFETY: the kernel reads and writes the parameters only.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, parameters.as_mut_ptr()) };
    ring >= 0 // It is closed with the process, which is about to end with an error.
}

/// Replaces this process, if it is allowed to.
fn execute(program: &CStr) -> io::Result<()> {
    let (arguments, environment) = ([program.as_ptr(), std::ptr::null()], [std::ptr::null()]);
    // SAFETY: all three are terminated as execve(2) demands, and live until it returns.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confined_thread_escapes_by_no_attempt_and_others_are_free() {
        let escaped = std::thread::spawn(|| confine().map(|()| escapes())).join().unwrap();
        assert_eq!(escaped.unwrap(), Vec::<&str>::new());
        assert!(File::open("/etc/passwd").is_ok());
    }

    #[test]
    fn no_system_call_is_listed_twice() {
        let calls: std::collections::BTreeSet<_> = ALLOWED.into_iter().chain(ALSO_ALLOWED).collect();
        assert_eq!(calls.len(), ALLOWED.len() + ALSO_ALLOWED.len());
    }
}
