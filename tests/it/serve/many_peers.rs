//! Many peers at once: stalled ones, reset ones, short-lived ones. All others get their own bytes.

use std::io::Write;

use urecho::serve::counters::Counters;
use urecho::serve::engine::Engine;

use crate::support::{Server, assert_echo, assert_echo_to_the_end, bytes, on_every_engine, reset, shrink, stuff};

on_every_engine! {
    resets_in_mid_stream_affect_only_their_own_connection,
    two_thousand_short_connections_leave_no_slot_and_no_buffer,
    connections_are_spread_over_the_workers;
    with_descriptors:
    peers_that_never_read_do_not_starve_one_that_does,
}

fn peers_that_never_read_do_not_starve_one_that_does(engine: Engine) {
    // Each holds socket memory, which is limited (net.ipv4.tcp_mem): a thousand only for the engine with a buffer pool.
    let stalled = if engine == Engine::Uring { 1000 } else { 300 };
    assert_served_despite_stalled_peers(Server::on(engine), stalled);
}

#[test]
fn peers_that_never_read_do_not_starve_one_that_does_in_a_small_pool() {
    let server = Server::on_uring(|plan| {
        plan.buffers.circulating = 64;
        plan.buffers.total = 1024;
    });
    assert_served_despite_stalled_peers(server, 300);
}

#[test]
fn a_stream_is_echoed_while_others_hold_every_pipe() {
    let server = Server::start();
    let streams = server.connect_many(30);
    streams.iter().for_each(shrink); // Socket memory is limited (net.ipv4.tcp_mem).
    stuff(&streams); // More than 16 of them stream and do not read.
    assert_echo_to_the_end(&server.connect(), &bytes(4 << 20, 1));
    for stream in streams {
        reset(stream);
    }
    server.stop_clean();
}

fn resets_in_mid_stream_affect_only_their_own_connection(engine: Engine) {
    let server = Server::on(engine);
    for round in 0..3 {
        let streams = server.connect_many(200);
        let mut steady = server.connect();
        for (number, mut stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true).unwrap();
            // A full socket is fine: the reset comes in mid-stream either way.
            let _ = stream.write(&bytes(number * 400, round));
            reset(stream);
            assert_echo(&mut steady, &bytes(64, number as u64));
        }
    }
    assert_echo_to_the_end(&server.connect(), &bytes(100_000, 9));
    let counters = server.stop_clean();
    assert!(!counters.errors.is_empty(), "resets are counted by kind: {counters}");
    assert_eq!((counters.closed, counters.failed), (604, 600), "{counters}");
}

fn two_thousand_short_connections_leave_no_slot_and_no_buffer(engine: Engine) {
    let server = Server::on(engine);
    for number in 0..2000 {
        assert_echo(&mut server.connect(), &bytes(64, number));
    }
    assert_eq!(server.stop_clean().accepted, 2000);
}

fn connections_are_spread_over_the_workers(engine: Engine) {
    let server = Server::with(engine, |plan| plan.workers = 2);
    let streams = server.connect_many(100);
    drop(streams);
    let workers = server.stop_workers();
    assert_eq!(Counters::total(&workers).unwrap().closed, 100);
    let connections: Vec<u64> = workers.iter().map(|worker| worker.connections).collect();
    assert_eq!(connections.iter().sum::<u64>(), 100);
    assert!(connections.iter().all(|&count| count >= 40), "{connections:?}");
}

/// Checks that one peer is served while many others are stalled.
fn assert_served_despite_stalled_peers(server: Server, stalled: usize) {
    let streams = server.connect_many(stalled);
    streams.iter().for_each(shrink);
    stuff(&streams);
    let mut steady = server.connect();
    for number in 0..100 {
        assert_echo(&mut steady, &bytes(1000, number));
    }
    assert_echo_to_the_end(&steady, &bytes(1 << 20, 7));
    streams.into_iter().for_each(reset);
    server.stop_clean();
}
