//! Coverage of the intervals in seeded simulations.

use super::*;
use crate::random::Random;

/// A run of `seconds`, each with `samples` latencies of (level + uniform below 1) × 100 µs, at random instants.
fn run(
    seconds: usize,
    samples: usize,
    seed: u64,
    mut level: impl FnMut(&mut Random, f64) -> f64,
) -> (BatchSeries, Recorder) {
    let mut random = Random::new(seed, 0);
    let (mut batches, mut total) = (BatchSeries::default(), Recorder::new());
    for begin in 0..seconds {
        let mut second = Recorder::new();
        for k in 0..samples {
            let level = level(&mut random, begin as f64 + k as f64 / samples as f64);
            second.record(Nanos(((level + random.uniform()) * 1e5) as u64));
        }
        batches.push(&second);
        total.merge(&second);
    }
    (batches, total)
}

fn constant(_: &mut Random, _: f64) -> f64 {
    0.0
}

/// A level, uniform below `height`, that lasts for `seconds` and has begun at any time before the run.
fn shifting(height: f64, seconds: f64) -> impl FnMut(&mut Random, f64) -> f64 {
    let mut now = None;
    move |random, at| {
        let (mut level, mut end) = now.unwrap_or_else(|| (random.uniform() * height, random.uniform() * seconds));
        while at >= end {
            (level, end) = (random.uniform() * height, end + seconds);
        }
        now = Some((level, end));
        level
    }
}

/// Counts of simulated runs.
#[derive(Debug, Clone, Copy, Default)]
struct Coverage {
    runs: u32,
    /// The run was too short to tell.
    short: u32,
    /// The interval held the true value.
    held: u32,
    /// That of order statistics alone did.
    plain: u32,
}

impl Coverage {
    fn add(&mut self, (batches, total): &(BatchSeries, Recorder), q: f64, truth: f64) {
        let truth = Nanos((truth * 1e5) as u64);
        let holds = |interval: ConfidenceInterval| interval.low <= truth && truth <= interval.high;
        let interval = batches.interval(total, q).unwrap();
        let short = matches!(interval.method, IntervalMethod::TooShort { .. });
        self.runs += 1;
        self.short += u32::from(short);
        self.held += u32::from(!short && holds(interval));
        self.plain += u32::from(holds(total.interval(q).unwrap()));
    }

    /// In percent: runs that were too short or whose interval held the truth; intervals that held it, of those
    /// reported; order statistics that did.
    fn percent(self) -> [f64; 3] {
        let percent = |part: u32, whole: u32| 100.0 * f64::from(part) / f64::from(whole.max(1));
        [
            percent(self.held + self.short, self.runs),
            percent(self.held, self.runs - self.short),
            percent(self.plain, self.runs),
        ]
    }
}

/// The p50, p90 and p99 of a uniform below 1 and a uniform below `height`, which add up to a trapezoid.
fn truths(height: f64) -> [(f64, f64); 3] {
    let tail = |beyond: f64| 1.0 + height - (2.0 * height * beyond).sqrt();
    // The corner triangle has an area of min(1, height)²/2 of the whole height.
    let corner = height.min(1.0).powi(2) / 2.0 / height;
    let upper = |q: f64| {
        let beyond = 1.0 - q;
        if beyond <= corner {
            tail(beyond)
        } else {
            f64::max(1.0, height) - (beyond - corner) * f64::max(1.0, height)
        }
    };
    [(0.5, (1.0 + height) / 2.0), (0.9, upper(0.9)), (0.99, upper(0.99))]
}

/// Simulated runs for each case: few, so that the test is fast.
const RUNS: u32 = 100;

/// The coverage of p50, p90 and p99 in runs of `length` seconds with levels that last `seconds`.
fn coverage(length: usize, height: f64, seconds: f64, samples: usize) -> [(f64, Coverage); 3] {
    let mut found = truths(height).map(|(q, _)| (q, Coverage::default()));
    for seed in 0..RUNS {
        let run = run(length, samples, seed.into(), shifting(height, seconds));
        for ((q, truth), (_, coverage)) in truths(height).into_iter().zip(&mut found) {
            coverage.add(&run, q, truth);
        }
    }
    found
}

#[test]
fn independent_samples_are_covered_in_about_95_percent_of_runs() {
    let mut found = [0.5, 0.9, 0.99].map(|q| (q, Coverage::default()));
    for seed in 0..200 {
        let run = run(30, 100, seed, constant);
        found.iter_mut().for_each(|(q, coverage)| coverage.add(&run, *q, *q));
    }
    for (q, coverage) in found {
        // The standard deviation of 200 runs is 1.5 %. One run in ten tests as dependent, and p99 has only 6 groups.
        let [_, reported, _] = coverage.percent();
        assert!(reported >= 91.0 && coverage.short <= 30, "q {q}: {coverage:?}");
    }
}

#[test]
fn levels_of_1_to_5_s_are_covered_in_95_percent_of_runs_of_30_s_or_too_short_to_tell() {
    for (height, seconds) in [(2.0, 1.0), (2.0, 3.0), (0.3, 5.0)] {
        for (q, coverage) in coverage(30, height, seconds, 500) {
            let [held, _, plain] = coverage.percent();
            // The standard deviation of 100 runs is 2.2 %: 95 % less three of them.
            assert!(
                held >= 89.0,
                "height {height}, levels of {seconds} s, q {q}: {coverage:?}"
            );
            assert!(
                plain <= 50.0,
                "height {height}, levels of {seconds} s, q {q}: {coverage:?}"
            );
        }
    }
}

#[test]
fn levels_of_1_to_5_s_are_covered_in_95_percent_of_runs_of_10_s_or_too_short_to_tell() {
    for seconds in [1.0, 2.0, 3.0, 5.0] {
        for (q, coverage) in coverage(10, 2.0, seconds, 500) {
            let [held, ..] = coverage.percent();
            assert!(held >= 89.0, "levels of {seconds} s, q {q}: {coverage:?}");
        }
    }
}

#[test]
fn independent_samples_rarely_test_as_dependent() {
    // Two tests with 5 % false alarms each.
    let dependent = (0..300).filter(|&seed| {
        let (batches, total) = run(30, 100, seed, constant);
        matches!(
            batches.interval(&total, 0.9).unwrap().method,
            IntervalMethod::Batches { .. }
        )
    });
    let dependent = dependent.count();
    assert!(dependent <= 45, "seeds 0 to 299: {dependent} false alarms");
}

#[test]
fn ties_do_not_test_as_dependence() {
    // One bucket holds nine samples in ten. Batches with the same mixture differ by less than chance.
    let (mut batches, mut total) = (BatchSeries::default(), Recorder::new());
    for _ in 0..20 {
        let mut second = Recorder::new();
        (0..100).for_each(|k| second.record(Nanos(if k < 90 { 500 } else { 700 })));
        batches.push(&second);
        total.merge(&second);
    }
    for q in [0.5, 0.9, 0.95] {
        let interval = batches.interval(&total, q).unwrap();
        assert_eq!(interval.method, IntervalMethod::OrderStatistics, "q {q}");
    }
}

#[test]
fn samples_of_one_bucket_cannot_be_tested() {
    let mut total = Recorder::new();
    (0..100).for_each(|_| total.record(Nanos(500)));
    let mut batches = BatchSeries::default();
    (0..10).for_each(|_| batches.push(&total));
    let interval = batches.interval(&total, 0.5).unwrap();
    assert_eq!((interval.low, interval.high), (Nanos(500), Nanos(500)));
    assert_eq!(interval.method, IntervalMethod::Untested);
}

#[test]
fn a_stall_in_one_second_widens_the_tail_and_leaves_the_median() {
    // 30 s of 1,000 samples below 100 µs; in the tenth second half of them take 10 ms.
    let stall = |_: &mut Random, at: f64| if (9.0..10.0).contains(&at) { 99.0 } else { 0.0 };
    let (batches, total) = run(30, 1_000, 7, stall);
    let tail = batches.interval(&total, 0.99).unwrap();
    let plain = total.interval(0.99).unwrap();
    assert!(matches!(tail.method, IntervalMethod::Batches { .. }), "{tail:?}");
    assert!(plain.high < Nanos(10_100_000) && tail.high == Nanos::NEVER, "{tail:?}");
    // Order statistics put p99 at 10 ms, but that depends on a single event.
    assert!(plain.low > Nanos(9_900_000) && tail.low < Nanos(100_000), "{tail:?}");
    let median = batches.interval(&total, 0.5).unwrap();
    assert!(median.high < Nanos(80_000), "{median:?}");
}

#[test]
fn a_run_too_short_to_test_is_untested() {
    let (batches, total) = run(4, 1_000, 1, constant);
    let interval = batches.interval(&total, 0.5).unwrap();
    assert_eq!(interval.method, IntervalMethod::Untested);
    let plain = total.interval(0.5).unwrap();
    assert_eq!((interval.low, interval.high), (plain.low, plain.high));
    // 30 s, but only 3 samples beyond: no five groups with five of them each.
    let (batches, total) = run(30, 130, 1, constant);
    assert_eq!(
        batches.interval(&total, 0.999).unwrap().method,
        IntervalMethod::Untested
    );
}

#[test]
fn too_few_samples_have_no_interval() {
    let (batches, total) = run(10, 36, 1, constant);
    assert_eq!(batches.interval(&total, 0.99), None);
    assert_eq!(BatchSeries::default().interval(&Recorder::new(), 0.5), None);
}

#[test]
fn missing_replies_leave_the_upper_end_open() {
    let (mut batches, mut total) = run(30, 100, 3, shifting(2.0, 1.0));
    let mut last = Recorder::new();
    (0..400).for_each(|_| last.record_censored(Nanos(1_000_000)));
    batches.push(&last);
    total.merge(&last);
    let interval = batches.interval(&total, 0.9).unwrap();
    assert_eq!(interval.high, Nanos::NEVER, "{interval:?}");
}

#[test]
fn merged_neighbours_keep_every_sample() {
    let (mut batches, mut total) = (BatchSeries::default(), Recorder::new());
    for second in 1..=600_u64 {
        let mut recorder = Recorder::new();
        (0..second % 7).for_each(|k| recorder.record(Nanos(second * 1_000 + k)));
        batches.push(&recorder);
        total.merge(&recorder);
    }
    assert_eq!(batches.seconds.length(), 4);
    let mut batches = batches.seconds.batches().iter().cloned();
    let mut all = batches.next().unwrap();
    batches.for_each(|batch| all.merge(batch));
    assert_eq!(all.histogram(), total.histogram);
    assert_eq!((all.sum, all.count), (total.sum as f64, total.count()));
}

#[test]
fn batches_are_small() {
    // A second of 20,000 latencies between 100 µs and 300 µs.
    let (batches, _) = run(4, 20_000, 1, shifting(2.0, 1.0));
    let bytes = batches.seconds.batches().iter().map(|batch| batch.bytes.len()).max();
    assert!(bytes.unwrap() < 8_192, "{bytes:?}");
}

#[test]
fn without_dispersion_the_ranks_are_those_of_order_statistics() {
    // With 10,000 degrees of freedom t is normal. Skewness shifts the ranks of the tail by half of one.
    let spread = Spread {
        groups: 10_001,
        dispersion: 1.0,
    };
    for (count, q) in [(10_000, 0.5), (10_000, 0.9), (100_000, 0.01), (100_000, 0.99)] {
        let (low, high) = order_statistics::interval(count, q).unwrap();
        let (first, last) = spread.ranks(count, q);
        let (first, last) = (first.unwrap(), last.unwrap());
        assert!(
            first.abs_diff(low) <= 1 && last.abs_diff(high) <= 1,
            "n {count}, q {q}: {first}..{last} for {low}..{high}"
        );
    }
}

#[test]
fn the_length_of_levels_is_reported_where_the_run_is_too_short_to_tell() {
    // Ten seconds at one level, then ten at another.
    let (batches, total) = run(20, 400, 1, |_, at| if at < 10.0 { 0.0 } else { 2.0 });
    for interval in [batches.interval(&total, 0.5), batches.mean_interval(&total)] {
        let IntervalMethod::TooShort { level } = interval.unwrap().method else {
            panic!("{interval:?}");
        };
        assert!(
            (Nanos(6_000_000_000)..=Nanos(20_000_000_000)).contains(&level),
            "{level:?}"
        );
    }
}

#[test]
fn the_mean_is_covered_in_95_percent_of_runs() {
    let (mut held, mut reported) = (0, 0);
    for seed in 0..200 {
        let (batches, total) = run(30, 100, seed, shifting(2.0, 1.0));
        let interval = batches.mean_interval(&total).unwrap();
        reported += u32::from(matches!(interval.method, IntervalMethod::Batches { .. }));
        held += u32::from(interval.low <= Nanos(150_000) && Nanos(150_000) <= interval.high);
    }
    assert!(reported >= 195 && held >= 182, "{held} of {reported}");
}

#[test]
fn the_mean_of_fourteen_seconds_is_untested() {
    let (batches, total) = run(14, 100, 1, constant);
    assert_eq!(batches.mean_interval(&total).unwrap().method, IntervalMethod::Untested);
    assert_eq!(BatchSeries::default().mean_interval(&Recorder::new()), None);
}
