//! Seccomp filters, as container runtimes install them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// In the process of this command, io_uring_setup(2) fails with this error.
pub(crate) fn refuse_io_uring(command: &mut Command, errno: i32) {
    install_before(command, libc::SECCOMP_RET_ERRNO | errno as u32);
}

/// In the process of this command, io_uring_setup(2) ends the process.
pub(crate) fn kill_at_io_uring(command: &mut Command) {
    install_before(command, libc::SECCOMP_RET_KILL_PROCESS);
}

#[allow(unsafe_code)] // a filter for one child can only be installed between fork and exec
fn install_before(command: &mut Command, action: u32) {
    let filter = filter(libc::SYS_io_uring_setup as u32, action);
    // SAFETY: between fork and exec it makes two system calls and uses only memory that it owns.
    unsafe { command.pre_exec(move || install(&filter)) };
}

/// A BPF program: this action for this system call, all others are allowed. seccomp(2).
fn filter(syscall: u32, action: u32) -> [libc::sock_filter; 4] {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    [
        // The number of the system call is the first field of `seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, syscall),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

#[allow(unsafe_code)] // no crate here wraps the system calls that install a filter
fn install(filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: passes numbers only; an unprivileged process must set this before it may install a filter.
    let no_new_privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if no_new_privileges != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel copies the program, which lives until the end of this function.
    let installed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if installed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
