//! Errors by what the user must do about them: one variant per exit code.
//!
//! Every message says what failed, on what, the cause, and what to try. Exit codes are the same for all commands, so that
//! scripts can distinguish a machine that needs a change from a broken server.

use std::fmt;

/// The result of an operation that can fail for an external reason.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with an external cause. Bugs are panics where they are found, and [`Error::Bug`] where they are found later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The command line is wrong; nothing was started.
    Usage(String),
    /// This machine does not allow it: a limit, a blocked io_uring, an address in use.
    Machine(String),
    /// What was measured cannot be compared: a server's program changed meanwhile.
    Invalid(String),
    /// The target cannot be reached, or is not an echo server.
    Target(String),
    /// The target returned wrong data.
    Data(String),
    /// A bug in urecho: a worker panicked, or a result is impossible.
    Bug(String),
}

impl Error {
    /// The exit code of the process for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::Invalid(_) => 3,
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
            Error::Usage(text)
            | Error::Invalid(text)
            | Error::Machine(text)
            | Error::Target(text)
            | Error::Data(text)
            | Error::Bug(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// An error number of the kernel, errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl From<std::io::Error> for Errno {
    /// Zero if the error did not come from the kernel.
    fn from(error: std::io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(0))
    }
}
