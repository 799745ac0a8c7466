use super::*;
use crate::load::Plan;

/// A block in which messages came back at this rate, with these latencies.
fn block(rate: f64, p50: u64) -> Figures {
    Figures {
        messages: rate as u64,
        rate_per_s: rate,
        p50_ns: Some(p50),
        p90_ns: None,
        p99_ns: None,
        p999_ns: None,
        cpu_ns_per_message: None,
        resident_bytes_per_connection: None,
        send_lag_p99_ns: None,
        idle_cpu_ratio: None,
        disturbance: Disturbance::default(),
    }
}

fn standing(name: &str, bouts: Vec<Vec<Figures>>) -> Standing {
    Standing::of(name.into(), format!("./{name} {{port}}"), bouts, None)
}

fn cell(standings: Vec<Standing>) -> Cell {
    let plan = Plan::against(([127, 0, 0, 1], 7007).into());
    let method = Method {
        restarts: 6,
        blocks: 2,
        server_cpus: vec![0],
        connected_at_once: true,
    };
    Cell::of(&plan, method, standings)
}

/// Restarts of a machine that becomes twice as slow in the middle of everything.
fn moody(rate: f64) -> Vec<Vec<Figures>> {
    let moods = [1.0, 0.9, 0.5, 0.55, 1.1, 0.7];
    moods
        .map(|mood| vec![block(rate * mood, 1000), block(rate * mood * 1.01, 1000)])
        .to_vec()
}

#[test]
fn a_ratio_survives_a_machine_that_changes_its_speed() {
    let cell = cell(vec![standing("a", moody(100_000.0)), standing("b", moody(80_000.0))]);
    let ratio = cell.standings[1].rate_per_s.unwrap().ratio.unwrap();
    let (low, high) = ratio.interval.unwrap();
    for figure in [ratio.estimate, low, high] {
        assert!((figure - 0.8).abs() < 1e-9, "{ratio:?}");
    }
    assert!(ratio.is_resolved());
    assert_eq!(cell.standings[0].rate_per_s.unwrap().ratio, None);
}

#[test]
fn two_that_are_alike_are_not_told_apart() {
    let other = moody(100_000.0).into_iter().rev().collect();
    let cell = cell(vec![standing("a", moody(100_000.0)), standing("b", other)]);
    let ratio = cell.standings[1].rate_per_s.unwrap().ratio.unwrap();
    assert!(!ratio.is_resolved(), "{ratio:?}");
    assert!(cell.to_string().contains(" ="), "{cell}");
}

#[test]
fn fewer_than_six_restarts_have_no_interval() {
    let few = |rate| moody(rate)[..5].to_vec();
    let cell = cell(vec![standing("a", few(10.0)), standing("b", few(20.0))]);
    let ratio = cell.standings[1].rate_per_s.unwrap().ratio.unwrap();
    assert_eq!((ratio.restarts, ratio.interval), (5, None));
    assert!(cell.to_string().contains("2.00 ?"), "{cell}");
}

#[test]
fn a_median_is_of_restarts_and_theirs_is_of_blocks() {
    let restart = |rates: [f64; 3]| rates.map(|rate| block(rate, 5)).to_vec();
    let bouts = vec![
        restart([1.0, 2.0, 900.0]),
        restart([3.0, 1.0, 2.0]),
        restart([50.0, 40.0, 60.0]),
    ];
    let cell = cell(vec![standing("a", bouts)]);
    assert_eq!(cell.standings[0].rate_per_s.unwrap().median, 2.0);
}

#[test]
fn a_figure_that_a_block_lacks_is_no_figure() {
    let cell = cell(vec![standing("a", moody(10.0)), standing("b", moody(10.0))]);
    assert_eq!(cell.standings[1].p99_ns, None);
    assert!(cell.to_string().contains("n/a"), "{cell}");
}

#[test]
fn one_that_does_not_sleep_while_others_work_is_told_on() {
    let mut restless = moody(10.0);
    for block in restless.iter_mut().flatten() {
        block.idle_cpu_ratio = Some(0.34);
    }
    let cell = cell(vec![standing("a", moody(10.0)), standing("restless", restless)]);
    let text = cell.to_string();
    assert!(text.contains("NOT IDLE: restless used 34 %"), "{text}");
    assert_eq!(text.matches("NOT IDLE").count(), 1, "{text}");
}

#[test]
fn one_that_failed_is_shown_as_that_and_the_others_are_compared() {
    let mut broken = standing("broken", Vec::new());
    broken.failure = Some("it died | badly".into());
    let cell = cell(vec![standing("a", moody(10.0)), broken, standing("b", moody(10.0))]);
    assert!(cell.standings[2].rate_per_s.unwrap().ratio.is_some());
    assert!(cell.to_string().contains("FAILED: it died | badly"), "{cell}");
    assert!(
        cell.markdown().contains("FAILED: it died \\| badly"),
        "{}",
        cell.markdown()
    );
}

#[test]
fn when_the_first_one_failed_nobody_is_compared() {
    let cell = cell(vec![standing("a", Vec::new()), standing("b", moody(10.0))]);
    let b = cell.standings[1].rate_per_s.unwrap();
    assert_eq!((b.median > 0.0, b.ratio), (true, None));
}
