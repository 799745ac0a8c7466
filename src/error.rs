//! Errors by what the user must do about them: one variant per exit code.
//!
//! [`exit_code`] decides the exit code of every command from what happened in it. Every message says what failed, on
//! what, the cause, and what to try. Exit codes are the same for all commands, so that scripts can distinguish a
//! machine that needs a change from a broken server.

use std::fmt;

/// The result of an operation that can fail for an external reason.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with an external cause. Bugs are panics where they are found, and [`Error::Bug`] where they are found
/// later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The command line is wrong; nothing was started.
    Usage(String),
    /// This machine does not allow it: a limit, a blocked io_uring, an address in use.
    Machine(String),
    /// What was measured cannot be compared: a server's program changed meanwhile.
    ProgramChanged(String),
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
            Error::Usage(_) => USAGE,
            Error::ProgramChanged(_) => CHANGED,
            Error::Machine(_) => MACHINE,
            Error::Target(_) => TARGET,
            Error::Data(_) => DATA,
            Error::Bug(_) => BUG,
        }
    }

    /// The same error, with more to say about it.
    #[must_use]
    pub fn with(mut self, more: &str) -> Error {
        let (Error::Usage(text)
        | Error::ProgramChanged(text)
        | Error::Machine(text)
        | Error::Target(text)
        | Error::Data(text)
        | Error::Bug(text)) = &mut self;
        text.push_str(more);
        self
    }
}

const FALSE: u8 = 1;
const USAGE: u8 = 2;
const UNDECIDED: u8 = 3;
/// The exit code of [`Error::ProgramChanged`]: what was measured decides nothing.
pub const CHANGED: u8 = UNDECIDED;
const MACHINE: u8 = 4;
const TARGET: u8 = 5;
const DATA: u8 = 6;
const BUG: u8 = 70;

/// Something that happened in a command and bears on its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An error with this exit code ended the command, or the part of it that a server under test is.
    Failed(u8),
    /// A signal with this number ended it; what was measured is published, and marked partial.
    Interrupted(i32),
    /// The verdict of a run is INVALID: it says nothing about the server.
    Invalid,
    /// Messages had no reply when the run ended, though the target may still have sent one.
    Unanswered,
    /// An assertion is false, a server regressed, a history creeps, or no rate keeps the conditions.
    ConditionFailed,
    /// An assertion is undecided, or a check inconclusive.
    Undecided,
}

impl Outcome {
    /// Its place, and its exit code: what has a smaller place outweighs what has a larger one.
    ///
    /// A bug makes everything else doubtful, and an interruption is what the user wants. What this machine does not
    /// allow comes before what the target did, a program that changed before what it did, and wrong data before a
    /// target that cannot be used. An invalid run says nothing about messages that are still on their way, nor about
    /// assertions; a false one outweighs an undecided one.
    fn place(self) -> (usize, u8) {
        const FAILURES: [u8; 6] = [BUG, MACHINE, CHANGED, DATA, TARGET, USAGE];
        match self {
            Outcome::Failed(BUG) => (0, BUG),
            Outcome::Interrupted(signal) => (1, 128 + signal as u8), // The convention of shells.
            Outcome::Failed(code) => {
                let place = FAILURES.iter().position(|&failure| failure == code);
                (2 + place.unwrap_or(FAILURES.len()), code)
            }
            Outcome::Invalid => (10, UNDECIDED),
            Outcome::Unanswered => (11, DATA),
            Outcome::ConditionFailed => (12, FALSE),
            Outcome::Undecided => (13, UNDECIDED),
        }
    }
}

/// The exit code of a command in which all of this happened; 0 for nothing.
pub fn exit_code(outcomes: impl IntoIterator<Item = Outcome>) -> u8 {
    let places = outcomes.into_iter().map(Outcome::place);
    places.min().map_or(0, |(_, code)| code)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Usage(text)
            | Error::ProgramChanged(text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{ConditionFailed, Failed, Interrupted, Invalid, Unanswered, Undecided};

    #[test]
    fn the_exit_code_is_that_of_what_outweighs_the_rest() {
        let table: [(&[Outcome], u8); 19] = [
            (&[], 0),
            (&[ConditionFailed], 1),
            (&[Undecided], 3),
            (&[Undecided, ConditionFailed], 1),
            (&[ConditionFailed, Invalid], 3),
            (&[Unanswered], 6),
            (&[Unanswered, ConditionFailed], 6),
            (&[Unanswered, Invalid], 3),
            (&[Invalid, Failed(DATA)], 6),
            (&[Failed(TARGET), Failed(DATA)], 6),
            (&[Failed(DATA), Failed(MACHINE), Failed(TARGET)], 4),
            (&[Failed(MACHINE), Failed(CHANGED)], 4),
            (&[Failed(CHANGED), Failed(DATA), Failed(TARGET)], 3),
            (&[Interrupted(1), Failed(CHANGED)], 129),
            (&[Failed(USAGE), Failed(TARGET)], 5),
            (&[Failed(MACHINE), Interrupted(2)], 130),
            (&[Interrupted(15), ConditionFailed], 143),
            (&[Interrupted(2), Failed(BUG)], 70),
            (&[Failed(99), Undecided], 99),
        ];
        for (outcomes, code) in table {
            assert_eq!(exit_code(outcomes.iter().copied()), code, "{outcomes:?}");
            assert_eq!(
                exit_code(outcomes.iter().rev().copied()),
                code,
                "in any order: {outcomes:?}"
            );
        }
    }
}
