//! Peers that write all they can and never read: memory of the server reaches a plateau, and all others are served.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use urecho::serve::engine::Engine;

use crate::support::network::{Network, in_network};
use crate::support::{ServeProcess, assert_at_most, assert_echo, bytes, connect_many, on_every_engine, reset, stuff};

const PEERS: usize = 1_000;

/// Waves of such peers, at most.
const WAVES: usize = 6;

/// Memory that is no growth: pages of the allocator and of stacks that are touched late.
const SLACK: u64 = 1 << 20;

on_every_engine! {
    a_thousand_peers_that_never_read_grow_no_memory_and_stop_no_other,
}

fn a_thousand_peers_that_never_read_grow_no_memory_and_stop_no_other(engine: Engine) {
    in_network(|network| {
        limit_socket_memory(network);
        let server = ServeProcess::on(engine, &["--workers", "1"]);
        let mut good = connect_many(server.address, 10);
        let streams = never_readers(&server);
        let plateau = server.resident();
        let busy = write_for(Duration::from_secs(2), &server, &streams, &mut good);
        assert_at_most("resident memory", server.resident(), plateau + SLACK);
        assert_at_most("CPU", busy, 0.25);
        streams.into_iter().for_each(reset);
        // What they have left is used again. How much a peer makes the server keep depends on when its socket was full,
        // so one wave needs more than another; after a leak each would need more than all before it.
        let mut most = plateau;
        let fits = (0..WAVES).any(|_| {
            let streams = never_readers(&server);
            good.iter_mut().for_each(|stream| assert_echo(stream, &bytes(64, 1)));
            let resident = server.resident();
            streams.into_iter().for_each(reset);
            let fits = resident <= most + SLACK;
            most = most.max(resident);
            fits
        });
        assert!(
            fits,
            "resident memory has grown in {WAVES} waves, from {plateau} to {most}"
        );
    });
}

/// Socket memory is limited for the whole machine (net.ipv4.tcp_mem): each peer takes little of it.
fn limit_socket_memory(network: &Network) {
    network.set("tcp_rmem", "4096 16384 32768");
    network.set("tcp_wmem", "4096 16384 32768");
}

fn never_readers(server: &ServeProcess) -> Vec<TcpStream> {
    let streams = connect_many(server.address, PEERS);
    stuff(&streams);
    streams
}

/// Goes on writing, and echoes over good connections. Returns the fraction of a CPU that the server takes.
fn write_for(duration: Duration, server: &ServeProcess, streams: &[TcpStream], good: &mut [TcpStream]) -> f64 {
    let (begin, cpu) = (Instant::now(), server.cpu());
    let piece = [b'x'; 4096];
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    while begin.elapsed() < duration {
        for mut stream in streams {
            let _ = stream.write(&piece); // It is full, unless the server has taken some.
        }
        good.iter_mut().for_each(|stream| assert_echo(stream, &bytes(64, 2)));
        thread::sleep(Duration::from_millis(50)); // A pace, to leave the CPU to the server.
    }
    (server.cpu() - cpu).as_secs_f64() / begin.elapsed().as_secs_f64()
}
