//! Series with and without changes, and the formula of the paper in its direct form.

use super::*;

const SEARCH: Search = Search {
    min_segment: 5,
    alpha: 0.01,
    permutations: 99,
    seed: 1,
};

/// Normal values with deviation 1 around the level of their segment.
fn series(segments: &[(usize, f64)], seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed, 0);
    let values = segments
        .iter()
        .flat_map(|&(length, level)| std::iter::repeat_n(level, length));
    values.map(|level| level + random.normal()).collect()
}

fn places(values: &[f64]) -> Vec<usize> {
    let changes = SEARCH.change_points(values);
    changes.iter().map(|change| change.at).collect()
}

fn assert_near(found: &[usize], planted: &[usize], what: &str) {
    let near = |(&found, &planted): (&usize, &usize)| found.abs_diff(planted) <= 2;
    assert!(
        found.len() == planted.len() && found.iter().zip(planted).all(near),
        "{what}: {found:?} for {planted:?}"
    );
}

#[test]
fn a_step_is_found_with_its_index_and_both_levels() {
    let values = series(&[(40, 10.0), (30, 13.0)], 1);
    let changes = SEARCH.change_points(&values);
    let [change] = changes[..] else {
        panic!("{changes:?}");
    };
    assert_near(&[change.at], &[40], "one step");
    assert!((change.before - 10.0).abs() < 0.5, "{change:?}");
    assert!((change.after - 13.0).abs() < 0.5, "{change:?}");
    assert_eq!(change.p, 0.01);
}

#[test]
fn several_steps_are_found_in_order() {
    let values = series(&[(30, 0.0), (20, 5.0), (30, 0.0), (25, 3.0)], 2);
    assert_near(&places(&values), &[30, 50, 80], "three steps");
    let changes = SEARCH.change_points(&values);
    for pair in changes.windows(2) {
        assert_eq!(pair[0].after, pair[1].before);
    }
}

#[test]
fn a_change_of_spread_alone_is_found_more_often_than_not() {
    let found = (0..10).filter(|&seed| {
        let mut values = series(&[(120, 0.0)], seed);
        values[60..].iter_mut().for_each(|value| *value *= 8.0);
        places(&values).iter().any(|at| at.abs_diff(60) <= 6)
    });
    let found = found.count();
    assert!(found >= 7, "seeds 0 to 9: {found}");
}

#[test]
fn an_outlier_is_not_a_change() {
    let mut values = series(&[(60, 0.0)], 4);
    values[33] = 1_000.0;
    assert!(places(&values).is_empty());
}

#[test]
fn a_series_without_a_change_has_one_found_no_more_often_than_alpha() {
    // 400 series at 5 %: 20 expected, with a standard deviation of 4.4.
    for heavy in [false, true] {
        let found = (0..400).filter(|&seed| {
            let mut random = Random::new(seed, 0);
            let draw = |random: &mut Random| {
                if heavy { random.cauchy() } else { random.normal() }
            };
            let values: Vec<f64> = (0..40).map(|_| draw(&mut random)).collect();
            let search = Search {
                alpha: 0.05,
                permutations: 39,
                seed,
                ..SEARCH
            };
            !search.change_points(&values).is_empty()
        });
        let found = found.count();
        assert!((7..=33).contains(&found), "heavy {heavy}: {found} of 400");
    }
}

#[test]
fn the_best_split_agrees_with_the_formula_of_the_paper() {
    for seed in 0..5 {
        let values = series(&[(9, 0.0), (6, 1.0), (8, -1.0)], seed);
        let fast = split(&values, 3).unwrap();
        let mut expected = Split {
            at: 0,
            difference: f64::NEG_INFINITY,
        };
        for end in 6..=values.len() {
            for at in 3..=end - 3 {
                let difference = direct(&values[..at], &values[at..end]);
                if difference > expected.difference {
                    expected = Split { at, difference };
                }
            }
        }
        assert_eq!(fast.at, expected.at, "seed {seed}");
        assert!((fast.difference - expected.difference).abs() < 1e-9);
    }
}

/// The paper's divergence of two samples, scaled by their sizes, term by term.
fn direct(x: &[f64], y: &[f64]) -> f64 {
    let (m, n) = (x.len() as f64, y.len() as f64);
    let distances = |x: &[f64], y: &[f64]| -> f64 {
        let pairs = x.iter().flat_map(|a| y.iter().map(move |b| (a - b).abs()));
        pairs.sum()
    };
    // Each pair within is counted twice, and n (n - 1) is twice the number of pairs.
    let within = |x: &[f64]| distances(x, x) / (x.len() as f64 * (x.len() as f64 - 1.0));
    m * n / (m + n) * (2.0 * distances(x, y) / (m * n) - within(x) - within(y))
}

#[test]
fn equal_values_and_short_series_have_no_change() {
    assert!(places(&[4.0; 50]).is_empty());
    assert!(places(&[]).is_empty());
    assert!(places(&[0.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0]).is_empty());
}

#[test]
fn segments_have_the_minimum_length() {
    let values = series(&[(20, 0.0), (3, 50.0), (20, 0.0)], 5);
    let found = places(&values);
    let bounds = [&[0], &found[..], &[values.len()]].concat();
    assert!(bounds.windows(2).all(|ends| ends[1] - ends[0] >= 5));
}

#[test]
fn the_same_seed_finds_the_same_changes() {
    let values = series(&[(30, 0.0), (30, 1.0)], 6);
    let search = Search {
        alpha: 0.05,
        permutations: 199,
        ..SEARCH
    };
    assert_eq!(search.change_points(&values), search.change_points(&values));
}

#[test]
#[should_panic(expected = "too few for an alpha")]
fn too_few_permutations_for_alpha_panic() {
    let search = Search {
        permutations: 98,
        ..SEARCH
    };
    search.change_points(&[0.0; 20]);
}
