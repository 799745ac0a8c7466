//! Every peer is an echo server: what goes in comes out, and the end comes after the last byte.

#![allow(clippy::unwrap_used)] // A test that cannot set itself up has failed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

/// More than a peer's buffer several times over.
const BYTES: usize = 100 * 1024;

#[test]
fn tokio_echoes_odd_pieces_and_ends_with_its_client() {
    echoes("tokio", env!("CARGO_BIN_EXE_tokio"));
}

#[test]
fn monoio_echoes_odd_pieces_and_ends_with_its_client() {
    echoes("monoio", env!("CARGO_BIN_EXE_monoio"));
}

#[test]
fn compio_echoes_odd_pieces_and_ends_with_its_client() {
    echoes("compio", env!("CARGO_BIN_EXE_compio"));
}

#[test]
fn glommio_echoes_odd_pieces_and_ends_with_its_client() {
    echoes("glommio", env!("CARGO_BIN_EXE_glommio"));
}

#[test]
fn threads_echoes_odd_pieces_and_ends_with_its_client() {
    echoes("threads", env!("CARGO_BIN_EXE_threads"));
}

#[test]
fn a_peer_that_cannot_serve_says_why_in_a_sentence() {
    for program in [
        env!("CARGO_BIN_EXE_tokio"),
        env!("CARGO_BIN_EXE_monoio"),
        env!("CARGO_BIN_EXE_compio"),
        env!("CARGO_BIN_EXE_glommio"),
        env!("CARGO_BIN_EXE_threads"),
    ] {
        let output = Command::new(program).args(["--congestion", "pigeon"]).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(4), "{program}: {words}");
        assert!(words.contains(": cannot serve: "), "{program}: {words}");
        assert!(words.contains("congestion control pigeon: "), "{program}: {words}");
        assert_eq!(words.lines().count(), 1, "{program}: {words}");
    }
}

/// A peer that dies with the test.
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
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn echoes(name: &str, program: &str) {
    let peer = Peer::start(name, program);
    // A client that goes away without a word must not take the others with it.
    drop(TcpStream::connect(&peer.address).unwrap());
    // All open before the first byte, so that the peer has them at once.
    let streams: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&peer.address).unwrap()).collect();
    thread::scope(|scope| {
        for (index, stream) in streams.iter().enumerate() {
            scope.spawn(move || round_trip(stream, index));
        }
    });
}

/// Sends everything in odd pieces while reading, then nothing more, and compares what comes until the end.
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
        "connection {index}: {} bytes of {BYTES} came back, or others",
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
