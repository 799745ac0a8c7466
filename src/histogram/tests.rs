//! What a recorder may say, what it must not say, and what it costs.

use super::*;

const MS: u64 = 1_000_000;

fn recorded(latencies: impl IntoIterator<Item = u64>) -> Recorder {
    let mut recorder = Recorder::new();
    latencies.into_iter().for_each(|ns| recorder.record(Nanos(ns)));
    recorder
}

fn known(reading: Percentile) -> Value {
    match reading {
        Percentile::Known(figure) => figure,
        Percentile::NotEnough { needs } => panic!("needs {needs} samples"),
    }
}

/// Checks a figure to the histogram's precision of 0.1 %.
fn near(figure: Value, ns: u64) {
    assert!(
        figure.value.0.abs_diff(ns) as f64 <= ns as f64 / 1_000.0,
        "{figure:?} is not near {ns}"
    );
}

#[test]
fn percentiles_are_the_nearest_ranks_of_what_was_recorded() {
    let recorder = recorded((1..=1_000).map(|ms| ms * MS));
    for (q, ms) in [(0.5, 500), (0.9, 900), (0.99, 990)] {
        let figure = known(recorder.quantile(q));
        near(figure, ms * MS);
        assert!(!figure.lower_bound_only);
    }
}

#[test]
fn a_percentile_needs_enough_samples() {
    let mut recorder = recorded(1..=367);
    assert_eq!(recorder.quantile(0.99), Percentile::NotEnough { needs: 368 });
    assert_eq!(recorder.interval(0.99), None);
    recorder.record(Nanos(368));
    assert_eq!(known(recorder.quantile(0.99)).value, Nanos(365));
    assert_eq!(recorder.quantile(0.999), Percentile::NotEnough { needs: 3_688 });
    assert_eq!(Recorder::new().quantile(0.5), Percentile::NotEnough { needs: 6 });
}

#[test]
fn min_max_and_mean_are_exact() {
    let recorder = recorded([123_456_789, 987_654_321, 1_000_000_001]);
    assert_eq!(recorder.min().map(|figure| figure.value), Some(Nanos(123_456_789)));
    assert_eq!(recorder.max().map(|figure| figure.value), Some(Nanos(1_000_000_001)));
    assert_eq!(
        recorder.mean().map(|figure| figure.value),
        Some(Nanos((123_456_789 + 987_654_321 + 1_000_000_001) / 3))
    );
}

#[test]
fn an_empty_recorder_has_nothing_to_say() {
    let recorder = Recorder::default();
    assert_eq!((recorder.count(), recorder.censored(), recorder.saturated()), (0, 0, 0));
    assert_eq!((recorder.min(), recorder.max(), recorder.mean()), (None, None, None));
}

#[test]
fn no_percentile_exceeds_the_maximum() {
    // 1,000,001 shares its bucket with slightly larger values.
    let recorder = recorded([1_000_001; 400]);
    assert_eq!(known(recorder.quantile(0.99)).value, Nanos(1_000_001));
    assert_eq!(recorder.interval(0.5), Some((Nanos(1_000_001), Nanos(1_000_001))));
}

#[test]
fn a_missing_answer_makes_what_lies_beyond_its_age_a_lower_bound() {
    // 980 fast answers, 10 that were given up after 100 ms, 10 that took 200 ms.
    let mut recorder = recorded((0..990).map(|k| if k < 980 { MS } else { 200 * MS }));
    (0..10).for_each(|_| recorder.record_missing(Nanos(100 * MS)));
    assert_eq!((recorder.count(), recorder.censored()), (1_000, 10));

    assert!(!known(recorder.quantile(0.9)).lower_bound_only);
    let p99 = known(recorder.quantile(0.99));
    near(p99, 100 * MS);
    assert!(p99.lower_bound_only);
    assert!(
        p99.value <= Nanos(100 * MS),
        "a lower bound may not be rounded up: {p99:?}"
    );
    assert_eq!(
        recorder.max(),
        Some(Value {
            value: Nanos(200 * MS),
            lower_bound_only: true
        })
    );
    assert!(recorder.mean().unwrap().lower_bound_only);
    assert_eq!(
        recorder.min(),
        Some(Value {
            value: Nanos(MS),
            lower_bound_only: false
        })
    );
    assert_eq!(recorder.interval(0.99).unwrap().1, Nanos::NEVER);
    assert!(recorder.interval(0.5).unwrap().1 < Nanos(2 * MS));
}

#[test]
fn when_every_answer_is_missing_even_the_minimum_is_a_lower_bound() {
    let mut recorder = Recorder::new();
    recorder.record_missing(Nanos(5 * MS));
    assert_eq!(
        recorder.min(),
        Some(Value {
            value: Nanos(5 * MS),
            lower_bound_only: true
        })
    );
}

#[test]
fn beyond_a_minute_the_maximum_stays_exact_and_percentiles_become_bounds() {
    let mut recorder = recorded([90 * Nanos::SECOND.0; 6]);
    recorder.record(Nanos::NEVER);
    assert_eq!(recorder.saturated(), 7);
    let p50 = known(recorder.quantile(0.5));
    near(p50, CEILING.0);
    assert!(p50.lower_bound_only && p50.value <= CEILING);
    assert_eq!(
        recorder.max(),
        Some(Value {
            value: Nanos::NEVER,
            lower_bound_only: false
        })
    );
    assert_eq!(recorder.min().unwrap().value, Nanos(90 * Nanos::SECOND.0));
}

#[test]
fn exactly_a_minute_is_not_beyond_it() {
    let recorder = recorded([CEILING.0; 6]);
    assert_eq!(recorder.saturated(), 0);
    assert_eq!(
        known(recorder.quantile(0.5)),
        Value {
            value: CEILING,
            lower_bound_only: false
        }
    );
}

#[test]
fn zero_is_a_latency() {
    let recorder = recorded([0; 6]);
    assert_eq!(known(recorder.quantile(0.5)).value, Nanos(0));
    assert_eq!(recorder.mean().unwrap().value, Nanos(0));
}

#[test]
fn merging_is_as_if_one_had_recorded_all() {
    let (mut left, mut right, mut both) = (Recorder::new(), Recorder::new(), Recorder::new());
    for (k, ns) in random_latencies(11).take(5_000).enumerate() {
        let half = if k % 3 == 0 { &mut left } else { &mut right };
        for recorder in [half, &mut both] {
            if k % 500 == 1 {
                recorder.record_missing(Nanos(ns))
            } else {
                recorder.record(Nanos(ns))
            }
        }
    }
    right.record(Nanos(61 * Nanos::SECOND.0));
    both.record(Nanos(61 * Nanos::SECOND.0));
    left.merge(&right);
    left.merge(&Recorder::new());
    let read = |recorder: &Recorder| {
        let quantiles = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999].map(|q| (recorder.quantile(q), recorder.interval(q)));
        let counts = [recorder.count(), recorder.censored(), recorder.saturated()];
        (quantiles, counts, [recorder.min(), recorder.max(), recorder.mean()])
    };
    assert_eq!(read(&left), read(&both));
}

#[test]
fn an_interval_covers_the_true_percentile_in_about_95_of_100_runs() {
    // The true p90 of uniform numbers below 1 s is 0.9 s. Ranks 881 and 919 of 1,000 enclose it in 95.5 of 100 runs;
    // 25 hits more or less in 1,000 runs are almost four deviations.
    let hits = (0..1_000).filter(|&seed| {
        let recorder = recorded(random_latencies(seed).take(1_000));
        let (low, high) = recorder.interval(0.9).unwrap();
        low <= Nanos(900 * MS) && Nanos(900 * MS) <= high
    });
    let hits = hits.count();
    assert!((930..=980).contains(&hits), "seeds 0 to 999: {hits} hits");
}

#[test]
fn a_recorder_takes_221_kilobytes() {
    assert_eq!(Recorder::new().histogram.distinct_values() * size_of::<u64>(), 221_184);
}

/// Uniform below one second, by SplitMix64 (Steele, Lea & Flood 2014).
fn random_latencies(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x5851_f42d_4c95_7f2d);
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % Nanos::SECOND.0
    })
}
