//! A host that blocks io_uring by a seccomp filter, as container runtimes do. seccomp(2).

use std::process::Command;

use nix::sys::signal::Signal;
use urecho::serve::engine::Engine;

use crate::support::seccomp::refuse_io_uring;
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
fn blocked(engine: Engine, errno: i32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--workers", "2"])
        .args(["--engine", engine.name()]);
    refuse_io_uring(&mut command, errno);
    command
}
