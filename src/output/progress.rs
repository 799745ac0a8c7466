//! The progress line: one line on stderr, replaced in place, on a terminal only.
//!
//! It is no wider than the terminal is at that moment, and is erased with spaces, so that a terminal needs to know
//! nothing but the carriage return, which `TERM=dumb` does. A file of its own, over rustix for the size of the terminal
//! and unicode-width: indicatif, the well-kept crate for this, erases with escape codes whatever TERM is, and waits for
//! a terminal that was stopped (Ctrl-S), as would a measurement that draws its progress.

use std::io::{IsTerminal, stderr};

use unicode_width::UnicodeWidthChar;

use super::{console, untrusted};
use crate::clock::{self, Nanos};

/// Dim text, and back to normal (ECMA-48, SGR 2 and 0).
const DIM: (&str, &str) = ("\x1b[2m", "\x1b[0m");

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// The progress line. Dropping it removes it.
#[derive(Debug)]
pub struct ProgressLine {
    /// True if stderr is a terminal.
    is_visible: bool,
    /// True if escape codes for colours are welcome.
    is_dim: bool,
    /// Columns that are drawn at the moment.
    drawn: usize,
}

impl ProgressLine {
    /// For this process's stderr and environment.
    pub fn new() -> ProgressLine {
        ProgressLine {
            is_visible: stderr().is_terminal() && !console::is_quiet(),
            is_dim: console::shows_colours(&stderr()),
            drawn: 0,
        }
    }

    /// Shows `text` in place of what was shown before. What is too wide is cut off: the most important goes first.
    pub fn show(&mut self, text: &str) {
        if self.is_visible {
            let columns = columns();
            let text = untrusted::line(text);
            let (text, width) = fit(&text, columns);
            let (begin, end) = if self.is_dim { DIM } else { ("", "") };
            let erased = " ".repeat(self.drawn.min(columns).saturating_sub(width));
            console::draw(&format!("\r{begin}{text}{end}{erased}"));
            self.drawn = width;
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if self.is_visible && self.drawn > 0 {
            let erased = " ".repeat(self.drawn.min(columns()));
            console::draw(&format!("\r{erased}\r"));
            self.drawn = 0;
        }
    }
}

impl Default for ProgressLine {
    fn default() -> ProgressLine {
        ProgressLine::new()
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The columns that a line may take at this moment: all but the last, in which some terminals begin a new line.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(stderr()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|&columns| columns > 0);
    columns.unwrap_or(COLUMNS) - 1
}

/// The beginning of a text that fits, and its width.
fn fit(text: &str, columns: usize) -> (&str, usize) {
    let mut width = 0;
    for (at, c) in text.char_indices() {
        let wider = width + c.width().unwrap_or(0);
        if wider > columns {
            return (&text[..at], width);
        }
        width = wider;
    }
    (text, width)
}

/// When a series of equal steps will be over, from how long those took that are done.
#[derive(Debug, Clone, Copy)]
pub struct Estimate {
    began: Nanos,
    steps: u64,
    /// What a step takes at least, for as long as none is done.
    step: Nanos,
}

impl Estimate {
    /// From now on: this many steps, each of which takes at least `step`.
    pub fn new(steps: u64, step: Nanos) -> Estimate {
        Estimate {
            began: clock::now(),
            steps,
            step,
        }
    }

    /// `about 34 s left`, after this many steps.
    pub fn left(&self, done: u64) -> String {
        let left = self.left_after(done, clock::now() - self.began);
        format!("about {}", show_left(left))
    }

    fn left_after(&self, done: u64, elapsed: Nanos) -> Nanos {
        let step = elapsed.0.checked_div(done).unwrap_or(self.step.0);
        Nanos(step.saturating_mul(self.steps.saturating_sub(done)))
    }
}

/// `12 s left`, `3 min 05 s left`, `2 h 10 min left`.
pub fn show_left(left: Nanos) -> String {
    match left.0.div_ceil(1_000_000_000) {
        seconds @ 0..60 => format!("{seconds} s left"),
        seconds @ 60..3_600 => format!("{} min {:02} s left", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} min left", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_to_the_columns_that_it_takes() {
        assert_eq!(fit("12 s left", 9), ("12 s left", 9));
        assert_eq!(fit("12 s left", 4), ("12 s", 4));
        assert_eq!(fit("日本語", 5), ("日本", 4), "two columns each");
        assert_eq!(fit("e\u{301}é", 1), ("e\u{301}", 1), "an accent takes none");
        assert_eq!(fit("x", 0), ("", 0));
    }

    #[test]
    fn the_time_that_is_left_follows_from_the_steps_done() {
        let estimate = Estimate {
            began: Nanos(0),
            steps: 10,
            step: Nanos(5),
        };
        assert_eq!(estimate.left_after(0, Nanos(3)), Nanos(50));
        assert_eq!(estimate.left_after(4, Nanos(40)), Nanos(60));
        assert_eq!(estimate.left_after(11, Nanos(40)), Nanos(0));
        let shown = [0, 1_500_000_000, 185_000_000_000, 7_800_000_000_000].map(|left| show_left(Nanos(left)));
        assert_eq!(shown, ["0 s left", "2 s left", "3 min 05 s left", "2 h 10 min left"]);
    }
}
