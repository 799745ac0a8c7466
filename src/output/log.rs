//! What a running server reports, as lines on stderr: `tracing` events as text or JSON. A line is dropped if the reader
//! is behind, so that a full pipe stops no worker.

use std::io::{self, Write};

use tracing::Level;

use super::console;

/// The format of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes events to stderr from now on: warnings, and if `verbose` normal events as well. Call it once.
pub fn begin(format: Format, verbose: bool) {
    let level = if verbose { Level::INFO } else { Level::WARN };
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .with_writer(|| Line(Vec::new()));
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

/// Collects one line, which is written as a whole.
struct Line(Vec<u8>);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        console::progress(String::from_utf8_lossy(&self.0).trim_end());
    }
}
