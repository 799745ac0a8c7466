//! Every peer is an echo server: all bytes come back in order, then the end.

#![allow(clippy::unwrap_used)] // In a test, a panic is the report.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

/// Several times a peer's buffer.
const BYTES: usize = 100 * 1024;

#[test]
fn tokio_echoes_odd_pieces_until_its_client_ends() {
    echoes("tokio", env!("CARGO_BIN_EXE_tokio"));
}

#[test]
fn monoio_echoes_odd_pieces_until_its_client_ends() {
    echoes("monoio", env!("CARGO_BIN_EXE_monoio"));
}

#[test]
fn compio_echoes_odd_pieces_until_its_client_ends() {
    echoes("compio", env!("CARGO_BIN_EXE_compio"));
}

#[test]
fn glommio_echoes_odd_pieces_until_its_client_ends() {
    echoes("glommio", env!("CARGO_BIN_EXE_glommio"));
}

#[test]
fn threads_echoes_odd_pieces_until_its_client_ends() {
    echoes("threads", env!("CARGO_BIN_EXE_threads"));
}

/// It keeps no state, so it promises less than the others: messages that fit into a buffer, one at a time.
#[test]
fn minimal_uring_echoes_one_message_after_the_other_until_its_client_ends() {
    let peer = Peer::start("minimal-uring", env!("CARGO_BIN_EXE_minimal-uring"));
    drop(TcpStream::connect(&peer.address).unwrap());
    let mut streams: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&peer.address).unwrap()).collect();
    for round in 0..20 {
        let message = [round; 64];
        for stream in &mut streams {
            stream.write_all(&message).unwrap();
        }
        for stream in &mut streams {
            let mut received = [0; 64];
            stream.read_exact(&mut received).unwrap();
            assert_eq!(received, message);
        }
    }
    for mut stream in streams {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_peer_that_cannot_serve_prints_one_line_with_the_reason() {
    for program in [
        env!("CARGO_BIN_EXE_tokio"),
        env!("CARGO_BIN_EXE_monoio"),
        env!("CARGO_BIN_EXE_compio"),
        env!("CARGO_BIN_EXE_glommio"),
        env!("CARGO_BIN_EXE_threads"),
        env!("CARGO_BIN_EXE_minimal-uring"),
    ] {
        let output = Command::new(program).args(["--congestion", "pigeon"]).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{program}: {words}");
        assert!(words.contains(": cannot serve: "), "{program}: {words}");
        assert!(words.contains("congestion control pigeon: "), "{program}: {words}");
        assert_eq!(words.lines().count(), 1, "{program}: {words}");
    }
}

/// A running peer. Killed when dropped.
struct Peer {
    child: Child,
    address: String,
}

impl Peer {
    fn start(name: &str, program: &str) -> Peer {
        let mut command = Command::new(program);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let ready = line.strip_prefix("listening on ");
        let address = ready.and_then(|rest| rest.strip_suffix(&format!(" peer={name}\n")));
        let address = address.unwrap_or_else(|| panic!("not a ready line: {line:?}"));
        Peer {
            child,
            address: address.to_owned(),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have exited already.
        let _ = self.child.wait();
    }
}

fn echoes(name: &str, program: &str) {
    let peer = Peer::start(name, program);
    // A client that disconnects without a message must not affect the others.
    drop(TcpStream::connect(&peer.address).unwrap());
    // All are open before the first byte: the peer serves them concurrently.
    let streams: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&peer.address).unwrap()).collect();
    thread::scope(|scope| {
        for (index, stream) in streams.iter().enumerate() {
            scope.spawn(move || round_trip(stream, index));
        }
    });
}

/// Sends everything in odd pieces, then FIN, while it reads; compares what came until the end.
fn round_trip(stream: &TcpStream, index: usize) {
    let sent: Vec<u8> = (0..BYTES)
        .map(|place| (place * 31 + place / 251 + index) as u8)
        .collect();
    let mut received = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| send_in_pieces(stream, &sent));
        let mut stream = stream;
        stream.read_to_end(&mut received).unwrap();
    });
    assert!(
        received == sent,
        "connection {index}: {} bytes came back, of {BYTES}, or wrong ones",
        received.len()
    );
}

fn send_in_pieces(mut stream: &TcpStream, mut rest: &[u8]) {
    for length in [1, 7, 333, 4097, 16_383, 16_385].into_iter().cycle() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        stream.write_all(piece).unwrap();
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
}
