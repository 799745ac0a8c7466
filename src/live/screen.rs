//! The terminal that stderr is, drawn on as a whole: raw mode (termios(3)), the alternate screen (console_codes(4)),
//! keys.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{self, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::Rect;
use ratatui::prelude::CrosstermBackend;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use crate::error::{Error, Result};
use crate::output::console;
use crate::sys::signal;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Faster,
    Slower,
    MuchFaster,
    MuchSlower,
    Quit,
}

/// True while the terminal is ours.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// The screen. Dropping it restores the terminal.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Frames>>,
    size: (u16, u16),
}

impl Screen {
    /// Errors: [`Error::Usage`] if stderr is no terminal that can be drawn on.
    pub(super) fn open() -> Result<Screen> {
        let Some(size) = console::screen_size() else {
            return Err(Error::Usage(
                "--live draws on a terminal, and stderr is none that knows how: leave it out, or set TERM".into(),
            ));
        };
        let failed = |cause: io::Error| Error::Machine(format!("--live cannot use this terminal: {cause}"));
        let area = Rect::new(0, 0, size.0, size.1);
        let options = TerminalOptions {
            viewport: Viewport::Fixed(area),
        };
        let terminal = Terminal::with_options(CrosstermBackend::new(Frames::default()), options).map_err(failed)?;
        terminal::enable_raw_mode().map_err(failed)?;
        IS_OPEN.store(true, Ordering::Relaxed);
        signal::call_at_once(restore);
        let mut screen = Screen { terminal, size };
        let _ = queue!(screen.terminal.backend_mut(), EnterAlternateScreen, Hide); // Into memory.
        Ok(screen)
    }

    /// Draws a frame, unless the terminal is gone or does not take it.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) {
        if let Some(size) = console::screen_size().filter(|&size| size != self.size) {
            self.size = size;
            let _ = self.terminal.resize(Rect::new(0, 0, size.0, size.1)); // Into memory.
        }
        if self.terminal.draw(draw).is_err() {
            let _ = self.terminal.clear(); // What arrived of the last frame is not known: draw everything next time.
        }
    }

    /// The next key that was pressed, if it asks for something.
    pub(super) fn key(&mut self) -> Option<Key> {
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let pressed = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => meaning(key),
                _ => None,
            };
            if pressed.is_some() {
                return pressed;
            }
        }
        None
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if IS_OPEN.swap(false, Ordering::Relaxed) {
        let mut frame = Frames::default();
        let _ = queue!(frame, LeaveAlternateScreen, Show).and_then(|()| frame.flush()); // It may be gone.
        let _ = terminal::disable_raw_mode(); // As above.
    }
}

/// In raw mode, Ctrl-C is a key as well.
fn meaning(key: KeyEvent) -> Option<Key> {
    match key.code {
        KeyCode::Up => Some(Key::Faster),
        KeyCode::Down => Some(Key::Slower),
        KeyCode::PageUp => Some(Key::MuchFaster),
        KeyCode::PageDown => Some(Key::MuchSlower),
        KeyCode::Char('q') => Some(Key::Quit),
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        _ => None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ask_for_what_the_screen_says() {
        let key = |code, modifiers| meaning(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Up, KeyModifiers::NONE), Some(Key::Faster));
        assert_eq!(key(KeyCode::PageDown, KeyModifiers::NONE), Some(Key::MuchSlower));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
    }
}
