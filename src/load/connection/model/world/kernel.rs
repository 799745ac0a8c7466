//! What the kernel and the target hold of the connection.

use std::collections::VecDeque;

/// Operations of the connection that are in the kernel.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    pub(super) connect: bool,
    /// Bytes of the send that have not been taken.
    pub(super) send: Option<VecDeque<u8>>,
    pub(super) receive: bool,
    /// True once the receive is to end because of a cancel.
    pub(super) receive_ends: bool,
    pub(super) cancel_receive: bool,
    pub(super) cancel_connect: bool,
    /// True once the socket is shut down in both directions, or broken.
    pub(super) down: bool,
}

#[derive(Debug, Default)]
pub(super) struct Target {
    /// Taken from us and not echoed yet.
    pub(super) echo: VecDeque<u8>,
    /// Our FIN has reached it; it has sent its own.
    pub(super) our_fin: bool,
    pub(super) fin: bool,
    pub(super) reset: bool,
}

impl Kernel {
    /// True if nothing of the connection is in the kernel.
    pub(super) fn is_empty(&self) -> bool {
        let receive = self.receive || self.cancel_receive;
        !(self.connect || self.cancel_connect || receive || self.send.is_some())
    }
}
