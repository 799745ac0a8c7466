//! A host that blocks io_uring by a seccomp filter, as container runtimes do. seccomp(2).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;
use urecho::serve::engine::Engine;

use crate::support::{Output, ServeProcess, assert_echo, assert_says, bytes, run};

#[test]
fn epoll_serves_where_io_uring_is_blocked() {
    let server = ServeProcess::spawn(blocked(Engine::Epoll, libc::EPERM));
    assert_says(&server.announced, &["engine=epoll"]);
    let mut peer = server.connect();
    assert_echo(&mut peer, &bytes(100_000, 1));
    drop(peer);
    server.signal(Signal::SIGTERM);
    assert_says(&server.wait().stderr, &["accepted=1 closed=1", "errors=0"]);
}

#[test]
fn there_is_no_fallback_from_an_engine_on_io_uring() {
    for engine in [Engine::Uring, Engine::TokioUring] {
        for errno in [libc::EPERM, libc::ENOSYS] {
            let ended = run(&mut blocked(engine, errno));
            assert_one_message(&ended);
            assert_says(&ended.stderr, &["cannot create an io_uring", "seccomp"]);
        }
    }
}

#[test]
fn eperm_is_explained_by_the_profile_of_docker() {
    let ended = run(&mut blocked(Engine::Uring, libc::EPERM));
    assert_one_message(&ended);
    assert_says(
        &ended.stderr,
        &[
            "cannot create an io_uring",
            "Operation not permitted",
            "seccomp",
            "Docker",
        ],
    );
}

#[test]
fn enosys_is_explained_by_the_profile_of_podman() {
    let ended = run(&mut blocked(Engine::Uring, libc::ENOSYS));
    assert_one_message(&ended);
    assert_says(
        &ended.stderr,
        &[
            "cannot create an io_uring",
            "Function not implemented",
            "seccomp",
            "Podman",
        ],
    );
}

fn assert_one_message(ended: &Output) {
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "no server listens");
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("urecho: "), "{}", ended.stderr);
}

/// `urecho serve` with two workers, in a process where io_uring_setup(2) fails with `errno`.
#[allow(unsafe_code)] // a filter for one child can only be installed between fork and exec
fn blocked(engine: Engine, errno: i32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "2"])
        .args(["--engine", engine.name()]);
    let filter = filter(libc::SYS_io_uring_setup as u32, errno as u32);
    // SAFETY: between fork and exec it makes two system calls and uses only memory that it owns.
    unsafe { command.pre_exec(move || install(&filter)) };
    command
}

/// A BPF program: this system call fails with this error, all others are allowed. seccomp(2).
fn filter(syscall: u32, errno: u32) -> [libc::sock_filter; 4] {
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
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
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
