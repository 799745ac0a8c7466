//! Limits on connections, idle peers, several listeners, and a worker that fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use urecho::clock::Nanos;
use urecho::serve::admission::AtLimit;
use urecho::serve::engine::Engine;

use crate::support::{
    ServeProcess, Server, assert_comes, assert_echo, assert_ends_with, assert_says, on_every_engine, shrink, until,
};

on_every_engine! {
    connections_beyond_the_limit_wait_until_another_one_closes,
    connections_beyond_the_limit_are_refused_where_that_is_wanted,
    each_address_has_a_limit_of_its_own,
    idle_connections_are_closed_and_active_ones_are_not,
    idle_connections_that_have_not_read_their_echo_are_reset,
    peers_that_do_not_read_are_closed_after_the_user_timeout,
    several_listeners_share_the_limit,
    without_a_descriptor_for_a_connection_it_does_not_start,
}

fn connections_beyond_the_limit_wait_until_another_one_closes(engine: Engine) {
    let server = Server::with(engine, |plan| {
        plan.workers = 2;
        plan.limits.connections = Some(4);
    });
    let mut open = server.connect_many(4);
    let mut waiting: Vec<TcpStream> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(b"waiting").unwrap();
        assert_nothing_comes(stream);
    }
    for mut served in waiting {
        drop(open.remove(0));
        assert_comes(&mut served, b"waiting");
        open.push(served);
    }
    drop(open);
    let counters = server.stop_clean();
    assert_eq!(counters.accepted, 7);
    assert!(counters.limit_pauses > 0, "{counters}");
}

fn connections_beyond_the_limit_are_refused_where_that_is_wanted(engine: Engine) {
    let server = Server::with(engine, |plan| {
        plan.workers = 2;
        plan.limits.connections = Some(2);
        plan.limits.at_limit = AtLimit::Refuse;
    });
    let mut open = server.connect_many(2);
    assert_is_refused(server.connect());
    assert_is_refused(server.connect());
    drop(open.pop());
    until("another one is served", || is_served(server.connect()));
    drop(open);
    let counters = server.stop();
    assert!(counters.refused_at_limit >= 2, "{counters}");
    assert_eq!(counters.refused_at_limit, counters.refused, "{counters}");
}

fn each_address_has_a_limit_of_its_own(engine: Engine) {
    let server = Server::with(engine, |plan| {
        plan.workers = 2;
        plan.limits.per_address = Some(2);
    });
    let from = |host: u8| connect_from([127, 0, 0, host], server.address);
    let mut one = [from(1), from(1)];
    one.iter_mut().for_each(|stream| assert_echo(stream, b"one"));
    assert_is_refused(from(1));
    let mut other = from(2);
    assert_echo(&mut other, b"other");
    drop(one);
    until("the address may connect again", || is_served(from(1)));
    drop(other);
    let counters = server.stop();
    assert!(counters.refused_per_address >= 1, "{counters}");
    assert_eq!(counters.refused_per_address, counters.refused, "{counters}");
}

fn idle_connections_are_closed_and_active_ones_are_not(engine: Engine) {
    let server = Server::with(engine, |plan| {
        plan.workers = 2;
        plan.idle_timeout = Some(Nanos(400_000_000));
    });
    let mut active = server.connect();
    let mut idle = server.connect_many(50);
    for stream in &idle {
        stream.set_nonblocking(true).unwrap();
    }
    until("the idle ones have ended", || {
        assert_echo(&mut active, b"active");
        idle.retain_mut(|stream| !matches!(stream.read(&mut [0; 8]), Ok(0)));
        idle.is_empty()
    });
    assert_echo(&mut active, b"active");
    drop(active);
    let counters = server.stop_clean();
    assert_eq!(counters.timed_out, 50);
}

fn idle_connections_that_have_not_read_their_echo_are_reset(engine: Engine) {
    let server = Server::with(engine, |plan| plan.idle_timeout = Some(Nanos(400_000_000)));
    assert_a_stuck_peer_is_reset(&server);
    let counters = server.stop();
    assert_eq!((counters.closed, counters.timed_out), (1, 1), "{counters}");
}

fn peers_that_do_not_read_are_closed_after_the_user_timeout(engine: Engine) {
    let server = Server::with(engine, |plan| plan.options.user_timeout = Some(Nanos::SECOND));
    assert_a_stuck_peer_is_reset(&server);
    assert_eq!(server.stop().closed, 1);
}

/// A connection whose peer sends and does not read is reset.
fn assert_a_stuck_peer_is_reset(server: &Server) {
    let stuck = server.connect();
    shrink(&stuck);
    stuck.set_nonblocking(true).unwrap();
    let piece = vec![b'x'; 65_536];
    let mut writer = &stuck;
    until(
        "the server has reset the connection",
        || matches!(writer.write(&piece), Err(cause) if cause.kind() != ErrorKind::WouldBlock),
    );
}

fn several_listeners_share_the_limit(engine: Engine) {
    let flags = ["--listen", "127.0.0.2:0", "--workers", "2", "--max-connections", "2"];
    let mut server = ServeProcess::on(engine, &flags);
    let line = server.read_line();
    let second: SocketAddr = line.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert_eq!(second.ip().to_string(), "127.0.0.2");
    let mut first = server.connect();
    assert_echo(&mut first, b"first");
    let mut other = crate::support::connect(second);
    assert_echo(&mut other, b"second");
    let mut waiting = [server.connect(), crate::support::connect(second)];
    for stream in &mut waiting {
        stream.write_all(b"waiting").unwrap();
        assert_nothing_comes(stream);
    }
    drop((first, other));
    waiting.iter_mut().for_each(|stream| assert_comes(stream, b"waiting"));
    server.signal(Signal::SIGTERM);
    waiting.iter_mut().for_each(|stream| assert_ends_with(stream, b""));
    drop(waiting);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(&ended.stderr, &["accepted=4 closed=4"]);
}

fn without_a_descriptor_for_a_connection_it_does_not_start(engine: Engine) {
    let script = "ulimit -n $1; exec \"$0\" serve --listen 127.0.0.1:0 --workers 2 --engine $2";
    let ended = (8..40).map(|limit| {
        let mut command = std::process::Command::new("sh");
        command.args([
            "-c",
            script,
            env!("CARGO_BIN_EXE_urecho"),
            &limit.to_string(),
            engine.name(),
        ]);
        let mut process = crate::support::Process::spawn(&mut command);
        match process.read_line() {
            line if line.is_empty() => Some(process.wait()),
            _ => None,
        }
    });
    let refused: Vec<_> = ended.map_while(|ended| ended).collect();
    assert!(!refused.is_empty(), "8 descriptors are too few");
    for ended in refused {
        // For its rings or listeners, or for a connection: which of them it is depends on the engine.
        assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
        assert_says(&ended.stderr, &["ulimit -n"]);
    }
}

#[test]
fn a_worker_that_panics_ends_the_server_at_once_and_the_others_are_counted() {
    for (victim, failed) in [("0", "worker-0"), ("1", "worker-1"), ("all", "panicked")] {
        let fault = format!("panic={victim}");
        let server = ServeProcess::start(&["--workers", "2", "--drain-timeout", "600s", "--fault", &fault]);
        let mut streams: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
        for stream in &mut streams {
            let _ = stream.write_all(b"x"); // The worker of one of the others may have failed already.
        }
        let address = server.address;
        let ended = server.wait();
        assert_eq!(ended.code(), Some(70), "{}", ended.stderr);
        assert_says(&ended.stderr, &[failed, "panicked", "accepted="]);
        assert!(TcpStream::connect(address).is_err());
    }
}

fn assert_nothing_comes(stream: &mut TcpStream) {
    let timeout = stream.read_timeout().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let nothing = stream.read(&mut [0; 1]).expect_err("it has to wait");
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(timeout).unwrap();
}

/// It ends without an echo: with FIN, or with RST.
fn assert_is_refused(stream: TcpStream) {
    assert!(!is_served(stream));
}

fn is_served(mut stream: TcpStream) -> bool {
    if stream.write_all(b"x").is_err() {
        return false;
    }
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 1,
        Err(cause) => {
            assert!(cause.kind() != ErrorKind::WouldBlock, "neither served nor refused");
            false
        }
    }
}

fn connect_from(host: [u8; 4], target: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((host, 0)).into()).unwrap();
    socket.connect(&target.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

#[test]
fn pauses_and_refusals_are_reported_as_text_or_json_once_a_second() {
    for (format, word) in [("text", "WARN"), ("json", "\"level\":\"WARN\"")] {
        let flags = ["--max-connections", "1", "--at-limit", "refuse", "--log", format];
        let server = ServeProcess::start(&flags);
        let open = crate::support::connect_many(server.address, 1);
        for _ in 0..20 {
            assert_is_refused(server.connect());
        }
        drop(open);
        server.signal(Signal::SIGTERM);
        let ended = server.wait();
        let reports: Vec<&str> = ended
            .stderr
            .lines()
            .filter(|line| line.contains("connection refused"))
            .collect();
        assert!((1..10).contains(&reports.len()), "{}", ended.stderr);
        assert_says(reports[0], &[word, "--max-connections"]);
        if format == "json" {
            let report: serde_json::Value = serde_json::from_str(reports[0]).unwrap();
            assert_eq!((&report["worker"], &report["suppressed"]), (&0.into(), &0.into()));
        }
    }
}
