//! `urecho check --save-baseline` and `--baseline`: head alone, against runs of another day.

use std::process::ExitCode;

use super::{Flags, in_file};
use crate::check::baseline::{Baseline, Run};
use crate::check::metric::Profile;
use crate::check::trial::{Offered, Trial};
use crate::clock::Nanos;
use crate::error::{Error, Result};
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
    let head = flags
        .head
        .clone()
        .ok_or_else(|| Error::Usage("give the server as --head".into()))?;
    let mut trial = flags.trial_of(head.clone(), head)?;
    if let Some(baseline) = &known {
        follow(&mut trial, baseline);
    }
    let stop = Stop::new()?;
    signal::stop_on_signals(&stop)?;
    let environment = Environment::of(machine::look()); // Before this thread is pinned.
    let run = trial.run_alone(&environment, &stop, &mut super::progress);
    super::clear_progress();
    if let Some(signal) = stop.signal() {
        return Ok(ExitCode::from(128 + signal as u8));
    }
    let run = run?;
    match known {
        Some(baseline) if !saves => {
            let story = baseline.story(&run);
            flags.publish(&story, None)?;
            Ok(ExitCode::from(story.judgement.exit_code))
        }
        known => save(flags, known, run),
    }
}

/// The same blocks, slices and rate as those that were stored.
fn follow(trial: &mut Trial, baseline: &Baseline) {
    trial.blocks = baseline.blocks();
    for &profile in &trial.profiles.clone() {
        if let Some((slice, rate)) = baseline.load(profile) {
            trial.slice = Some(Nanos(slice));
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
    let runs = baseline.runs.len();
    println!(
        "{}: {runs} stored, it takes 3 or more, from different hours",
        path.display()
    );
    Ok(ExitCode::SUCCESS)
}
