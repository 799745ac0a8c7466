//! Flags from the environment and from a file, and what every command has: --quiet and --color.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::runs::until_valid;
use crate::support::{Server, run};

fn urecho(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(words.split(' ').filter(|word| !word.is_empty()));
    command
}

#[test]
fn a_load_takes_flags_from_the_environment_and_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let file = folder.path().join("load.toml");
    fs::write(
        &file,
        "[load]\nconnections = 3\nduration = '50ms'\nwarmup = '0s'\nseed = 5\n",
    )
    .unwrap();
    let mut command = urecho(&format!("load {} -c 2 --json -", server.address));
    let ended = run(command.env("URECHO_CONFIG", &file).env("URECHO_SEED", "6"));
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["connections"]["requested"], 2, "the command line");
    assert_eq!(report["plan"]["seed"], 6, "a variable");
    assert_eq!(report["plan"]["duration_ns"], 50_000_000, "the file");
    server.stop();
}

#[test]
fn an_error_says_where_a_value_is_from() {
    let ended = run(urecho("load").env("URECHO_RATE", "fast"));
    assert_eq!(ended.status.code(), Some(2));
    assert!(
        ended.stderr.contains("--rate") && ended.stderr.ends_with("(from URECHO_RATE)\n"),
        "{}",
        ended.stderr
    );
    let absent = run(&mut urecho("load --config no/such.toml"));
    assert_eq!(absent.status.code(), Some(2));
    assert!(absent.stderr.contains("cannot read no/such.toml"), "{}", absent.stderr);
}

#[test]
fn a_quiet_run_prints_nothing_and_writes_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let file = folder.path().join("run.json");
    let flags = format!(
        "load {} -c 2 -d 50ms --warmup 0s -q --json {}",
        server.address,
        file.display()
    );
    let ended = run(&mut urecho(&flags));
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    assert!(fs::read_to_string(file).unwrap().contains("urecho.load/2"));
    server.stop();
    let failed = run(&mut urecho(&format!("load {} --quiet -d 50ms", server_that_is_gone())));
    assert_eq!(failed.status.code(), Some(5), "errors are not quiet");
    assert!(failed.stderr.contains("refused"), "{}", failed.stderr);
}

fn server_that_is_gone() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_verdict_has_its_colour_if_the_user_wants_colours_in_a_pipe() {
    let server = Server::start();
    let load = |color: &str| {
        let flags = format!("load {} -c 2 -d 50ms --warmup 0s {color}", server.address);
        run(urecho(&flags).env("TERM", "dumb")).stdout
    };
    assert!(load("--color always").contains("\x1b[1;3"));
    for plain in ["", "--color never", "--color auto"] {
        assert!(!load(plain).contains('\x1b'), "{plain}");
    }
    server.stop();
}

#[test]
fn our_own_server_ignores_variables_and_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("urecho.toml");
    fs::write(&file, "[serve]\nmax-connections = 1\n").unwrap();
    // The server could not do either.
    let defaults = [
        ("URECHO_METRICS", "192.0.2.1:1"),
        ("URECHO_CONFIG", file.to_str().unwrap()),
    ];
    let ended = run(urecho("bench -c 3 -d 50ms --warmup 0s").envs(defaults));
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{}", ended.stderr);
    assert!(ended.stdout.contains("3 opened"), "{}", ended.stdout);
    let ended = until_valid(|| run(urecho("compare -c 3 --restarts 3 --blocks 1 --slice 20ms").envs(defaults)));
    assert_eq!(ended.status.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
}
