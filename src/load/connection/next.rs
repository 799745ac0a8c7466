//! What a connection wants of its worker after an event. Plain data.

#[cfg(doc)]
use super::Connection;
use crate::clock::Nanos;
use crate::load::pipeline::EchoMismatch;
use crate::load::result::Loss;

/// What the worker must do now, all of it, in this order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Next {
    /// A time to record.
    pub sample: Option<Sample>,
    /// Messages that have just completed; each of them may lead to another one.
    pub completed: usize,
    /// What has become of the connection.
    pub change: Option<Change>,
    /// How to end the socket.
    pub shutdown: Option<Shutdown>,
    /// What to send; its completion goes to [`Connection::sent`].
    pub send: Option<Outgoing>,
    /// What to do about receiving.
    pub receive: Receive,
    /// Cancel the connect; the completion of the cancel goes to [`Connection::cancelled`].
    pub cancel_connect: bool,
    /// Nothing of this connection is in the kernel, and it has ended: close its socket and forget it.
    pub remove: bool,
}

/// The bytes that came back are no echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corruption {
    /// The first wrong byte.
    pub mismatch: EchoMismatch,
    /// What the worker must do now: the connection has ended.
    pub next: Next,
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// A buffer that [`Connection::write`] fills, as soon as one is free.
    Buffer,
    /// Send what is left of the last buffer.
    Rest,
}

/// What to do about receiving.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Receive {
    /// Nothing.
    #[default]
    Keep,
    /// Arm it.
    Arm,
    /// Queue for a buffer until [`Connection::buffer_available`].
    Starve,
    /// Cancel it; the completion of the cancel goes to [`Connection::cancelled`].
    Cancel,
}

/// How to end a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Send FIN; the target's is still to come.
    Write,
    /// End both directions, so that whatever is in the kernel completes.
    Both,
    /// Make the close send RST.
    Reset,
}

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It has echoed (churn: connected) and takes messages.
    Opened,
    /// It did not open.
    Failed(Loss),
    /// It was open, and the target ended it. Its outstanding messages have failed.
    Lost(Loss),
    /// We have sent FIN (churn). It takes no more messages.
    Closing,
    /// The target's FIN has followed ours.
    Closed,
    /// We have reset it (churn).
    Aborted,
}

/// How long a connection took for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// For what.
    pub step: Step,
    /// When the step began.
    pub since: Nanos,
    /// How long it took; its age, if it was given up.
    pub took: Nanos,
    /// True if it was given up before it was complete.
    pub censored: bool,
}

/// A step in the life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// From dialling to the end of the handshake.
    Connect,
    /// From dialling to the first byte of the first reply (churn).
    FirstByte,
    /// From our FIN to the target's (churn).
    Close,
}

impl Sample {
    /// A step that is complete.
    pub(super) fn complete(step: Step, since: Nanos, now: Nanos) -> Sample {
        let (took, censored) = (now - since, false);
        Sample {
            step,
            since,
            took,
            censored,
        }
    }
}
