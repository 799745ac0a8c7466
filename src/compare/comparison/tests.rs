use super::*;
use crate::clock::Nanos;
use crate::load::Workload;
use crate::load::schedule::{Arrivals, Pace, Rate};
use crate::sys::disturbance::Disturbance;
use crate::sys::throttling::Throttling;

/// A block with this rate and median latency.
fn block(rate: f64, p50: u64) -> BlockFigures {
    BlockFigures {
        messages: rate as u64,
        completed_per_s: rate,
        p50_ns: Some(p50),
        p90_ns: None,
        p99_ns: None,
        max_ns: None,
        p99_9_ns: None,
        cpu_ns_per_message: None,
        resident_bytes_per_connection: None,
        send_lag_p99_ns: None,
        generator_cpu_ratio: 0.5,
        background_cpu_ratio: None,
        disturbance: Disturbance::default(),
        throttling: None,
        server_throttling: None,
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

/// Restarts on a machine whose speed changes by a factor of two.
fn drifting(rate: f64) -> Vec<Vec<BlockFigures>> {
    let speeds = [1.0, 0.9, 0.5, 0.55, 1.1, 0.7];
    speeds
        .map(|speed| vec![block(rate * speed, 1000), block(rate * speed * 1.01, 1000)])
        .to_vec()
}

#[test]
fn a_ratio_survives_a_machine_that_changes_its_speed() {
    let scenario = scenario(vec![server("a", drifting(100_000.0)), server("b", drifting(80_000.0))]);
    let ratio = scenario.servers[1].completed_per_s.unwrap().ratio.unwrap();
    let RatioInterval { low, high } = ratio.interval.unwrap();
    for figure in [ratio.estimate, low, high] {
        assert!((figure - 0.8).abs() < 1e-9, "{ratio:?}");
    }
    assert!(ratio.is_resolved());
    assert_eq!(scenario.servers[0].completed_per_s.unwrap().ratio, None);
}

#[test]
fn equal_servers_are_not_resolved() {
    let other = drifting(100_000.0).into_iter().rev().collect();
    let scenario = scenario(vec![server("a", drifting(100_000.0)), server("b", other)]);
    let ratio = scenario.servers[1].completed_per_s.unwrap().ratio.unwrap();
    assert!(!ratio.is_resolved(), "{ratio:?}");
    assert!(scenario.to_string().contains(" ="), "{scenario}");
}

#[test]
fn fewer_than_six_restarts_have_no_interval() {
    let few = |rate| drifting(rate)[..5].to_vec();
    let scenario = scenario(vec![server("a", few(10.0)), server("b", few(20.0))]);
    let ratio = scenario.servers[1].completed_per_s.unwrap().ratio.unwrap();
    assert_eq!((ratio.restarts, ratio.interval), (5, None));
    assert!(scenario.to_string().contains("2.00 ?"), "{scenario}");
}

#[test]
fn a_figure_is_the_median_over_restarts_of_medians_over_blocks() {
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
fn a_figure_missing_in_a_block_is_not_available() {
    let scenario = scenario(vec![server("a", drifting(10.0)), server("b", drifting(10.0))]);
    assert_eq!(scenario.servers[1].p99_ns, None);
    assert!(scenario.to_string().contains("n/a"), "{scenario}");
}

#[test]
fn a_server_that_is_not_idle_is_named() {
    let mut busy = drifting(10.0);
    for block in busy.iter_mut().flatten() {
        block.background_cpu_ratio = Some(0.34);
    }
    let scenario = scenario(vec![server("a", drifting(10.0)), server("busy", busy)]);
    let text = scenario.to_string();
    assert!(text.contains("NOT IDLE: busy used 34 %"), "{text}");
    assert_eq!(text.matches("NOT IDLE").count(), 1, "{text}");
}

#[test]
fn a_failed_server_is_shown_as_failed_and_the_others_are_compared() {
    let mut broken = server("broken", Vec::new());
    broken.failure = Some("crashed | badly".into());
    let scenario = scenario(vec![server("a", drifting(10.0)), broken, server("b", drifting(10.0))]);
    assert!(scenario.servers[2].completed_per_s.unwrap().ratio.is_some());
    assert!(scenario.to_string().contains("FAILED: crashed | badly"), "{scenario}");
    assert!(
        scenario
            .markdown()
            .contains("FAILED: <code>crashed &#124; badly</code>"),
        "{}",
        scenario.markdown()
    );
}

#[test]
fn without_the_first_server_there_are_no_ratios() {
    let scenario = scenario(vec![server("a", Vec::new()), server("b", drifting(10.0))]);
    let b = scenario.servers[1].completed_per_s.unwrap();
    assert_eq!((b.median > 0.0, b.ratio), (true, None));
}

#[test]
fn a_comparison_that_a_quota_stopped_is_not_valid() {
    let throttled = |milliseconds: u64| {
        let mut blocks = drifting(10.0);
        for block in blocks.iter_mut().flatten() {
            block.disturbance.span = Nanos(100_000_000);
            block.throttling = Some(Throttling {
                periods: u64::from(milliseconds > 0),
                throttled: Nanos(milliseconds * 1_000_000),
            });
        }
        scenario(vec![server("a", blocks.clone()), server("b", blocks)])
    };
    let clean = throttled(0);
    assert!(!clean.is_invalid() && clean.reasons.is_empty(), "{clean}");
    let suspect = throttled(10);
    assert!(!suspect.is_invalid(), "{suspect}");
    assert!(suspect.to_string().contains("SUSPECT    cpu-quota"), "{suspect}");
    let invalid = throttled(11);
    assert!(invalid.is_invalid(), "{invalid}");
    for shown in [invalid.to_string(), invalid.markdown()] {
        assert!(shown.contains("used up in 12 periods, for 11 % of the time"), "{shown}");
    }
}

#[test]
fn a_server_that_its_own_quota_stopped_is_named() {
    let mut blocks = drifting(10.0);
    for block in blocks.iter_mut().flatten() {
        block.disturbance.span = Nanos(100_000_000);
        block.server_throttling = Some(Throttling {
            periods: 1,
            throttled: Nanos(50_000_000),
        });
    }
    let scenario = scenario(vec![server("a", drifting(10.0)), server("b", blocks)]);
    assert!(!scenario.is_invalid());
    let text = scenario.to_string();
    assert!(
        text.contains("server-cpu-quota: the CPU quota of b's control group was used up in 12 periods, for 50 %"),
        "{text}"
    );
}

#[test]
fn a_server_that_the_generator_limits_is_named() {
    let codes = |generator: f64, cpu: f64, load: &Workload| -> Vec<(Grade, String)> {
        let mut block = block(100_000.0, 1000);
        block.generator_cpu_ratio = generator;
        block.cpu_ns_per_message = Some(cpu * 1e9 / block.completed_per_s);
        let mut busier = block;
        busier.generator_cpu_ratio = 0.5;
        let method = Method {
            restarts: 1,
            blocks: 1,
            server_cpus: vec![0],
            connected_at_once: true,
        };
        let servers = vec![server("a", vec![vec![block]]), server("b", vec![vec![busier]])];
        let scenario = Scenario::of(load, method, servers);
        let reasons = scenario.reasons.iter();
        reasons.map(|reason| (reason.grade, reason.code.to_string())).collect()
    };
    let closed = Workload::default();
    let named = [(Grade::Suspect, "generator-bottleneck".to_owned())];
    assert_eq!(codes(0.97, 0.6, &closed), named, "of one server only");
    assert_eq!(codes(0.94, 0.6, &closed), []);
    assert_eq!(codes(0.97, 0.95, &closed), [], "the server has no reserve either");
    let rate = Rate { from: 1e5, to: 1e5 };
    let arrivals = Arrivals::Poisson;
    let open = Workload {
        pace: Pace::Open { rate, arrivals },
        ..closed
    };
    assert_eq!(codes(0.97, 0.6, &open), [], "an open loop has its own rules");
}
