//! `urecho find-max`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::load::TargetFlags;
use crate::cli::workload::{ArrivalsFlag, RunFlags, WorkloadFlags};
use crate::error::Result;
use crate::find_max::curve::Curve;
use crate::find_max::search::Search;
use crate::load::schedule::{Pace, Rate};
use crate::load::{self, Plan, Workload};
use crate::output::file;
use crate::report::assertion::{self, Assertion, AssertionResult};
use crate::report::verdict::Grade;
use crate::report::{Environment, Report};
use crate::sys::signal::{self, Stop};

/// The first rate, in messages per second. Low: a server that cannot sustain it is found by halving.
const FIRST_RATE: f64 = 2_000.0;

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
    /// Write the rate-latency curve as JSON to FILE; `-` is stdout instead of the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs one rate after another until the highest that meets the condition is found.
pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<ExitCode> {
    let generator = &flags.workload.generator;
    generator.check_targets(&flags.targets.targets)?;
    file::check_all(flags.json.iter())?;
    let workload = flags.run.apply(flags.workload.workload(generator.pin.clone()));
    let stop = Stop::on_signals()?;
    let mut curve = Curve::new(flags.condition.to_string());
    let mut search = Search::from(FIRST_RATE);
    while let Some(rate) = search.next() {
        let run = load::run(flags.plan(&workload, rate), &stop, &mut ())?;
        curve.partial = run.interrupted.is_some();
        let report = Report::of(&run, environment.clone(), std::slice::from_ref(&flags.condition));
        // An INVALID run says nothing about the server, whatever its figures.
        let holds = report
            .assertions
            .iter()
            .all(|assertion| assertion.result == AssertionResult::True);
        let held = holds && report.verdict.grade != Grade::Invalid;
        let point = curve.push(rate, held, &report);
        eprintln!("{point}"); // A search takes minutes: show that it goes on.
        if let Some(signal) = run.interrupted {
            flags.publish(&curve)?;
            return Ok(ExitCode::from(signal::exit_code(signal)));
        }
        search.record(held);
    }
    curve.found_per_s = search.found();
    flags.publish(&curve)?;
    Ok(ExitCode::from(if curve.found_per_s.is_some() { 0 } else { 1 }))
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
