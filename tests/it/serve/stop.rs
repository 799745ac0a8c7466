//! Draining: what has arrived is echoed, every connection ends with FIN, and the second signal ends the process at once.

use std::net::{Shutdown, TcpStream};

use nix::sys::signal::Signal;

use urecho::serve::engine::Engine;

use crate::support::{
    ServeProcess, Server, assert_ends_with, assert_says, bytes, connect_many, on_every_engine, shrink, stuff, until,
};

on_every_engine! {
    sigterm_drains_a_server,
    sigint_drains_a_server,
    sighup_drains_a_server,
    a_second_sigterm_ends_a_stuck_server_at_once,
    a_second_sigint_ends_a_stuck_server_at_once,
    the_drain_timeout_cuts_a_stuck_peer_and_counts_it,
    a_draining_server_refuses_connections,
    a_stop_echoes_what_has_arrived_and_then_sends_fin,
    a_stop_while_connections_arrive_loses_none_of_them_between_workers,
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
