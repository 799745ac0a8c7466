//! A server with one worker, in a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use urecho::serve::engine::Engine;

/// A running `urecho serve`, pinned to the first CPU. Killed when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    pub(crate) fn start(engine: Engine) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_urecho"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--workers",
                "1",
                "--pin-workers",
                "--engine",
            ])
            .arg(engine.name())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        // `listening on ADDRESS ...`
        let address = line
            .split_whitespace()
            .nth(2)
            .expect("the server listens")
            .parse()
            .unwrap();
        Server { address, child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have exited already.
        let _ = self.child.wait();
    }
}
