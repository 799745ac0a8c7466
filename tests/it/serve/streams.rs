//! One connection of a blocking peer: every byte in order, then FIN.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use urecho::serve::engine::Engine;

use crate::support::{
    Server, assert_comes, assert_echo, assert_echo_to_the_end, assert_ends_with, bytes, on_every_engine, shrink,
};

on_every_engine! {
    messages_of_every_size_come_back_in_order,
    a_stream_of_8_mib_comes_back_before_fin,
    one_byte_at_a_time_comes_back_one_by_one,
    a_slow_reader_gets_every_byte_and_then_fin,
    a_reader_that_pauses_gets_everything_that_was_written,
    pipelined_frames_come_back_as_one_stream,
    a_peer_that_sends_only_fin_is_closed,
    a_connection_without_a_byte_leaves_nothing_behind,
    out_of_band_data_does_not_delay_the_bytes_behind_it,
    out_of_band_data_within_a_stream_is_left_out_and_ends_nothing,
}

fn messages_of_every_size_come_back_in_order(engine: Engine) {
    let server = Server::on(engine);
    let mut peer = server.connect();
    for size in [1, 2, 63, 64, 4095, 4096, 4097, 65_536, 100_000] {
        assert_echo(&mut peer, &bytes(size, size as u64));
    }
    drop(peer);
    server.stop_clean();
}

fn a_stream_of_8_mib_comes_back_before_fin(engine: Engine) {
    let server = Server::on(engine);
    assert_echo_to_the_end(&server.connect(), &bytes(8 << 20, 1));
    let counters = server.stop_clean();
    assert_eq!((counters.bytes_in, counters.bytes_out), (8 << 20, 8 << 20));
}

fn one_byte_at_a_time_comes_back_one_by_one(engine: Engine) {
    let server = Server::on(engine);
    let mut peer = server.connect();
    for byte in bytes(1000, 2) {
        assert_echo(&mut peer, &[byte]);
    }
    drop(peer);
    server.stop_clean();
}

fn a_slow_reader_gets_every_byte_and_then_fin(engine: Engine) {
    let server = Server::on(engine);
    let (sent, peer) = (bytes(4 << 20, 3), server.connect());
    shrink(&peer);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&peer).write_all(&sent).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        // The sleep makes the peer slow; nothing waits for it.
        while (&peer).take(65_536).read_to_end(&mut got).unwrap() > 0 {
            thread::sleep(Duration::from_millis(10));
        }
        assert!(got == sent, "{} of {} bytes, or different ones", got.len(), sent.len());
    });
    server.stop_clean();
}

fn a_reader_that_pauses_gets_everything_that_was_written(engine: Engine) {
    let server = Server::on(engine);
    let mut peer = server.connect();
    shrink(&peer);
    let written = crate::support::stuff(std::slice::from_ref(&peer))[0];
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(written > 100_000, "only {written} bytes fitted");
    assert_ends_with(&mut peer, &vec![b'x'; written]);
    server.stop_clean();
}

fn pipelined_frames_come_back_as_one_stream(engine: Engine) {
    let server = Server::on(engine);
    let (frames, mut peer) = (bytes(1000 * 64, 4), server.connect());
    for frame in frames.chunks(64) {
        peer.write_all(frame).unwrap();
    }
    assert_comes(&mut peer, &frames);
    drop(peer);
    server.stop_clean();
}

fn a_peer_that_sends_only_fin_is_closed(engine: Engine) {
    let server = Server::on(engine);
    let mut peer = server.connect();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_ends_with(&mut peer, b"");
    let counters = server.stop_clean();
    assert_eq!((counters.accepted, counters.bytes_in), (1, 0));
}

fn a_connection_without_a_byte_leaves_nothing_behind(engine: Engine) {
    let server = Server::on(engine);
    drop(server.connect());
    assert_echo(&mut server.connect(), b"next, please");
    let counters = server.stop_clean();
    assert_eq!(counters.accepted, 2);
}

fn out_of_band_data_does_not_delay_the_bytes_behind_it(engine: Engine) {
    let server = Server::on(engine);
    let mut peer = server.connect();
    for round in 0..50 {
        // A read ends early at the out-of-band byte, with more behind it.
        peer.write_all(&bytes(100, round)).unwrap();
        SockRef::from(&peer).send_out_of_band(b"!").unwrap();
        peer.write_all(&bytes(100, round + 50)).unwrap();
        assert_comes(&mut peer, &bytes(100, round));
        assert_comes(&mut peer, &bytes(100, round + 50));
    }
    drop(peer);
    server.stop_clean();
}

fn out_of_band_data_within_a_stream_is_left_out_and_ends_nothing(engine: Engine) {
    let server = Server::on(engine);
    let mut peer = server.connect();
    for round in 0..40 {
        let part = bytes(300_000, round);
        thread::scope(|scope| {
            let (mut writer, part) = (&peer, &part);
            scope.spawn(move || {
                writer.write_all(part).unwrap();
                SockRef::from(writer).send_out_of_band(b"!").unwrap();
            });
            assert_comes(&mut peer.try_clone().unwrap(), part);
        });
    }
    peer.shutdown(Shutdown::Write).unwrap();
    assert_ends_with(&mut peer, b"");
    server.stop_clean();
}
