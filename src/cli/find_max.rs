//! `urecho find-max`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::load_flags::{ArrivalsFlag, RunFlags, TargetFlags, WorkloadFlags};
use crate::clock::Nanos;
use crate::error::Result;
use crate::find_max::curve::{Curve, Point, SCHEMA};
use crate::find_max::search::Search;
use crate::load::schedule::{Pace, Rate};
use crate::load::{self, Plan, Workload};
use crate::output::file;
use crate::report::assertion::{self, Assertion, AssertionOutcome, AssertionResult};
use crate::report::validity::Grade;
use crate::report::{Environment, Report};
use crate::sys::signal::{self, Stop};

/// The first rate, in messages per second. Low: a server that cannot sustain it is found by halving.
const FIRST_RATE: f64 = 2_000.0;

/// How long to measure at each rate.
const DURATION: Nanos = Nanos(10_000_000_000);

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The condition to keep, as in `p99<1ms` or `response.p99.9<=5ms`
    #[arg(value_name = "CONDITION", value_parser = assertion::parse)]
    condition: Assertion,
    #[command(flatten)]
    targets: TargetFlags,
    #[command(flatten)]
    workload: WorkloadFlags,
    /// Arrival process of the open loop
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    arrivals: ArrivalsFlag,
    #[command(flatten)]
    run: RunFlags,
    /// Write the rate-latency curve as JSON to FILE; `-` writes to stdout in place of the text report
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs one rate after another until the highest that meets the condition is found.
pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<ExitCode> {
    let generator = &flags.workload.generator;
    generator.check_targets(&flags.targets.targets)?;
    file::check_all(flags.json.iter())?;
    let workload = flags
        .run
        .apply(flags.workload.workload(generator.pin.clone()), DURATION);
    let stop = Stop::on_signals()?;
    let mut search = Search::from(FIRST_RATE);
    let (mut points, mut interrupted) = (Vec::new(), None);
    while let (Some(rate), None) = (search.rate(), interrupted) {
        let run = load::run(flags.plan(&workload, rate), &stop, &mut ())?;
        let report = Report::of(&run, environment.clone(), std::slice::from_ref(&flags.condition));
        let point = Point::of(rate, holds(&report), &report);
        eprintln!("{point}"); // A search takes minutes: show that it goes on.
        interrupted = run.interrupted;
        if interrupted.is_none() {
            search = search.after(point.held);
        }
        points.push(point);
    }
    let curve = Curve {
        schema: SCHEMA,
        condition: flags.condition.to_string(),
        found_per_s: search.found(),
        partial: interrupted.is_some(),
        points,
    };
    flags.publish(&curve)?;
    let exit = match (interrupted, curve.found_per_s) {
        (Some(signal), _) => signal::exit_code(signal),
        (None, Some(_)) => 0,
        (None, None) => 1,
    };
    Ok(ExitCode::from(exit))
}

/// True if all assertions are true; without a valid interval, if their figures meet them: every rate found has held
/// twice. An INVALID run says nothing about the server, whatever its figures.
fn holds(report: &Report) -> bool {
    let holds = |assertion: &AssertionOutcome| {
        assertion.result == AssertionResult::True || assertion.figure_holds == Some(true)
    };
    report.assertions.iter().all(holds) && report.verdict.grade != Grade::Invalid
}

impl Flags {
    /// `workload` as an open loop at this rate.
    fn plan(&self, workload: &Workload, rate: f64) -> Plan {
        Plan {
            targets: self.targets.targets.clone(),
            workload: Workload {
                pace: Pace::Open {
                    rate: Rate { from: rate, to: rate },
                    arrivals: self.arrivals.into(),
                },
                ..workload.clone()
            },
        }
    }

    fn publish(&self, curve: &Curve) -> Result<()> {
        if let Some(path) = &self.json {
            file::write(path, &curve.json())?;
        }
        if !self.json.as_deref().is_some_and(file::is_stdout) {
            let _ = write!(std::io::stdout(), "{curve}"); // A reader that closed the pipe has read enough.
        }
        Ok(())
    }
}
