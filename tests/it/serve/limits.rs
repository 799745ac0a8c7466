//! Few buffers, queue entries or descriptors, and the CPU time of an idle server.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};

use urecho::ring::Queues;
use urecho::serve::engine::Engine;

use crate::support::{
    ServeProcess, Server, assert_at_most, assert_comes, assert_echo, assert_ends_with, bytes, connect_many,
    on_every_engine, reset, shrink, stuff, until,
};

on_every_engine! {
    idle_connections_cost_no_cpu,
    steady_traffic_needs_no_worker_thread_of_the_kernel;
    with_descriptors:
    without_descriptors_it_waits_without_cpu_and_continues_when_some_are_free,
    when_descriptors_run_out_it_waits_without_cpu_and_continues_when_some_are_free,
}

#[test]
fn two_buffers_serve_two_hundred_connections() {
    let server = Server::on_uring(|plan| {
        plan.buffers.circulating = 2;
        plan.buffers.total = 2;
    });
    let mut streams = server.connect_many(200);
    assert_all_echo(&mut streams, 20_000);
    drop(streams);
    let counters = server.stop_clean();
    assert!(counters.starved > 0, "buffers were scarce: {counters}");
}

#[test]
fn peers_that_do_not_read_are_reset_when_others_wait_for_their_buffers() {
    let server = Server::on_uring(|plan| {
        plan.buffers.circulating = 2;
        plan.buffers.total = 64;
    });
    let stuck = server.connect_many(100);
    for stream in &stuck {
        shrink(stream);
        stream.set_nonblocking(true).unwrap();
    }
    until("one of them is reset", || {
        let writes = stuck.iter().map(|mut stream| stream.write(&[b'x'; 65_536]));
        writes
            .filter_map(Result::err)
            .any(|cause| cause.kind() != ErrorKind::WouldBlock)
    });
    let mut others = (0..10).map(|_| server.connect()).collect::<Vec<_>>();
    assert_all_echo(&mut others, 20_000);
    drop((stuck, others));
    let counters = server.stop();
    assert!(counters.evicted > 0, "{counters}");
}

#[test]
fn idle_connections_in_the_buffer_queue_do_not_block_those_behind_them() {
    let server = Server::on_uring(|plan| {
        plan.buffers.circulating = 2;
        plan.buffers.total = 2;
    });
    let stuck = server.connect_many(2);
    stuck.iter().for_each(shrink);
    stuff(&stuck); // They hold both buffers, so every new connection waits for one, with or without bytes.
    let silent = || TcpStream::connect(server.address).unwrap();
    let idle: Vec<TcpStream> = (0..30).map(|_| silent()).collect();
    let mut last = server.connect();
    last.write_all(b"last in the queue").unwrap();
    stuck.into_iter().for_each(reset);
    assert_comes(&mut last, b"last in the queue");
    drop((idle, last));
    server.stop_clean();
}

#[test]
fn eight_queue_entries_serve_five_hundred_connections() {
    let server = Server::on_uring(|plan| {
        plan.queues = Queues {
            submissions: 8,
            completions: 8,
        }
    });
    let mut streams = server.connect_many(500);
    assert_all_echo(&mut streams, 10_000);
    drop(streams);
    server.stop_clean();
}

fn without_descriptors_it_waits_without_cpu_and_continues_when_some_are_free(engine: Engine) {
    let server = ServeProcess::with_descriptors(64, engine, &["--workers", "2"]);
    // One is kept in reserve.
    assert_waits_without_cpu_and_continues(&server, 200, || server.descriptors() >= 63);
}

fn when_descriptors_run_out_it_waits_without_cpu_and_continues_when_some_are_free(engine: Engine) {
    let server = ServeProcess::with_descriptors(4096, engine, &["--workers", "2"]);
    // Less than it has found at its start.
    server.limit_descriptors(64);
    assert_waits_without_cpu_and_continues(&server, 200, || server.descriptors() >= 63);
}

#[test]
fn a_stream_goes_through_buffers_while_no_pipe_can_be_made_and_through_pipes_again_afterwards() {
    const DESCRIPTORS: usize = 4096;
    let server = ServeProcess::with_descriptors(DESCRIPTORS, Engine::Uring, &["--workers", "1"]);
    let (mut peer, stream) = (server.connect(), bytes(1 << 20, 1));
    assert_echo(&mut peer, b"accepted");
    let ends = server.ends_of_pipes();
    server.limit_descriptors(server.descriptors());
    assert_echo(&mut peer, &stream);
    assert_eq!(server.ends_of_pipes(), ends);
    server.limit_descriptors(DESCRIPTORS);
    until("the stream goes through a pipe", || {
        assert_echo(&mut peer, &stream);
        server.ends_of_pipes() > ends
    });
}

fn assert_waits_without_cpu_and_continues(server: &ServeProcess, peers: usize, is_full: impl Fn() -> bool) {
    let mut streams: Vec<TcpStream> = (0..peers).map(|_| server.connect()).collect();
    until("the server is full", is_full);
    assert_at_most("CPU while full", server.busy(), 0.05);
    // In the order of arrival, each close makes room for another one.
    for (number, mut stream) in streams.drain(..).enumerate() {
        assert_echo(&mut stream, &bytes(64, number as u64));
    }
}

fn idle_connections_cost_no_cpu(engine: Engine) {
    let server = ServeProcess::on(engine, &["--workers", "2"]);
    let streams = connect_many(server.address, 500);
    assert_at_most("CPU while idle", server.busy(), 0.02);
    drop(streams);
}

fn steady_traffic_needs_no_worker_thread_of_the_kernel(engine: Engine) {
    let server = ServeProcess::on(engine, &["--workers", "2"]);
    let mut streams = connect_many(server.address, 50);
    for round in 0..100 {
        assert_all_echo(&mut streams[..10], 100 + round * 100);
        let threads = server.threads();
        assert!(threads.iter().all(|name| !name.starts_with("iou-wrk")), "{threads:?}");
    }
    for stream in &mut streams {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_ends_with(stream, b"");
    }
    let threads = server.threads();
    assert!(threads.iter().all(|name| !name.starts_with("iou-wrk")), "{threads:?}");
}

/// All write, then all read, so that their bytes are in flight at the same time.
fn assert_all_echo(streams: &mut [TcpStream], size: usize) {
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&bytes(size, number as u64)).unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_comes(stream, &bytes(size, number as u64));
    }
}
