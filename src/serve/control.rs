//! What may be asked of a running server: its counters, and to leave its listeners to a successor.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::serve::counters::Counters;
use crate::serve::handoff;
use crate::serve::startup::Shared;

/// How long a worker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A handle to a running server.
#[derive(Clone)]
pub struct Control(pub(super) Arc<Shared>);

impl Control {
    /// The counters of each worker at this moment. None if one of them has not answered for two seconds.
    pub fn counters(&self) -> Option<Vec<Counters>> {
        self.0.snapshots.request(TIMEOUT)
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        handoff::open(self.0.handoffs())
    }

    /// Connections that are let in at once.
    pub fn connections_max(&self) -> usize {
        self.0.admission.max()
    }

    /// The listeners, for a successor.
    pub fn listeners(&self) -> &[OwnedFd] {
        &self.0.listeners
    }

    /// Confines the calling thread as the workers are. Errors: [`Error::Machine`](crate::error::Error::Machine).
    pub fn confine(&self) -> Result<()> {
        self.0.confine()
    }

    /// True once the listeners belong to another process.
    pub fn is_handed_over(&self) -> bool {
        self.0.is_handed_over()
    }

    /// True once the server drains.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// Stops accepting without closing the listeners, which another process accepts on, and drains the connections.
    pub fn hand_over(&self) {
        self.0.hand_over();
    }
}
