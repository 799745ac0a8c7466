//! What a server that was taken over could do: nothing but serve.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Uid;
use urecho::serve::engine::Engine;

use crate::support::{ServeProcess, assert_echo, assert_says, on_every_engine, run};

on_every_engine! {
    a_confined_worker_escapes_by_no_attempt_and_serves,
    root_is_given_up_for_a_user,
}

fn a_confined_worker_escapes_by_no_attempt_and_serves(engine: Engine) {
    let server = ServeProcess::on(engine, &["--workers", "2", "--test-sandbox"]);
    let mut streams: Vec<_> = (0..10).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(|stream| assert_echo(stream, b"confined"));
    drop(streams);
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_worker_that_is_not_confined_escapes_by_every_attempt_but_the_last() {
    let server = ServeProcess::start(&["--workers", "1", "--test-sandbox", "--no-sandbox"]);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(70), "{}", ended.stderr);
    let attempts = [
        "open a file",
        "create a directory",
        "create a socket",
        "create a ring",
        "start a thread",
    ];
    assert_says(&ended.stderr, &attempts);
}

fn root_is_given_up_for_a_user(engine: Engine) {
    if !Uid::effective().is_root() {
        return println!("SKIPPED: needs root");
    }
    let server = ServeProcess::on(engine, &["--user", "65534"]);
    assert_echo(&mut server.connect(), b"unprivileged");
    let status = fs::read_to_string(server.proc("status")).unwrap();
    assert_says(
        &status,
        &[
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65534\t65534\t65534\t65534",
            "Groups:\t65534",
        ],
    );
}

#[test]
fn a_user_that_does_not_exist_is_refused() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    let ended = run(command.args(["serve", "--listen", "127.0.0.1:0", "--user", "no-such-user"]));
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
}
