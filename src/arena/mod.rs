//! Servers as child processes: started, waited for until they listen, and ended, whatever happens to us.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::sys::{affinity, child};

/// How long a server may take until it listens.
const STARTING: Duration = Duration::from_secs(10);

/// How long a server may take to end after SIGTERM. Its own drain takes at most 5 s.
const ENDING: Nanos = Nanos(8_000_000_000);

/// A server of ours in a process of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    /// Collects what the process says on stderr, until it closes it.
    words: Option<JoinHandle<String>>,
}

impl Server {
    /// Starts `urecho serve` on a free port of the loopback interface, on these CPUs only (all, if empty).
    ///
    /// Call from the main thread, which the process is tied to. Errors: it could not start, with its own words.
    pub fn start(workers: usize, cpus: &[usize]) -> Result<Server> {
        let program = std::env::current_exe()
            .map_err(|cause| Error::Machine(format!("cannot find this program again: {cause}")))?;
        Server::start_program(program, workers, cpus)
    }

    /// The same from another program that is `urecho`: for benches and tests, which are not.
    pub fn start_program(
        program: impl AsRef<std::ffi::OsStr>,
        workers: usize,
        cpus: &[usize],
    ) -> Result<Server> {
        let mut command = Command::new(program);
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--workers",
            &workers.to_string(),
        ]);
        if !cpus.is_empty() {
            command.arg("--pin");
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let ours = affinity::allowed();
        affinity::keep_to(if cpus.is_empty() { &ours } else { cpus })?; // Children inherit it.
        let spawned = child::tie(&mut command).spawn();
        affinity::keep_to(&ours)?;
        let mut child =
            spawned.map_err(|cause| Error::Machine(format!("cannot start the server: {cause}")))?;
        let words = child.stderr.take().map(collect);
        let lines = child.stdout.take().map(first_line);
        let mut server = Server {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            words,
        };
        let line = lines
            .and_then(|lines| lines.recv_timeout(STARTING).ok())
            .unwrap_or_default();
        match address_in(&line) {
            Some(address) => server.address = address,
            None => return Err(server.last_words("did not start")),
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An error if it has ended without being asked to.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.last_words("ended by itself")),
        }
    }

    /// Ends it in order, or by force if it takes too long. Errors: it did not end with success.
    pub fn stop(mut self) -> Result<()> {
        match self.end() {
            Some(status) if status.success() => Ok(()),
            _ => Err(self.last_words("did not end well")),
        }
    }

    /// Asks, waits, and kills only what does not listen.
    fn end(&mut self) -> Option<ExitStatus> {
        child::terminate(self.child.id());
        let deadline = clock::now() + ENDING;
        while clock::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            thread::sleep(Duration::from_millis(2));
        }
        None
    }

    fn last_words(&mut self, what: &str) -> Error {
        let _ = self.child.kill(); // Ended already, mostly.
        let ended = self
            .child
            .wait()
            .map_or_else(|cause| cause.to_string(), |status| status.to_string());
        let words = self
            .words
            .take()
            .and_then(|words| words.join().ok())
            .unwrap_or_default();
        let text = format!("the server {what} ({ended}): {}", words.trim());
        Error::Machine(text.trim_end_matches([':', ' ']).to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Waited for already: both fail, and that is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a stream to its end beside us.
fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes); // What came before an error is still worth showing.
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The first line of a stream; the rest is read and dropped, so that the writer never blocks.
fn first_line(from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = String::new();
        let _ = reader.read_line(&mut line); // An error is an empty line: not started.
        let _ = sender.send(line);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
    });
    receiver
}

fn address_in(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_the_third_word_of_the_first_line() {
        let line = "listening on 127.0.0.1:4242 engine=uring workers=2\n";
        assert_eq!(
            address_in(line),
            Some(SocketAddr::from(([127, 0, 0, 1], 4242)))
        );
        assert_eq!(address_in("listening on somewhere"), None);
        assert_eq!(address_in(""), None);
    }
}
