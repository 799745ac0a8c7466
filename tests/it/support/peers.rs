//! Honest and dishonest TCP peers to load: blocking sockets of the standard library, a thread a connection.
//!
//! A peer numbers its connections in the order of accepting, and lies as its closure says. It stops accepting with
//! its handle; a connection's thread ends with its connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::support::{reset, until};

/// Something that accepts connections on a free port of the loopback interface.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    messages: AtomicUsize,
    over: AtomicBool,
}

/// What is said to one message.
pub(crate) enum Answer {
    Say(Vec<u8>),
    Nothing,
    /// These last bytes, then FIN.
    Close(Vec<u8>),
    /// RST.
    Reset,
}

impl Peer {
    /// Echoes everything, whatever the messages are.
    pub(crate) fn honest() -> Peer {
        Peer::start(|_, stream| echo(stream))
    }

    /// Does this with every connection.
    pub(crate) fn start(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Peer {
        Peer::listening(128, Duration::ZERO, move |_, number, stream| serve(number, stream))
    }

    /// Echoes, but accepts nobody without a rest, and lets few wait.
    pub(crate) fn slow_to_accept(backlog: i32, rest: Duration) -> Peer {
        Peer::listening(backlog, rest, |_, _, stream| echo(stream))
    }

    /// Reads messages of `size` bytes; `answer` makes something of connection, message (both from 0) and bytes.
    pub(crate) fn answering(
        size: usize,
        answer: impl Fn(usize, usize, Vec<u8>) -> Answer + Send + Sync + 'static,
    ) -> Peer {
        Peer::listening(128, Duration::ZERO, move |seen, connection, stream| {
            converse(size, stream, |number, bytes| {
                seen.messages.fetch_add(1, Ordering::Relaxed);
                answer(connection, number, bytes)
            });
        })
    }

    fn listening(
        backlog: i32,
        rest: Duration,
        serve: impl Fn(&Seen, usize, TcpStream) + Send + Sync + 'static,
    ) -> Peer {
        let socket = bound();
        socket.listen(backlog).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (shared, serve) = (seen.clone(), Arc::new(serve));
        let body = move || loop {
            thread::sleep(rest);
            let (stream, _) = listener.accept().unwrap();
            if shared.over.load(Ordering::Acquire) {
                return;
            }
            let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
            let (shared, serve) = (shared.clone(), serve.clone());
            thread::spawn(move || serve(&shared, number, stream));
        };
        let thread = Some(thread::spawn(body));
        Peer { address, seen, thread }
    }

    /// How many connections it was given.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::Relaxed)
    }

    /// Waits until so many messages have come.
    pub(crate) fn wait_for_messages(&self, count: usize) {
        until("the peer has had its messages", || {
            self.seen.messages.load(Ordering::Relaxed) >= count
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address); // Wakes the accept; refused is as good.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An address that is taken, so that no other test gets it, and where nobody listens.
pub(crate) fn nobody() -> (Socket, SocketAddr) {
    let socket = bound();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn bound() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any_port.into()).unwrap();
    socket
}

/// The honest peer: 64 KiB at a time until FIN.
pub(crate) fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

/// Reads and drops everything until FIN.
pub(crate) fn discard(mut stream: &TcpStream) {
    let mut buffer = vec![0; 65_536];
    while let Ok(1..) = stream.read(&mut buffer) {}
}

fn converse(size: usize, mut stream: TcpStream, mut answer: impl FnMut(usize, Vec<u8>) -> Answer) {
    stream.set_nodelay(true).unwrap();
    for number in 0.. {
        let mut bytes = vec![0; size];
        if stream.read_exact(&mut bytes).is_err() {
            return;
        }
        let said = match answer(number, bytes) {
            Answer::Say(bytes) => stream.write_all(&bytes),
            Answer::Nothing => Ok(()),
            Answer::Close(bytes) => {
                let _ = stream.write_all(&bytes); // It may have gone already.
                let _ = stream.shutdown(Shutdown::Write);
                return discard(&stream);
            }
            Answer::Reset => return reset(stream),
        };
        if said.is_err() {
            return;
        }
    }
}
