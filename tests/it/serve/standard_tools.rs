//! Common tools get back exactly what they sent: netcat, socat, and a Python socket that half-closes.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;

use urecho::serve::engine::Engine;

use crate::support::{Server, bytes, on_every_engine};

on_every_engine! {
    netcat_gets_back_what_it_sent,
    socat_gets_back_what_it_sent,
    a_python_socket_that_half_closes_gets_back_what_it_sent,
}

/// More than all buffers on the way can hold, so that the tool must read while it writes.
const LEN: usize = 3_000_000;

fn netcat_gets_back_what_it_sent(engine: Engine) {
    echo_through(engine, "nc", |address| {
        format!("nc -N {} {}", address.ip(), address.port())
    });
}

fn socat_gets_back_what_it_sent(engine: Engine) {
    echo_through(engine, "socat", |address| format!("socat -t 10 - TCP:{address}"));
}

fn a_python_socket_that_half_closes_gets_back_what_it_sent(engine: Engine) {
    let script = "import socket, sys, threading\n\
        peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n\
        def send():\n    peer.sendall(sys.stdin.buffer.read())\n    peer.shutdown(socket.SHUT_WR)\n\
        threading.Thread(target=send).start()\n\
        while data := peer.recv(65536): sys.stdout.buffer.write(data)\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let path = file.path().display().to_string();
    echo_through(engine, "python3", |address| {
        format!("python3 {path} {} {}", address.ip(), address.port())
    });
}

/// Pipes bytes through a tool and the server, and compares them.
fn echo_through(engine: Engine, tool: &str, line: impl Fn(SocketAddr) -> String) {
    let server = Server::on(engine);
    let sent = bytes(LEN, 7);
    let line = line(server.address);
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("SKIPPED: needs {tool}");
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            stdin.write_all(&sent).unwrap();
            drop(stdin); // End of file.
        });
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{line}: {}", output.status);
    assert!(
        output.stdout == sent,
        "{line}: {} of {LEN} bytes came back",
        output.stdout.len()
    );
    server.stop_clean();
}
