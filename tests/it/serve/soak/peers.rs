//! Peers of a soak: each does one thing to the server, drawn from its seed, then the next.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use urecho::random::Random;
use urecho::serve::engine::Engine;

use crate::support::faulty_proxy::size;
use crate::support::{assert_comes, assert_echo, assert_echo_to_the_end, bytes, connect, reset, shrink};

/// The peers of one thread.
pub(super) struct Peers {
    server: SocketAddr,
    engine: Engine,
    /// A faulty proxy in front of the server: what comes back may be cut.
    proxy: SocketAddr,
    random: Random,
}

impl Peers {
    pub(super) fn new(server: SocketAddr, engine: Engine, proxy: SocketAddr, random: Random) -> Peers {
        Peers {
            server,
            engine,
            proxy,
            random,
        }
    }

    pub(super) fn run_until(mut self, end: Instant) {
        while Instant::now() < end {
            match self.random.below(8) {
                0 => self.stream(),
                1 => self.stream_through_faults(),
                2 => self.reset_in_mid_stream(),
                3 => self.finish_and_read_late(),
                4 => self.never_read(),
                5 => self.talk(),
                6 => self.urgent(),
                _ => self.burst(),
            }
        }
    }

    /// Connects and closes this many times. Every connection that sends a byte waits for its echo.
    pub(super) fn cycles(&mut self, count: u64) {
        let mut left = count;
        while left > 0 {
            let burst = self.random.below(20) as u64 + 1;
            self.open_and_close(burst.min(left));
            left -= burst.min(left);
        }
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        bytes(size(&mut self.random, most), self.random.bits())
    }

    fn stream(&mut self) {
        assert_echo_to_the_end(&connect(self.server), &self.bytes(1 << 20));
    }

    fn stream_through_faults(&mut self) {
        let (sent, stream) = (self.bytes(200_000), connect(self.proxy));
        let mut got = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                let _ = (&stream).write_all(&sent); // It may be cut.
                let _ = stream.shutdown(Shutdown::Write);
            });
            let _ = (&stream).read_to_end(&mut got);
        });
        assert!(
            sent.starts_with(&got),
            "a wrong byte in {} of {}",
            got.len(),
            sent.len()
        );
    }

    fn reset_in_mid_stream(&mut self) {
        let (sent, mut stream) = (self.bytes(200_000), connect(self.server));
        stream.set_nonblocking(true).unwrap();
        let _ = stream.write(&sent); // As much as fits.
        if self.random.coin() {
            let _ = stream.read(&mut [0; 100]); // Nothing may have come back.
        }
        reset(stream);
    }

    fn finish_and_read_late(&mut self) {
        let (sent, mut stream) = (self.bytes(30_000), connect(self.server));
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(self.random.below(20) as u64));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got == sent, "{} of {} bytes, or different ones", got.len(), sent.len());
    }

    /// Several peers write until they are full and never read; then they reset, or read and end.
    fn never_read(&mut self) {
        let streams: Vec<TcpStream> = (0..5).map(|_| connect(self.server)).collect();
        let piece = [b'x'; 65_536];
        for mut stream in &streams {
            shrink(stream);
            stream.set_nonblocking(true).unwrap();
            while let Ok(1..) = stream.write(&piece) {}
        }
        thread::sleep(Duration::from_millis(self.random.below(50) as u64));
        streams.into_iter().for_each(reset);
    }

    fn talk(&mut self) {
        let mut stream = connect(self.server);
        for _ in 0..self.random.below(30) {
            assert_echo(&mut stream, &self.bytes(10_000));
        }
        if self.random.coin() {
            reset(stream);
        }
    }

    /// No byte around an urgent one is lost, and their order is kept.
    fn urgent(&mut self) {
        let (before, behind, mut stream) = (self.bytes(1_000), self.bytes(1_000), connect(self.server));
        stream.write_all(&before).unwrap();
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(&behind).unwrap();
        assert_comes(&mut stream, &before);
        match self.engine {
            // The limit in the README: until more is sent, a receive may have stopped at the urgent byte.
            Engine::Uring => assert_comes_if_asked(&mut stream, behind),
            _ => assert_comes(&mut stream, &behind),
        }
    }

    fn burst(&mut self) {
        let count = 1 + self.random.below(40) as u64;
        self.open_and_close(count);
    }

    /// Opens connections at the same time; each sends something or nothing, and ends with FIN or RST.
    fn open_and_close(&mut self, count: u64) {
        let streams: Vec<TcpStream> = (0..count).map(|_| connect(self.server)).collect();
        for mut stream in streams {
            match self.random.below(4) {
                0 => {} // Not one byte.
                1 => stream.shutdown(Shutdown::Write).unwrap(),
                _ => assert_echo(&mut stream, &self.bytes(300)),
            }
            if self.random.coin() {
                reset(stream);
            }
        }
    }
}

/// The next bytes are `expected`. Whenever nothing comes for a while, another byte is sent, and expected.
fn assert_comes_if_asked(stream: &mut TcpStream, mut expected: Vec<u8>) {
    /// More are not needed: a receive that has stopped is woken by any of them.
    const MORE_MAX: usize = 30;
    let most = expected.len() + MORE_MAX;
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let (mut got, mut part) = (Vec::new(), [0; 4096]);
    while got.len() < expected.len() {
        match stream.read(&mut part) {
            Ok(0) => panic!("FIN after {} of {} bytes", got.len(), expected.len()),
            Ok(len) => got.extend_from_slice(&part[..len]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert!(expected.len() < most, "{} of {} bytes", got.len(), expected.len());
                stream.write_all(b".").unwrap();
                expected.push(b'.');
            }
        }
    }
    assert!(got == expected, "other bytes than were sent");
}
