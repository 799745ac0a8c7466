//! One connection by hand, at a terminal and through pipes, and the list of sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::Value;

use crate::support::peers::Peer;
use crate::support::pty::pseudoterminal;
use crate::support::reports::complaints;
use crate::support::{Server, bytes, run, until};

fn urecho() -> Command {
    Command::new(env!("CARGO_BIN_EXE_urecho"))
}

/// What `urecho connect` made of an input from a pipe.
struct Copied {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

fn connect(target: SocketAddr, flags: &[&str], input: &[u8]) -> Copied {
    let mut command = urecho();
    command.arg("connect").arg(target.to_string()).args(flags);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // It may end without having read all.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Copied {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_pipe_is_copied_through_the_server_and_ends_with_fin() {
    let server = Server::start();
    for input in [Vec::new(), b"hello".to_vec(), bytes(8 << 20, 7)] {
        let copied = connect(server.address, &[], &input);
        assert_eq!((copied.code, copied.stderr.as_str()), (Some(0), ""));
        assert!(
            copied.stdout == input,
            "{} of {} bytes",
            copied.stdout.len(),
            input.len()
        );
    }
    let counters = server.stop_clean();
    assert_eq!(counters.bytes_out, 5 + (8 << 20));
}

#[test]
fn a_half_closed_connection_still_gets_its_echo() {
    let peer = Peer::start(|_, mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let copied = connect(peer.address, &[], b"after FIN");
    assert_eq!(
        (copied.code, copied.stdout.as_slice()),
        (Some(0), &b"after FIN"[..]),
        "{}",
        copied.stderr
    );
}

#[test]
fn it_ends_with_rst_where_that_is_wanted() {
    let (sender, ended) = mpsc::channel();
    let sender = Mutex::new(sender);
    let peer = Peer::start(move |_, mut stream| {
        let mut buffer = [0; 64];
        let end = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break None,
                Ok(len) => stream.write_all(&buffer[..len]).unwrap(),
                Err(cause) => break Some(cause.kind()),
            }
        };
        sender.lock().unwrap().send(end).unwrap();
    });
    let copied = connect(peer.address, &["--rst"], b"hello");
    assert_eq!(
        (copied.code, copied.stdout.as_slice()),
        (Some(0), &b"hello"[..]),
        "{}",
        copied.stderr
    );
    assert_eq!(ended.recv().unwrap(), Some(std::io::ErrorKind::ConnectionReset));
    connect(peer.address, &[], b"hello");
    assert_eq!(ended.recv().unwrap(), None, "FIN");
}

#[test]
fn what_a_server_does_wrong_has_its_exit_code() {
    let flips = Peer::start(|_, mut stream| {
        let mut buffer = [0; 64];
        let len = stream.read(&mut buffer).unwrap();
        buffer[len - 1] ^= 1;
        stream.write_all(&buffer[..len]).unwrap();
    });
    let loses = Peer::start(|_, mut stream| {
        let mut buffer = [0; 64];
        let len = stream.read(&mut buffer).unwrap();
        stream.write_all(&buffer[..len - 1]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let silent = Peer::start(|_, mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let stopped = Peer::honest();
    let gone = stopped.address;
    drop(stopped);
    for (address, code, words) in [
        (flips.address, 6, "byte 4 came back wrong"),
        (loses.address, 6, "1 did not come back"),
        (silent.address, 6, "5 did not come back"),
        (gone, 5, "refused"),
    ] {
        let copied = connect(address, &[], b"hello");
        assert_eq!(copied.code, Some(code), "{}", copied.stderr);
        assert!(copied.stderr.contains(words), "{}", copied.stderr);
    }
}

#[test]
fn a_signal_ends_it() {
    let peer = Peer::start(|_, mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let mut command = urecho();
    command.arg("connect").arg(peer.address.to_string());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    until("the connection", || peer.accepted() > 0);
    let _input = child.stdin.take(); // `wait` would close it, and the end of its input ends it too.
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// `urecho connect` on a terminal.
struct Session {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    fn start(target: SocketAddr) -> Session {
        let (master, slave) = pseudoterminal();
        let mut reader = File::from(master.try_clone().unwrap());
        let screen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&screen);
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut part) {
                sink.lock().unwrap().extend_from_slice(&part[..len]);
            }
        });
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = urecho();
        command.arg("connect").arg(target.to_string()).env("TERM", "xterm");
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        Session {
            child,
            keyboard: File::from(master),
            screen,
        }
    }

    fn shows(&self, words: &str) {
        let text = || String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        until(words, || text().contains(words));
    }

    /// Whether the terminal edits lines itself, as a shell leaves it.
    fn is_canonical(&self) -> bool {
        let mode = tcgetattr(&self.keyboard).unwrap();
        mode.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn at_a_terminal_each_line_is_a_message_with_its_round_trip() {
    for (keys, code) in [("quit\r", 0), ("\x04", 0), ("\x03", 130)] {
        let server = Server::start();
        let mut session = Session::start(server.address);
        session.shows("connected to");
        session.shows("> ");
        session.types("hello\r");
        session.shows("hello  6 B in ");
        session.types(keys);
        session.shows("closed with FIN after 1 message");
        assert_eq!(session.child.wait().unwrap().code(), Some(code));
        assert_eq!(server.stop_clean().bytes_out, 6);
    }
}

#[test]
fn a_signal_ends_it_at_the_prompt_and_leaves_the_terminal_as_it_was() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let server = Server::start();
        let mut session = Session::start(server.address);
        session.shows("> ");
        until("raw mode", || !session.is_canonical());
        kill(Pid::from_raw(session.child.id().cast_signed()), signal).unwrap();
        assert_eq!(session.child.wait().unwrap().code(), Some(code));
        assert!(session.is_canonical());
        server.stop_clean();
    }
}

#[test]
fn a_server_that_closes_is_reported_at_the_next_line() {
    let peer = Peer::start(|_, mut stream| {
        stream.read_exact(&mut [0; 6]).unwrap();
    });
    let mut session = Session::start(peer.address);
    session.shows("> ");
    session.types("hello\r");
    session.shows("closed the connection (FIN) after 0 of 6 bytes");
    assert_eq!(session.child.wait().unwrap().code(), Some(5));
}

#[test]
fn sockets_are_listed_with_their_process_and_round_trip() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"hello").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    let port = server.address.port().to_string();
    let listed = run(urecho().args(["sockets", &port, "--all", "--json", "-"]));
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    let listing: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(complaints(&listing), [""; 0], "{listing:#}");
    assert_eq!(listing["states"]["ESTAB"], 2, "{listing:#}");
    let client = stream.local_addr().unwrap().to_string();
    let row = listing["sockets"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["local"] == client.as_str())
        .unwrap();
    assert_eq!(row["peer"], server.address.to_string());
    assert_eq!(row["processes"][0]["pid"], std::process::id());
    assert!(
        row["rtt_ns"].as_u64().unwrap() > 0 && row["received_bytes"] == 5,
        "{row:#}"
    );

    let text = run(urecho().args(["sockets", &port])).stdout;
    assert!(text.contains("sockets: 2 ESTAB, 1 LISTEN"), "{text}");
    let pid = std::process::id().to_string();
    let of_this_process = run(urecho().args(["sockets", &port, "--pid", &pid])).stdout;
    assert!(of_this_process.contains("2 ESTAB"), "{of_this_process}");
    drop(stream);
    server.stop();
}

#[test]
fn an_unused_port_has_no_sockets() {
    let listed = run(urecho().args(["sockets", "1"]));
    assert_eq!(
        (listed.status.code(), listed.stdout.as_str()),
        (Some(0), "no TCP sockets\n")
    );
}
