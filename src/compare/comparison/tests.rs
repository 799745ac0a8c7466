use super::*;
use crate::load::Workload;
use crate::sys::disturbance::Disturbance;

/// A block in which messages came back at this rate, with these latencies.
fn block(rate: f64, p50: u64) -> BlockFigures {
    BlockFigures {
        messages: rate as u64,
        completed_per_s: rate,
        p50_ns: Some(p50),
        p90_ns: None,
        p99_ns: None,
        p99_9_ns: None,
        cpu_ns_per_message: None,
        resident_bytes_per_connection: None,
        send_lag_p99_ns: None,
        idle_cpu_ratio: None,
        disturbance: Disturbance::default(),
    }
}

fn server(name: &str, restarts: Vec<Vec<BlockFigures>>) -> ServerBlocks {
    ServerBlocks {
        name: name.into(),
        command: format!("./{name} {{port}}"),
        restarts,
        failure: None,
    }
}

fn scenario(servers: Vec<ServerBlocks>) -> Scenario {
    let method = Method {
        restarts: 6,
        blocks: 2,
        server_cpus: vec![0],
        connected_at_once: true,
    };
    Scenario::of(&Workload::default(), method, servers)
}

/// Restarts of a machine that becomes twice as slow in the middle of everything.
fn moody(rate: f64) -> Vec<Vec<BlockFigures>> {
    let moods = [1.0, 0.9, 0.5, 0.55, 1.1, 0.7];
    moods
        .map(|mood| vec![block(rate * mood, 1000), block(rate * mood * 1.01, 1000)])
        .to_vec()
}

#[test]
fn a_ratio_survives_a_machine_that_changes_its_speed() {
    let scenario = scenario(vec![server("a", moody(100_000.0)), server("b", moody(80_000.0))]);
    let ratio = scenario.servers[1].completed_per_s.unwrap().ratio.unwrap();
    let RatioInterval { low, high } = ratio.interval.unwrap();
    for figure in [ratio.estimate, low, high] {
        assert!((figure - 0.8).abs() < 1e-9, "{ratio:?}");
    }
    assert!(ratio.is_resolved());
    assert_eq!(scenario.servers[0].completed_per_s.unwrap().ratio, None);
}

#[test]
fn two_that_are_alike_are_not_told_apart() {
    let other = moody(100_000.0).into_iter().rev().collect();
    let scenario = scenario(vec![server("a", moody(100_000.0)), server("b", other)]);
    let ratio = scenario.servers[1].completed_per_s.unwrap().ratio.unwrap();
    assert!(!ratio.is_resolved(), "{ratio:?}");
    assert!(scenario.to_string().contains(" ="), "{scenario}");
}

#[test]
fn fewer_than_six_restarts_have_no_interval() {
    let few = |rate| moody(rate)[..5].to_vec();
    let scenario = scenario(vec![server("a", few(10.0)), server("b", few(20.0))]);
    let ratio = scenario.servers[1].completed_per_s.unwrap().ratio.unwrap();
    assert_eq!((ratio.restarts, ratio.interval), (5, None));
    assert!(scenario.to_string().contains("2.00 ?"), "{scenario}");
}

#[test]
fn a_median_is_of_restarts_and_theirs_is_of_blocks() {
    let restart = |rates: [f64; 3]| rates.map(|rate| block(rate, 5)).to_vec();
    let restarts = vec![
        restart([1.0, 2.0, 900.0]),
        restart([3.0, 1.0, 2.0]),
        restart([50.0, 40.0, 60.0]),
    ];
    let scenario = scenario(vec![server("a", restarts)]);
    assert_eq!(scenario.servers[0].completed_per_s.unwrap().median, 2.0);
}

#[test]
fn a_figure_that_a_block_lacks_is_no_figure() {
    let scenario = scenario(vec![server("a", moody(10.0)), server("b", moody(10.0))]);
    assert_eq!(scenario.servers[1].p99_ns, None);
    assert!(scenario.to_string().contains("n/a"), "{scenario}");
}

#[test]
fn one_that_does_not_sleep_while_others_work_is_told_on() {
    let mut restless = moody(10.0);
    for block in restless.iter_mut().flatten() {
        block.idle_cpu_ratio = Some(0.34);
    }
    let scenario = scenario(vec![server("a", moody(10.0)), server("restless", restless)]);
    let text = scenario.to_string();
    assert!(text.contains("NOT IDLE: restless used 34 %"), "{text}");
    assert_eq!(text.matches("NOT IDLE").count(), 1, "{text}");
}

#[test]
fn one_that_failed_is_shown_as_that_and_the_others_are_compared() {
    let mut broken = server("broken", Vec::new());
    broken.failure = Some("it died | badly".into());
    let scenario = scenario(vec![server("a", moody(10.0)), broken, server("b", moody(10.0))]);
    assert!(scenario.servers[2].completed_per_s.unwrap().ratio.is_some());
    assert!(scenario.to_string().contains("FAILED: it died | badly"), "{scenario}");
    assert!(
        scenario.markdown().contains("FAILED: it died \\| badly"),
        "{}",
        scenario.markdown()
    );
}

#[test]
fn when_the_first_one_failed_nobody_is_compared() {
    let scenario = scenario(vec![server("a", Vec::new()), server("b", moody(10.0))]);
    let b = scenario.servers[1].completed_per_s.unwrap();
    assert_eq!((b.median > 0.0, b.ratio), (true, None));
}
