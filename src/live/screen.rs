//! The terminal that stderr is, drawn on as a whole: the alternate screen (console_codes(4)), and keys from stdin
//! without waiting for a line (termios(3)). Signals stay what they are: Ctrl-C is SIGINT.
//!
//! ratatui draws into memory. Keys are read here: crossterm's reader waits for the rest of a sequence that it does not
//! know, and never returns from a terminal that has hung up.

use std::io::{self, Write, stdin};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::prelude::CrosstermBackend;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use super::keys::{self, Key};
use crate::error::{Error, Result};
use crate::output::console;
use crate::sys::signal;

/// Scrolling with the wheel is not to be sent as arrow keys (xterm's alternate scroll), and is again.
const NO_ALTERNATE_SCROLL: &str = "\x1b[?1007l";
const ALTERNATE_SCROLL: &str = "\x1b[?1007h";

/// True while the terminal is ours.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// How stdin was before.
static MODE: Mutex<Option<Termios>> = Mutex::new(None);

/// The screen. Dropping it restores the terminal.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Frames>>,
    size: (u16, u16),
    /// False if stdin is no terminal, or has hung up.
    has_keys: bool,
    /// The beginning of a sequence whose rest has not come yet.
    typed: Vec<u8>,
}

impl Screen {
    /// Errors: [`Error::Usage`] if stderr is no terminal that can be drawn on.
    pub(super) fn open() -> Result<Screen> {
        let size =
            console::screen_size().map_err(|why| Error::Usage(format!("--live draws on a terminal, and {why}")))?;
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore(); // What it prints is to stay.
            previous(info);
        }));
        signal::on_forced_exit(restore);
        let screen = Screen {
            terminal: terminal(size),
            size,
            has_keys: read_keys_at_once(),
            typed: Vec::new(),
        };
        IS_OPEN.store(true, Ordering::Relaxed);
        let mut frame = Frames::default();
        let _ = queue!(
            frame,
            EnterAlternateScreen,
            Hide,
            Clear(ClearType::All),
            Print(NO_ALTERNATE_SCROLL)
        );
        let _ = frame.flush(); // It may be gone.
        Ok(screen)
    }

    /// True if keys can be read.
    pub(super) fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// Draws a frame. One that the terminal does not take at once is dropped.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) {
        if !IS_OPEN.load(Ordering::Relaxed) {
            return;
        }
        let size = console::screen_size().unwrap_or(self.size);
        if size != self.size {
            self.redraw_on(size);
        }
        if self.terminal.draw(draw).is_err() {
            self.redraw_on(size); // How much of it arrived is not known.
        }
    }

    /// The next frame is drawn as a whole.
    fn redraw_on(&mut self, size: (u16, u16)) {
        (self.terminal, self.size) = (terminal(size), size);
        let _ = queue!(self.terminal.backend_mut(), Clear(ClearType::All)); // Into memory.
    }

    /// What was typed since the last call.
    pub(super) fn keys(&mut self) -> Vec<Key> {
        let mut part = [0; 64];
        while self.has_keys {
            let mut watched = [PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN)];
            match rustix::event::poll(&mut watched, Some(&Timespec::default())) {
                Ok(1..) => {}
                Ok(0) | Err(rustix::io::Errno::INTR) => break,
                Err(_) => self.has_keys = false,
            }
            match rustix::io::read(rustix::stdio::stdin(), &mut part) {
                Ok(len @ 1..) => self.typed.extend_from_slice(&part[..len]),
                _ => self.has_keys = false, // It has hung up.
            }
        }
        keys::take(&mut self.typed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn terminal((columns, rows): (u16, u16)) -> Terminal<CrosstermBackend<Frames>> {
    let options = TerminalOptions {
        viewport: Viewport::Fixed(Rect::new(0, 0, columns, rows)),
    };
    Terminal::with_options(CrosstermBackend::new(Frames::default()), options)
        .expect("nothing is written, and only to memory")
}

/// Has stdin pass on every byte, without echo. Ctrl-Z would leave the screen as it is, and is off. False if stdin is no
/// terminal.
fn read_keys_at_once() -> bool {
    let Ok(mode) = tcgetattr(stdin()) else {
        return false;
    };
    let mut raw = mode.clone();
    raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    raw.special_codes[SpecialCodeIndex::VSUSP] = 0; // _POSIX_VDISABLE
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    *MODE.lock().unwrap_or_else(PoisonError::into_inner) = Some(mode);
    tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok()
}

fn restore() {
    if IS_OPEN.swap(false, Ordering::Relaxed) {
        let mut frame = Frames::default();
        let _ = queue!(frame, Print(ALTERNATE_SCROLL), LeaveAlternateScreen, Show);
        let _ = console::draw_at_last(&frame.0); // It may be gone.
    }
    if let Some(mode) = MODE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &mode); // As above.
    }
}

/// Collects a frame, and sends it to the terminal at once.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        console::draw_frame(&std::mem::take(&mut self.0))
    }
}
