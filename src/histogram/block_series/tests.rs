//! Whether the intervals hold what they promise, in seeded simulations, and the quantiles what the tables say.

use super::*;

/// SplitMix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    /// Uniform below 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A run of `seconds`, each with `samples` latencies of (a level + uniform below 1) × 100 µs.
fn run(
    seconds: usize,
    samples: usize,
    seed: u64,
    mut level: impl FnMut(&mut Random) -> f64,
) -> (BlockSeries, Recorder) {
    let mut random = Random(seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
    let (mut blocks, mut total) = (BlockSeries::new(), Recorder::new());
    for _ in 0..seconds {
        let level = level(&mut random);
        let mut second = Recorder::new();
        for _ in 0..samples {
            second.record(Nanos(((level + random.share()) * 1e5) as u64));
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
            level = random.share() * height;
        }
        second += 1;
        level
    }
}

/// In how many of 100 runs the interval held the true value: of all methods together, and of order statistics alone.
fn coverage<L: FnMut(&mut Random) -> f64>(
    truth: f64,
    q: f64,
    seconds: usize,
    samples: usize,
    mut level: impl FnMut() -> L,
) -> (f64, f64) {
    const RUNS: u32 = 300;
    let truth = Nanos((truth * 1e5) as u64);
    let holds = |(low, high)| low <= truth && truth <= high;
    let (mut ours, mut plain) = (0, 0);
    for seed in 0..RUNS {
        let (blocks, total) = run(seconds, samples, seed.into(), level());
        let interval = blocks.interval(&total, q).unwrap();
        ours += u32::from(holds((interval.low, interval.high)));
        plain += u32::from(holds(total.interval(q).unwrap()));
    }
    let percent = |hits: u32| 100.0 * f64::from(hits) / f64::from(RUNS);
    (percent(ours), percent(plain))
}

#[test]
fn independent_samples_are_covered_in_about_95_of_100_runs() {
    // The deviation of 300 runs is 1.3 %: 95 % less or more than three of them.
    for q in [0.5, 0.9, 0.99] {
        let (ours, _) = coverage(q, q, 30, 100, || |_: &mut Random| 0.0);
        assert!(ours >= 91.0, "q {q}: {ours} %");
    }
}

#[test]
fn samples_whose_level_shifts_by_the_second_are_covered_where_order_statistics_fail() {
    // Uniform below 1 and uniform below 2 add up to a trapezoid: above 2 the share beyond x is (3 - x)²/4.
    let truths = [(0.5, 1.5), (0.9, 3.0 - 0.4_f64.sqrt()), (0.99, 2.8)];
    for (q, truth) in truths {
        let (ours, plain) = coverage(truth, q, 30, 400, || shifting(2.0, 1));
        assert!(ours >= 88.0, "q {q}: {ours} %");
        assert!(plain <= 40.0, "q {q}: order statistics {plain} %");
    }
}

#[test]
fn levels_that_outlast_a_second_are_noticed_and_grouped() {
    let (ours, plain) = coverage(1.5, 0.5, 120, 50, || shifting(2.0, 4));
    assert!(ours >= 88.0, "{ours} %");
    assert!(plain <= 40.0, "order statistics {plain} %");
}

#[test]
fn independent_samples_rarely_look_dependent() {
    // Two tests with 5 % false alarms each.
    let dependent = (0..300).filter(|&seed| {
        let (blocks, total) = run(30, 100, seed, |_| 0.0);
        matches!(blocks.interval(&total, 0.9).unwrap().method, Method::BlockSeries { .. })
    });
    let dependent = dependent.count();
    assert!(dependent <= 45, "seeds 0 to 299: {dependent} false alarms");
}

#[test]
fn ties_do_not_look_like_dependence() {
    // One bucket holds nine samples in ten. BlockSeries that all have the same mixture differ by less than chance.
    let (mut blocks, mut total) = (BlockSeries::new(), Recorder::new());
    for _ in 0..20 {
        let mut second = Recorder::new();
        (0..100).for_each(|k| second.record(Nanos(if k < 90 { 500 } else { 700 })));
        blocks.push(&second);
        total.merge(&second);
    }
    for q in [0.5, 0.9, 0.95] {
        let interval = blocks.interval(&total, q).unwrap();
        assert_eq!(interval.method, Method::OrderStatistics, "q {q}");
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
    assert_eq!(interval.method, Method::Untested);
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
    let (_, plain_high) = total.interval(0.99).unwrap();
    assert!(
        matches!(tail.method, Method::BlockSeries { dispersion, .. } if dispersion > 100.0),
        "{tail:?}"
    );
    assert!(plain_high < Nanos(10_100_000) && tail.high == Nanos::NEVER, "{tail:?}");
    // Order statistics are sure that p99 is 10 ms. But it hangs on a single event.
    assert!(
        total.interval(0.99).unwrap().0 > Nanos(9_900_000) && tail.low < Nanos(100_000),
        "{tail:?}"
    );
    let median = blocks.interval(&total, 0.5).unwrap();
    assert!(median.high < Nanos(80_000), "{median:?}");
}

#[test]
fn a_run_too_short_to_test_says_so() {
    let (blocks, total) = run(4, 1_000, 1, |_| 0.0);
    let interval = blocks.interval(&total, 0.5).unwrap();
    assert_eq!(interval.method, Method::Untested);
    assert_eq!(Some((interval.low, interval.high)), total.interval(0.5));
    // 30 s, but only 3 samples beyond: no five groups with five of them each.
    let (blocks, total) = run(30, 130, 1, |_| 0.0);
    assert_eq!(blocks.interval(&total, 0.999).unwrap().method, Method::Untested);
}

#[test]
fn too_few_samples_have_no_interval() {
    let (blocks, total) = run(10, 36, 1, |_| 0.0);
    assert_eq!(blocks.interval(&total, 0.99), None);
    assert_eq!(BlockSeries::default().interval(&Recorder::new(), 0.5), None);
}

#[test]
fn missing_answers_leave_the_upper_end_open() {
    let (mut blocks, mut total) = run(30, 100, 3, shifting(2.0, 1));
    let mut last = Recorder::new();
    (0..400).for_each(|_| last.record_missing(Nanos(1_000_000)));
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
        assert!(blocks.packed.len() <= MOST);
        let held: u64 = blocks.packed.iter().map(|block| unpack(block).len()).sum();
        if second % 50 == 0 {
            assert_eq!(held, total.count(), "after {second} seconds");
        }
    }
    // 256 and then 512 and 1,024 blocks were too many: eight seconds in each but the last.
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
fn quantiles_agree_with_the_tables() {
    for (degrees, chi_square, t) in [
        (4, 9.488, 2.776),
        (5, 11.070, 2.571),
        (9, 16.919, 2.262),
        (19, 30.144, 2.093),
        (29, 42.557, 2.045),
        (100, 124.342, 1.984),
        (255, 293.248, 1.969),
    ] {
        let ours = dispersion_95(degrees) * degrees as f64;
        assert!((ours / chi_square - 1.0).abs() < 0.004, "chi-square {degrees}: {ours}");
        assert!((t_975(degrees) - t).abs() < 0.001, "t {degrees}: {}", t_975(degrees));
    }
}

#[test]
fn widened_ranks_are_those_of_order_statistics_when_nothing_widens_them() {
    // 10,000 groups: t is the normal point. Skewness moves the ranks of the tail by half of one.
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
