//! Servers as child processes: started, waited for until they listen, and ended, whatever happens to us.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::compare::Candidate;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::sys::{affinity, child, limits, usage};

/// The lowest port that a server may get: below it, services have their numbers.
const LOWEST: u16 = 15_000;

/// How long a server may take until it listens.
const STARTING: Nanos = Nanos(10_000_000_000);

/// How long a server may take to end after SIGTERM. Our own drain takes at most 5 s.
const ENDING: Nanos = Nanos(8_000_000_000);

/// The same for somebody else's server, which may not know the signal.
const LEAVING: Nanos = Nanos(1_000_000_000);

/// How long a process may take from closing its sockets to its end.
const DYING: Nanos = Nanos(200_000_000);

/// How often to look whether it listens, or has ended.
const GLANCE: Duration = Duration::from_millis(2);

/// How much of what a server says on stderr is kept: its last words.
const WORDS: usize = 4096;

/// A server in a process group of its own. Dropping it kills all of that.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    /// What the process said on stderr, once it has closed it.
    words: mpsc::Receiver<String>,
    /// True once the child has been waited for: its id, and its group's, may then be another's.
    waited: bool,
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
    pub fn start_program(program: impl AsRef<OsStr>, workers: usize, cpus: &[usize]) -> Result<Server> {
        let mut command = Command::new(program);
        let workers = workers.to_string();
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", &workers]);
        if !cpus.is_empty() {
            command.arg("--pin");
        }
        command.stdout(Stdio::piped());
        let mut server = Server::spawn(command, cpus, any_port())?;
        let lines = server.child.stdout.take().map(|stdout| line_that(stdout, |_| true));
        let line = lines
            .and_then(|lines| lines.recv_timeout(STARTING.into()).ok())
            .unwrap_or_default();
        match address_in(&line) {
            Some(address) => server.address = address,
            None => return Err(Error::Machine(server.last_words("did not start"))),
        }
        Ok(server)
    }

    /// Starts a candidate on a port of our choice, on these CPUs only, and waits until it takes connections there.
    ///
    /// Call from the main thread. Errors: with the server's own words.
    pub fn launch(candidate: &Candidate, cpus: &[usize]) -> Result<Server> {
        let address = free_address()?;
        let mut words = candidate.words(address.port());
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let Some(ready) = candidate.ready() else {
            command.stdout(Stdio::null());
            let mut server = Server::spawn(command, cpus, address)?;
            let listens = || TcpStream::connect(address).is_ok();
            server.await_that(listens, &format!("does not listen on {address}"))?;
            return Ok(server);
        };
        command.stdout(Stdio::piped());
        let mut server = Server::spawn(command, cpus, address)?;
        let pattern = ready.clone();
        let stdout = server.child.stdout.take();
        let line = stdout.map(|stdout| line_that(stdout, move |line| pattern.is_match(line)));
        let said = || line.as_ref().is_some_and(|line| line.try_recv().is_ok());
        let missing = format!(
            "printed no line on stdout that matches `{ready}`. A program that writes to a pipe may keep its lines \
             to itself until it flushes: leave the pattern out to have the port tried"
        );
        server.await_that(said, &missing)?;
        Ok(server)
    }

    /// Waits until something is so, as long as a start may take.
    fn await_that(&mut self, so: impl Fn() -> bool, otherwise: &str) -> Result<()> {
        let deadline = clock::now() + STARTING;
        while !so() {
            self.check()?;
            if clock::now() > deadline {
                return Err(Error::Target(self.last_words(otherwise)));
            }
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn spawn(mut command: Command, cpus: &[usize], address: SocketAddr) -> Result<Server> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let ours = affinity::allowed();
        affinity::set_affinity(if cpus.is_empty() { &ours } else { cpus })?; // Children inherit it.
        let spawned = child::spawn(&mut command);
        affinity::set_affinity(&ours)?;
        let mut child = spawned.map_err(|cause| {
            let program = command.get_program().display();
            Error::Target(format!("cannot start {program}: {cause}"))
        })?;
        let (send, words) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, send);
        }
        Ok(Server {
            child,
            address,
            words,
            waited: false,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, and those that it has started.
    pub fn processes(&self) -> Vec<i32> {
        usage::group(self.child.id().cast_signed())
    }

    /// An error if it has ended without being asked to.
    pub fn check(&mut self) -> Result<()> {
        if child::has_ended(self.child.id()) {
            return Err(Error::Target(self.last_words("ended by itself")));
        }
        Ok(())
    }

    /// The same, for somebody to whom it seemed to: a process closes its sockets a moment before it has ended.
    pub fn check_closely(&mut self) -> Result<()> {
        let deadline = clock::now() + DYING;
        while clock::now() < deadline {
            self.check()?;
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Ends it in order, or by force if it takes too long. Errors: it did not end with success.
    pub fn stop(mut self) -> Result<()> {
        self.end(ENDING);
        match self.bury() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Error::Machine(self.last_words("did not end well"))),
        }
    }

    /// Ends it, however it takes that: somebody else's server may have no orderly end.
    pub fn dismiss(self) {
        self.end(LEAVING);
    }

    /// Asks, and waits.
    fn end(&self, patience: Nanos) {
        child::terminate(self.child.id());
        let deadline = clock::now() + patience;
        while clock::now() < deadline && !child::has_ended(self.child.id()) {
            thread::sleep(GLANCE);
        }
    }

    fn last_words(&mut self, what: &str) -> String {
        let ended = self.bury();
        let ended = ended.map_or_else(|cause| cause.to_string(), |status| status.to_string());
        // Somebody who left the group may hold its stderr open for ever.
        let words = self.words.recv_timeout(DYING.into()).unwrap_or_default();
        let text = format!("the server {what} ({ended}): {}", words.trim());
        text.trim_end_matches([':', ' ']).to_owned()
    }

    /// Ends what is left of its group by force, and says how the process itself has ended.
    fn bury(&mut self) -> io::Result<ExitStatus> {
        if !self.waited {
            child::kill_group(self.child.id());
            self.waited = true;
        }
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.bury(); // It has ended, one way or the other.
    }
}

/// Reads a stream to its end beside us, and sends its last words then.
fn collect(mut from: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; WORDS]);
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..len]);
            kept.drain(..kept.len().saturating_sub(WORDS));
        }
        let _ = to.send(String::from_utf8_lossy(&kept).into_owned()); // Nobody may care any more.
    });
}

/// A free port of the loopback interface, from below those that the kernel gives to clients: thousands of connections
/// are opened between this look and the moment when the server takes it.
fn free_address() -> Result<SocketAddr> {
    let clients = *limits::ephemeral_ports().start();
    let range = u64::from(clients.saturating_sub(LOWEST)).max(1);
    let start = Random::seed_from_os();
    let below = (0..256).map(|step| LOWEST + ((start.wrapping_add(step)) % range) as u16);
    let addresses = below.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let bound = addresses
        .chain([any_port()])
        .find_map(|address| TcpListener::bind(address).ok());
    bound
        .and_then(|listener| listener.local_addr().ok())
        .ok_or_else(|| Error::Machine("cannot find a free port on 127.0.0.1".into()))
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// The first line of a stream that fits; all else is read and dropped, so that the writer never blocks.
fn line_that(from: impl Read + Send + 'static, fits: impl Fn(&str) -> bool + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = String::new();
        while let Ok(1..) = reader.read_line(&mut line) {
            if fits(line.trim_end()) {
                let _ = sender.send(line);
                break;
            }
            line.clear();
        }
        let _ = io::copy(&mut reader, &mut io::sink());
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
        assert_eq!(address_in(line), Some(SocketAddr::from(([127, 0, 0, 1], 4242))));
        assert_eq!(address_in("listening on somewhere"), None);
        assert_eq!(address_in(""), None);
    }
}
