//! Standard input through an echo server to standard output, compared on the way.
//!
//! One thread reads and sends, this one receives and compares, so that a long input does not wait for its own echo.
//! What is on its way is kept, up to a bound that no echo server reaches: its buffers and those of the kernel are
//! smaller.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{Connection, Ending, TIMEOUT, or_nothing};
use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::output::console;
use crate::output::written::Written;
use crate::sys::signal::Stop;

/// Bytes that are sent or received by one call.
const CHUNK: usize = 64 << 10;

/// Bytes on their way, at most.
const IN_FLIGHT_MAX: usize = 64 << 20;

/// What the two threads share.
#[derive(Default)]
struct Flow {
    state: Mutex<State>,
    /// Signalled when bytes have come back.
    returned: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes that were sent and have not come back.
    in_flight: VecDeque<u8>,
    /// How the input ended; none while it has not.
    ended: Option<io::Result<()>>,
}

/// Copies standard input to the server, and what comes back to standard output. Errors: [`Error::Data`] if it differs
/// or some of it is missing, [`Error::Target`] if the connection fails or nothing comes back, [`Error::Machine`] if the
/// input cannot be read.
pub fn copy(connection: &mut Connection, ending: Ending, stop: &Stop) -> Result<Written> {
    let flow = Arc::new(Flow::default());
    let sender = connection
        .stream
        .try_clone()
        .map_err(|cause| connection.failure(&cause))?;
    let shared = Arc::clone(&flow);
    // It ends with the process: a read of standard input cannot be interrupted.
    let spawned = thread::Builder::new()
        .name("input".into())
        .spawn(move || shared.send(sender, ending));
    spawned.map_err(|cause| Error::Machine(format!("cannot start a thread: {cause}")))?;
    flow.receive(connection, ending, stop)
}

impl Flow {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends all of standard input, then FIN if the connection ends with that.
    fn send(&self, mut stream: TcpStream, ending: Ending) {
        let mut chunk = vec![0; CHUNK];
        let ended = loop {
            let len = match io::stdin().read(&mut chunk) {
                Ok(0) => break Ok(()),
                Ok(len) => len,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => break Err(cause),
            };
            let mut state = self.lock();
            while state.in_flight.len() + len > IN_FLIGHT_MAX {
                state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.in_flight.extend(&chunk[..len]);
            drop(state);
            // Noted before they are sent: they may come back at once. If the peer is gone, the receiver finds that out.
            if stream.write_all(&chunk[..len]).is_err() {
                break Ok(());
            }
        };
        // First, because the peer's FIN may follow ours at once.
        self.lock().ended = Some(ended);
        if ending == Ending::Fin {
            let _ = stream.shutdown(std::net::Shutdown::Write); // If the peer is gone, the receiver finds that out.
        }
    }

    fn receive(&self, connection: &mut Connection, ending: Ending, stop: &Stop) -> Result<Written> {
        let (mut chunk, mut progress) = (vec![0; CHUNK], clock::now());
        let (mut received, mut written) = (0, Written::All);
        while !stop.has_fired() {
            let len = or_nothing(connection.stream.read(&mut chunk)).map_err(|cause| connection.failure(&cause))?;
            match len {
                Some(0) => {
                    self.check_end(connection, received)?;
                    return Ok(written);
                }
                Some(len) => {
                    self.compare(&chunk[..len], received, connection)?;
                    written = written.and(console::pass(&chunk[..len]));
                    (received, progress) = (received + len as u64, clock::now());
                }
                None => {}
            }
            let mut state = self.lock();
            let waits = !state.in_flight.is_empty();
            if !waits && ending == Ending::Rst && state.ended.is_some() {
                state
                    .ended
                    .take()
                    .unwrap_or(Ok(()))
                    .map_err(|cause| input_failed(&cause))?;
                connection.end(ending)?;
                return Ok(written);
            }
            if waits && clock::now() - progress > Nanos::from(TIMEOUT) {
                return Err(Error::Target(format!(
                    "{} returned {received} bytes, and no more for {TIMEOUT:?}; {} are missing",
                    connection.name,
                    state.in_flight.len()
                )));
            }
            if !waits {
                progress = clock::now();
            }
        }
        Ok(written)
    }

    /// These bytes must be those that were sent first.
    fn compare(&self, bytes: &[u8], received: u64, connection: &Connection) -> Result<()> {
        let mut state = self.lock();
        for (offset, &byte) in bytes.iter().enumerate() {
            if state.in_flight.pop_front() != Some(byte) {
                let at = received + offset as u64;
                return Err(Error::Data(format!("{}: byte {at} came back wrong", connection.name)));
            }
        }
        self.returned.notify_all();
        Ok(())
    }

    /// The server has closed its side: nothing may be missing.
    fn check_end(&self, connection: &Connection, received: u64) -> Result<()> {
        let mut state = self.lock();
        match (state.in_flight.len(), state.ended.take()) {
            (0, Some(ended)) => ended.map_err(|cause| input_failed(&cause)),
            (0, None) => Err(Error::Target(format!(
                "{} closed the connection (FIN) before the input ended",
                connection.name
            ))),
            (missing, _) => Err(Error::Data(format!(
                "{} closed the connection after {received} bytes; {missing} did not come back",
                connection.name
            ))),
        }
    }
}

fn input_failed(cause: &io::Error) -> Error {
    Error::Machine(format!("cannot read standard input: {cause}"))
}
