//! The real binary before it serves: its first line, addresses and ports, options that the host refuses.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use urecho::serve::engine::Engine;

use crate::support::{Output, ServeProcess, assert_echo, assert_says, on_every_engine, run, until};

on_every_engine! {
    the_first_line_has_the_port_that_was_taken_and_the_engine,
    it_serves_over_ipv6;
    with_descriptors:
    peers_that_vanish_are_noticed,
}

fn the_first_line_has_the_port_that_was_taken_and_the_engine(engine: Engine) {
    let server = ServeProcess::on(engine, &["--workers", "1"]);
    assert_ne!(server.address.port(), 0);
    let announced = match engine {
        // With the ring mode.
        Engine::Uring => "engine=uring (".to_owned(),
        other => format!("engine={other} workers=1"),
    };
    assert_says(
        &server.announced,
        &["listening on 127.0.0.1:", &announced, "workers=1\n"],
    );
    assert_echo(&mut server.connect(), b"hello");
}

fn it_serves_over_ipv6(engine: Engine) {
    if TcpListener::bind("[::1]:0").is_err() {
        return println!("SKIPPED: needs IPv6 on the loopback interface");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["serve", "--listen", "[::1]:0", "--engine", engine.name()]);
    let server = ServeProcess::spawn(command);
    assert!(server.address.is_ipv6());
    assert_echo(&mut server.connect(), b"hello over IPv6");
}

fn peers_that_vanish_are_noticed(engine: Engine) {
    let server = ServeProcess::on(engine, &["--workers", "1"]);
    let mut stream = server.connect();
    assert_echo(&mut stream, b"hello");
    let ports =
        [server.address, stream.local_addr().unwrap()].map(|address| format!("0100007F:{:04X}", address.port()));
    until("the kernel's timer for keepalive runs", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        // proc(5): the addresses, the state, the queues, and the kind of timer with its time.
        lines.any(|fields| fields.len() > 5 && fields[1..3] == ports && fields[5].starts_with("02:"))
    });
}

#[test]
fn an_address_in_use_is_refused_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ended = serve(address, &[]);
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert_says(
        &ended.stderr,
        &[
            &format!("cannot listen on {address}: "),
            "Address already in use",
            "ss -ltnp",
        ],
    );
    assert_eq!(ended.stdout, "");
}

#[test]
fn an_unknown_congestion_control_is_refused_with_the_available_ones() {
    let ended = serve(SocketAddr::from(([127, 0, 0, 1], 0)), &["--congestion", "wishful"]);
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    let available = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").unwrap();
    assert_says(&ended.stderr, &["wishful", "No such file", available.trim()]);
}

fn serve(address: SocketAddr, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    run(command.args(["serve", "--listen", &address.to_string()]).args(flags))
}

#[test]
fn an_address_of_many_hosts_is_refused() {
    for address in ["224.0.0.1:0", "255.255.255.255:0", "[ff02::1]:0"] {
        let ended = run(Command::new(env!("CARGO_BIN_EXE_urecho")).args(["serve", "--listen", address]));
        assert_eq!(ended.code(), Some(2), "{address}: {}", ended.stderr);
    }
}
