//! Records for tests: nothing in them was measured.

use serde_json::json;

use crate::check::decision::LAST_LOOK;
use crate::check::metric::{Metric, Profile};
use crate::check::record::{Block, Ended, Inconclusive, Load, Record, Restart, Side, Terms};
use crate::clock::Nanos;
use crate::compare::comparison::BlockFigures;
use crate::sys::disturbance::Disturbance;

/// How much more head needs than base: of everything.
pub(super) struct Head {
    pub(super) p50: f64,
    pub(super) throughput: f64,
    pub(super) cpu: f64,
}

pub(super) const ALIKE: Head = Head {
    p50: 1.0,
    throughput: 1.0,
    cpu: 1.0,
};

/// A block on a machine that has a good day or a bad one.
pub(super) fn figures(day: f64, head: &Head) -> BlockFigures {
    let ns = |figure: f64| Some((figure * day).round() as u64);
    BlockFigures {
        messages: 100_000,
        rate_per_s: 100_000.0 / day * head.throughput,
        p50_ns: ns(80_000.0 * head.p50),
        p90_ns: ns(120_000.0),
        p99_ns: ns(200_000.0),
        p99_9_ns: None,
        cpu_ns_per_message: Some(5_000.0 * day * head.cpu),
        resident_bytes_per_connection: Some(0.0),
        send_lag_p99_ns: None,
        idle_cpu_ratio: Some(0.0),
        disturbance: Disturbance {
            span: Nanos(1_000_000),
            steal: Some(Nanos(0)),
            pressure: Some(Nanos(0)),
        },
    }
}

/// Restart `number` of two servers: the day differs by a factor of two, luck by half a percent at most.
pub(super) fn restart(number: usize, head: &Head) -> Restart {
    let day = 1.0 + (number % 7) as f64 / 7.0;
    let luck = 1.0 + ((number * 5) % 11) as f64 / 1_000.0 - 0.005;
    let block = Block {
        base: figures(day, &ALIKE),
        head: figures(day * luck, head),
    };
    Restart {
        closed: vec![block; 3],
        open: vec![block; 3],
    }
}

/// A check of so many restarts, out of [`LAST_LOOK`].
pub(super) fn record(restarts: usize, head: &Head) -> Record {
    let side = |name: &str| Side {
        command: format!("./{name} {{port}}"),
        ready: None,
        failure: None,
    };
    let load = |profile| Load {
        profile,
        connections: 50,
        blocks: 3,
        plan: json!({}),
    };
    Record {
        environment: json!({ "cpus": 2 }),
        base: side("base"),
        head: side("head"),
        terms: Terms {
            budget_ns: 150_000_000_000,
            restarts: LAST_LOOK,
            loads: vec![load(Profile::Open), load(Profile::Closed)],
            server_cpus: vec![0],
            connected_at_once: true,
            gate: Metric::GATE.to_vec(),
            matters: Default::default(),
            inconclusive: Inconclusive::Tell,
        },
        capacity_per_s: Some(100_000.0),
        ended: Ended::Restarts,
        elapsed_ns: 1,
        restarts: (0..restarts).map(|number| restart(number, head)).collect(),
    }
}
