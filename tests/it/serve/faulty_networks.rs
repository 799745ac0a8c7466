//! Networks that lose packets, and what a network does to a stream on its way: other segments, delays, cuts.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use urecho::clock::Nanos;
use urecho::random::Random;
use urecho::serve::engine::Engine;

use crate::support::faulty_proxy::{Faults, FaultyProxy, size};
use crate::support::network::in_network;
use crate::support::{
    Server, assert_at_most, assert_comes, assert_echo, assert_echo_to_the_end, bytes, connect, on_every_engine, until,
};

/// Connections at the same time.
const PEERS: u64 = 30;

on_every_engine! {
    every_byte_comes_back_over_a_network_that_loses_one_percent,
    every_byte_comes_back_in_segments_of_any_size,
    a_cut_connection_disturbs_no_other,
    killed_sockets_disturb_no_other,
}

fn every_byte_comes_back_over_a_network_that_loses_one_percent(engine: Engine) {
    in_network(|network| {
        if !network.lose_one_percent() {
            return println!("SKIPPED: needs nft (nftables)");
        }
        let server = Server::on(engine);
        let incomplete = echo_all(server.address, 1);
        assert_eq!(incomplete, 0);
        server.stop_clean();
        assert!(network.retransmits() > 0, "no packet was lost");
    });
}

#[test]
fn a_peer_that_is_there_survives_two_lost_keepalive_probes() {
    in_network(|network| {
        let server = Server::with(Engine::default(), |plan| {
            let (keepalive, user_timeout) = (&mut plan.options.keepalive, &mut plan.options.user_timeout);
            // In the proportion that they have by default; the kernel counts whole seconds between probes.
            let shorter = |time: Nanos| Nanos(time.0 / 10);
            (*keepalive, *user_timeout) = (keepalive.map(shorter), user_timeout.map(shorter));
        });
        let mut stream = server.connect();
        assert_echo(&mut stream, b"before");
        if !network.lose_everything() {
            return println!("SKIPPED: needs nft (nftables)");
        }
        until("two probes are lost", || network.keepalive_probes() >= 2);
        network.lose_nothing();
        assert_echo(&mut stream, b"after");
    });
}

fn every_byte_comes_back_in_segments_of_any_size(engine: Engine) {
    let server = Server::on(engine);
    let faults = Faults {
        seed: 2,
        delay_one_in: 20,
        delay_max: Duration::from_millis(5),
        ..Faults::default()
    };
    let proxy = FaultyProxy::start(server.address, faults);
    assert_eq!(echo_all(proxy.address, 2), 0);
    server.stop_clean();
}

fn a_cut_connection_disturbs_no_other(engine: Engine) {
    let server = Server::on(engine);
    let faults = Faults {
        seed: 3,
        cut_one_in: 2,
        cut_before: 500, // Half of the streams are longer.
        ..Faults::default()
    };
    let proxy = FaultyProxy::start(server.address, faults);
    let mut steady = server.connect();
    let incomplete = thread::scope(|scope| {
        let others = scope.spawn(|| echo_all(proxy.address, 3));
        for number in 0.. {
            assert_echo(&mut steady, &bytes(64, number));
            if others.is_finished() {
                break;
            }
        }
        others.join().unwrap()
    });
    assert!(incomplete > 0, "no connection was cut");
    // A connection is only incomplete if the proxy has cut it.
    assert_at_most("incomplete connections", incomplete, proxy.cuts());
    assert_echo_to_the_end(&server.connect(), &bytes(100_000, 9));
    drop((steady, proxy));
    server.stop_clean();
}

/// The kernel aborts sockets of the server, as an administrator may order: ss(8), `-K`.
fn killed_sockets_disturb_no_other(engine: Engine) {
    in_network(|_| {
        let server = Server::on(engine);
        let mut victims = connect_from([127, 0, 0, 2], server.address);
        let mut others = connect_from([127, 0, 0, 1], server.address);
        for (number, stream) in victims.iter_mut().chain(&mut others).enumerate() {
            assert_echo(stream, &bytes(100, number as u64));
            stream.write_all(&bytes(30_000, number as u64)).unwrap();
        }
        let kill = ["-K", "-t", "-n", "src", "127.0.0.1", "dst", "127.0.0.2"];
        let killed = Command::new("ss").args(kill).output().map_or(0, |output| {
            let table = String::from_utf8_lossy(&output.stdout).into_owned();
            table.lines().filter(|line| line.contains("127.0.0.2:")).count()
        });
        if killed == 0 {
            return println!("SKIPPED: needs ss and a kernel that destroys sockets (CONFIG_INET_DIAG_DESTROY)");
        }
        assert_eq!(killed, victims.len());
        for (number, stream) in others.iter_mut().enumerate() {
            assert_comes(stream, &bytes(30_000, (number + killed) as u64));
            assert_echo(stream, &bytes(1_000, number as u64));
        }
        for stream in &mut victims {
            let end = stream.read_to_end(&mut Vec::new());
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
        drop(others);
        let counters = server.stop_clean();
        assert!(!counters.errors.is_empty(), "aborts are counted: {counters}");
    });
}

fn connect_from(source: [u8; 4], server: SocketAddr) -> Vec<TcpStream> {
    let connect = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&server.into()).unwrap();
        TcpStream::from(socket)
    };
    (0..50).map(connect).collect()
}

/// Echoes streams of random sizes over many connections at once. Returns how many broke off; panics if a byte is wrong.
fn echo_all(address: SocketAddr, seed: u64) -> u64 {
    thread::scope(|scope| {
        let peers: Vec<_> = (0..PEERS)
            .map(|number| scope.spawn(move || echo_one(address, &mut Random::new(seed, number))))
            .collect();
        let complete = peers.into_iter().map(|peer| peer.join().unwrap());
        complete.filter(|complete| !complete).count() as u64
    })
}

/// Writes up to 1 MiB in segments of random sizes. True if everything came back, and then FIN.
fn echo_one(address: SocketAddr, random: &mut Random) -> bool {
    let sent = bytes(size(random, 1 << 20), random.bits());
    let stream = connect(address);
    let mut got = Vec::new();
    let end = thread::scope(|scope| {
        scope.spawn(|| {
            let mut left = &sent[..];
            while !left.is_empty() {
                let segment = size(random, left.len());
                if (&stream).write_all(&left[..segment]).is_err() {
                    return; // Cut. The reader sees it as well.
                }
                left = &left[segment..];
            }
            let _ = stream.shutdown(Shutdown::Write); // It may have been cut.
        });
        (&stream).read_to_end(&mut got)
    });
    assert!(
        sent.starts_with(&got),
        "a wrong byte in {} of {}",
        got.len(),
        sent.len()
    );
    end.is_ok() && got.len() == sent.len()
}
