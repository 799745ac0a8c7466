//! Coverage of the intervals in seeded simulations.

use super::*;
use crate::random::Random;

/// A run of `seconds`, each with `samples` latencies of (level + uniform below 1) × 100 µs.
fn run(
    seconds: usize,
    samples: usize,
    seed: u64,
    mut level: impl FnMut(&mut Random) -> f64,
) -> (BlockSeries, Recorder) {
    let mut random = Random::new(seed, 0);
    let (mut blocks, mut total) = (BlockSeries::new(), Recorder::new());
    for _ in 0..seconds {
        let level = level(&mut random);
        let mut second = Recorder::new();
        for _ in 0..samples {
            second.record(Nanos(((level + random.uniform()) * 1e5) as u64));
        }
        blocks.push(&second);
        total.merge(&second);
    }
    (blocks, total)
}

/// A level for each second, uniform below `height`, that lasts for `seconds`.
fn shifting(height: f64, seconds: usize) -> impl FnMut(&mut Random) -> f64 {
    let (mut second, mut level) = (0, 0.0);
    move |random| {
        if second % seconds == 0 {
            level = random.uniform() * height;
        }
        second += 1;
        level
    }
}

/// Percentage of runs whose interval covered the true value: of all methods together, and of order statistics alone.
fn coverage<L: FnMut(&mut Random) -> f64>(
    truth: f64,
    q: f64,
    seconds: usize,
    samples: usize,
    mut level: impl FnMut() -> L,
) -> (f64, f64) {
    const RUNS: u32 = 300;
    let truth = Nanos((truth * 1e5) as u64);
    let holds = |interval: ConfidenceInterval| interval.low <= truth && truth <= interval.high;
    let (mut ours, mut plain) = (0, 0);
    for seed in 0..RUNS {
        let (blocks, total) = run(seconds, samples, seed.into(), level());
        ours += u32::from(holds(blocks.interval(&total, q).unwrap()));
        plain += u32::from(holds(total.interval(q).unwrap()));
    }
    let percent = |hits: u32| 100.0 * f64::from(hits) / f64::from(RUNS);
    (percent(ours), percent(plain))
}

#[test]
fn independent_samples_are_covered_in_about_95_percent_of_runs() {
    // The standard deviation of 300 runs is 1.3 %: 95 % less three of them.
    for q in [0.5, 0.9, 0.99] {
        let (ours, _) = coverage(q, q, 30, 100, || |_: &mut Random| 0.0);
        assert!(ours >= 91.0, "q {q}: {ours} %");
    }
}

#[test]
fn samples_whose_level_shifts_every_second_are_covered_where_order_statistics_fail() {
    // Uniform below 1 and uniform below 2 add up to a trapezoid: above 2 the share beyond x is (3 - x)²/4.
    let truths = [(0.5, 1.5), (0.9, 3.0 - 0.4_f64.sqrt()), (0.99, 2.8)];
    for (q, truth) in truths {
        let (ours, plain) = coverage(truth, q, 30, 400, || shifting(2.0, 1));
        assert!(ours >= 88.0, "q {q}: {ours} %");
        assert!(plain <= 40.0, "q {q}: order statistics {plain} %");
    }
}

#[test]
fn levels_that_outlast_a_second_are_detected_and_grouped() {
    let (ours, plain) = coverage(1.5, 0.5, 120, 50, || shifting(2.0, 4));
    assert!(ours >= 88.0, "{ours} %");
    assert!(plain <= 40.0, "order statistics {plain} %");
}

#[test]
fn independent_samples_rarely_test_as_dependent() {
    // Two tests with 5 % false alarms each.
    let dependent = (0..300).filter(|&seed| {
        let (blocks, total) = run(30, 100, seed, |_| 0.0);
        matches!(
            blocks.interval(&total, 0.9).unwrap().method,
            IntervalMethod::Blocks { .. }
        )
    });
    let dependent = dependent.count();
    assert!(dependent <= 45, "seeds 0 to 299: {dependent} false alarms");
}

#[test]
fn ties_do_not_test_as_dependence() {
    // One bucket holds nine samples in ten. Blocks with the same mixture differ by less than chance.
    let (mut blocks, mut total) = (BlockSeries::new(), Recorder::new());
    for _ in 0..20 {
        let mut second = Recorder::new();
        (0..100).for_each(|k| second.record(Nanos(if k < 90 { 500 } else { 700 })));
        blocks.push(&second);
        total.merge(&second);
    }
    for q in [0.5, 0.9, 0.95] {
        let interval = blocks.interval(&total, q).unwrap();
        assert_eq!(interval.method, IntervalMethod::OrderStatistics, "q {q}");
    }
}

#[test]
fn samples_of_one_bucket_cannot_be_tested() {
    let mut total = Recorder::new();
    (0..100).for_each(|_| total.record(Nanos(500)));
    let mut blocks = BlockSeries::new();
    (0..10).for_each(|_| blocks.push(&total));
    let interval = blocks.interval(&total, 0.5).unwrap();
    assert_eq!((interval.low, interval.high), (Nanos(500), Nanos(500)));
    assert_eq!(interval.method, IntervalMethod::Untested);
}

#[test]
fn a_stall_in_one_second_widens_the_tail_and_leaves_the_median() {
    // 30 s of 1,000 samples below 100 µs; in the tenth second half of them take 10 ms.
    let mut second = 0;
    let (blocks, total) = run(30, 1_000, 7, |_| {
        second += 1;
        if second == 10 { 99.0 } else { 0.0 }
    });
    let tail = blocks.interval(&total, 0.99).unwrap();
    let plain = total.interval(0.99).unwrap();
    assert!(
        matches!(tail.method, IntervalMethod::Blocks { dispersion, .. } if dispersion > 100.0),
        "{tail:?}"
    );
    assert!(plain.high < Nanos(10_100_000) && tail.high == Nanos::NEVER, "{tail:?}");
    // Order statistics put p99 at 10 ms, but that depends on a single event.
    assert!(plain.low > Nanos(9_900_000) && tail.low < Nanos(100_000), "{tail:?}");
    let median = blocks.interval(&total, 0.5).unwrap();
    assert!(median.high < Nanos(80_000), "{median:?}");
}

#[test]
fn a_run_too_short_to_test_is_untested() {
    let (blocks, total) = run(4, 1_000, 1, |_| 0.0);
    let interval = blocks.interval(&total, 0.5).unwrap();
    assert_eq!(interval.method, IntervalMethod::Untested);
    let plain = total.interval(0.5).unwrap();
    assert_eq!((interval.low, interval.high), (plain.low, plain.high));
    // 30 s, but only 3 samples beyond: no five groups with five of them each.
    let (blocks, total) = run(30, 130, 1, |_| 0.0);
    assert_eq!(blocks.interval(&total, 0.999).unwrap().method, IntervalMethod::Untested);
}

#[test]
fn too_few_samples_have_no_interval() {
    let (blocks, total) = run(10, 36, 1, |_| 0.0);
    assert_eq!(blocks.interval(&total, 0.99), None);
    assert_eq!(BlockSeries::default().interval(&Recorder::new(), 0.5), None);
}

#[test]
fn missing_replies_leave_the_upper_end_open() {
    let (mut blocks, mut total) = run(30, 100, 3, shifting(2.0, 1));
    let mut last = Recorder::new();
    (0..400).for_each(|_| last.record_censored(Nanos(1_000_000)));
    blocks.push(&last);
    total.merge(&last);
    let interval = blocks.interval(&total, 0.9).unwrap();
    assert_eq!(interval.high, Nanos::NEVER, "{interval:?}");
}

#[test]
fn merged_neighbours_keep_every_sample() {
    let (mut blocks, mut total) = (BlockSeries::new(), Recorder::new());
    for second in 1..=1_100_u64 {
        let mut recorder = Recorder::new();
        (0..second % 7).for_each(|k| recorder.record(Nanos(second * 1_000 + k)));
        blocks.push(&recorder);
        total.merge(&recorder);
        assert!(blocks.packed.len() <= BLOCKS_MAX);
        let held: u64 = blocks.packed.iter().map(|block| unpack(block).len()).sum();
        if second % 50 == 0 {
            assert_eq!(held, total.count(), "after {second} seconds");
        }
    }
    // Merged at 256, 512 and 1,024 seconds: eight seconds in each block but the last.
    assert_eq!((blocks.length(), blocks.packed.len()), (8, 138));
    let mut all = unpack(&blocks.packed[0]);
    blocks.packed[1..]
        .iter()
        .for_each(|block| all.add(unpack(block)).unwrap());
    assert_eq!(all, total.histogram);
}

#[test]
fn blocks_are_small() {
    // A second of 20,000 latencies between 100 µs and 300 µs.
    let (blocks, _) = run(4, 20_000, 1, shifting(2.0, 1));
    let bytes = blocks.packed.iter().map(|block| block.len()).max();
    assert!(bytes.unwrap() < 8_192, "{bytes:?}");
}

#[test]
fn without_dispersion_the_ranks_are_those_of_order_statistics() {
    // With 10,000 degrees of freedom t is normal. Skewness shifts the ranks of the tail by half of one.
    let spread = Spread {
        dependent: true,
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
