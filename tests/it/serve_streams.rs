//! One connection against a plain blocking peer: every byte, in order, then the end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::support::{
    Server, assert_comes, assert_echo, assert_echo_to_the_end, assert_ends_with, bytes, shrink,
};

#[test]
fn messages_of_every_size_come_back_in_order() {
    let server = Server::start();
    let mut peer = server.connect();
    for size in [1, 2, 63, 64, 4095, 4096, 4097, 65_536, 100_000] {
        assert_echo(&mut peer, &bytes(size, size as u64));
    }
    drop(peer);
    server.stop_clean();
}

#[test]
fn a_stream_of_8_mib_comes_back_before_the_end() {
    let server = Server::start();
    assert_echo_to_the_end(&server.connect(), &bytes(8 << 20, 1));
    let counters = server.stop_clean();
    assert_eq!((counters.bytes_in, counters.bytes_out), (8 << 20, 8 << 20));
}

#[test]
fn one_byte_at_a_time_comes_back_one_by_one() {
    let server = Server::start();
    let mut peer = server.connect();
    for byte in bytes(1000, 2) {
        assert_echo(&mut peer, &[byte]);
    }
    drop(peer);
    server.stop_clean();
}

#[test]
fn a_slow_reader_gets_every_byte_and_then_the_end() {
    let server = Server::start();
    let (sent, peer) = (bytes(4 << 20, 3), server.connect());
    shrink(&peer);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&peer).write_all(&sent).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        // The pace is the peer's nature, not a way to wait for something.
        while (&peer).take(65_536).read_to_end(&mut got).unwrap() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(
            got == sent,
            "{} of {} bytes, or others",
            got.len(),
            sent.len()
        );
    });
    server.stop_clean();
}

#[test]
fn a_reader_that_pauses_finds_everything_the_writer_could_write() {
    let server = Server::start();
    let mut peer = server.connect();
    shrink(&peer);
    let written = crate::support::stuff(std::slice::from_ref(&peer))[0];
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(written > 100_000, "only {written} bytes fitted");
    assert_ends_with(&mut peer, &vec![b'x'; written]);
    server.stop_clean();
}

#[test]
fn pipelined_frames_come_back_as_one_stream() {
    let server = Server::start();
    let (frames, mut peer) = (bytes(1000 * 64, 4), server.connect());
    for frame in frames.chunks(64) {
        peer.write_all(frame).unwrap();
    }
    assert_comes(&mut peer, &frames);
    drop(peer);
    server.stop_clean();
}

#[test]
fn a_peer_that_says_nothing_and_finishes_is_closed() {
    let server = Server::start();
    let mut peer = server.connect();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_ends_with(&mut peer, b"");
    let counters = server.stop_clean();
    assert_eq!((counters.accepted, counters.bytes_in), (1, 0));
}

#[test]
fn a_connection_without_a_byte_leaves_nothing_behind() {
    let server = Server::start();
    drop(server.connect());
    assert_echo(&mut server.connect(), b"next, please");
    let counters = server.stop_clean();
    assert_eq!(counters.accepted, 2);
}
