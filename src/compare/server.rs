//! Servers as child processes: started, awaited until they listen, and ended, however we end.

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
use crate::sys::{affinity, child, limits, shortage, threads, usage};

/// The lowest port for a server; registered services are mostly below.
const PORT_MIN: u16 = 15_000;

/// How long a server may take until it listens.
const START_TIMEOUT: Nanos = Nanos(10_000_000_000);

/// How long our own server may take to exit after SIGTERM. Its drain takes at most 5 s.
const STOP_TIMEOUT: Nanos = Nanos(8_000_000_000);

/// How long any other server may take to exit after SIGTERM, which it may ignore.
const TERMINATE_TIMEOUT: Nanos = Nanos(1_000_000_000);

/// How long a process may take from closing its sockets until it has exited.
const EXIT_DELAY: Nanos = Nanos(200_000_000);

/// How often to check whether it listens, or has exited.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The exit code of [`Error::Machine`].
const MACHINE: i32 = 4;

/// Bytes kept from the end of a server's stderr.
const STDERR_TAIL: usize = 4096;

/// A server in its own process group. Dropping it kills the group.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    /// The end of its stderr, once that is closed.
    stderr_tail: mpsc::Receiver<String>,
    /// True once the child has been waited for: its id and its group's may then be reused.
    waited: bool,
    /// True if it is this program: then its exit code says whose fault its end was.
    is_ours: bool,
}

impl Server {
    /// Starts `urecho serve` on a free port of the loopback interface, pinned to these CPUs (not pinned, if empty).
    ///
    /// Call from the main thread: the server is killed when the thread that started it ends. Errors: it could not start,
    /// with the tail of its stderr.
    pub fn start(workers: usize, cpus: &[usize]) -> Result<Server> {
        let program = std::env::current_exe()
            .map_err(|cause| Error::Machine(format!("cannot locate this executable: {cause}")))?;
        Server::start_program(program, workers, cpus)
    }

    /// Starts `program`, which must be `urecho`: for benches and tests, which are other executables.
    pub fn start_program(program: impl AsRef<OsStr>, workers: usize, cpus: &[usize]) -> Result<Server> {
        let mut command = Command::new(program);
        let workers = workers.to_string();
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", &workers]);
        if !cpus.is_empty() {
            command.arg("--pin");
        }
        command.stdout(Stdio::piped());
        let mut server = Server::spawn(command, cpus, any_port())?;
        let lines = server
            .child
            .stdout
            .take()
            .map(|stdout| first_line(stdout, |_| true))
            .transpose()?;
        let line = lines
            .and_then(|lines| lines.recv_timeout(START_TIMEOUT.into()).ok())
            .unwrap_or_default();
        match address_in(&line) {
            Some(address) => server.address = address,
            None => return Err(Error::Machine(server.failure("did not start"))),
        }
        Ok(server)
    }

    /// Starts a candidate on a free port, pinned to these CPUs, and waits until it is ready.
    ///
    /// Call from the main thread, as [`start`](Server::start). Errors: with the tail of its stderr.
    pub fn launch(candidate: &Candidate, cpus: &[usize]) -> Result<Server> {
        let address = free_address()?;
        let mut argv = candidate.argv(address.port());
        let mut command = Command::new(argv.next().unwrap_or_default());
        command.args(argv);
        let Some(ready_text) = candidate.ready_text() else {
            command.stdout(Stdio::null());
            let mut server = Server::spawn(command, cpus, address)?;
            let listens = || TcpStream::connect(address).is_ok();
            server.wait_until(listens, &format!("does not listen on {address}"))?;
            return Ok(server);
        };
        command.stdout(Stdio::piped());
        let mut server = Server::spawn(command, cpus, address)?;
        let text = ready_text.to_owned();
        let stdout = server.child.stdout.take();
        let line = stdout
            .map(|stdout| first_line(stdout, move |line| line.contains(&text)))
            .transpose()?;
        let printed = || line.as_ref().is_some_and(|line| line.try_recv().is_ok());
        let missing = format!(
            "printed no line on stdout that contains `{ready_text}`. A program that writes to a pipe may buffer its \
             lines: flush stdout, or probe the port instead (without the readiness text)"
        );
        server.wait_until(printed, &missing)?;
        Ok(server)
    }

    /// Polls `condition` until it holds. Errors: it exited, or the time-out passed.
    fn wait_until(&mut self, condition: impl Fn() -> bool, otherwise: &str) -> Result<()> {
        let deadline = clock::now() + START_TIMEOUT;
        while !condition() {
            self.check()?;
            if clock::now() > deadline {
                return Err(Error::Target(self.failure(otherwise)));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    fn spawn(mut command: Command, cpus: &[usize], address: SocketAddr) -> Result<Server> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let is_ours = std::env::current_exe().is_ok_and(|program| program == command.get_program());
        let ours = affinity::allowed();
        affinity::set_affinity(if cpus.is_empty() { &ours } else { cpus })?; // Children inherit it.
        let spawned = child::spawn(&mut command);
        affinity::set_affinity(&ours)?;
        let mut child = spawned.map_err(|cause| {
            let what = format!("cannot start {}: {cause}", command.get_program().display());
            match shortage::of_processes(&cause) {
                Some(why) => Error::Machine(format!("{what}. {why}")),
                None => Error::Target(what),
            }
        })?;
        let (send, stderr_tail) = mpsc::channel();
        let stderr = child.stderr.take();
        let server = Server {
            child,
            address,
            stderr_tail,
            waited: false,
            is_ours,
        };
        if let Some(stderr) = stderr {
            collect_tail(stderr, send)?;
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process and its descendants in its process group.
    pub fn processes(&self) -> Vec<i32> {
        usage::group(self.child.id().cast_signed())
    }

    /// Errors: it has exited.
    pub fn check(&mut self) -> Result<()> {
        if child::has_ended(self.child.id()) {
            let text = self.failure("exited unexpectedly");
            let is_refusal = self.is_ours && self.reap().is_ok_and(|status| status.code() == Some(MACHINE));
            return Err(if is_refusal {
                Error::Machine(text)
            } else {
                Error::Target(text)
            });
        }
        Ok(())
    }

    /// Errors: it has exited, or exits within a moment. For a caller that saw its connections fail: a process closes its
    /// sockets shortly before it has exited.
    pub fn check_for_crash(&mut self) -> Result<()> {
        let deadline = clock::now() + EXIT_DELAY;
        while clock::now() < deadline {
            self.check()?;
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Sends SIGTERM, and SIGKILL if it takes too long. Errors: its exit status was not success.
    pub fn stop(mut self) -> Result<()> {
        self.signal_and_wait(STOP_TIMEOUT);
        match self.reap() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Error::Machine(self.failure("did not exit cleanly"))),
        }
    }

    /// Sends SIGTERM, then SIGKILL, and ignores the exit status: any server may be compared, and few handle SIGTERM.
    pub fn terminate(self) {
        self.signal_and_wait(TERMINATE_TIMEOUT);
    }

    /// Sends SIGTERM, and waits until it has exited or the time-out passes.
    fn signal_and_wait(&self, timeout: Nanos) {
        child::terminate(self.child.id());
        let deadline = clock::now() + timeout;
        while clock::now() < deadline && !child::has_ended(self.child.id()) {
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// A failure in one line, with exit status and the tail of stderr.
    fn failure(&mut self, what: &str) -> String {
        let ended = self.reap();
        let ended = ended.map_or_else(|cause| cause.to_string(), |status| status.to_string());
        // A process that left the group may hold stderr open for ever.
        let stderr = self.stderr_tail.recv_timeout(EXIT_DELAY.into()).unwrap_or_default();
        let text = format!("the server {what} ({ended}): {}", stderr.trim());
        text.trim_end_matches([':', ' ']).to_owned()
    }

    /// Kills what is left of its group, and returns the exit status of the process itself.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        if !self.waited {
            child::kill_group(self.child.id());
            self.waited = true;
        }
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.reap(); // Nothing is left to be done about its exit status.
    }
}

/// Reads a stream to its end on a thread, then sends its tail.
fn collect_tail(mut from: impl Read + Send + 'static, to: mpsc::Sender<String>) -> Result<()> {
    threads::detached(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; STDERR_TAIL]);
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            kept.extend_from_slice(&buffer[..len]);
            kept.drain(..kept.len().saturating_sub(STDERR_TAIL));
        }
        let _ = to.send(String::from_utf8_lossy(&kept).into_owned()); // The receiver may be gone.
    })
}

/// A free port of the loopback interface, below the ephemeral range: thousands of connections may be opened between this
/// check and the moment when the server binds it.
fn free_address() -> Result<SocketAddr> {
    let clients = *limits::ephemeral_ports().start();
    let range = u64::from(clients.saturating_sub(PORT_MIN)).max(1);
    let start = Random::seed_from_os();
    let below = (0..256).map(|step| PORT_MIN + ((start.wrapping_add(step)) % range) as u16);
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

/// The first line of a stream that `matches`; everything else is read and discarded, so that the writer never blocks.
fn first_line(
    from: impl Read + Send + 'static,
    matches: impl Fn(&str) -> bool + Send + 'static,
) -> Result<mpsc::Receiver<String>> {
    let (sender, receiver) = mpsc::channel();
    threads::detached(move || {
        let mut reader = BufReader::new(from);
        let mut line = String::new();
        while let Ok(1..) = reader.read_line(&mut line) {
            if matches(line.trim_end()) {
                let _ = sender.send(line);
                break;
            }
            line.clear();
        }
        let _ = io::copy(&mut reader, &mut io::sink());
    })?;
    Ok(receiver)
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
