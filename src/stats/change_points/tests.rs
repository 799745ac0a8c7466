//! Series with and without changes.

use super::*;
use crate::random::Random;

/// Normal values with deviation 1 around the level of their segment.
fn series(segments: &[(usize, f64)], seed: u64) -> Vec<f64> {
    let mut random = Random::new(seed, 0);
    let values = segments
        .iter()
        .flat_map(|&(length, level)| std::iter::repeat_n(level, length));
    values.map(|level| level + random.normal()).collect()
}

fn places(values: &[f64]) -> Vec<usize> {
    change_points(values).iter().map(|change| change.at).collect()
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
    let changes = change_points(&values);
    let [change] = changes[..] else {
        panic!("{changes:?}");
    };
    assert_near(&[change.at], &[40], "one step");
    assert!((change.before - 10.0).abs() < 0.5, "{change:?}");
    assert!((change.after - 13.0).abs() < 0.5, "{change:?}");
}

#[test]
fn several_steps_are_found_in_order() {
    let values = series(&[(30, 0.0), (30, 5.0), (30, 0.0), (30, 4.0)], 2);
    assert_near(&places(&values), &[30, 60, 90], "three steps");
    for pair in change_points(&values).windows(2) {
        assert_eq!(pair[0].after, pair[1].before);
    }
}

#[test]
fn later_values_do_not_retract_a_change() {
    let values = series(&[(40, 0.0), (12, 5.0), (40, 0.0)], 3);
    let first = |values: &[f64]| change_points(values)[0];
    let found_at = first(&values).found_at;
    assert!((48..=52).contains(&found_at), "{found_at}");
    for length in found_at + 1..values.len() {
        let change = first(&values[..length]);
        assert_eq!((change.at, change.found_at), (first(&values).at, found_at));
    }
    assert!(change_points(&values[..found_at]).is_empty());
}

#[test]
fn as_many_values_as_documented_show_a_clear_step() {
    let found_after = |before: usize| {
        let change = change_points(&series(&[(before, 0.0), (30, 100.0)], 5))[0];
        change.found_at + 1 - before
    };
    assert_eq!([17, 300].map(found_after), [17, 9]);
}

#[test]
fn an_outlier_is_not_a_change() {
    let mut values = series(&[(60, 0.0)], 4);
    values[33] = 1_000.0;
    assert!(places(&values).is_empty());
}

#[test]
fn a_series_without_a_change_has_none_found_in_any_of_500_analyses() {
    // At 0.1 %, 0.3 series are expected.
    let found = (0..300).filter(|&seed| {
        let mut random = Random::new(seed, 0);
        let values: Vec<f64> = (0..HORIZON).map(|_| random.cauchy()).collect();
        !change_points(&values).is_empty()
    });
    let found = found.count();
    assert!(found <= 2, "{found} of 300");
}

#[test]
fn equal_and_few_values_have_no_change() {
    assert_eq!(change_points(&[]), []);
    assert_eq!(change_points(&[1.0]), []);
    assert_eq!(change_points(&[0.0; 100]), []);
}
