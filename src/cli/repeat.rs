//! `urecho load --repeat`: the same plan several times, with other seeds.

use crate::cli::run_progress::RunProgress;
use crate::error::{Error, Result};
use crate::load::{self, Plan, RunResult};
use crate::output::console;
use crate::random::SEED_MAX;
use crate::report::assertion::Assertion;
use crate::report::repeat::{Collector, Repeats};
use crate::report::{Environment, Report};
use crate::sys::signal::Stop;

/// Runs the plan `times` times, each with a seed one higher. Returns what follows from all runs, with the signal that
/// ended the series, if one did, or the error that did. `exit_code` judges a run.
pub(super) fn execute(
    times: u32,
    plan: &Plan,
    assertions: &[Assertion],
    environment: &Environment,
    stop: &Stop,
    exit_code: impl Fn(&RunResult, &Report) -> Result<u8>,
) -> (Result<Option<i32>>, Repeats) {
    let mut collector = Collector::new(times.into(), assertions, plan.workload.pace.is_open());
    let (mut failure, mut interrupted) = (None, None);
    for index in 0..times {
        let mut plan = plan.clone();
        plan.workload.seed = (plan.workload.seed + u64::from(index)) & SEED_MAX;
        let seed = plan.workload.seed;
        let which = format!("run {} of {times}", index + 1);
        console::progress(format_args!("{which}, seed {seed}")); // A series takes minutes: show that it goes on.
        let mut progress = RunProgress::of_series(&plan.workload, which, (times - index - 1).into());
        let run = match load::run(plan, stop, &mut progress) {
            Ok(run) => run,
            Err(Error::Target(_)) if stop.has_fired() => {
                interrupted = stop.signal();
                break;
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        let report = Report::of(&run, environment.clone(), &[]);
        let defect = exit_code(&run, &report).err();
        interrupted = run.interrupted;
        let over = report.partial;
        collector.add(&run, report);
        failure = failure.or(defect);
        if over {
            break;
        }
    }
    let repeats = collector.finish(failure.as_ref().map(ToString::to_string));
    let end = match failure {
        Some(error) if interrupted.is_none() => Err(error),
        _ => Ok(interrupted),
    };
    (end, repeats)
}
