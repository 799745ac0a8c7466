//! What this machine can do, and what to change.
//!
//! Every group of findings has a file: `kernel` (io_uring, by trying it), `limits`, `network`, `cpu`, `noise`. A
//! `finding` is data: what was found, whether it has to change, how many connections it allows, and a command.
//! Nothing here fails: what cannot be read is a finding that says so. `text` draws them for people; the JSON has a
//! schema, `doctor.schema.json`.

mod cpu;
pub mod finding;
mod kernel;
mod limits;
mod network;
pub mod noise;
mod text;

#[cfg(test)]
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Nanos;
use crate::output::json;
use crate::report::Environment;
use crate::sys::signal::Stop;
use finding::{Finding, State};
use noise::Noise;

/// Version of the JSON.
pub const SCHEMA: &str = "urecho.doctor/1";

/// The JSON Schema (draft 2020-12) that every document satisfies.
pub const DOCTOR_SCHEMA: &str = include_str!("doctor.schema.json");

/// What `urecho doctor` found out.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Examination {
    /// Name and version of this document's shape.
    pub schema: &'static str,
    /// True if the measurement of noise was interrupted.
    pub partial: bool,
    /// True if `urecho serve` can run here, with io_uring: nothing is blocked.
    pub can_serve: bool,
    /// Where, and by which build.
    pub environment: Environment,
    /// All findings.
    pub groups: Vec<Group>,
    /// The noise floor in figures; null if it was not measured.
    pub noise: Option<Noise>,
}

/// Findings about one part of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Which part: `io_uring`, `limits`, `network`, `cpu`, `noise`.
    pub name: &'static str,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// Examines this machine, and measures its noise for this long; zero: not at all. `stop` ends that early.
    pub fn run(environment: Environment, noise: Nanos, stop: &Stop) -> Examination {
        let machine = &environment.machine;
        let group = |name, findings| Group { name, findings };
        let mut groups = vec![
            group("io_uring", kernel::findings(machine)),
            group("limits", limits::findings()),
            group("network", network::findings()),
            group("cpu", cpu::findings(machine)),
        ];
        let measured = (noise > Nanos(0)).then(|| Noise::measure(noise, stop));
        groups.extend(measured.iter().map(|noise| group("noise", noise.findings())));
        Examination {
            schema: SCHEMA,
            partial: stop.has_fired(),
            can_serve: groups
                .iter()
                .flat_map(|group| &group.findings)
                .all(|finding| finding.state != State::Blocked),
            environment,
            groups,
            noise: measured,
        }
    }

    /// As one JSON document.
    pub fn json(&self) -> String {
        json::document(self)
    }

    /// Findings with one of these states, in order.
    fn with_state(&self, states: &[State]) -> impl Iterator<Item = &Finding> {
        let all = self.groups.iter().flat_map(|group| &group.findings);
        all.filter(move |finding| states.contains(&finding.state))
    }
}
