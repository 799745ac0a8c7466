//! Lines on stdout and stderr. A reader that closed a stream has read enough: that changes no result and no exit code, where
//! `println!` would panic.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Text on stdout, as it is.
pub fn print(text: impl Display) {
    let _ = write!(stdout(), "{text}");
}

/// A line on stdout.
pub fn line(text: impl Display) {
    let _ = writeln!(stdout(), "{text}");
}

/// A line on stderr.
pub fn note(text: impl Display) {
    let _ = writeln!(stderr(), "{text}");
}
