//! Head against stored runs of an earlier version, for machines that cannot run both side by side.
//!
//! Changes of the machine from day to day hit one side only, so runs from another machine, kernel, load or version of
//! the generator are refused, and the variation between stored runs is part of every interval (`comparison`). Which of
//! the stored runs count is in `counted`.

mod comparison;
mod counted;

use serde::{Deserialize, Serialize};

use crate::check::judge::{Metric, Profile};
use crate::check::record::{Load, Settings, Setup};
use crate::clock::Nanos;
use crate::compare::LoadFigures;
use crate::error::{Error, Result};
use crate::output;
use crate::report::{Environment, PlanSummary};
use crate::sys::identity::{MachineIdentity, Relation, Salt};

/// Version of a baseline's JSON.
pub const SCHEMA: &str = "urecho.baseline/2";

/// JSON Schema (draft 2020-12) of a baseline.
pub const BASELINE_SCHEMA: &str = include_str!("baseline.schema.json");

/// Stored runs of one server on one machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Name and version of this document's shape.
    pub schema: String,
    /// The salt of all identities in this document.
    pub salt: Salt,
    /// All of them on the same machine and under the same load; at least one.
    pub runs: Vec<StoredRun>,
}

/// One run, and where it took place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StoredRun {
    /// The machine and its boot, as salted hashes.
    pub identity: MachineIdentity,
    /// What was measured.
    pub run: Run,
}

/// What was measured of one server alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command that started the server.
    pub command: String,
    /// When it began, in seconds since 1970.
    pub began_s: u64,
    /// How long it took.
    pub elapsed_ns: u64,
    /// Where it ran, and with which build.
    pub environment: Environment,
    /// What was fixed before anything was measured.
    pub settings: Settings,
    /// What was fixed once the capacity of the server was known.
    pub setup: Setup,
    /// The sample.
    pub restarts: Vec<SingleRestart>,
}

/// The blocks of one restart of one server, by load.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SingleRestart {
    /// Under the closed loop; null if it was not measured.
    pub closed: Option<LoadFigures>,
    /// Under the open loop; null if it was not measured.
    pub open: Option<LoadFigures>,
}

impl SingleRestart {
    /// A load of it.
    pub fn load_mut(&mut self, profile: Profile) -> &mut Option<LoadFigures> {
        match profile {
            Profile::Closed => &mut self.closed,
            Profile::Open => &mut self.open,
        }
    }

    /// The loads that a metric is measured under.
    fn loads(&self, metric: Metric) -> impl Iterator<Item = &LoadFigures> {
        metric.loads(&self.open, &self.closed)
    }
}

impl Baseline {
    /// With its first run; the identity is hashed with this salt.
    pub fn new(salt: Salt, first: StoredRun) -> Baseline {
        Baseline {
            schema: SCHEMA.into(),
            salt,
            runs: vec![first],
        }
    }

    /// With one more run.
    pub fn with(mut self, run: StoredRun) -> Baseline {
        self.runs.push(run);
        self
    }

    /// Reads a stored file. Errors: [`Error::Usage`] if it is not one.
    pub fn parse(text: &str) -> Result<Baseline> {
        let remedy = "store a new baseline under another name with `urecho check baseline save`";
        let baseline: Baseline =
            output::json::parse(text, SCHEMA).map_err(|what| Error::Usage(format!("{what}: {remedy}")))?;
        if baseline.runs.is_empty() {
            return Err(Error::Usage(format!("the baseline has no runs: {remedy}")));
        }
        Ok(baseline)
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        output::json::document(self)
    }

    /// The load that a run needs to be comparable.
    pub fn load(&self, profile: Profile) -> Option<&Load> {
        let mut loads = self.first().setup.loads.iter();
        loads.find(|load| load.profile == profile)
    }

    /// Blocks per restart: as many of each load.
    pub fn blocks(&self) -> Option<usize> {
        let loads = self.first().setup.loads.iter();
        loads.map(|load| load.blocks).max()
    }

    /// Length of a slice, of all loads.
    pub fn slice(&self) -> Option<Nanos> {
        let load = self.first().setup.loads.first()?;
        Some(Nanos(load.plan.duration_ns))
    }

    fn first(&self) -> &Run {
        &self.runs[0].run
    }

    /// Why runs on this machine cannot be compared with the stored ones; none if they can.
    pub fn refuses_machine(&self, environment: &Environment, identity: &MachineIdentity) -> Option<String> {
        let relations: Vec<Relation> = self.runs.iter().map(|run| identity.relation(&run.identity)).collect();
        let what = if relations.contains(&Relation::OtherMachine) {
            "the baseline is from another machine".into()
        } else if relations.iter().all(|&relation| relation == Relation::Unknown) {
            "cannot tell whether the baseline is from this machine: it was restarted since, and neither /etc/machine-id nor \
             the UUID of DMI can be read (in a container, mount the host's /etc/machine-id)"
                .into()
        } else {
            different(&self.first().environment, environment)?
        };
        Some(format!(
            "{what}. Store a new one here, or compare two versions with --base and --head"
        ))
    }

    /// Why a run cannot be compared with the stored ones; none if it can.
    pub fn refuses(&self, run: &Run, identity: &MachineIdentity) -> Option<String> {
        let without_seed = |load: &Load| Load {
            plan: PlanSummary {
                seed: 0,
                ..load.plan.clone()
            },
            ..load.clone()
        };
        let load = |run: &Run| {
            let loads: Vec<Load> = run.setup.loads.iter().map(without_seed).collect();
            let Settings {
                server_cpus, restarts, ..
            } = &run.settings;
            (loads, server_cpus.clone(), *restarts, run.setup.connected_at_once)
        };
        self.refuses_machine(&run.environment, identity).or_else(|| {
            (load(self.first()) != load(run))
                .then(|| "the baseline was stored under a different load: use the same flags".into())
        })
    }
}

/// The first difference between two environments that makes their runs incomparable.
fn different(there: &Environment, here: &Environment) -> Option<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    let number = |number: Option<u64>| number.map_or("unknown".into(), |number| number.to_string());
    let fields = |environment: &Environment| {
        let machine = &environment.machine;
        [
            ("processor", text(&machine.cpu_model)),
            ("number of CPUs", number(machine.cpus)),
            ("set of CPUs", format!("{:?}", machine.cpus_allowed)),
            ("memory size", number(machine.memory_bytes)),
            ("kernel", text(&machine.kernel)),
            ("congestion control", text(&machine.congestion_control)),
            ("frequency governor", text(&machine.governor)),
            ("setting of SMT", format!("{:?}", machine.smt)),
            ("clock source", text(&machine.clock_source)),
            ("CPU quota", number(machine.cpu_quota_millicpus)),
            ("version of urecho", environment.urecho.clone()),
            ("debug build of urecho", environment.debug_build.to_string()),
        ]
    };
    let mut pairs = fields(there).into_iter().zip(fields(here));
    let ((what, there), (_, here)) = pairs.find(|(there, here)| there != here)?;
    Some(format!("the baseline has a different {what}: {there}, not {here}"))
}

#[cfg(test)]
mod tests;
