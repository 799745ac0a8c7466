//! Blocking TCP clients: they use the standard library only, so that no bug of the ring can hide another.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use urecho::random::Random;

use super::{TIMEOUT, until};

/// A blocking stream whose reads and writes fail after [`TIMEOUT`].
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// `count` connections, each of which has had one echo.
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

/// `len` pseudorandom bytes: an echo with bytes out of place cannot be equal.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed, 0);
    let words = (0..len.div_ceil(8)).flat_map(|_| random.bits().to_le_bytes());
    words.take(len).collect()
}

/// Writes `sent` and reads it back.
pub(crate) fn assert_echo(stream: &mut TcpStream, sent: &[u8]) {
    stream.write_all(sent).unwrap();
    assert_comes(stream, sent);
}

/// The next bytes are `expected`.
pub(crate) fn assert_comes(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream
        .read_exact(&mut got)
        .unwrap_or_else(|error| panic!("no echo: {error}"));
    assert_same(&got, expected);
}

/// The remaining bytes are `expected`, then end of file.
pub(crate) fn assert_ends_with(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = Vec::new();
    let end = stream.read_to_end(&mut got);
    assert_same(&got, expected);
    end.unwrap_or_else(|error| panic!("no end after {} bytes: {error}", got.len()));
}

/// Writes `sent` and FIN while reading; everything comes back, then end of file.
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

/// Like `assert_eq`, without printing 8 MiB on failure.
fn assert_same(got: &[u8], expected: &[u8]) {
    let differ = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!(differ, None, "the echo differs at this byte, of {}", expected.len());
    assert_eq!(got.len(), expected.len(), "the echo has another length");
}

/// Sets small socket buffers: a peer that does not read blocks its server soon.
pub(crate) fn shrink(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    socket.set_recv_buffer_size(65_536).unwrap();
    socket.set_send_buffer_size(65_536).unwrap();
}

/// Writes to all streams until nothing fits into any buffer on the way: the client's, the kernel's, or the server's.
/// Every byte is `x`. Returns the number of bytes written to each stream.
pub(crate) fn stuff(streams: &[TcpStream]) -> Vec<usize> {
    let piece = vec![b'x'; 65_536];
    let mut written = vec![0; streams.len()];
    let mut last_progress = Instant::now();
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
    }
    // Blocked means no progress for 100 ms. A server slower than that only makes the test easier.
    until("no peer can write any more", || {
        for (stream, written) in streams.iter().zip(&mut written) {
            let mut stream = stream;
            match stream.write(&piece) {
                Ok(bytes) => {
                    *written += bytes;
                    last_progress = Instant::now();
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        last_progress.elapsed() > Duration::from_millis(100)
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
