//! How far a run is, on the progress line: alone, or as one of a series.

use crate::clock::{self, Nanos};
use crate::load::{Observer, Progress, Workload};
use crate::output::progress::{ProgressLine, show_left};
use crate::units;

/// Shows how far a run is while it goes on. Dropping it removes the line.
pub(super) struct RunProgress {
    line: ProgressLine,
    began: Nanos,
    connections: u64,
    duration: Nanos,
    /// From the start of messages to the start of measuring.
    warmup: Nanos,
    /// What comes after this run.
    later: Nanos,
    /// Which of several runs it is.
    which: Option<String>,
}

impl RunProgress {
    pub(super) fn new(workload: &Workload) -> RunProgress {
        RunProgress {
            line: ProgressLine::new(),
            began: clock::now(),
            connections: workload.connections.into(),
            duration: workload.duration,
            warmup: workload.warmup,
            later: Nanos(0),
            which: None,
        }
    }

    /// As one run of a series, of which this many come after it.
    pub(super) fn of_series(workload: &Workload, which: String, later: u64) -> RunProgress {
        let run = workload.warmup + workload.duration;
        RunProgress {
            later: Nanos(run.0.saturating_mul(later)),
            which: Some(which),
            ..RunProgress::new(workload)
        }
    }

    /// What opening the other connections takes, if they open as fast as those of the time `since` the start. Messages
    /// begin after that.
    fn opening_left(&self, opened: u64, since: Nanos) -> Nanos {
        let others = self.connections.saturating_sub(opened);
        Nanos((since.0 as f64 / opened.max(1) as f64 * others as f64) as u64)
    }

    /// After the time `since` the start. What matters most comes first: the end may be cut off.
    fn text(&self, progress: Progress, since: Nanos) -> String {
        let all_opened = progress.opened >= self.connections;
        let mut left = self.duration - progress.elapsed + self.later;
        if progress.elapsed == Nanos(0) {
            left = left + self.warmup + self.opening_left(progress.opened, since);
        }
        let mut parts = vec![show_left(left)];
        parts.extend(self.which.clone());
        if progress.elapsed > Nanos(0) {
            let rate = progress.completed as f64 / progress.elapsed.as_secs();
            parts.push(units::show_rate(rate));
            parts.push(format!("{} messages", units::show_count(progress.completed)));
        }
        let opened = units::show_count(progress.opened);
        parts.push(match all_opened {
            true => format!("{opened} connections"),
            false => format!("{opened} of {} connections", units::show_count(self.connections)),
        });
        parts.join(", ")
    }
}

impl Observer for RunProgress {
    fn progress(&mut self, progress: Progress) {
        let text = self.text(progress, clock::now() - self.began);
        self.line.show(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4 s after the start.
    fn text(progress: &RunProgress, opened: u64, completed: u64, elapsed: u64) -> String {
        let progressed = Progress {
            opened,
            completed,
            elapsed: Nanos(elapsed),
        };
        progress.text(progressed, Nanos(4_000_000_000))
    }

    #[test]
    fn a_run_shows_what_is_left_first() {
        let workload = Workload {
            connections: 10,
            warmup: Nanos(1_000_000_000),
            duration: Nanos(30_000_000_000),
            ..Workload::default()
        };
        let run = RunProgress::new(&workload);
        assert_eq!(
            text(&run, 4, 0, 0),
            "37 s left, 4 of 10 connections",
            "6 s for six of them"
        );
        assert_eq!(
            text(&run, 10, 500, 20_000_000_000),
            "10 s left, 25/s, 500 messages, 10 connections"
        );
        let run = RunProgress::of_series(&workload, "run 2 of 4".into(), 2);
        assert_eq!(text(&run, 10, 0, 0), "1 min 33 s left, run 2 of 4, 10 connections");
    }
}
