//! What is on the screen: pure, from the plan and what was observed so far.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, RenderDirection, Sparkline};

use crate::clock::Nanos;
use crate::histogram::Recorder;
use crate::load::interval::Interval;
use crate::load::result::{Latencies, Messages};
use crate::load::schedule::{Pace, Rate};
use crate::load::{Progress, Workload};
use crate::units::{plural, show_count, show_duration, show_rate};

/// Seconds whose rate is kept.
const HISTORY: usize = 512;

/// A rate may be set to this many times the highest of the plan: more is a key that was held too long.
const RATE_MAX: f64 = 10.0;

/// The percentiles of the last second.
const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The state of the screen.
pub(super) struct View {
    what: String,
    connections: u64,
    duration: Nanos,
    /// The rate of the plan; none in a closed loop.
    plan: Option<Rate>,
    /// What it was set to.
    set_per_s: Option<f64>,
    /// False if there is no terminal to read keys from.
    has_keys: bool,
    progress: Progress,
    /// Messages completed in each second, the last one first.
    rates: VecDeque<u64>,
    /// Of all seconds so far.
    messages: Messages,
    lost: u64,
    /// Of the last second.
    sent_per_s: f64,
    latencies: Latencies,
    send_lag: Recorder,
}

impl View {
    pub(super) fn of(workload: &Workload, has_keys: bool) -> View {
        let (pace, plan) = match workload.pace {
            Pace::Closed { .. } => ("closed loop", None),
            Pace::Open { rate, .. } => ("open loop", Some(rate)),
        };
        let connections = u64::from(workload.connections);
        View {
            what: format!("{}, {pace}", plural(connections, "connection")),
            connections,
            duration: workload.duration,
            plan,
            set_per_s: None,
            has_keys,
            progress: Progress {
                opened: 0,
                completed: 0,
                elapsed: Nanos(0),
            },
            rates: VecDeque::new(),
            messages: Messages::default(),
            lost: 0,
            sent_per_s: 0.0,
            latencies: Latencies::default(),
            send_lag: Recorder::default(),
        }
    }

    pub(super) fn progress(&mut self, progress: Progress) {
        self.progress = progress;
    }

    /// A second is over.
    pub(super) fn second(&mut self, interval: &Interval) {
        let seconds = interval.span.length().as_secs();
        if seconds > 0.0 {
            self.rates.push_front((interval.achieved as f64 / seconds) as u64);
            self.rates.truncate(HISTORY);
            self.sent_per_s = interval.messages.sent as f64 / seconds;
        }
        self.messages.merge(&interval.messages);
        self.lost += interval.lost;
        self.latencies = interval.latencies.clone();
        self.send_lag = interval.send_lag.clone();
    }

    /// Multiplies the rate by this factor. Returns the new one, with three digits; none in a closed loop.
    pub(super) fn change_rate(&mut self, factor: f64) -> Option<f64> {
        let Rate { from, to } = self.plan?;
        let ramp = || (self.progress.elapsed.as_secs() / self.duration.as_secs()).min(1.0);
        let now = self.set_per_s.unwrap_or_else(|| from + (to - from) * ramp());
        let rate = (now * factor).clamp(1.0, RATE_MAX * from.max(to));
        let unit = 10_f64.powf(rate.log10().floor() - 2.0);
        let rate = ((rate / unit).round() * unit).max(1.0);
        self.set_per_s = Some(rate);
        Some(rate)
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let rows = [
            Constraint::Length(1),
            Constraint::Min(4),
            Constraint::Length(6),
            Constraint::Length(1),
        ];
        let [head, chart, figures, keys] = Layout::vertical(rows).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()).bold(), head);
        let most = self.rates.iter().copied().max().unwrap_or_default();
        let title = format!(" messages completed in each second, at most {} ", show_count(most));
        let block = Block::bordered().title(title);
        let rates = Sparkline::default()
            .data(self.rates.iter().copied().collect::<Vec<u64>>())
            .direction(RenderDirection::RightToLeft)
            .style(Style::new().cyan());
        frame.render_widget(rates.block(block), chart);
        frame.render_widget(Paragraph::new(self.figures()), figures);
        frame.render_widget(Paragraph::new(self.keys()).dim(), keys);
    }

    fn head(&self) -> Line<'static> {
        let Progress { opened, elapsed, .. } = self.progress;
        let when = if elapsed > Nanos(0) {
            format!("{:.0} s of {}", elapsed.as_secs(), show_duration(self.duration))
        } else if opened < self.connections {
            format!("connecting, {} open", show_count(opened))
        } else {
            "before measuring".into()
        };
        Line::from(format!("urecho: {}, {when}", self.what))
    }

    fn figures(&self) -> Vec<Line<'static>> {
        let completed = self.rates.front().copied().unwrap_or_default();
        let Messages {
            sent,
            completed: done,
            failed,
            missing,
        } = self.messages;
        let errors = failed + missing + self.lost;
        let mut rate = format!("rate       {} completed", show_rate(completed as f64));
        if self.plan.is_some() {
            rate += &format!(", {} sent", show_rate(self.sent_per_s));
        }
        if let Some(set) = self.set_per_s {
            rate += &format!(", set to {}", show_rate(set));
        }
        let on_the_way = sent.saturating_sub(done + failed + missing);
        let errors = Span::from(format!(
            "errors     {} failed, {} missing, {} lost",
            plural(failed, "message"),
            show_count(missing),
            plural(self.lost, "connection")
        ))
        .style(if errors > 0 {
            Style::new().red().bold()
        } else {
            Style::new()
        });
        vec![
            Line::from(rate),
            self.on_the_way(on_the_way),
            Line::from(errors),
            Line::from("latency    of the last second"),
            latencies("  service  ", &self.latencies.service),
            match self.plan {
                Some(_) => latencies("  response ", &self.latencies.response),
                None => Line::default(),
            },
        ]
    }

    /// An open loop that cannot keep up sends late.
    fn on_the_way(&self, messages: u64) -> Line<'static> {
        let mut text = format!("in flight  {}", plural(messages, "message"));
        if let Some(lag) = self.send_lag.quantile(0.99) {
            text += &format!(", p99 of the send lag {}", show_duration(lag.value));
        }
        Line::from(text)
    }

    fn keys(&self) -> &'static str {
        match self.plan {
            _ if !self.has_keys => "",
            Some(_) => "up, down: rate by 10 %   page up, page down: by 2   q: end",
            None => "q: end",
        }
    }
}

fn latencies(name: &str, recorder: &Recorder) -> Line<'static> {
    let mut text = name.to_owned();
    if recorder.count() == 0 {
        return Line::from(text + "n/a").dim();
    }
    for (name, q) in PERCENTILES {
        let value = recorder
            .quantile(q)
            .map_or("n/a".into(), |value| show_duration(value.value));
        text += &format!("{name} {value:<9} ");
    }
    if let Some(max) = recorder.max() {
        text += &format!("max {}", show_duration(max.value));
    }
    Line::from(text)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::load::result::Span;
    use crate::load::schedule::Arrivals;

    const SECOND: Nanos = Nanos::SECOND;

    fn open(from: f64, to: f64) -> View {
        let workload = Workload {
            connections: 50,
            pace: Pace::Open {
                rate: Rate { from, to },
                arrivals: Arrivals::Poisson,
            },
            duration: Nanos(60 * SECOND.0),
            ..Workload::default()
        };
        View::of(&workload, true)
    }

    fn second(sent: u64, completed: u64) -> Interval {
        let mut interval = Interval {
            span: Span {
                begin: Nanos(0),
                end: SECOND,
            },
            achieved: completed,
            messages: Messages {
                sent,
                completed,
                ..Messages::default()
            },
            ..Interval::default()
        };
        for sample in 1..=completed {
            interval.latencies.response.record(Nanos(sample * 1_000));
        }
        interval
    }

    fn screen(view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(100, 16)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn a_screen_has_what_happened_in_the_last_second() {
        let mut view = open(1000.0, 1000.0);
        view.progress(Progress {
            opened: 50,
            completed: 2_000,
            elapsed: Nanos(2 * SECOND.0),
        });
        view.second(&second(900, 900));
        view.second(&second(1_010, 1_000));
        let screen = screen(&view);
        for words in [
            "urecho: 50 connections, open loop, 2 s of 60.0 s",
            "each second, at most 1,000 ",
            "rate       1,000/s completed, 1,010/s sent ",
            "in flight  10 messages",
            "errors     0 messages failed, 0 missing, 0 connections lost",
            "response p50 500 µs",
            "service  n/a",
            "up, down: rate by 10 %",
        ] {
            assert!(screen.contains(words), "no {words:?} in\n{screen}");
        }
    }

    #[test]
    fn the_rate_changes_by_steps_and_has_three_digits() {
        let mut view = open(1000.0, 1000.0);
        assert_eq!(view.change_rate(1.1), Some(1100.0));
        assert_eq!(view.change_rate(1.1), Some(1210.0));
        assert_eq!(view.change_rate(1.1), Some(1330.0));
        assert!(screen(&view).contains("set to 1,330/s"));
        assert_eq!(view.change_rate(1e-9), Some(1.0));
    }

    #[test]
    fn a_ramp_is_changed_from_where_it_is() {
        let mut view = open(1000.0, 5000.0);
        view.progress(Progress {
            opened: 50,
            completed: 0,
            elapsed: Nanos(15 * SECOND.0),
        });
        assert_eq!(view.change_rate(0.5), Some(1000.0));
    }

    #[test]
    fn a_key_that_is_held_ends_at_ten_times_the_plan() {
        let mut view = open(1000.0, 5000.0);
        assert_eq!(view.change_rate(f64::INFINITY), Some(50_000.0));
        assert_eq!(view.change_rate(2.0), Some(50_000.0));
    }

    #[test]
    fn a_closed_loop_has_no_rate_to_change() {
        let mut view = View::of(&Workload::default(), true);
        assert_eq!(view.change_rate(2.0), None);
        assert!(!screen(&view).contains("rate by"));
    }

    #[test]
    fn a_small_screen_is_drawn_as_well() {
        for (columns, rows) in [(1, 1), (10, 3), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
            terminal.draw(|frame| open(1.0, 1.0).draw(frame)).unwrap();
        }
    }
}
