//! Is there an echo server at all? One connection, one message, one second, before anything else is opened.
//!
//! Blocking sockets of the standard library: if the ring had a fault, it could not hide here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::load::Plan;
use crate::load::payload::PayloadStream;
use crate::sys::socket;

/// What the first message may take, connecting included.
const PATIENCE: Nanos = Nanos::SECOND;

/// How many bytes of a wrong answer are shown.
const SHOWN: usize = 48;

/// A connection that has echoed its message number 0.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) stream: TcpStream,
    /// How long connecting took.
    pub(super) connect: Nanos,
}

/// Connects as connection 0 and has its first message echoed.
///
/// Errors: [`Error::Target`] that says what came instead.
pub(super) fn prove(plan: &Plan) -> Result<Proven> {
    let (target, source) = (plan.target_of(0), plan.source_of(0));
    let payload = PayloadStream::new(plan.seed, 0);
    let size = plan.manner.sizes.of(payload.draw(0));
    let begin = clock::now();
    let deadline = begin + PATIENCE;
    let stream = socket::dial_within(target, source, &plan.options, Duration::from(PATIENCE))
        .map_err(|cause| Error::Target(format!("cannot connect to {target}: {cause}.{}", advice(&cause))))?;
    let connect = clock::now() - begin;
    let mut expected = vec![0; size as usize];
    payload.fill(0, 0, &mut expected);
    let mut found = Vec::with_capacity(expected.len());
    let ending = thread::scope(|scope| {
        // Written beside the reading: a large message is echoed before it has been sent.
        scope.spawn(|| write(&stream, &expected));
        let ending = read(&stream, &expected, &mut found, deadline);
        if found != expected {
            let _ = stream.shutdown(std::net::Shutdown::Both); // Lets the writer go.
        }
        ending
    });
    if found == expected {
        reset_timeouts(&stream)
            .map_err(|cause| Error::Target(format!("lost the first connection to {target}: {cause}")))?;
        return Ok(Proven { stream, connect });
    }
    Err(Error::Target(format!(
        "{target} is not an echo server: {}",
        describe(&expected, &found, &ending)
    )))
}

fn write(mut stream: &TcpStream, message: &[u8]) {
    // What goes wrong here shows itself in the answer; the timeout keeps a full socket from blocking for ever.
    let _ = stream.set_write_timeout(Some(PATIENCE.into()));
    let _ = stream.write_all(message);
}

/// Reads until the answer is whole, differs, or ends; says how it ended.
fn read(mut stream: &TcpStream, expected: &[u8], found: &mut Vec<u8>, deadline: Nanos) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while found.len() < expected.len() && expected.starts_with(found) {
        let left = deadline - clock::now();
        if left == Nanos(0) {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.into()))?;
        let room = buffer.len().min(expected.len() - found.len());
        match stream.read(&mut buffer[..room]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => found.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn reset_timeouts(stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)
}

fn describe(expected: &[u8], found: &[u8], ending: &io::Result<()>) -> String {
    let size = expected.len();
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        return format!(
            "byte {at} of the first message came back as 0x{:02x} instead of 0x{:02x}. It sent \"{}\"",
            found[at],
            expected[at],
            show(found)
        );
    }
    let came = match found.len() {
        0 => "nothing came back".to_owned(),
        len => format!("only {len} of {size} bytes came back"),
    };
    match ending {
        Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            format!("it accepted the connection, but {came} within 1 s")
        }
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            format!("{came} before it closed the connection")
        }
        Err(error) => format!("{came}: {error}"),
        Ok(()) => came,
    }
}

/// The beginning of an answer, printable.
fn show(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{shown}{more}")
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::ConnectionRefused => " Nobody listens there: start a server with `urecho serve`",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            " No answer within 1 s: a firewall, a wrong address, or a server whose accept queue is full"
        }
        _ => "",
    }
}
