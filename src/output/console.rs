//! Text on stdout and stderr. Nothing else in the program writes to them, except documents that are sent there
//! (`place`).
//!
//! A reader that closes a stream has read enough: that changes no exit code. A stream that cannot be written is an
//! output that was lost ([`Written`]). What is printed may quote a server, so all of it is made harmless
//! ([`untrusted::terminal`]).

use std::fmt::Display;
use std::io::{self, IsTerminal, stderr, stdout};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::untrusted;
use super::verdicts;
use super::written::Written;
use crate::sys::stream::{self, Wait};

/// How long a reader of stderr may take nothing before a note is dropped: the exit code must not wait for it.
const NOTE_WAIT: Wait<'_> = Wait::Milliseconds(10_000);

/// How messages name stdout as an output.
const STDOUT: &str = "to stdout";

/// What the user wants of the standard streams.
static IS_QUIET: AtomicBool = AtomicBool::new(false);
static COLOURS: OnceLock<bool> = OnceLock::new();

/// Sets what the user wants: no reports and progress, and colours always, never, or (none) where they are shown. Before
/// anything is printed; the first call decides.
pub fn configure(quiet: bool, colours: Option<bool>) {
    IS_QUIET.store(quiet, Ordering::Relaxed);
    if let Some(colours) = colours {
        let _ = COLOURS.set(colours);
    }
}

/// True if there is to be no progress.
pub fn is_quiet() -> bool {
    IS_QUIET.load(Ordering::Relaxed)
}

/// Text on stdout.
pub fn print(text: impl Display) -> Written {
    print_raw(&untrusted::terminal(&text.to_string()))
}

/// A report on stdout, its verdicts in colour where colours are shown; nothing if the user wants none.
pub fn print_report(text: impl Display) -> Written {
    if is_quiet() {
        return Written::All;
    }
    let text = untrusted::terminal(&text.to_string());
    match shows_colours(&stdout()) {
        true => print_raw(&verdicts::coloured(&text)),
        false => print_raw(&text),
    }
}

/// Help and version on stdout, with escape codes where `styled` has them and stdout shows them.
pub fn print_styled(plain: &str, styled: &str) -> Written {
    print_raw(if shows_colours(&stdout()) { styled } else { plain })
}

fn print_raw(text: &str) -> Written {
    report(STDOUT, write(stdout(), text, Wait::Unlimited))
}

/// Bytes of the user's own on stdout, as they are.
pub fn pass(bytes: &[u8]) -> Written {
    report(STDOUT, write_bytes(stdout(), bytes, Wait::Unlimited))
}

/// A line on stdout that a script may wait for; given up once `stop` is readable.
pub fn announce(line: impl Display, stop: impl AsFd) -> Written {
    let line = untrusted::terminal(&line.to_string()) + "\n";
    match write(stdout(), &line, Wait::Until(stop.as_fd())) {
        Err(cause) if cause.kind() == io::ErrorKind::TimedOut => Written::All, // Stopped before it was read.
        result => report(STDOUT, result),
    }
}

/// A note on stderr: a line, or several of which all but the first are marked.
pub fn note(text: impl Display) {
    let _ = write(stderr(), &(untrusted::note(&text.to_string()) + "\n"), NOTE_WAIT); // There is no other place to say so.
}

/// A note about how far a series of runs is, for which nothing waits: dropped if the reader is behind.
pub fn progress(text: impl Display) {
    if is_quiet() {
        return;
    }
    let text = untrusted::note(&text.to_string()) + "\n";
    let _ = write(stderr(), &text, Wait::Milliseconds(0)); // There will be newer progress.
}

/// A command to the build server that reads our output, such as an annotation; on stderr if stdout has a document.
pub fn workflow_command(command: &str, stdout_is_taken: bool) {
    let line = format!("{command}\n");
    let _ = if stdout_is_taken {
        write(stderr(), &line, NOTE_WAIT)
    } else {
        write(stdout(), &line, Wait::Unlimited) // The verdict was printed before it, and has reported a failure.
    };
}

/// Part of the progress line, dropped if the terminal is not ready.
pub(super) fn draw(text: &str) {
    let _ = write(stderr(), text, Wait::Milliseconds(0)); // There will be newer progress.
}

/// Columns of the terminal that stdout is; none if it is no terminal, does not say, or knows no escape codes: then it
/// may not know blocks either.
pub fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0 && !is_dumb())
}

/// Columns and rows of the terminal that stderr is. Errors: why it cannot be drawn on.
pub fn screen_size() -> Result<(u16, u16), &'static str> {
    match rustix::termios::tcgetwinsize(stderr()) {
        Err(_) => Err("stderr is none: leave it out"),
        Ok(_) if is_dumb() => Err("TERM names none that can be drawn on: set it, or leave it out"),
        Ok(size) if size.ws_col == 0 || size.ws_row == 0 => {
            Err("stderr does not say how large it is: `stty rows 24 cols 80`")
        }
        Ok(size) => Ok((size.ws_col, size.ws_row)),
    }
}

/// True if stdout is a terminal.
pub fn stdout_is_terminal() -> bool {
    stdout().is_terminal()
}

/// A frame on the terminal that stderr is, with its escape codes. Errors: it was not taken at once.
pub fn draw_frame(bytes: &[u8]) -> io::Result<()> {
    write_bytes(stderr(), bytes, Wait::Milliseconds(0))
}

/// What restores that terminal. Errors: it was not taken within a second.
pub fn draw_at_last(bytes: &[u8]) -> io::Result<()> {
    write_bytes(stderr(), bytes, Wait::Milliseconds(1_000))
}

/// True if a stream shows colours: the user says so, or it is a terminal where they are welcome.
pub(super) fn shows_colours(stream: &impl IsTerminal) -> bool {
    COLOURS
        .get()
        .copied()
        .unwrap_or_else(|| stream.is_terminal() && has_colours())
}

/// True if escape codes for colours are welcome: NO_COLOR is not set (no-color.org), and TERM names a terminal that
/// knows them.
fn has_colours() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && !is_dumb()
}

/// True if TERM names no terminal that knows escape codes.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// Reports an output that could not be written.
pub fn report(output: impl Display, result: io::Result<()>) -> Written {
    match result {
        Ok(()) => Written::All,
        Err(cause) => {
            note(format_args!("urecho: cannot write {output}: {cause}"));
            Written::NotAll
        }
    }
}

fn write(stream: impl AsFd, text: &str, wait: Wait<'_>) -> io::Result<()> {
    write_bytes(stream, text.as_bytes(), wait)
}

fn write_bytes(stream: impl AsFd, bytes: &[u8], wait: Wait<'_>) -> io::Result<()> {
    match stream::write_all(&stream, bytes, wait) {
        Err(cause) if stream::is_closed(&stream, &cause) => Ok(()),
        result => result,
    }
}
