//! What can go wrong, sorted by what the user must do about it: one arm per exit code.
//!
//! Every message says what we were doing, to what, the cause, and what to try.
//! Codes are the contract of all commands, so that scripts can tell a broken machine from a broken server.

use std::fmt;

/// The result of everything that can fail because of the world.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the world (ours are panics), by the action it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The command line was wrong; nothing was opened.
    Usage(String),
    /// This machine cannot do it: a limit, a blocked io_uring, a taken address.
    Machine(String),
    /// The target cannot be reached, or is not an echo server.
    Target(String),
    /// Data came back wrong.
    Data(String),
    /// Our own mistake, noticed late: a worker that panicked, an answer that cannot be.
    Bug(String),
}

impl Error {
    /// The process's exit code for this failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Machine(_) => 4,
            Error::Target(_) => 5,
            Error::Data(_) => 6,
            Error::Bug(_) => 70,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text) | Error::Machine(text) | Error::Target(text) | Error::Data(text) | Error::Bug(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for Error {}

/// An error number of the kernel, as errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl From<std::io::Error> for Errno {
    /// Zero where the error did not come from the kernel.
    fn from(error: std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(0))
    }
}
