//! Draining: what has arrived is echoed, every connection ends with FIN, and the second signal ends the process at
//! once.

use std::net::{Shutdown, TcpStream};

use nix::sys::signal::Signal;

use urecho::serve::engine::Engine;

use crate::support::{
    ServeProcess, Server, assert_echo, assert_ends_with, assert_says, bytes, connect_many, on_every_engine, shrink,
    stuff, until,
};

on_every_engine! {
    a_server_that_was_killed_can_be_started_again_at_once,
    sigterm_drains_a_server,
    sigint_drains_a_server,
    sighup_drains_a_server,
    a_second_sigterm_ends_a_stuck_server_at_once,
    a_second_sigint_ends_a_stuck_server_at_once,
    the_drain_timeout_cuts_a_stuck_peer_and_counts_it,
    a_draining_server_refuses_connections,
    a_stop_echoes_what_has_arrived_and_then_sends_fin,
    a_stop_while_connections_arrive_loses_none_of_them_between_workers,
    a_stop_serves_what_waits_in_the_accept_queue,
    a_stop_serves_what_waits_for_descriptors,
    a_stop_ends_connections_in_a_closed_loop_with_fin,
    a_stop_ends_a_stream_with_fin,
}

fn a_server_that_was_killed_can_be_started_again_at_once(engine: Engine) {
    let mut server = ServeProcess::on(engine, &[]);
    for _ in 0..5 {
        let address = server.address;
        // Its accept is in the kernel.
        assert_echo(&mut server.connect(), b"before");
        server.signal(Signal::SIGKILL);
        server.wait();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_urecho"));
        command.args(["serve", "--engine", engine.name(), "--listen", &address.to_string()]);
        server = ServeProcess::spawn(command);
    }
}

fn sigterm_drains_a_server(engine: Engine) {
    assert_signal_drains(engine, Signal::SIGTERM);
}

fn sigint_drains_a_server(engine: Engine) {
    assert_signal_drains(engine, Signal::SIGINT);
}

fn sighup_drains_a_server(engine: Engine) {
    assert_signal_drains(engine, Signal::SIGHUP);
}

fn a_second_sigterm_ends_a_stuck_server_at_once(engine: Engine) {
    assert_second_signal_ends(engine, Signal::SIGTERM, 143);
}

fn a_second_sigint_ends_a_stuck_server_at_once(engine: Engine) {
    assert_second_signal_ends(engine, Signal::SIGINT, 130);
}

fn the_drain_timeout_cuts_a_stuck_peer_and_counts_it(engine: Engine) {
    let server = ServeProcess::on(engine, &["--drain-timeout", "200ms"]);
    let _stuck = stuck_peer(&server);
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(&ended.stderr, &["accepted=1", "cut=1"]);
}

fn a_draining_server_refuses_connections(engine: Engine) {
    let server = Server::with(engine, |plan| plan.drain_timeout = urecho::clock::Nanos::NEVER);
    let mut stuck = server.connect();
    shrink(&stuck);
    let written = stuff(std::slice::from_ref(&stuck))[0];
    server.fire();
    until("connections are refused", || {
        TcpStream::connect(server.address).is_err()
    });
    stuck.shutdown(Shutdown::Write).unwrap();
    assert_ends_with(&mut stuck, &vec![b'x'; written]);
    server.stop_clean();
}

fn a_stop_echoes_what_has_arrived_and_then_sends_fin(engine: Engine) {
    for round in 0..10 {
        let server = Server::on(engine);
        let mut streams = server.connect_many(20);
        for stream in &mut streams {
            std::io::Write::write_all(stream, &bytes(3000, round)).unwrap();
        }
        server.fire();
        for stream in &mut streams {
            assert_ends_with(stream, &bytes(3000, round));
        }
        drop(streams);
        server.stop_clean();
    }
}

/// Peers connect on two threads until they are refused, while the server stops.
fn a_stop_while_connections_arrive_loses_none_of_them_between_workers(engine: Engine) {
    for round in 1..=10 {
        let server = Server::with(engine, |plan| {
            plan.workers = 3;
            plan.drain_timeout = urecho::clock::Nanos(50_000_000);
        });
        let address = server.address;
        let connect_until_refused = || {
            let mut open = Vec::new();
            while let Ok(stream) = TcpStream::connect(address) {
                if open.len() < 100 {
                    open.push(stream); // The others close at once.
                }
            }
        };
        let counters = std::thread::scope(|scope| {
            scope.spawn(connect_until_refused);
            scope.spawn(connect_until_refused);
            server.connect_many(20 * round);
            server.stop() // Fails unless every connection was closed, refused or cut.
        });
        assert!(counters.accepted >= 20 * round as u64, "{counters}");
    }
}

/// The server sleeps while its peers connect and send; then it is stopped.
fn a_stop_serves_what_waits_in_the_accept_queue(engine: Engine) {
    for workers in ["1", "3"] {
        assert_stop_serves_waiting(ServeProcess::on(engine, &["--workers", workers]), 300);
    }
}

/// With fewer descriptors than peers, each gets its echo when another has closed.
fn a_stop_serves_what_waits_for_descriptors(engine: Engine) {
    let server = ServeProcess::with_descriptors(60, engine, &["--workers", "1"]);
    assert_stop_serves_waiting(server, 100);
}

fn assert_stop_serves_waiting(server: ServeProcess, peers: usize) {
    server.signal(Signal::SIGSTOP);
    let streams: Vec<TcpStream> = (0..peers)
        .map(|peer| {
            let mut stream = server.connect();
            std::io::Write::write_all(&mut stream, &bytes(3000, peer as u64)).unwrap();
            stream
        })
        .collect();
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for (peer, mut stream) in streams.into_iter().enumerate() {
        assert_ends_with(&mut stream, &bytes(3000, peer as u64));
    }
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(&ended.stderr, &[&format!("accepted={peers} closed={peers}")]);
}

/// Peers that send the next message as soon as they have the last are never idle.
fn a_stop_ends_connections_in_a_closed_loop_with_fin(engine: Engine) {
    let server = ServeProcess::on(engine, &["--workers", "2", "--drain-timeout", "1s"]);
    let streams = connect_many(server.address, 20);
    std::thread::scope(|scope| {
        let peers: Vec<_> = streams
            .into_iter()
            .map(|stream| scope.spawn(|| echo_until_end(stream)))
            .collect();
        server.signal(Signal::SIGTERM);
        for peer in peers {
            assert!(peer.join().unwrap() > 0, "a peer had no echo");
        }
    });
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(&ended.stderr, &["accepted=20 closed=20 refused=0", "errors=0"]);
}

/// Returns the number of echoes before the end of file.
pub(super) fn echo_until_end(mut stream: TcpStream) -> usize {
    for echoes in 0.. {
        std::io::Write::write_all(&mut stream, &bytes(100, 1)).unwrap();
        let mut echo = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(&mut stream, 100), &mut echo).unwrap();
        if echo.is_empty() {
            return echoes;
        }
        assert!(echo == bytes(100, 1), "a part of an echo, or another one");
    }
    unreachable!("the server never stopped")
}

/// A peer that writes all the time, and reads all the time.
fn a_stop_ends_a_stream_with_fin(engine: Engine) {
    let server = ServeProcess::on(engine, &["--drain-timeout", "1s"]);
    let mut stream = server.connect();
    let part = bytes(100_000, 1);
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| while std::io::Write::write_all(&mut writer, &part).is_ok() {});
        let mut echo = vec![0; part.len()];
        std::io::Read::read_exact(&mut stream, &mut echo).unwrap();
        assert!(echo == part);
        server.signal(Signal::SIGTERM);
        loop {
            echo.clear();
            let mut next = std::io::Read::take(&mut stream, part.len() as u64);
            std::io::Read::read_to_end(&mut next, &mut echo).unwrap();
            assert!(part.starts_with(&echo), "another echo");
            if echo.len() < part.len() {
                break;
            }
        }
        stream.shutdown(Shutdown::Both).unwrap();
    });
    drop((stream, writer));
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(&ended.stderr, &["accepted=1 closed=1 refused=0"]);
}

/// Checks that a signal drains one peer in the middle of 4 MiB, and three idle ones.
fn assert_signal_drains(engine: Engine, signal: Signal) {
    let server = ServeProcess::on(engine, &["--workers", "2"]);
    let mut idle = connect_many(server.address, 3);
    let mut busy = server.connect();
    let sent = bytes(4 << 20, 1);
    let mut writer = busy.try_clone().unwrap();
    std::thread::scope(|scope| {
        let written = scope.spawn(|| {
            std::io::Write::write_all(&mut writer, &sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut first = [0; 100_000];
        std::io::Read::read_exact(&mut busy, &mut first).unwrap();
        assert!(first[..] == sent[..first.len()]);
        server.signal(signal);
        assert_ends_with(&mut busy, &sent[first.len()..]);
        written.join().unwrap();
    });
    for stream in &mut idle {
        assert_ends_with(stream, b"");
    }
    drop((idle, busy, writer));
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_says(
        &ended.stderr,
        &["accepted=4 closed=4", "bytes_in=4194328 bytes_out=4194328", "errors=0"],
    );
}

fn assert_second_signal_ends(engine: Engine, signal: Signal, code: i32) {
    let server = ServeProcess::on(engine, &["--drain-timeout", "60m"]);
    let _stuck = stuck_peer(&server);
    server.signal(signal);
    until("the first signal is handled", || {
        TcpStream::connect(server.address).is_err()
    });
    // At once, it is the same request: timeout(1) signals twice.
    server.signal(signal);
    std::thread::sleep(std::time::Duration::from_millis(310));
    assert!(server.is_running(), "two signals at once are one");
    server.signal(signal);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(code), "{}", ended.stderr);
}

/// A peer that has written all it can and never reads.
fn stuck_peer(server: &ServeProcess) -> TcpStream {
    let stuck = server.connect();
    shrink(&stuck);
    stuff(std::slice::from_ref(&stuck));
    stuck
}
