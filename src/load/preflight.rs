//! Is the target an echo server? One connection, one message, one second, before anything else is opened.
//!
//! It uses blocking sockets of the standard library, so that a fault of the ring cannot hide here.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::load::payload::PayloadStream;
use crate::load::workload::Plan;
use crate::sys::socket;

/// How long connecting and the first round trip may take together.
const TIMEOUT: Nanos = Nanos::SECOND;

/// How many bytes of a wrong reply are shown.
const SHOWN: usize = 48;

/// Connection 0, which has echoed its message 0.
#[derive(Debug)]
pub(super) struct FirstConnection {
    pub(super) stream: TcpStream,
    /// How long connecting took.
    pub(super) connect: Nanos,
}

/// Opens connection 0 and has its first message echoed. Errors: [`Error::Target`] that says what came instead.
pub(super) fn check(plan: &Plan) -> Result<FirstConnection> {
    let workload = &plan.workload;
    let (target, source) = (plan.target_of(0), plan.source_of(0));
    let payload = PayloadStream::new(workload.seed, 0);
    let size = workload.traffic.sizes.of(payload.draw(0));
    let begin = clock::now();
    let deadline = begin + TIMEOUT;
    let stream = socket::connect(target, source, &workload.options, Duration::from(TIMEOUT))
        .map_err(|cause| Error::Target(format!("cannot connect to {target}: {cause}.{}", advice(&cause))))?;
    let connect = clock::now() - begin;
    let mut expected = vec![0; size as usize];
    payload.fill(0, 0, &mut expected);
    let mut found = Vec::with_capacity(expected.len());
    let ending = thread::scope(|scope| {
        // Write and read at the same time: the echo of a large message begins before all of it has been sent.
        scope.spawn(|| write(&stream, &expected));
        let ending = read(&stream, &expected, &mut found, deadline);
        if found != expected {
            let _ = stream.shutdown(std::net::Shutdown::Both); // Ends a write that blocks.
        }
        ending
    });
    if found == expected {
        reset_timeouts(&stream)
            .map_err(|cause| Error::Target(format!("lost the first connection to {target}: {cause}")))?;
        return Ok(FirstConnection { stream, connect });
    }
    Err(Error::Target(format!(
        "{target} is not an echo server: {}",
        describe(&expected, &found, &ending)
    )))
}

fn write(mut stream: &TcpStream, message: &[u8]) {
    // An error here shows in the reply; the timeout keeps a full socket from blocking for ever.
    let _ = stream.set_write_timeout(Some(TIMEOUT.into()));
    let _ = stream.write_all(message);
}

/// Reads until the reply is complete, wrong, or over. Errors: why it is over.
fn read(mut stream: &TcpStream, expected: &[u8], found: &mut Vec<u8>, deadline: Nanos) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while found.len() < expected.len() && expected.starts_with(found) {
        let left = deadline - clock::now();
        if left == Nanos(0) {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.into()))?;
        let most = buffer.len().min(expected.len() - found.len());
        match stream.read(&mut buffer[..most]) {
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

/// The beginning of a reply, made printable.
fn show(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{shown}{more}")
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::ConnectionRefused => " Nothing listens there: start a server with `urecho serve`",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            " No reply within 1 s: a firewall, a wrong address, or a server whose accept queue is full"
        }
        _ => "",
    }
}
