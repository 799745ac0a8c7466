//! What a check has measured, and on what terms: all that its verdict follows from, so that it can be judged again.
//!
//! Plain data. What nobody judges by (the machine, the loads in full) is kept as it was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::decision::Threshold;
use crate::check::metric::{Metric, Profile};
use crate::compare::comparison::BlockFigures;

/// A check, not judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where it ran, and with which build.
    pub environment: Value,
    /// What head is measured against.
    pub base: Side,
    /// What may have become worse.
    pub head: Side,
    /// What was agreed beforehand.
    pub terms: Terms,
    /// What the base could do, in messages a second, when it was tried before the first restart.
    pub capacity_per_s: Option<f64>,
    /// Why there are no more restarts.
    pub ended: Ended,
    /// How long it all took.
    pub elapsed_ns: u64,
    /// The sample: each restart is one value of each metric.
    pub restarts: Vec<Restart>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// What started it.
    pub command: String,
    /// The pattern of the line that told that it listens; none: its port was tried.
    pub ready: Option<String>,
    /// How it failed, if it did.
    pub failure: Option<Failure>,
}

/// How a server failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// In which restart, from 1; 0 is the try before them.
    pub restart: usize,
    /// How.
    pub what: String,
    /// What that would end a program with: 4 if this machine is to blame, 5 the server, 6 for wrong bytes, 70 for us.
    pub exit_code: u8,
}

/// What was agreed before anything was measured. To change it afterwards would be to choose the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// How long all may take.
    pub budget_ns: u64,
    /// Restarts at most.
    pub restarts: usize,
    /// The loads, in turn.
    pub loads: Vec<Load>,
    /// CPUs of each server; empty for all.
    pub server_cpus: Vec<usize>,
    /// False if connections were opened for each slice.
    pub connected_at_once: bool,
    /// Metrics that decide.
    pub gate: Vec<Metric>,
    /// For each metric, the smallest change that matters.
    pub matters: BTreeMap<Metric, Threshold>,
    /// What an inconclusive check exits with.
    pub inconclusive: Inconclusive,
}

/// One of the loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Of which kind.
    pub profile: Profile,
    /// Connections to each server.
    pub connections: u32,
    /// Blocks in a restart; each side has two slices in a block.
    pub blocks: usize,
    /// All of it.
    pub plan: Value,
}

/// What not to know means for a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Inconclusive {
    /// A result of its own: exit 3.
    Tell,
    /// Exit 0.
    Pass,
    /// Exit 1.
    Fail,
}

impl Inconclusive {
    /// The exit code that it means.
    pub fn exit_code(self) -> u8 {
        match self {
            Inconclusive::Tell => 3,
            Inconclusive::Pass => 0,
            Inconclusive::Fail => 1,
        }
    }
}

/// Why a check is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// The first look was enough.
    Decided,
    /// All restarts are done.
    Restarts,
    /// Another would not fit into the budget.
    Budget,
    /// A server failed.
    Failed,
    /// Somebody stopped it.
    Interrupted,
}

/// What one start of both servers has found, by loads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Blocks under the closed loop; empty if it was not asked for.
    pub closed: Vec<Block>,
    /// The same under the open loop.
    pub open: Vec<Block>,
}

/// Both sides under one load, in turns.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Both slices of the base together.
    pub base: BlockFigures,
    /// Both slices of the head together.
    pub head: BlockFigures,
}

impl Record {
    /// All blocks, of whatever load.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        let restarts = self.restarts.iter();
        restarts.flat_map(|restart| restart.closed.iter().chain(&restart.open))
    }
}

impl Load {
    /// CPUs of the generator; none if it was not tied to any.
    pub fn cpus(&self) -> Vec<usize> {
        let cpus = self.plan["cpus"].as_array().into_iter().flatten();
        cpus.filter_map(|cpu| cpu.as_u64().map(|cpu| cpu as usize)).collect()
    }
}

impl Restart {
    /// The blocks that a metric is read from.
    pub fn blocks(&self, metric: Metric) -> &[Block] {
        match metric.profile() {
            Some(Profile::Closed) => &self.closed,
            Some(Profile::Open) => &self.open,
            None if self.closed.is_empty() => &self.open,
            None => &self.closed,
        }
    }

    /// Where the blocks of this load go.
    pub fn blocks_of(&mut self, profile: Profile) -> &mut Vec<Block> {
        match profile {
            Profile::Closed => &mut self.closed,
            Profile::Open => &mut self.open,
        }
    }
}

impl Terms {
    /// A metric of which no change matters, or any, if there is one: somebody has edited this.
    pub fn senseless(&self) -> Option<Metric> {
        let makes_sense = |matters: &Threshold| matters.share > 0.0 && matters.share <= 1.0 && matters.floor >= 0.0;
        let mut all = self.matters.iter();
        all.find_map(|(&metric, matters)| (!makes_sense(matters)).then_some(metric))
    }

    /// True if this metric is measured under one of the loads.
    pub fn measures(&self, metric: Metric) -> bool {
        let has = |profile| self.loads.iter().any(|load| load.profile == profile);
        metric.profile().is_none_or(has)
    }

    /// The smallest change that matters.
    pub fn matters(&self, metric: Metric) -> Threshold {
        let stated = self.matters.get(&metric).copied();
        stated.unwrap_or_else(|| metric.matters())
    }
}
