//! `urecho load --find-max`: many runs, one curve.

use std::process::ExitCode;

use crate::cli::outputs::Outputs;
use crate::error::Result;
use crate::find_max::search::{Curve, Search};
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::load::{self, Plan, Workload};
use crate::report::Report;
use crate::report::assertion::{Assertion, AssertionResult};
use crate::report::verdict::Grade;
use crate::sys::machine;
use crate::sys::signal;
use crate::sys::signal::Stop;

/// Where the search begins, in messages a second. Low: a server that cannot keep it is found by halving.
const BEGIN: f64 = 2_000.0;

/// Runs one rate after the other until the highest that satisfies `condition` is known; prints the curve.
pub(super) fn execute(plan: &Plan, condition: &Assertion, outputs: &Outputs, stop: &Stop) -> Result<ExitCode> {
    let machine = machine::describe();
    let mut curve = Curve::of(condition.to_string());
    let mut search = Search::from(BEGIN);
    while let Some(rate) = search.next() {
        let outcome = load::run(at_rate(plan, rate), stop, &mut ())?;
        curve.partial = outcome.interrupted.is_some();
        let report = Report::of(&outcome, machine.clone(), std::slice::from_ref(condition));
        // A run that says little about the server shows nothing, whatever its figures.
        let held = report.verdict.grade != Grade::Invalid
            && report
                .assertions
                .iter()
                .all(|judgement| judgement.truth == AssertionResult::True);
        curve.push(rate, held, &report);
        if let Some(point) = curve.points.last() {
            eprintln!("{point}"); // So that nobody watches a silent screen for minutes.
        }
        if let Some(signal) = outcome.interrupted {
            outputs.write_curve(&curve)?;
            return Ok(ExitCode::from(signal::exit_code(signal)));
        }
        search.tell(held);
    }
    curve.found_per_s = search.found();
    outputs.write_curve(&curve)?;
    Ok(ExitCode::from(if curve.found_per_s.is_some() { 0 } else { 1 }))
}

fn at_rate(plan: &Plan, rate: f64) -> Plan {
    let arrivals = match plan.workload.pace {
        Pace::Open { arrivals, .. } => arrivals,
        Pace::Closed { .. } => Arrivals::Poisson,
    };
    let rate = Rate { from: rate, to: rate };
    Plan {
        targets: plan.targets.clone(),
        workload: Workload {
            pace: Pace::Open { rate, arrivals },
            ..plan.workload.clone()
        },
    }
}
