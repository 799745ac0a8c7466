//! A conversation at a terminal: each line is a message, and its echo comes back with its round trip.

use std::io::{Read, Write, stdin};
use std::{process, thread};

use rustix::termios::{self, OptionalActions};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::{Connection, Ending, TIMEOUT, or_nothing};
use crate::clock::{self, Nanos};
use crate::error::{Error, Result};
use crate::output::console;
use crate::output::written::Written;
use crate::sys::signal::{self, INTERRUPT, Stop};
use crate::units::{plural, show_duration, show_size};

/// What ends it, besides the end of input (Ctrl-D).
const QUIT: &str = "quit";

/// Sends lines and shows their echoes until the user ends it. Returns the signal that Ctrl-C stands for, if that ended
/// it. Any other signal ends the process. Errors: [`Error::Target`] if the server closes the connection or does not
/// reply, [`Error::Data`] for an echo that differs, [`Error::Machine`] without a terminal.
pub fn converse(connection: &mut Connection, ending: Ending, stop: &Stop) -> Result<(Written, Option<i32>)> {
    exit_on(stop)?;
    let mut editor =
        DefaultEditor::new().map_err(|cause| Error::Machine(format!("cannot edit lines on this terminal: {cause}")))?;
    let end = match ending {
        Ending::Fin => "FIN",
        Ending::Rst => "RST",
    };
    let mut written = console::print(format_args!(
        "connected to {} in {}. A line is a message; `{QUIT}` or Ctrl-D ends with {end}\n",
        connection.name,
        show_duration(connection.took)
    ));
    let mut messages = 0;
    let interrupted = loop {
        let line = match editor.readline("> ") {
            Ok(line) if line.trim() == QUIT => break None,
            Ok(line) => line,
            Err(ReadlineError::Eof) => break None,
            Err(ReadlineError::Interrupted) => break Some(INTERRUPT),
            Err(cause) => return Err(Error::Machine(format!("cannot read from this terminal: {cause}"))),
        };
        let _ = editor.add_history_entry(&line); // Only a convenience.
        let message = line + "\n";
        let (echo, took) = connection.round_trip(message.as_bytes())?;
        messages += 1;
        let echo = String::from_utf8_lossy(&echo).into_owned();
        written = written.and(console::print(format_args!(
            "{}  {} in {}\n",
            echo.trim_end_matches('\n'),
            show_size(message.len() as u64),
            show_duration(took)
        )));
    };
    connection.end(ending)?;
    if ending == Ending::Fin {
        connection.await_fin()?;
    }
    written = written.and(console::print(format_args!(
        "closed with {end} after {}\n",
        plural(messages, "message")
    )));
    Ok((written, interrupted))
}

/// Ends the process when a signal arrives, with the terminal as it was: the editor reads in raw mode, and only the next
/// line would return from it. The kernel closes the connection with FIN.
fn exit_on(stop: &Stop) -> Result<()> {
    let mode = termios::tcgetattr(stdin()).ok(); // None: it has hung up.
    let stop = stop.clone();
    let wait = move || {
        stop.wait();
        if let Some(mode) = mode {
            let _ = termios::tcsetattr(stdin(), OptionalActions::Now, &mode);
        }
        let _ = console::print(format_args!("\n"));
        process::exit(stop.signal().map_or(0, signal::exit_code).into());
    };
    let spawned = thread::Builder::new().name("exit".into()).spawn(wait);
    spawned
        .map(drop)
        .map_err(|cause| Error::Machine(format!("cannot start a thread: {cause}")))
}

impl Connection {
    /// Sends a message and waits for its echo. Returns it, and the time from before the send to its last byte.
    fn round_trip(&mut self, message: &[u8]) -> Result<(Vec<u8>, Nanos)> {
        let begin = clock::now();
        self.stream.write_all(message).map_err(|cause| self.failure(&cause))?;
        let (mut echo, mut progress) = (vec![0; message.len()], begin);
        let mut len = 0;
        while len < echo.len() {
            match or_nothing(self.stream.read(&mut echo[len..])).map_err(|cause| self.failure(&cause))? {
                Some(0) => return Err(self.closed(len, message.len())),
                Some(more) => (len, progress) = (len + more, clock::now()),
                None if clock::now() - progress > Nanos::from(TIMEOUT) => {
                    let (name, all) = (&self.name, message.len());
                    let text = format!("{name} returned {len} of {all} bytes, and no more for {TIMEOUT:?}");
                    return Err(Error::Target(text));
                }
                None => {}
            }
        }
        let took = clock::now() - begin;
        if echo != message {
            return Err(Error::Data(format!(
                "the echo of {} differs from the message",
                self.name
            )));
        }
        Ok((echo, took))
    }

    /// Waits until the server has closed its side as well.
    fn await_fin(&mut self) -> Result<()> {
        let begin = clock::now();
        loop {
            match or_nothing(self.stream.read(&mut [0; 64])).map_err(|cause| self.failure(&cause))? {
                Some(0) => return Ok(()),
                Some(_) => return Err(Error::Data(format!("{} sent more than it received", self.name))),
                None if clock::now() - begin > Nanos::from(TIMEOUT) => {
                    let text = format!("{} did not close its side within {TIMEOUT:?} of our FIN", self.name);
                    return Err(Error::Target(text));
                }
                None => {}
            }
        }
    }

    fn closed(&self, len: usize, all: usize) -> Error {
        Error::Target(format!(
            "{} closed the connection (FIN) after {len} of {all} bytes",
            self.name
        ))
    }
}
