//! `urecho check --save-baseline` and `--baseline`: head alone, against runs of another day.

use std::process::ExitCode;

use super::{Flags, in_file};
use crate::check::baseline::{Baseline, Run};
use crate::check::experiment::{Experiment, Offered};
use crate::check::metric::Profile;
use crate::cli::progress;
use crate::clock::Nanos;
use crate::error::Result;
use crate::report::{Environment, files};
use crate::sys::machine;
use crate::sys::signal::{self, Stop};

pub(super) fn run(flags: &Flags) -> Result<ExitCode> {
    let (path, saves) = match (&flags.save_baseline, &flags.baseline) {
        (Some(path), _) => (path, true),
        (None, Some(path)) => (path, false),
        (None, None) => unreachable!("one of them was given"),
    };
    let known = (!saves || path.exists())
        .then(|| in_file(path, Baseline::read))
        .transpose()?;
    let mut trial = flags.trial_of_head()?;
    if let Some(baseline) = &known {
        follow(&mut trial, baseline);
    }
    let stop = Stop::on_signals()?;
    let environment = Environment::of(machine::describe()); // Before this thread is pinned.
    let nothing = trial.nothing(&environment);
    let is_in_vain = |known: &Baseline| known.refusal_of(&nothing.environment).is_some();
    let run = if known.as_ref().is_some_and(is_in_vain) {
        nothing // There is no need to measure what will not be compared.
    } else {
        let run = trial.run_alone(&environment, &stop, &mut super::progress);
        progress::clear();
        if let Some(signal) = stop.signal() {
            return Ok(ExitCode::from(signal::exit_code(signal)));
        }
        run?
    };
    match known {
        Some(baseline) if !saves => {
            let story = baseline.story(&run);
            flags.outlets.tell(&story, None)?;
            Ok(ExitCode::from(story.judgement.exit_code))
        }
        known => save(flags, known, run),
    }
}

/// The same blocks, slices and rate as those that were stored.
fn follow(trial: &mut Experiment, baseline: &Baseline) {
    trial.blocks = trial.blocks.or(baseline.blocks());
    for &profile in &trial.profiles.clone() {
        if let Some((slice, rate)) = baseline.load(profile) {
            trial.slice = trial.slice.or(Some(Nanos(slice)));
            if let (Profile::Open, Some(rate)) = (profile, rate) {
                trial.offered = Offered::Rate(rate);
            }
        }
    }
}

fn save(flags: &Flags, known: Option<Baseline>, run: Run) -> Result<ExitCode> {
    let path = flags.save_baseline.as_deref().expect("it saves");
    let baseline = match known {
        None => Baseline::new(run),
        Some(known) => {
            if let Some(refusal) = known.refusal(&run) {
                println!("not saved: {refusal}");
                return Ok(ExitCode::from(3));
            }
            let mut baseline = known;
            baseline.runs.push(run);
            baseline
        }
    };
    files::write_whole(path, &baseline.json())?;
    let (runs, apart) = (baseline.runs.len(), baseline.runs_apart());
    println!(
        "{}: {runs} stored, {apart} of them an hour apart; it takes 3 of these",
        path.display()
    );
    Ok(ExitCode::SUCCESS)
}
