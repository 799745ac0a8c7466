//! The progress line: one line on stderr, replaced in place, on a terminal only.
//!
//! By hand: what is needed is 30 lines, and indicatif would bring five crates for it.

use std::io::{IsTerminal, Write};

/// Dim text, and back to normal (ECMA-48, SGR 2 and 0).
const DIM: (&str, &str) = ("\x1b[2m", "\x1b[0m");

/// Back to the start of the line, and erase to its end.
const ERASE: &str = "\r\x1b[K";

/// The progress line. It stays until [`clear`](ProgressLine::clear).
#[derive(Debug, Clone, Copy)]
pub struct ProgressLine {
    /// True if stderr is a terminal.
    visible: bool,
    /// True unless NO_COLOR is set and not empty (no-color.org).
    dim: bool,
}

impl ProgressLine {
    /// For this process's stderr and environment.
    pub fn new() -> ProgressLine {
        ProgressLine {
            visible: std::io::stderr().is_terminal(),
            dim: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Shows `text` in place of what was shown before.
    pub fn show(self, text: &str) {
        let (begin, end) = if self.dim { DIM } else { ("", "") };
        self.write(&format!("{ERASE}{begin}{text}{end}"));
    }

    /// Removes the line.
    pub fn clear(self) {
        self.write(ERASE);
    }

    fn write(self, text: &str) {
        if self.visible {
            let _ = std::io::stderr().write_all(text.as_bytes()); // Progress is not worth failing for.
        }
    }
}

impl Default for ProgressLine {
    fn default() -> ProgressLine {
        ProgressLine::new()
    }
}
