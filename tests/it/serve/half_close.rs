//! After the peer's FIN: everything that is pending, then FIN, and never RST. The kernel's own counters say so.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;

use urecho::clock::Nanos;
use urecho::random::Random;
use urecho::serve::engine::Engine;

use super::stop::echo_until_end;
use crate::support::faulty_proxy::size;
use crate::support::network::in_network;
use crate::support::peers::Peer;
use crate::support::{
    Server, assert_echo_to_the_end, assert_ends_with, bytes, connect, on_every_engine, reset, shrink, stuff, until,
};

on_every_engine! {
    peers_that_send_fin_get_every_byte_and_no_reset,
    a_peer_that_reads_only_after_its_fin_gets_every_byte_and_no_reset,
    a_stop_resets_no_idle_and_no_busy_peer,
}

fn peers_that_send_fin_get_every_byte_and_no_reset(engine: Engine) {
    in_network(|network| {
        let server = Server::on(engine);
        thread::scope(|scope| {
            for number in 0..40 {
                let server = &server;
                scope.spawn(move || {
                    let mut random = Random::new(4, number);
                    let stream = server.connect();
                    if random.coin() {
                        shrink(&stream);
                    }
                    assert_echo_to_the_end(&stream, &bytes(size(&mut random, 1 << 21), number));
                });
            }
        });
        server.stop_clean();
        assert_no_reset(network.resets());
    });
}

fn a_peer_that_reads_only_after_its_fin_gets_every_byte_and_no_reset(engine: Engine) {
    in_network(|network| {
        let server = Server::on(engine);
        let mut streams = server.connect_many(8);
        streams.iter().skip(4).for_each(shrink);
        let written = stuff(&streams);
        // Nothing has been read: all bytes are in the buffers of both sides, and in the server's.
        for stream in &streams {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        for (stream, written) in streams.iter_mut().zip(written) {
            assert_ends_with(stream, &vec![b'x'; written]);
        }
        drop(streams);
        server.stop_clean();
        assert_no_reset(network.resets());
    });
}

/// Idle peers, and peers that send the next message as soon as they have the last.
fn a_stop_resets_no_idle_and_no_busy_peer(engine: Engine) {
    in_network(|network| {
        let server = Server::with(engine, |plan| plan.drain_timeout = Nanos::SECOND);
        let mut idle = server.connect_many(20);
        let busy = server.connect_many(10);
        thread::scope(|scope| {
            for stream in busy {
                scope.spawn(|| assert!(echo_until_end(stream) > 0, "a peer had no echo"));
            }
            server.fire();
        });
        for stream in &mut idle {
            assert_ends_with(stream, b"");
        }
        drop(idle);
        server.stop_clean();
        assert_no_reset(network.resets());
    });
}

/// The control: a reset of a server that has unread bytes is counted, by the counters that the others expect to be
/// zero.
#[test]
fn a_server_that_closes_with_unread_bytes_is_found_out() {
    in_network(|network| {
        let peer = Peer::start(|_, stream| drop(stream_with_unread_bytes(stream)));
        let mut stream = connect(peer.address);
        stream.write_all(b"never read").unwrap();
        until("the reset is counted", || {
            network.resets().iter().filter(|(_, count)| *count > 0).count() >= 2
        });
        reset(stream);
    });
}

fn stream_with_unread_bytes(stream: TcpStream) -> TcpStream {
    stream.peek(&mut [0]).unwrap();
    stream
}

fn assert_no_reset(resets: [(&'static str, u64); 4]) {
    assert!(resets.iter().all(|(_, count)| *count == 0), "{resets:?}");
}
