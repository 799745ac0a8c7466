//! `urecho load`.

use std::hash::{BuildHasher, RandomState};
use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::load::{self, News, Outcome, Plan};
use crate::report::Report;
use crate::sys::machine;
use crate::sys::signal::{self, Stop};
use crate::sys::socket::Options;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The echo server, as ADDRESS:PORT or NAME:PORT
    #[arg(value_name = "TARGET", default_value = "127.0.0.1:7007", value_parser = target)]
    target: SocketAddr,
    #[command(flatten)]
    shape: Shape,
}

/// What `load` and `bench` have in common.
#[derive(Debug, Args)]
pub(super) struct Shape {
    /// Connections, all open at once
    #[arg(short, long, value_name = "N", default_value = "50", value_parser = super::at_least_one)]
    connections: u32,
    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = positive_duration)]
    duration: Nanos,
    /// Bytes in every message
    #[arg(short, long, value_name = "SIZE", default_value = "64B", value_parser = message_size)]
    size: u64,
    /// Threads that generate load, each with its own ring
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: u32,
    /// How long messages go before they count
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    warmup: Nanos,
    /// How long answers are waited for at the end
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    drain: Nanos,
    /// From which all payloads are made [default: random, printed]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write the report as JSON to FILE, or to stdout instead of the text for `-`
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the threads on these CPUs, in turn
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    pin: Vec<usize>,
    /// Congestion control of every connection [default: the system's]
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
}

/// The largest message. Its bytes are made and checked in pieces, so this bounds only patience.
const MESSAGE_MAX: u64 = 1 << 30;

fn target(text: &str) -> std::result::Result<SocketAddr, String> {
    let hint = "write ADDRESS:PORT, as in 127.0.0.1:7007 or [::1]:7007";
    let mut addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; {hint}"))?;
    let address = addresses
        .next()
        .ok_or_else(|| format!("the name has no address; {hint}"))?;
    if address.port() == 0 {
        Err(format!("nobody can listen on port 0; {hint}"))
    } else {
        Ok(address)
    }
}

fn positive_duration(text: &str) -> std::result::Result<Nanos, String> {
    match units::duration(text)? {
        Nanos(0) => Err("nothing can be measured in no time: write `10s`".into()),
        duration => Ok(duration),
    }
}

fn message_size(text: &str) -> std::result::Result<u64, String> {
    match units::size(text)? {
        0 => Err("an empty message has no echo: write `64B`".into()),
        size @ ..=MESSAGE_MAX => Ok(size),
        size => Err(format!(
            "{} is more than {}",
            units::show_size(size),
            units::show_size(MESSAGE_MAX)
        )),
    }
}

fn threads(text: &str) -> std::result::Result<u32, String> {
    match units::count(text)? {
        count @ 1..=1024 => Ok(count as u32),
        count => Err(format!("{count} is not between 1 and 1,024")),
    }
}

impl Shape {
    pub(super) fn plan(&self, target: SocketAddr, cpus: Vec<usize>) -> Plan {
        Plan {
            target,
            connections: self.connections,
            duration: self.duration,
            size: self.size,
            // More threads than connections would have nothing to do.
            threads: self.threads.min(self.connections),
            warmup: self.warmup,
            drain: self.drain,
            // 32 random bits: enough to differ, short enough to type.
            seed: self
                .seed
                .unwrap_or_else(|| RandomState::new().hash_one(0) >> 32),
            cpus,
            options: Options {
                nodelay: true,
                congestion: self.congestion.clone(),
            },
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.threads as usize
    }

    /// The CPUs that were asked for.
    pub(super) fn cpus(&self) -> &[usize] {
        &self.pin
    }

    /// Runs the plan, writes its report, and says how it went.
    pub(super) fn run(&self, plan: Plan, stop: &Stop) -> Result<ExitCode> {
        let machine = machine::look();
        let mut line = ProgressLine::new();
        let outcome = load::run(plan, stop, |news| line.draw(news));
        line.clear();
        let outcome = outcome?;
        let report = Report::of(&outcome, machine);
        write_report(&report, self.json.as_deref())?;
        judge(&outcome, &report)
    }
}

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let stop = Stop::new()?;
    signal::stop_on_signals(&stop)?;
    let plan = flags.shape.plan(flags.target, flags.shape.cpus().to_vec());
    flags.shape.run(plan, &stop)
}

fn write_report(report: &Report, json: Option<&Path>) -> Result<()> {
    let text = match json {
        Some(path) if path == Path::new("-") => report.json(),
        Some(path) => {
            std::fs::write(path, report.json()).map_err(|cause| {
                Error::Machine(format!(
                    "cannot write the report to {}: {cause}",
                    path.display()
                ))
            })?;
            report.to_string()
        }
        None => report.to_string(),
    };
    // A reader that has gone away has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// The exit code of a run that came to its end.
fn judge(outcome: &Outcome, report: &Report) -> Result<ExitCode> {
    if let Some(signal) = outcome.interrupted {
        return Ok(ExitCode::from(128 + signal as u8));
    }
    let (connections, messages) = (&report.connections, &report.messages);
    let lost: u64 = connections.lost.values().sum();
    if lost >= connections.opened {
        return Err(Error::Target(format!(
            "{} closed every connection before the run was over",
            report.plan.target
        )));
    }
    if connections.failed > 0 {
        let (failed, requested) = (connections.failed, connections.requested);
        return Err(Error::Target(format!(
            "{failed} of {requested} connections did not open"
        )));
    }
    if messages.failed + messages.missing > 0 {
        let gone = messages.failed + messages.missing;
        return Err(Error::Data(format!(
            "{gone} of {} messages went missing",
            messages.sent
        )));
    }
    Ok(ExitCode::SUCCESS)
}

/// One line on stderr that says how far the run is, on a terminal only.
struct ProgressLine {
    shown: bool,
    dim: (&'static str, &'static str),
}

impl ProgressLine {
    fn new() -> ProgressLine {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dim = if colour {
            ("\x1b[2m", "\x1b[0m")
        } else {
            ("", "")
        };
        ProgressLine {
            shown: std::io::stderr().is_terminal(),
            dim,
        }
    }

    fn draw(&mut self, news: News) {
        if !self.shown {
            return;
        }
        let opened = units::show_count(news.opened);
        let text = if news.elapsed == Nanos(0) {
            format!("{opened} connections open")
        } else {
            let rate = units::show_rate(news.ok as f64 / news.elapsed.as_secs());
            format!(
                "{opened} connections, {} messages, {rate}, {:.1} s",
                units::show_count(news.ok),
                news.elapsed.as_secs()
            )
        };
        // Back to the start of the line, the text, and away with what is left of a longer one.
        let _ = write!(
            std::io::stderr(),
            "\r{}{text}{}\x1b[K",
            self.dim.0,
            self.dim.1
        );
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
