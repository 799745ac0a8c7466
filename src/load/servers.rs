//! The local processes that listen at the targets, and what they and their descendants use while a run measures.
//!
//! Figures of servers are divided by messages and connections of all targets, so they exist only if all targets are
//! local and all their processes visible.

use std::net::SocketAddr;

use crate::load::result::ServerUsage;
use crate::sys::socket_owner;
use crate::sys::usage::{self, ProcessTree};

/// The processes that listen at all targets, when a run begins.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    targets: Vec<SocketAddr>,
    /// Or why they are not known.
    listening: Result<Vec<i32>, String>,
}

/// What they had used at one instant.
pub(super) struct Sample {
    tree: ProcessTree,
    resident: Option<u64>,
}

impl Sample {
    /// The processes that listened, and their descendants.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.tree.pids()
    }
}

impl Servers {
    /// Finds them. Call after a target has accepted.
    pub(super) fn find(targets: &[SocketAddr]) -> Servers {
        Servers {
            targets: targets.to_vec(),
            listening: socket_owner::processes_at(targets),
        }
    }

    /// The processes that listen; empty if they are not known.
    pub(super) fn pids(&self) -> &[i32] {
        self.listening.as_deref().unwrap_or_default()
    }

    /// A sample for [`Servers::used_since`].
    pub(super) fn sample(&self) -> Sample {
        let tree = ProcessTree::read(self.pids());
        let resident = tree.resident();
        Sample { tree, resident }
    }

    /// What they have used since `before`. Errors: why that is not known.
    pub(super) fn used_since(&self, before: &Sample) -> Result<ServerUsage, String> {
        let mut listening = self.listening.clone()?;
        let mut after = ProcessTree::read(&listening);
        let ended = after.has_lost_processes(&before.tree);
        let resident = after.resident().filter(|_| !ended).or(before.resident);
        // Ask again: others may listen by now.
        let others = socket_owner::processes_at(&self.targets)?;
        if others.iter().any(|pid| !after.pids().contains(pid)) {
            listening.extend(others);
            after = ProcessTree::read(&listening);
        }
        let used = after.since(&before.tree)?;
        Ok(ServerUsage {
            listening: after.names(&listening),
            processes: before.tree.pids().len().max(after.pids().len()) as u64,
            cpu: used.cpu,
            context_switches: used.switches,
            resident,
            parallelism: usage::parallelism_of(&after.pids()).unwrap_or(1),
        })
    }
}
