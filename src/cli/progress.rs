//! The line that shows how far something is, on a terminal only.

use std::io::{IsTerminal, Write};

/// Shows it in place of the last one.
pub(super) fn show(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}"); // What cannot be shown is not worth failing for.
    }
}

/// Takes it away.
pub(super) fn clear() {
    show("");
}
