//! Peers that a server has to serve beside the good ones.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// Socket buffers of a peer that never reads. With large ones, the kernel's memory for all sockets (net.ipv4.tcp_mem)
/// would be what is measured.
const SOCKET_BUFFER: usize = 16_384;

/// No peer can write any more if none has for this long.
const FULL: Duration = Duration::from_millis(200);

/// Peers that have written all they can, and read nothing. Reset when dropped.
pub(crate) struct NeverReaders(Vec<TcpStream>);

impl NeverReaders {
    pub(crate) fn connect(server: SocketAddr, count: usize) -> NeverReaders {
        let peers: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(server).unwrap()).collect();
        for peer in &peers {
            let socket = SockRef::from(peer);
            socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
            socket.set_send_buffer_size(SOCKET_BUFFER).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        let piece = [b'x'; SOCKET_BUFFER];
        let mut last_progress = Instant::now();
        while last_progress.elapsed() < FULL {
            for mut peer in &peers {
                if let Ok(1..) = peer.write(&piece) {
                    last_progress = Instant::now();
                }
            }
        }
        NeverReaders(peers)
    }
}

impl Drop for NeverReaders {
    fn drop(&mut self) {
        self.0.clear();
        thread::sleep(FULL); // The server notices a thousand resets: not a part of the next slice.
    }
}

/// A peer that writes and reads as fast as it can, on two threads. Ends when dropped.
pub(crate) struct Stream {
    stream: TcpStream,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    pub(crate) fn start(server: SocketAddr) -> Stream {
        let stream = TcpStream::connect(server).unwrap();
        let (mut writer, mut reader) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let write = move || {
            let piece = vec![b'x'; 1 << 18];
            while writer.write_all(&piece).is_ok() {}
        };
        let read = move || {
            let mut buffer = vec![0; 1 << 18];
            while let Ok(1..) = reader.read(&mut buffer) {}
        };
        Stream {
            stream,
            threads: vec![thread::spawn(write), thread::spawn(read)],
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both); // The threads end with an error.
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}
