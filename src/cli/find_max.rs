//! `urecho find-max`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::load_flags::{ArrivalsFlag, RunFlags, TargetFlags, WorkloadFlags};
use crate::cli::run_progress::RunProgress;
use crate::clock::Nanos;
use crate::error::{self, Error, Outcome, Result};
use crate::find_max::curve::{Curve, Point, SCHEMA};
use crate::find_max::judge::{self, Evidence, Judgement};
use crate::find_max::search::Search;
use crate::html;
use crate::load::schedule::{Pace, Rate};
use crate::load::{self, Plan, Target, Workload};
use crate::output::publish::publish;
use crate::output::{console, place};
use crate::report::assertion::{self, Assertion};
use crate::report::{Environment, Report};
use crate::sys::signal::Stop;
use crate::units;

/// The first rate, in messages per second. Low: a server that cannot sustain it is found by halving.
const FIRST_RATE: f64 = 2_000.0;

/// How long to measure at each rate.
const DURATION: Nanos = Nanos(10_000_000_000);

#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The condition that must hold, as in `p99<1ms` or `response.p99.9<=5ms`
    ///
    /// A run that loses messages or connections, or completes less than 99 % of the rate, does not meet it.
    #[arg(value_name = "CONDITION", value_parser = assertion::parse)]
    condition: Assertion,
    /// Another condition that must hold, as in `errors<=0`; repeatable
    #[arg(long = "assert", value_name = "CONDITION", value_parser = assertion::parse)]
    others: Vec<Assertion>,
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
    /// Write a page with charts of latency and rate to FILE
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs one rate after another until the highest that meets the conditions is found. What was measured is written even
/// if a run ends in an error.
pub(super) fn run(flags: &Flags, environment: &Environment) -> Result<ExitCode> {
    let generator = &flags.workload.generator;
    let mut workload = flags.run.apply(flags.workload.workload(generator.pin()), DURATION);
    let conditions = flags.conditions(&workload)?;
    let [json, html] = place::open_all([&flags.json, &flags.html])?;
    let stop = Stop::on_signals()?;
    let targets = flags.targets.resolve(generator, &mut workload, &stop)?;
    let mut search = Search::from(FIRST_RATE);
    let (mut points, mut interrupted, mut error) = (Vec::new(), None, None);
    while let (Some(rate), None, None) = (search.rate(), interrupted, &error) {
        let which = format!("run {} at {}", points.len() + 1, units::show_rate(rate));
        let mut progress = RunProgress::of_series(&workload, which, 0); // How many come after it is not known.
        let run = load::run(flags.plan(&targets, &workload, rate), &stop, &mut progress);
        drop(progress);
        let run = match run {
            Ok(run) => run,
            Err(Error::Target(_)) if stop.has_fired() => {
                interrupted = stop.signal();
                break;
            }
            Err(failure) => {
                error = Some(failure);
                break;
            }
        };
        let report = Report::of(&run, environment.clone(), &conditions);
        let judgement = Judgement::of(Evidence::of(&run, &report), &conditions);
        interrupted = run.interrupted;
        error = run.stats.wrong_data.clone().map(Error::Data);
        if !report.partial {
            search = search.after(judgement.outcome);
        }
        let point = Point::of(rate, judgement, &report);
        console::progress(&point); // A search takes minutes: show that it goes on.
        points.push(point);
    }
    let curve = Curve {
        schema: SCHEMA.into(),
        conditions: conditions.iter().map(ToString::to_string).collect(),
        found_per_s: search.found(),
        undecided_per_s: search.undecided(),
        partial: interrupted.is_some() || error.is_some(),
        error: error.as_ref().map(ToString::to_string),
        environment: Some(environment.clone()),
        points,
    };
    let page = || html::page(&[curve.section()]);
    let written = publish(&curve, [(json.as_ref(), &|| curve.json()), (html.as_ref(), &page)]);
    match error {
        Some(error) => Err(error),
        None => Ok(ExitCode::from(written.exit_code(exit_code(interrupted, &curve)))),
    }
}

fn exit_code(interrupted: Option<i32>, curve: &Curve) -> u8 {
    let result = match (curve.found_per_s, curve.undecided_per_s) {
        (Some(_), _) => None,
        (None, None) => Some(Outcome::ConditionFailed),
        (None, Some(_)) => Some(Outcome::Undecided),
    };
    error::exit_code(result.into_iter().chain(interrupted.map(Outcome::Interrupted)))
}

impl Flags {
    /// All conditions. Errors: [`Error::Usage`] for one that cannot be searched for.
    fn conditions(&self, workload: &Workload) -> Result<Vec<Assertion>> {
        let conditions: Vec<Assertion> = std::iter::once(&self.condition).chain(&self.others).cloned().collect();
        for condition in &conditions {
            judge::check(condition, workload.traffic.depth).map_err(Error::Usage)?;
        }
        Ok(conditions)
    }

    /// `workload` as an open loop at this rate.
    fn plan(&self, targets: &[Target], workload: &Workload, rate: f64) -> Plan {
        Plan {
            targets: targets.to_vec(),
            workload: Workload {
                pace: Pace::Open {
                    rate: Rate { from: rate, to: rate },
                    arrivals: self.arrivals.into(),
                },
                ..workload.clone()
            },
        }
    }
}
