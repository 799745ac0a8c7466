//! Listening sockets that come from another process: a service manager (sd_listen_fds(3)), or the process of this
//! program that this one replaces; and the way to be replaced.
//!
//! A successor finds the numbers of its descriptors in an environment variable: `LISTENER,LISTENER;READY`. It writes a
//! byte to READY once it accepts connections.

use std::env;
use std::ffi::OsStr;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::process::{Child, Command};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use crate::error::{Error, Result};

const VARIABLE: &str = "URECHO_INHERITED";

/// How long a successor may take to start.
const START_TIMEOUT_MS: u16 = 30_000;

/// What another process has passed to this one.
#[derive(Debug)]
pub struct Inherited {
    /// Descriptors, in the order in which they were passed.
    pub descriptors: Vec<OwnedFd>,
    /// Where to report that this process has taken over; none if a service manager passed them.
    ready: Option<OwnedFd>,
}

impl Inherited {
    /// What was passed, if anything was. Call it once. Errors: [`Error::Machine`] if the environment is not what it
    /// should be.
    pub fn take() -> Result<Option<Inherited>> {
        if let Ok(text) = env::var(VARIABLE) {
            let numbers = parse(&text).ok_or_else(|| invalid(VARIABLE, &text))?;
            let descriptors = numbers.0.into_iter().map(own).collect::<Result<_>>()?;
            let ready = Some(own(numbers.1)?);
            return Ok(Some(Inherited { descriptors, ready }));
        }
        let passed = sd_notify::listen_fds().map_err(|cause| invalid("LISTEN_FDS", &cause.to_string()))?;
        let descriptors = passed.map(own).collect::<Result<Vec<_>>>()?;
        let some = !descriptors.is_empty();
        Ok(some.then_some(Inherited {
            descriptors,
            ready: None,
        }))
    }

    /// Reports that this process has taken over.
    pub fn ready(self) {
        if let Some(ready) = self.ready {
            let _ = std::fs::File::from(ready).write_all(b"1"); // The process before this one may have given up.
        }
    }

    /// True if a process of this program passed them.
    pub fn replaces(&self) -> bool {
        self.ready.is_some()
    }
}

fn invalid(variable: &str, why: &str) -> Error {
    Error::Machine(format!("the environment variable {variable} is not valid: {why}"))
}

fn parse(text: &str) -> Option<(Vec<RawFd>, RawFd)> {
    let (listeners, ready) = text.split_once(';')?;
    let listeners: Option<Vec<RawFd>> = listeners.split(',').map(|number| number.parse().ok()).collect();
    Some((listeners?, ready.parse().ok()?))
}

/// Takes ownership of a descriptor that this process was started with.
fn own(number: RawFd) -> Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(Error::Machine(format!(
            "descriptor {number} is not one that another process passed"
        )));
    }
    // SAFETY: only borrowed for a call that refuses a number that is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|errno| {
        Error::Machine(format!(
            "descriptor {number} was not passed by another process: {errno}"
        ))
    })?;
    // SAFETY: it is open, it was passed to this process, and `take` is called once, before this process opens anything
    // that another owner would close.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Starts `program` with the arguments of this process and these descriptors, and waits until it reports that it is
/// ready. Returns its process id. Errors: it could not be started, ended, or was not ready in time and was killed.
pub fn start(program: &Path, descriptors: &[BorrowedFd<'_>]) -> io::Result<u32> {
    let (ready, report) = io::pipe()?;
    let passed = descriptors.iter().map(inheritable).collect::<io::Result<Vec<_>>>()?;
    let report = inheritable(report)?;
    let numbers: Vec<String> = passed.iter().map(|passed| passed.as_raw_fd().to_string()).collect();
    let variable = format!("{};{}", numbers.join(","), report.as_raw_fd());
    let mut child = command(program, variable.as_ref()).spawn()?;
    drop((passed, report)); // The child has its own, and the pipe ends with it.
    match wait_until_ready(ready) {
        Ok(()) => Ok(child.id()),
        Err(cause) => Err(give_up(&mut child, &cause)),
    }
}

fn command(program: &Path, variable: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).env(VARIABLE, variable);
    for other in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
        command.env_remove(other); // They name this process.
    }
    command
}

/// A duplicate that a child inherits.
fn inheritable(descriptor: impl AsFd) -> io::Result<OwnedFd> {
    let copy = fcntl_dupfd_cloexec(descriptor, libc::STDERR_FILENO + 1)?;
    fcntl_setfd(&copy, FdFlags::empty())?;
    Ok(copy)
}

fn wait_until_ready(mut pipe: PipeReader) -> io::Result<()> {
    let mut watched = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    while let Err(errno) = poll(&mut watched, PollTimeout::from(START_TIMEOUT_MS)) {
        if errno != nix::errno::Errno::EINTR {
            return Err(errno.into());
        }
    }
    if watched[0].any() != Some(true) {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it was not ready within 30 s"));
    }
    let mut byte = [0];
    match pipe.read(&mut byte)? {
        0 => Err(io::Error::other("it ended before it was ready")),
        _ => Ok(()),
    }
}

fn give_up(child: &mut Child, cause: &io::Error) -> io::Error {
    let _ = child.kill(); // It may have ended.
    let ended = child
        .wait()
        .map_or_else(|cause| cause.to_string(), |status| status.to_string());
    io::Error::other(format!("{cause} ({ended})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_passed_as_numbers() {
        assert_eq!(parse("7,8;9"), Some((vec![7, 8], 9)));
        for text in ["", "7", "7,;9", ";9", "7;", "a;9"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_standard_stream_or_a_closed_descriptor_is_not_taken() {
        for number in [-1, 0, 2, 1 << 20] {
            assert_eq!(own(number).unwrap_err().exit_code(), 4);
        }
    }
}
