//! A run on the screen while it goes on: the rate, the latencies of the last second, errors, and keys that change the
//! rate.
//!
//! It works on the thread that delivers what a run reports, never on one that measures; what it costs is said at the
//! end.

mod screen;
mod view;

use screen::{Key, Screen};
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
    /// CPU time that drawing has taken.
    cpu: Nanos,
}

impl LiveView {
    /// Takes over the terminal until it is dropped. Errors: [`Error::Usage`](crate::error::Error::Usage) if stderr is
    /// none that can be drawn on.
    pub fn new(workload: &Workload, rate: RateControl) -> Result<LiveView> {
        Ok(LiveView {
            screen: Screen::open()?,
            view: View::of(workload),
            rate,
            begun: clock::now(),
            cpu: Nanos(0),
        })
    }

    /// Gives the terminal back, and says what drawing cost.
    pub fn close(self) {
        let LiveView { screen, begun, cpu, .. } = self;
        drop(screen);
        let span = clock::now() - begun;
        console::note(format_args!(
            "live view: {} of CPU time in {}, {} of a CPU, beside the generator's threads",
            show_duration(cpu),
            show_duration(span),
            show_percent(cpu.as_secs() / span.as_secs(), 2)
        ));
    }

    fn obey(&mut self, key: Key) {
        let factor = match key {
            Key::Faster => STEP,
            Key::Slower => 1.0 / STEP,
            Key::MuchFaster => LEAP,
            Key::MuchSlower => 1.0 / LEAP,
            Key::Quit => return signal::interrupt_this_process(),
        };
        if let Some(per_s) = self.view.change_rate(factor) {
            self.rate.set(per_s);
        }
    }
}

impl Observer for LiveView {
    fn progress(&mut self, progress: Progress) {
        let before = usage::thread_cpu();
        while let Some(key) = self.screen.key() {
            self.obey(key);
        }
        self.view.progress(progress);
        self.screen.draw(|frame| self.view.draw(frame));
        self.cpu = self.cpu + (usage::thread_cpu() - before);
    }

    fn interval(&mut self, interval: &Interval) {
        self.view.second(interval);
    }
}
