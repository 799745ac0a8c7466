//! A run on the screen while it goes on: the rate, the latencies of the last second, errors, and keys that change the
//! rate.
//!
//! It works on the thread that delivers what a run reports, never on one that measures. What that cost is printed at
//! the end.

mod keys;
mod screen;
mod view;

use keys::Key;
use screen::Screen;
use view::View;

use crate::clock::{self, Nanos};
use crate::error::Result;
use crate::load::interval::Interval;
use crate::load::{Observer, Progress, RateControl, Workload};
use crate::output::console;
use crate::sys::signal;
use crate::sys::usage;
use crate::units::{show_duration, show_percent};

/// A step of the rate by an arrow key, and by page up and down.
const STEP: f64 = 1.1;
const LEAP: f64 = 2.0;

/// Draws a run, and changes its rate.
pub struct LiveView {
    screen: Screen,
    view: View,
    rate: RateControl,
    begun: Nanos,
    /// CPU time that drawing has taken; zero if nothing was drawn.
    cpu: Nanos,
}

impl LiveView {
    /// Takes over the terminal until it is dropped. Errors: [`Error::Usage`](crate::error::Error::Usage) if stderr is
    /// none that can be drawn on.
    pub fn new(workload: &Workload, rate: RateControl) -> Result<LiveView> {
        let mut screen = Screen::open()?;
        let view = View::of(workload, screen.has_keys());
        screen.draw(|frame| view.draw(frame));
        Ok(LiveView {
            screen,
            view,
            rate,
            begun: clock::now(),
            cpu: Nanos(0),
        })
    }

    /// Gives the terminal back, and prints what drawing cost.
    pub fn close(self) {
        let LiveView { screen, begun, cpu, .. } = self;
        drop(screen);
        if cpu == Nanos(0) {
            return;
        }
        let span = clock::now() - begun;
        console::note(format_args!(
            "live view: drawing took {} of CPU time in {}, {} of a CPU, beside the generator's threads",
            show_duration(cpu),
            show_duration(span),
            show_percent(cpu.as_secs() / span.as_secs(), 2)
        ));
    }

    /// Does what the keys ask for. Several at once are one change of the rate.
    fn obey(&mut self, keys: &[Key]) {
        let factor: f64 = keys.iter().map(|&key| factor(key)).product();
        if factor != 1.0
            && let Some(per_s) = self.view.change_rate(factor)
        {
            self.rate.set(per_s);
        }
        if keys.contains(&Key::Quit) {
            signal::interrupt_this_process();
        }
    }
}

/// By how much a key changes the rate.
fn factor(key: Key) -> f64 {
    match key {
        Key::Faster => STEP,
        Key::Slower => 1.0 / STEP,
        Key::MuchFaster => LEAP,
        Key::MuchSlower => 1.0 / LEAP,
        Key::Quit => 1.0,
    }
}

impl Observer for LiveView {
    fn progress(&mut self, progress: Progress) {
        let before = usage::thread_cpu();
        let keys = self.screen.keys();
        self.obey(&keys);
        self.view.progress(progress);
        self.screen.draw(|frame| self.view.draw(frame));
        self.cpu = self.cpu + (usage::thread_cpu() - before);
    }

    fn interval(&mut self, interval: &Interval) {
        let before = usage::thread_cpu();
        self.view.second(interval);
        self.cpu = self.cpu + (usage::thread_cpu() - before);
    }
}
