//! What a server reports while it runs: pauses in accepting, refusals, starvation, and its drain. Never per message,
//! and each kind at most once a second: the next report says how many were left out.

use std::mem;

use tracing::{info, warn};

use crate::clock::{self, Nanos};
use crate::error::Errno;
use crate::serve::admission::Refusal;

/// Time between two reports of a kind.
const PERIOD: Nanos = Nanos::SECOND;

/// Something that happened in a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// accept(2) failed, so accepting pauses.
    AcceptFailed(Errno),
    /// The connections have reached their limit, so accepting pauses.
    AtLimit,
    /// A connection was accepted and closed.
    Refused(Refusal),
    /// Peers that do not read hold more than half of the buffers.
    BuffersLow,
    /// This many connections were reset because others waited for their buffers.
    Evicted(usize),
    /// The drain has begun, with this many connections.
    DrainBegan(usize),
    /// The drain has ended, and this many connections were cut.
    DrainEnded(usize),
}

impl Notice {
    const KINDS: usize = 7;

    fn kind(self) -> usize {
        match self {
            Notice::AcceptFailed(_) => 0,
            Notice::AtLimit => 1,
            Notice::Refused(_) => 2,
            Notice::BuffersLow => 3,
            Notice::Evicted(_) => 4,
            Notice::DrainBegan(_) => 5,
            Notice::DrainEnded(_) => 6,
        }
    }
}

/// The reports of one worker.
#[derive(Debug)]
pub(super) struct Notices {
    worker: usize,
    kinds: [Kind; Notice::KINDS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// When the next one may be reported.
    due: Nanos,
    /// Those that were left out since the last report.
    suppressed: u64,
}

impl Notices {
    pub(super) fn new(worker: usize) -> Notices {
        Notices {
            worker,
            kinds: [Kind::default(); Notice::KINDS],
        }
    }

    /// Reports what has happened, or counts it.
    pub(super) fn report(&mut self, notice: Notice) {
        if let Some(suppressed) = self.kinds[notice.kind()].take_turn(clock::now()) {
            write(notice, self.worker, suppressed);
        }
    }
}

impl Kind {
    /// How many were left out before this one; none if this one is left out as well.
    fn take_turn(&mut self, now: Nanos) -> Option<u64> {
        if now < self.due {
            self.suppressed += 1;
            return None;
        }
        self.due = now + PERIOD;
        Some(mem::take(&mut self.suppressed))
    }
}

fn write(notice: Notice, worker: usize, suppressed: u64) {
    match notice {
        Notice::AcceptFailed(errno) => warn!(worker, suppressed, error = %errno, "accept paused"),
        Notice::AtLimit => warn!(worker, suppressed, "accept paused: --max-connections reached"),
        Notice::Refused(Refusal::Total) => {
            warn!(worker, suppressed, "connection refused: --max-connections reached");
        }
        Notice::Refused(Refusal::Address) => {
            warn!(
                worker,
                suppressed, "connection refused: --max-per-ip reached for its address"
            );
        }
        Notice::BuffersLow => warn!(
            worker,
            suppressed, "peers that do not read hold more than half of the buffers"
        ),
        Notice::Evicted(connections) => warn!(
            worker,
            suppressed, connections, "peers that do not read are reset: others wait for their buffers"
        ),
        Notice::DrainBegan(connections) => info!(worker, suppressed, connections, "the drain begins"),
        Notice::DrainEnded(cut) => info!(worker, suppressed, cut, "the drain has ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_reported_once_a_second_with_the_number_left_out() {
        let mut kind = Kind::default();
        assert_eq!(kind.take_turn(Nanos(5)), Some(0));
        assert_eq!([6, 7, 8].map(|now| kind.take_turn(Nanos(now))), [None; 3]);
        assert_eq!(kind.take_turn(PERIOD + Nanos(5)), Some(3));
        assert_eq!(kind.take_turn(PERIOD + PERIOD + Nanos(5)), Some(0));
    }

    #[test]
    fn every_notice_has_a_kind_of_its_own() {
        let notices = [
            Notice::AcceptFailed(Errno(24)),
            Notice::AtLimit,
            Notice::Refused(Refusal::Total),
            Notice::BuffersLow,
            Notice::Evicted(1),
            Notice::DrainBegan(1),
            Notice::DrainEnded(1),
        ];
        let mut kinds = notices.map(Notice::kind);
        kinds.sort_unstable();
        assert!(kinds.into_iter().eq(0..Notice::KINDS));
    }
}
