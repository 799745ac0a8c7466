//! Honest and dishonest TCP peers to put load on: blocking sockets of the standard library, one thread per connection.
//!
//! A peer numbers its connections in the order of accepting; a closure decides what it replies. It stops accepting when
//! dropped; the thread of a connection ends with its connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockFilter, Socket, Type};

use super::{reset, until};

/// A listener on a loopback port.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    listener: Socket,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    messages: AtomicUsize,
    over: AtomicBool,
}

/// The reply to one message.
pub(crate) enum Reply {
    Bytes(Vec<u8>),
    Nothing,
    /// These bytes, then FIN.
    Close(Vec<u8>),
    /// RST.
    Reset,
}

impl Peer {
    /// Echoes all bytes, whatever the message size.
    pub(crate) fn honest() -> Peer {
        Peer::start(|_, stream| echo(stream))
    }

    /// Calls `serve` with the number and the stream of every connection.
    pub(crate) fn start(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Peer {
        Peer::on(bound(0), 128, Duration::ZERO, move |_, number, stream| {
            serve(number, stream)
        })
    }

    /// Echoes, but pauses before every accept and has a short backlog.
    pub(crate) fn slow_to_accept(backlog: i32, pause: Duration) -> Peer {
        Peer::on(bound(0), backlog, pause, |_, _, stream| echo(stream))
    }

    /// Echoes. The SYN of every connection after this many are dropped, as by a firewall.
    pub(crate) fn deaf_after(connections: usize) -> Peer {
        // One instruction of classic BPF: BPF_RET | BPF_K with 0 keeps no byte of any packet, socket(7).
        const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
        let socket = bound(0);
        let listener = socket.try_clone().unwrap();
        Peer::on(socket, 128, Duration::ZERO, move |_, number, stream| {
            if number + 1 == connections {
                listener.attach_filter(&[DROP]).unwrap();
            }
            echo(stream);
        })
    }

    /// Reads messages of `size` bytes. `reply` gets the connection's number, the message's (both from 0) and its bytes.
    pub(crate) fn replying(
        size: usize,
        reply: impl Fn(usize, usize, Vec<u8>) -> Reply + Send + Sync + 'static,
    ) -> Peer {
        Peer::replying_on(0, size, reply)
    }

    /// Like [`replying`](Self::replying), on a given port.
    pub(crate) fn replying_on(
        port: u16,
        size: usize,
        reply: impl Fn(usize, usize, Vec<u8>) -> Reply + Send + Sync + 'static,
    ) -> Peer {
        Peer::on(bound(port), 128, Duration::ZERO, move |seen, connection, stream| {
            converse(size, stream, |number, bytes| {
                seen.messages.fetch_add(1, Ordering::Relaxed);
                reply(connection, number, bytes)
            });
        })
    }

    fn on(
        socket: Socket,
        backlog: i32,
        pause: Duration,
        serve: impl Fn(&Seen, usize, TcpStream) + Send + Sync + 'static,
    ) -> Peer {
        socket.listen(backlog).unwrap();
        let wakes = socket.try_clone().unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, serve) = (seen.clone(), Arc::new(serve));
        let body = move || loop {
            thread::sleep(pause);
            let (stream, _) = listener.accept().unwrap();
            if shared.over.load(Ordering::Acquire) {
                return;
            }
            let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
            let (shared, serve) = (shared.clone(), serve.clone());
            thread::spawn(move || serve(&shared, number, stream));
        };
        let thread = Some(thread::spawn(body));
        let listener = wakes;
        Peer {
            address,
            listener,
            seen,
            thread,
        }
    }

    /// The number of connections accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::Relaxed)
    }

    /// Waits until `count` messages have arrived.
    pub(crate) fn wait_for_messages(&self, count: usize) {
        until("the peer has received its messages", || {
            self.seen.messages.load(Ordering::Relaxed) >= count
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Release);
        let _ = self.listener.detach_filter();
        let _ = TcpStream::connect(self.address); // Wakes the accept. A refused connection will do.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An address that refuses connections: bound, so that no other test gets it, but not listening.
pub(crate) fn refusing() -> (Socket, SocketAddr) {
    let socket = bound(0);
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A socket bound to a loopback port, 0 for any.
fn bound(port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // A port that was given was free a moment ago, and may have connections in TIME_WAIT.
    socket.set_reuse_address(port != 0).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    socket.bind(&address.into()).unwrap();
    socket
}

/// Echoes up to 64 KiB at a time until FIN.
pub(crate) fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

/// Reads and discards until FIN.
pub(crate) fn discard(mut stream: &TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(1..) = stream.read(&mut buffer) {}
}

fn converse(size: usize, mut stream: TcpStream, mut reply: impl FnMut(usize, Vec<u8>) -> Reply) {
    stream.set_nodelay(true).unwrap();
    for number in 0.. {
        let mut bytes = vec![0; size];
        if stream.read_exact(&mut bytes).is_err() {
            return;
        }
        let written = match reply(number, bytes) {
            Reply::Bytes(bytes) => stream.write_all(&bytes),
            Reply::Nothing => Ok(()),
            Reply::Close(bytes) => {
                let _ = stream.write_all(&bytes); // The client may have closed already.
                let _ = stream.shutdown(Shutdown::Write);
                return discard(&stream);
            }
            Reply::Reset => return reset(stream),
        };
        if written.is_err() {
            return;
        }
    }
}
