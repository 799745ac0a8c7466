//! Servers as child processes: started, awaited until they listen, and ended with all that they have started, however
//! we end.
//!
//! A server is ours only if its processes, and no others, hold the socket that accepts on its port: anything else would
//! measure a neighbour.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::compare::Candidate;
use crate::error::{Error, Result};
use crate::serve::engine::Engine;
use crate::sys::child::TiedChild;
use crate::sys::guard::THIS_EXECUTABLE;
use crate::sys::ports::ClaimedPort;
use crate::sys::signal::Stop;
use crate::sys::socket_owner::{self, Owner};
use crate::sys::{affinity, child, offspring, shortage, threads};

/// A server is started on another port if something else has taken the first meanwhile, this often at most.
const LAUNCHES: usize = 5;

/// How long a server may take until it listens.
const START_TIMEOUT: Nanos = Nanos(10_000_000_000);

/// How long our own server may take to exit after SIGTERM. Its drain takes at most 5 s.
const STOP_TIMEOUT: Nanos = Nanos(8_000_000_000);

/// How long any other server may take to exit after SIGTERM, which it may ignore.
const TERMINATE_TIMEOUT: Nanos = Nanos(1_000_000_000);

/// The same when the user has interrupted us: everything ends within a second.
const INTERRUPTED_TIMEOUT: Nanos = Nanos(250_000_000);

/// How long a process may take from closing its sockets until it has exited.
const EXIT_DELAY: Nanos = Nanos(200_000_000);

/// How often to check whether it listens, or has exited.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The exit codes of [`Error::Machine`] and [`Error::Bug`].
const MACHINE: i32 = 4;
const BUG: i32 = 70;

/// What servers read from. Without it the kernel says of their program that it is not there.
const NULL: &str = "/dev/null";

/// Bytes kept from the end of a server's stderr.
const STDERR_TAIL: usize = 4096;

/// A server in its own process group. Dropping it kills the group, and what it has started elsewhere.
#[derive(Debug)]
pub struct Server {
    child: TiedChild,
    address: SocketAddr,
    /// Keeps other runs from its port.
    port: Option<ClaimedPort>,
    /// Processes that it had started outside of its group when it began to listen.
    elsewhere: Vec<i32>,
    /// The end of its stderr, once that is closed.
    stderr_tail: mpsc::Receiver<String>,
    /// True once the child has been waited for: its id and its group's may then be reused.
    waited: bool,
    /// True if it is this program: then its exit code says whose fault its end was.
    is_ours: bool,
}

/// Our own server runs as this command says: variables that are flags of it, and a file of flags, are meant for this
/// process. A program of the user's has the user's environment.
fn ignore_defaults(command: &mut Command) {
    let flags = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"URECHO_"));
    for (name, _) in flags {
        command.env_remove(name);
    }
}

impl Server {
    /// Starts `urecho serve` with these flags on a free port of the loopback interface, pinned to these CPUs (not
    /// pinned, if empty).
    ///
    /// Call from the main thread: the server is killed when the thread that started it ends. Errors: it could not
    /// start, with the tail of its stderr.
    pub fn start(engine: Engine, flags: &[String], cpus: &[usize]) -> Result<Server> {
        Server::start_program(THIS_EXECUTABLE, engine, flags, cpus)
    }

    /// Starts `program`, which must be `urecho`: for benches and tests, which are other executables.
    pub fn start_program(
        program: impl AsRef<OsStr>,
        engine: Engine,
        flags: &[impl AsRef<OsStr>],
        cpus: &[usize],
    ) -> Result<Server> {
        let mut command = Command::new(program);
        ignore_defaults(&mut command);
        command.arg0("urecho");
        command.args(["serve", "--listen", "127.0.0.1:0", "--engine", engine.name()]);
        command.args(flags);
        if !cpus.is_empty() {
            command.arg("--pin-workers");
        }
        command.stdout(Stdio::piped());
        let mut server = Server::spawn(command, cpus, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let stdout = server.child.process.stdout.take();
        let lines = stdout.map(|stdout| first_line(stdout, |_| true)).transpose()?;
        let line = lines
            .and_then(|lines| lines.recv_timeout(START_TIMEOUT.into()).ok())
            .unwrap_or_default();
        match address_in(&line) {
            Some(address) => server.address = address,
            None => {
                let text = server.failure("did not start");
                return Err(server.fault(text, Error::Machine));
            }
        }
        Ok(server)
    }

    /// Starts a candidate on a free port, pinned to these CPUs, and waits until it is ready.
    ///
    /// Call from the main thread, as [`start`](Server::start). Errors: with the tail of its stderr; when `stop` fires,
    /// one that says nothing.
    pub fn launch(candidate: &Candidate, cpus: &[usize], stop: &Stop) -> Result<Server> {
        let mut failure = None;
        for _ in 0..LAUNCHES {
            let port = match ClaimedPort::any() {
                Ok(port) => port,
                Err(cause) => {
                    let cause = Error::Machine(format!("cannot find a free port on 127.0.0.1: {cause}"));
                    return Err(failure.unwrap_or(cause));
                }
            };
            let mut server = Server::spawn_candidate(candidate, port, cpus)?;
            let Err(error) = server.wait_until_ready(candidate, stop) else {
                return Ok(server);
            };
            let port = server.port.take();
            Server::terminate(vec![server], stop); // It may hold the port itself.
            let is_taken = port.is_some_and(|port| !port.is_free());
            if !is_taken || stop.has_fired() {
                return Err(error);
            }
            failure = Some(error);
        }
        Err(failure.expect("every attempt has failed"))
    }

    fn spawn_candidate(candidate: &Candidate, port: ClaimedPort, cpus: &[usize]) -> Result<Server> {
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let mut argv = candidate.argv(port.number());
        let program = argv.next().unwrap_or_default();
        let mut command = Command::new(candidate.executable().unwrap_or(&program));
        command.arg0(&program).args(argv);
        if candidate.executable().is_some() {
            ignore_defaults(&mut command);
        }
        command.stdout(match candidate.ready_text() {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        });
        let mut server = Server::spawn(command, cpus, address)?;
        server.port = Some(port);
        Ok(server)
    }

    fn wait_until_ready(&mut self, candidate: &Candidate, stop: &Stop) -> Result<()> {
        if let Some(ready_text) = candidate.ready_text() {
            let text = ready_text.to_owned();
            let stdout = self.child.process.stdout.take();
            let line = stdout
                .map(|stdout| first_line(stdout, move |line| line.contains(&text)))
                .transpose()?;
            let missing = format!(
                "printed no line on stdout that contains `{ready_text}`. A program that writes to a pipe may buffer its \
                 lines: flush stdout, or watch the port instead (without the readiness text)"
            );
            let printed = |_: &Server| Ok(line.as_ref().is_some_and(|line| line.try_recv().is_ok()));
            self.wait_until(printed, &missing, stop)?;
        }
        let address = self.address;
        self.wait_until(Server::listens, &format!("does not listen on {address}"), stop)?;
        let family = self.child.family();
        let group = self.processes();
        self.elsewhere = family.into_iter().filter(|pid| !group.contains(pid)).collect();
        self.child.watch(&self.elsewhere);
        Ok(())
    }

    /// Polls `condition` until it holds. Errors: it exited, the time-out passed, or `stop` has fired.
    fn wait_until(&mut self, condition: impl Fn(&Server) -> Result<bool>, otherwise: &str, stop: &Stop) -> Result<()> {
        let deadline = clock::now() + START_TIMEOUT;
        while !condition(self)? {
            self.check()?;
            if clock::now() > deadline || stop.has_fired() {
                return Err(Error::Target(self.failure(otherwise)));
            }
            thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// True once it accepts connections. Errors: another process does.
    fn listens(&self) -> Result<bool> {
        match socket_owner::owner_of(self.address, &[]) {
            Owner::Nothing => Ok(false),
            // Without socket tables a connection has to do, unless it has met itself.
            Owner::Unknown => Ok(TcpStream::connect(self.address).is_ok_and(|probe| !is_own_peer(&probe))),
            Owner::These | Owner::Others(_) => self.check_owner().map(|()| true),
        }
    }

    /// Errors: others accept connections on its port.
    pub fn check_owner(&self) -> Result<()> {
        let Owner::Others(_) = socket_owner::owner_of(self.address, &self.processes()) else {
            return Ok(());
        };
        // Those that left its group are found by their environment, which takes longer to read.
        match socket_owner::owner_of(self.address, &self.child.family()) {
            Owner::Others(other) => Err(Error::Target(format!(
                "{} is not the server's: {other} listens there, which the command did not start (for a container: --network \
                 host)",
                self.address
            ))),
            _ => Ok(()),
        }
    }

    fn spawn(mut command: Command, cpus: &[usize], address: SocketAddr) -> Result<Server> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let is_ours = is_this_executable(command.get_program());
        let ours = affinity::allowed();
        affinity::set_affinity(if cpus.is_empty() { &ours } else { cpus })?; // Children inherit it.
        let spawned = child::spawn(&mut command);
        affinity::set_affinity(&ours)?;
        let mut child = spawned.map_err(|cause| {
            let what = format!("cannot start {}: {cause}", command.get_program().display());
            match shortage::of_processes(&cause) {
                Some(why) => Error::Machine(format!("{what}. {why}")),
                None if !Path::new(NULL).exists() => Error::Machine(format!("{what}. {NULL} is missing: mount /dev")),
                None if command.get_program() == THIS_EXECUTABLE => {
                    Error::Machine(format!("{what}. Servers are started through /proc: mount it"))
                }
                None => Error::Target(what),
            }
        })?;
        let (send, stderr_tail) = mpsc::channel();
        let stderr = child.process.stderr.take();
        let server = Server {
            child,
            address,
            port: None,
            elsewhere: Vec::new(),
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

    /// Its processes: those of its group, those that had left it when it began to listen, and their descendants.
    pub fn processes(&self) -> Vec<i32> {
        offspring::of_groups(&[self.child.id().cast_signed()], &self.elsewhere)
    }

    /// Errors: it has exited.
    pub fn check(&mut self) -> Result<()> {
        if child::has_ended(self.child.id()) {
            let text = self.failure("exited unexpectedly");
            return Err(self.fault(text, Error::Target));
        }
        Ok(())
    }

    /// Errors: it has exited, or exits within a moment. For a caller that saw its connections fail: a process closes
    /// its sockets shortly before it has exited.
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
            _ => {
                let text = self.failure("did not exit cleanly");
                Err(self.fault(text, Error::Machine))
            }
        }
    }

    /// Sends all of them SIGTERM, then SIGKILL, and ignores the exit status: any server may be compared, and few handle
    /// SIGTERM.
    pub fn terminate(servers: Vec<Server>, stop: &Stop) {
        let begin = clock::now();
        for server in &servers {
            child::terminate(server.child.id());
        }
        let runs = |server: &Server| !child::has_ended(server.child.id());
        while servers.iter().any(runs) {
            let limit = if stop.has_fired() {
                INTERRUPTED_TIMEOUT
            } else {
                TERMINATE_TIMEOUT
            };
            if clock::now() - begin >= limit {
                break;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Sends SIGTERM, and waits until it has exited or the time-out passes.
    fn signal_and_wait(&self, timeout: Nanos) {
        child::terminate(self.child.id());
        let deadline = clock::now() + timeout;
        while clock::now() < deadline && !child::has_ended(self.child.id()) {
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Whose fault it is that it has ended: our own server says so by its exit code.
    fn fault(&mut self, text: String, otherwise: fn(String) -> Error) -> Error {
        let status = self.reap().ok().filter(|_| self.is_ours);
        match status.and_then(|status| status.code()) {
            Some(MACHINE) => Error::Machine(text),
            Some(BUG) => Error::Bug(text),
            _ => otherwise(text),
        }
    }

    /// A failure in one line, with the tail of stderr, and the exit status of a server that has ended by itself.
    fn failure(&mut self, what: &str) -> String {
        let by_itself = self.waited || child::has_ended(self.child.id());
        let ended = match self.reap() {
            Ok(status) if by_itself => format!(" ({status})"),
            Ok(_) => String::new(), // The status would be that of our SIGKILL.
            Err(cause) => format!(" ({cause})"),
        };
        // A process that nothing finds may hold stderr open forever.
        let stderr = self.stderr_tail.recv_timeout(EXIT_DELAY.into()).unwrap_or_default();
        let text = format!("the server {what}{ended}: {}", stderr.trim());
        text.trim_end_matches([':', ' ']).to_owned()
    }

    /// Kills what is left of it and of what it has started, and returns the exit status of the process itself.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        if !self.waited {
            self.child.kill_all();
            self.waited = true;
        }
        self.child.process.wait()
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

/// True if a program is this one, by the path that we use or by that of its file.
fn is_this_executable(program: &OsStr) -> bool {
    program == THIS_EXECUTABLE || std::env::current_exe().is_ok_and(|ours| ours == program)
}

/// True if both ends of a connection are the same socket: nothing listened, and the kernel chose that port for our
/// side.
fn is_own_peer(stream: &TcpStream) -> bool {
    stream.local_addr().ok() == stream.peer_addr().ok()
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
