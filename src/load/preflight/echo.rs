//! One message there and back over a blocking socket of the standard library, so that a fault of the ring cannot hide
//! here.
//!
//! It fails when nothing moves for the time-out, so a large message takes the time that it needs; and it holds a piece
//! of the message at a time.

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error;
use crate::load::payload::{Mismatch, PayloadStream};
use crate::sys::signal::Stop;
use crate::sys::threads;
use crate::units::show_duration;

/// How many bytes of a wrong reply are shown.
const SHOWN: usize = 48;

/// Bytes that are sent or read at once.
const PIECE: usize = 64 * 1024;

/// What a socket takes though its peer does not read: less than half of any send buffer.
const BUFFERED: u64 = 1024;

/// How often a call that blocks returns to check the time, and the stop.
const CALL_TIMEOUT: Duration = Duration::from_millis(100);

/// Message 0 of a connection, on its way.
pub(super) struct Exchange<'a> {
    stream: &'a TcpStream,
    payload: PayloadStream,
    size: u64,
    timeout: Nanos,
    stop: &'a Stop,
    /// When a byte was last sent or received.
    progress: AtomicU64,
    /// True once the reply is complete, wrong, or given up.
    over: AtomicBool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        stream: &'a TcpStream,
        payload: PayloadStream,
        size: u64,
        timeout: Nanos,
        stop: &'a Stop,
    ) -> Exchange<'a> {
        Exchange {
            stream,
            payload,
            size,
            timeout,
            stop,
            progress: AtomicU64::new(clock::now().0),
            over: AtomicBool::new(false),
        }
    }

    /// Sends the message and compares its echo. The inner error is what came instead. Errors: no thread can be started.
    pub(super) fn run(&self) -> error::Result<Result<(), Failure>> {
        if self.size <= BUFFERED {
            self.write();
            return Ok(self.read());
        }
        thread::scope(|scope| {
            // Write and read at the same time: the echo of a large message begins before all of it has been sent.
            threads::scoped(scope, || self.write())?;
            let result = self.read();
            self.over.store(true, Ordering::Release);
            if result.is_err() {
                let _ = self.stream.shutdown(Shutdown::Both); // Ends a write that blocks.
            }
            Ok(result)
        })
    }

    /// An error here shows in the reply.
    fn write(&self) {
        let mut stream = self.stream;
        let _ = stream.set_write_timeout(Some(CALL_TIMEOUT));
        let (mut piece, mut sent) = (vec![0; PIECE], 0);
        while sent < self.size && !self.over.load(Ordering::Acquire) {
            let len = PIECE.min((self.size - sent) as usize);
            self.payload.fill(0, sent, &mut piece[..len]);
            match stream.write(&piece[..len]) {
                Ok(len) => {
                    sent += len as u64;
                    self.note_progress();
                }
                Err(error) if is_retried(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn read(&self) -> Result<(), Failure> {
        let mut stream = self.stream;
        let (mut piece, mut reply) = (vec![0; PIECE], Reply::default());
        while reply.received < self.size {
            let idle = clock::now() - Nanos(self.progress.load(Ordering::Relaxed));
            if idle >= self.timeout || self.stop.has_fired() {
                return Err(self.failure(reply, Cause::Timeout));
            }
            let most = PIECE.min((self.size - reply.received) as usize);
            let read = stream.set_read_timeout(Some(CALL_TIMEOUT));
            match read.and_then(|()| stream.read(&mut piece[..most])) {
                Ok(0) => return Err(self.failure(reply, Cause::End)),
                Ok(len) => {
                    self.note_progress();
                    let checked = self.payload.check(0, reply.received, &piece[..len]);
                    reply.take(&piece[..len]);
                    if let Err(mismatch) = checked {
                        return Err(self.failure(reply, Cause::Mismatch(mismatch)));
                    }
                }
                Err(error) if is_retried(&error) => {}
                Err(error) => return Err(self.failure(reply, Cause::Error(error))),
            }
        }
        Ok(())
    }

    fn note_progress(&self) {
        self.progress.store(clock::now().0, Ordering::Relaxed);
    }

    fn failure(&self, reply: Reply, cause: Cause) -> Failure {
        Failure {
            size: self.size,
            timeout: self.timeout,
            reply,
            cause,
        }
    }
}

fn is_retried(error: &io::Error) -> bool {
    let kinds = [ErrorKind::Interrupted, ErrorKind::TimedOut, ErrorKind::WouldBlock];
    kinds.contains(&error.kind())
}

/// What has come back.
#[derive(Debug, Default)]
struct Reply {
    received: u64,
    /// Its beginning.
    head: Vec<u8>,
}

impl Reply {
    fn take(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        // One more than is shown: then there is more.
        let room = (SHOWN + 1).saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[derive(Debug)]
enum Cause {
    Mismatch(Mismatch),
    Timeout,
    End,
    Error(io::Error),
}

/// Why a reply is no echo.
#[derive(Debug)]
pub(super) struct Failure {
    size: u64,
    timeout: Nanos,
    reply: Reply,
    cause: Cause,
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let came = match self.reply.received {
            0 => "nothing came back".to_owned(),
            len => format!("only {len} of {} bytes came back", self.size),
        };
        match &self.cause {
            Cause::Mismatch(wrong) => write!(
                f,
                "byte {} of the first message came back as 0x{:02x} instead of 0x{:02x}. It sent \"{}\"",
                wrong.offset,
                wrong.found,
                wrong.expected,
                show(&self.reply.head)
            ),
            Cause::Timeout => write!(
                f,
                "it accepted the connection, but {came} within {} (--preflight-timeout)",
                show_duration(self.timeout)
            ),
            Cause::End => write!(f, "{came} before it closed the connection"),
            Cause::Error(error) => write!(f, "{came}: {error}"),
        }
    }
}

/// The beginning of a reply, made printable.
fn show(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{shown}{more}")
}
