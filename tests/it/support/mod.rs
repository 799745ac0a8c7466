//! Servers to test against, in this process or as the real binary, and peers that are plain blocking sockets.
//!
//! Nothing here uses the ring: one bug of ours must not cancel itself. Whatever is started here ends with its
//! handle, also when a test fails.

// One test for every engine.
mod engines;

// Honest and dishonest peers to load.
pub(crate) mod peers;

// The real binary as a child process.
mod process;

// `urecho load` and its siblings as a process, and its validated report.
pub(crate) mod reports;

// Rust as text.
pub(crate) mod source;

use std::fmt::Debug;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;
use urecho::error::Result;
use urecho::serve::counters::Counters;
use urecho::serve::engine::Engine;
use urecho::serve::uring::UringPlan;
use urecho::serve::{self, EnginePlan, Plan};
use urecho::sys::limits;
use urecho::sys::signal::Stop;

pub(crate) use engines::on_every_engine;
pub(crate) use process::{Ended, ServeProcess, run};

/// Longer than anything takes on a busy machine: reaching it is a failure, never a measurement.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds. Panics with what it was waiting for.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A server on a thread of this process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<Result<Vec<Counters>>>>,
}

impl Server {
    /// `urecho serve` with one worker on a free port of the loopback interface.
    pub(crate) fn start() -> Server {
        Server::on(Engine::default())
    }

    /// The same on another engine.
    pub(crate) fn on(engine: Engine) -> Server {
        Server::with(engine, |_| {})
    }

    /// On the engine `uring` with changed settings.
    pub(crate) fn on_uring(change: impl FnOnce(&mut UringPlan)) -> Server {
        Server::with(Engine::Uring, |plan| match &mut plan.engine {
            EnginePlan::Uring(uring) => change(uring),
            other => unreachable!("{other:?}"),
        })
    }

    /// The same, with another plan.
    pub(crate) fn with(engine: Engine, change: impl FnOnce(&mut Plan)) -> Server {
        limits::raise_descriptors();
        let mut plan = Plan::loopback(engine);
        change(&mut plan);
        let stop = Stop::new().unwrap();
        let (ready, address) = mpsc::channel();
        let stopped = stop.clone();
        let body = move || serve::run(plan, &stopped, |listening| ready.send(listening.address).unwrap());
        let thread = Some(thread::spawn(body));
        let address = address.recv_timeout(PATIENCE).expect("the server starts");
        Server { address, stop, thread }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Many connections, each with its first echo behind it.
    pub(crate) fn connect_many(&self, count: usize) -> Vec<TcpStream> {
        connect_many(self.address, count)
    }

    /// Asks it to stop; it drains meanwhile.
    pub(crate) fn fire(&self) {
        self.stop.fire();
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(mut self) -> Counters {
        self.stop.fire();
        Counters::total(&self.join().expect("the server ends without an error")).unwrap()
    }

    /// Stops it and returns the counters of each worker.
    pub(crate) fn stop_workers(mut self) -> Vec<Counters> {
        self.stop.fire();
        self.join().expect("the server ends without an error")
    }

    /// Stops it; everybody had what was theirs, and nothing is left behind.
    pub(crate) fn stop_clean(self) -> Counters {
        let counters = self.stop();
        assert_eq!(counters.accepted, counters.closed, "{counters}");
        assert_eq!((counters.refused, counters.cut), (0, 0), "{counters}");
        assert_eq!((counters.stale, counters.lent), (0, 0), "{counters}");
        counters
    }

    fn join(&mut self) -> Result<Vec<Counters>> {
        let thread = self.thread.take().expect("joined once");
        thread.join().expect("the server does not panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.fire();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // The test has failed already, or does not care.
        }
    }
}

/// A blocking peer that fails instead of hanging.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Many connections, each with its first echo behind it.
pub(crate) fn connect_many(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams: Vec<TcpStream> = (0..count).map(|_| connect(address)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&bytes(8, number as u64)).unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        assert_comes(stream, &bytes(8, number as u64));
    }
    streams
}

/// Bytes that show where they belong: no two places look alike. xorshift64.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15);
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

/// Writes and reads back.
pub(crate) fn assert_echo(stream: &mut TcpStream, sent: &[u8]) {
    stream.write_all(sent).unwrap();
    assert_comes(stream, sent);
}

/// The next bytes are these.
pub(crate) fn assert_comes(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream
        .read_exact(&mut got)
        .unwrap_or_else(|error| panic!("no echo: {error}"));
    assert_same(&got, expected);
}

/// The rest is this, then end of file.
pub(crate) fn assert_ends_with(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got);
    assert_same(&got, expected);
    end.unwrap_or_else(|error| panic!("no end after {} bytes: {error}", got.len()));
}

/// Everything is written, then FIN, while everything is read back, then end of file.
pub(crate) fn assert_echo_to_the_end(stream: &TcpStream, sent: &[u8]) {
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = stream;
            writer.write_all(sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        assert_ends_with(&mut stream.try_clone().unwrap(), sent);
    });
}

/// As `assert_eq`, but short: nobody reads 8 MiB.
fn assert_same(got: &[u8], expected: &[u8]) {
    let differ = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!(differ, None, "the echo differs at this byte, of {}", expected.len());
    assert_eq!(got.len(), expected.len(), "the echo has another length");
}

/// Small socket buffers, so that a peer that does not read is stuck soon.
pub(crate) fn shrink(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    socket.set_recv_buffer_size(65_536).unwrap();
    socket.set_send_buffer_size(65_536).unwrap();
}

/// Writes until nothing more fits anywhere: not into our buffers, the kernel's, or the server's. The bytes
/// are the same ever again; returns how many went out on each stream.
pub(crate) fn stuff(streams: &[TcpStream]) -> Vec<usize> {
    let piece = vec![b'x'; 65_536];
    let mut written = vec![0; streams.len()];
    let mut quiet = Instant::now();
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
    }
    // Stuck is what took nothing for 100 ms; a server that is slower than that only makes the test easier.
    until("no peer can write any more", || {
        for (stream, written) in streams.iter().zip(&mut written) {
            let mut stream = stream;
            match stream.write(&piece) {
                Ok(bytes) => {
                    *written += bytes;
                    quiet = Instant::now();
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        quiet.elapsed() > Duration::from_millis(100)
    });
    for stream in streams {
        stream.set_nonblocking(false).unwrap();
    }
    written
}

/// Closes with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Panics unless `text` holds all of `words`.
pub(crate) fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}

/// A tolerant comparison for the few numbers that are shares.
pub(crate) fn assert_at_most<T: PartialOrd + Debug>(what: &str, value: T, most: T) {
    assert!(value <= most, "{what}: {value:?} is more than {most:?}");
}
