//! Records for tests: nothing in them was measured.

use std::collections::BTreeMap;

use crate::check::judge::decision::{ALPHA, FINAL_RESTARTS, INTERIM_RESTARTS, METHOD, Threshold};
use crate::check::judge::{Metric, Profile};
use crate::check::record::{
    Block, ComparedServer, Inconclusive, Load, LoadPair, Record, Restart, Settings, Setup, StopReason,
};
use crate::clock::Nanos;
use crate::compare::{BlockFigures, PooledFigures};
use crate::load::Workload;
use crate::report::{Environment, PlanSummary};
use crate::sys::disturbance::Disturbance;
use crate::sys::machine::Machine;

/// Factors of head to base.
pub(super) struct HeadChange {
    pub(super) p50: f64,
    pub(super) throughput: f64,
    pub(super) cpu: f64,
}

pub(super) const UNCHANGED: HeadChange = HeadChange {
    p50: 1.0,
    throughput: 1.0,
    cpu: 1.0,
};

/// A block on a machine that is slower by the factor `day`.
pub(super) fn figures(day: f64, head: &HeadChange) -> BlockFigures {
    let ns = |figure: f64| Some((figure * day).round() as u64);
    BlockFigures {
        messages: 100_000,
        completed_per_s: 100_000.0 / day * head.throughput,
        p50_ns: ns(80_000.0 * head.p50),
        p90_ns: ns(120_000.0),
        p99_ns: ns(200_000.0),
        p99_9_ns: ns(400_000.0),
        max_ns: ns(1_000_000.0),
        cpu_ns_per_message: Some(5_000.0 * day * head.cpu),
        resident_bytes_per_connection: Some(0.0),
        send_lag_p99_ns: None,
        generator_cpu_ratio: 0.5,
        background_cpu_ratio: Some(0.0),
        disturbance: Disturbance {
            span: Nanos(1_000_000),
            steal: Some(Nanos(0)),
            pressure: Some(Nanos(0)),
        },
        throttling: None,
        server_throttling: None,
    }
}

/// All slices of restart `number` together.
pub(super) fn pooled(number: usize) -> PooledFigures {
    PooledFigures {
        overrun_ratio: 0.001,
        background_cpu_ratio: Some(0.0),
        resident_bytes: Some(10_000_000 + 4096 * (number as u64 % 3)),
    }
}

/// Restart `number` of two servers: the machine's speed varies by a factor of two, the launches by at most half a
/// percent.
pub(super) fn restart(number: usize, head: &HeadChange) -> Restart {
    let day = 1.0 + (number % 7) as f64 / 7.0;
    let launch = 1.0 + ((number * 5) % 11) as f64 / 1_000.0 - 0.005;
    let block = Block {
        base: figures(day, &UNCHANGED),
        head: figures(day * launch, head),
    };
    let load = LoadPair {
        base: pooled(number),
        head: pooled(number),
        blocks: vec![block; 3],
    };
    Restart {
        closed: Some(load.clone()),
        open: Some(load),
    }
}

/// A check with this many of [`FINAL_RESTARTS`] restarts.
pub(super) fn record(restarts: usize, head: &HeadChange) -> Record {
    let side = |name: &str| ComparedServer {
        command: format!("./{name} {{port}}"),
        failure: None,
    };
    let load = |profile| Load {
        profile,
        connections: 50,
        blocks: 3,
        plan: PlanSummary::of(&[], &Workload::default()),
    };
    Record {
        environment: environment(),
        base: side("base"),
        head: side("head"),
        settings: Settings {
            budget_ns: 150_000_000_000,
            restarts: FINAL_RESTARTS,
            interim_restarts: INTERIM_RESTARTS,
            alpha: ALPHA,
            method: METHOD,
            settle_ns: 0,
            server_cpus: vec![0],
            gate: Metric::DEFAULT_GATE.to_vec(),
            thresholds: thresholds(),
            inconclusive: Inconclusive::Distinct,
        },
        setup: Some(Setup {
            capacity_per_s: 100_000.0,
            spike_limit_ns: 8_000_000,
            loads: vec![load(Profile::Open), load(Profile::Closed)],
            connected_at_once: true,
        }),
        stop_reason: StopReason::Restarts,
        elapsed_ns: 1,
        restarts: (0..restarts).map(|number| restart(number, head)).collect(),
    }
}

/// Not the defaults, which follow from what machines can tell apart.
fn thresholds() -> BTreeMap<Metric, Threshold> {
    let min_effects = [(Metric::P50, 0.05), (Metric::Throughput, 0.03), (Metric::Cpu, 0.02)];
    let threshold = |(metric, min_effect)| {
        (
            metric,
            Threshold {
                min_effect,
                min_change: 0.0,
            },
        )
    };
    min_effects.into_iter().map(threshold).collect()
}

/// A machine with two CPUs.
pub(super) fn environment() -> Environment {
    Environment::of(Machine {
        cpu_model: Some("A processor".into()),
        cpus: Some(2),
        cpus_allowed: vec![0, 1],
        kernel: Some("6.18.0".into()),
        memory_bytes: Some(1 << 34),
        virtualised: Some(true),
        congestion_control: Some("cubic".into()),
        governor: None,
        smt: Some(false),
        clock_source: Some("tsc".into()),
        cpu_quota_millicpus: None,
    })
}
