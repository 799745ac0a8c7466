//! Comparisons with constructed runs.

use super::counted::{RUNS_MAX, RUNS_MIN, SEPARATION_S};
use super::*;
use crate::check::fixtures::{UNCHANGED, figures, pooled, record};
use crate::check::judge::Verdict;
use crate::check::judge::decision::{Analysis, Decision};
use crate::check::record::Inconclusive;
use crate::random::Random;
use crate::sys::identity::tests::{machine, salt};

/// A run on a day that is slower by this factor; its launches vary by half a percent.
fn run(day: f64) -> Run {
    let record = record(0, &UNCHANGED);
    let restart = |number: usize| {
        let launch = 1.0 + ((number * 5) % 11) as f64 / 1_000.0 - 0.005;
        let block = figures(day * launch, &UNCHANGED);
        let load = LoadFigures {
            blocks: vec![block; 3],
            pooled: pooled(number),
        };
        SingleRestart {
            closed: Some(load.clone()),
            open: Some(load),
        }
    };
    Run {
        command: "./server {port}".into(),
        began_s: 0,
        elapsed_ns: 1,
        environment: record.environment,
        settings: record.settings,
        setup: record.setup.unwrap(),
        restarts: (0..20).map(restart).collect(),
    }
}

/// This boot of this machine.
fn here() -> MachineIdentity {
    machine(&salt(), ["installation", "", "boot"])
}

fn other_boot(number: usize) -> MachineIdentity {
    machine(&salt(), ["installation", "", &format!("boot {number}")])
}

/// Runs on these days, an hour apart, in this boot.
fn baseline(days: &[f64]) -> Baseline {
    let stored = |(hour, &day): (u64, &f64)| StoredRun {
        identity: here(),
        run: Run {
            began_s: hour * SEPARATION_S,
            ..run(day)
        },
    };
    Baseline {
        schema: SCHEMA.into(),
        salt: salt(),
        runs: (0..).zip(days).map(stored).collect(),
    }
}

/// Six days that vary by 1 %: the interval is 22 % wide on both sides.
const DAYS: [f64; 6] = [1.0, 1.01, 0.99, 1.012, 0.988, 1.0];

#[track_caller]
fn assert_judged(days: &[f64], today: f64, verdict: Verdict, exit_code: u8) {
    let summary = baseline(days).summary(&run(today), &here());
    let found = (summary.judgement.verdict, summary.judgement.exit_code);
    assert_eq!(found, (verdict, exit_code), "{summary}");
}

#[test]
fn a_far_worse_day_regressed_and_one_like_the_others_passes_if_they_hardly_differ() {
    assert_judged(&DAYS, 1.3, Verdict::Regressed, 1);
    assert_judged(&DAYS, 0.75, Verdict::Improved, 0);
    assert_judged(&DAYS, 1.05, Verdict::Inconclusive, 3);
    let steady = DAYS.map(|day| 1.0 + (day - 1.0) / 20.0);
    assert_judged(&steady, 1.0, Verdict::Passed, 0);
}

#[test]
fn days_that_differ_make_it_inconclusive() {
    let different = DAYS.map(|day| 1.0 + (day - 1.0) * 10.0);
    assert_judged(&different, 1.1, Verdict::Inconclusive, 3);
    assert_judged(&different, 1.0, Verdict::Inconclusive, 3);
}

#[test]
fn fewer_than_five_stored_runs_are_inconclusive_whatever_that_means_and_the_number_missing_is_named() {
    let mut today = run(2.0);
    today.settings.inconclusive = Inconclusive::Pass;
    let summary = baseline(&DAYS[..3]).summary(&today, &here());
    assert_eq!(summary.judgement.exit_code, 3);
    assert!(summary.to_string().contains("has 3: store 2 more"), "{summary}");
    assert_eq!(baseline(&DAYS[..5]).judge(&today, &here()).exit_code, 1);
}

#[test]
fn of_runs_within_an_hour_one_counts_in_spread_and_mean() {
    let mut hasty = baseline(&DAYS);
    let again = hasty.runs[0].clone();
    for second in 1..100 {
        let mut again = again.clone();
        again.run.began_s += second;
        again.run.restarts.clear();
        hasty.runs.push(again);
    }
    let summary = |stored: &Baseline| stored.judge(&run(1.2), &here());
    assert_eq!(summary(&hasty), summary(&baseline(&DAYS)));
    assert_eq!(hasty.counted(&here()).runs.len(), 6);
}

#[test]
fn the_newest_runs_count_up_to_a_limit() {
    let stored = baseline(&[1.0; 40]);
    let counted = stored.counted(&here());
    let hours: Vec<u64> = counted
        .runs
        .iter()
        .map(|stored| stored.run.began_s / SEPARATION_S)
        .collect();
    assert_eq!((hours.len(), hours[0]), (RUNS_MAX, 39));
}

#[test]
fn after_a_restart_of_the_machine_one_run_of_each_boot_counts() {
    let mut stored = baseline(&[1.0; 12]);
    for (hour, run) in stored.runs.iter_mut().enumerate() {
        run.identity = other_boot(hour / 2);
    }
    let counted = stored.counted(&here());
    assert_eq!((counted.runs.len(), counted.of_this_boot), (6, false));
    // Enough runs of this boot replace those of others.
    for run in &mut stored.runs[..RUNS_MIN] {
        run.identity = here();
    }
    let counted = stored.counted(&here());
    assert_eq!((counted.runs.len(), counted.of_this_boot), (RUNS_MIN, true));
    let all_of_one_other_boot = baseline(&DAYS).judge(&run(2.0), &other_boot(1));
    assert_eq!(all_of_one_other_boot.exit_code, 3, "{all_of_one_other_boot:?}");
}

#[test]
fn another_machine_of_the_same_type_is_refused() {
    let stored = baseline(&DAYS);
    let other = machine(&salt(), ["another installation", "", "another boot"]);
    let summary = stored.summary(&run(2.0), &other);
    assert_eq!(summary.judgement.exit_code, 3);
    assert!(summary.to_string().contains("from another machine"), "{summary}");
    let nameless = machine(&salt(), ["", "", "another boot"]);
    let summary = stored.summary(&run(2.0), &nameless);
    assert!(summary.to_string().contains("neither /etc/machine-id nor"), "{summary}");
}

#[test]
fn another_kernel_or_load_is_refused_whatever_inconclusive_means() {
    let stored = baseline(&DAYS);
    let mut today = run(1.0);
    today.settings.inconclusive = Inconclusive::Pass;
    assert_eq!(stored.judge(&today, &here()).exit_code, 0);
    today.environment.machine.kernel = Some("6.99".into());
    let summary = stored.summary(&today, &here());
    assert_eq!(summary.judgement.exit_code, 3);
    assert!(summary.to_string().contains("different kernel"), "{summary}");
    for change in [
        (|run| run.setup.loads[0].blocks = 9) as fn(&mut Run),
        |run| run.setup.loads[0].connections = 9,
        |run| run.setup.connected_at_once = false,
        |run| run.settings.restarts = 1,
    ] {
        let mut other = run(1.0);
        change(&mut other);
        assert!(stored.refuses(&other, &here()).unwrap().contains("different load"));
    }
}

#[test]
fn a_baseline_is_read_as_it_was_written_and_an_old_one_is_refused_with_the_remedy() {
    let stored = baseline(&DAYS);
    let json = stored.json();
    assert_eq!(Baseline::parse(&json).unwrap(), stored);
    for old in [
        json.replace("\"salt\"", "\"pepper\""),
        json.replace("baseline/2", "baseline/1"),
        "{}".into(),
    ] {
        let error = Baseline::parse(&old).unwrap_err().to_string();
        assert!(error.contains("store a new baseline"), "{error}");
    }
}

/// Ways in which a day may differ from another, in units of its spread.
const SCATTER: [fn(&mut Random) -> f64; 4] = [
    Random::normal,
    |random| random.exponential() - random.exponential(),
    // One day in ten varies three times as much.
    |random| random.normal() * if random.below(10) == 0 { 3.0 } else { 1.0 },
    // Student's t with 3 degrees of freedom: its fourth moment does not exist.
    |random| {
        let squares: f64 = (0..3).map(|_| random.normal().powi(2)).sum();
        random.normal() / (squares / 3.0).sqrt()
    },
];

/// The share of comparisons by eight independent metrics with `runs` stored runs that end as regressed, if head is
/// worse by `change` (a log ratio) in all of them, and the threshold is 2 %.
fn regressed(draw: fn(&mut Random) -> f64, spread: f64, runs: usize, change: f64, trials: u32) -> f64 {
    let mut random = Random::new(1, runs as u64);
    let mut metric = || {
        let stored: Vec<f64> = (0..runs).map(|_| spread * draw(&mut random)).collect();
        let head = change + spread * draw(&mut random);
        let estimate = comparison::estimate(&stored, head, comparison::ALPHA / 8.0);
        Analysis::of(Some(estimate), 0.02).decision == Decision::Regressed
    };
    let regressed = (0..trials).filter(|_| [(); 8].map(|()| metric()).contains(&true));
    regressed.count() as f64 / f64::from(trials)
}

#[test]
fn an_unchanged_server_regressed_in_fewer_than_one_percent_of_comparisons_however_days_vary() {
    for draw in SCATTER {
        for runs in [RUNS_MIN, RUNS_MAX] {
            // The threshold only lowers the share: without one, it is the same for every spread.
            let share = regressed(draw, 10.0, runs, 0.0, 10_000);
            assert!(share < 0.01, "{runs} runs: {share}");
        }
    }
}

#[test]
fn a_change_of_20_percent_is_found_if_days_vary_little() {
    let share = |spread: f64, runs: usize| regressed(Random::normal, spread, runs, 0.2_f64.ln_1p(), 1_000);
    assert!(share(0.01, 10) > 0.99 && share(0.02, 10) > 0.95, "found");
    assert!(share(0.02, 5) < 0.1 && share(0.03, 10) < 0.5, "not found");
}
