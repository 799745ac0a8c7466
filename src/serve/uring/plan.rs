//! Settings of the engine `uring`.

use super::fault::Fault;
use super::stream_detector;
use crate::clock::Nanos;
use crate::ring::{Buffers, PIPE_BYTES, Queues, RingPlan, Role};
use crate::serve::{Plan, admission};
use crate::sys::limits;

/// Settings of this engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UringPlan {
    /// Sizes of the queues of each ring.
    pub queues: Queues,
    /// Receive buffers of each ring.
    pub buffers: Buffers,
    /// How long to busy-poll for completions before sleeping, while that pays off; zero for never.
    pub spin: Nanos,
    /// True if sockets are direct descriptors, which count towards no limit of the process.
    pub direct: bool,
    /// Fault to inject, for tests of `urecho check`.
    pub fault: Option<Fault>,
}

impl Default for UringPlan {
    fn default() -> UringPlan {
        UringPlan {
            queues: Queues {
                submissions: 256,
                completions: 4096,
            },
            // 256 × 4 KiB = 1 MiB circulate: half of the L2 of one core. 64 MiB of address space stand behind them for
            // peers that do not read; they stay untouched until such peers come.
            buffers: Buffers {
                circulating: 256,
                total: 16_384,
                size: 4096,
                pipes: 16,
            },
            // As long as a peer on this machine takes to reply; longer polling finds no more (bench/TRIED.md).
            spin: Nanos(20_000),
            direct: false,
            fault: None,
        }
    }
}

impl UringPlan {
    /// As this server can have it: with as many pipes as there are descriptors for, and with none if a stream would
    /// hold more than it may in them, or has a socket that splice(2) does not know.
    pub(crate) fn within(mut self, plan: &Plan) -> UringPlan {
        let allowed = admission::pipes(limits::descriptors().soft, plan.workers);
        let pipes = &mut self.buffers.pipes;
        *pipes = (*pipes).min(allowed.try_into().unwrap_or(u16::MAX));
        if self.direct || plan.buffer_limit < stream_detector::PIPES_HELD as u64 * u64::from(PIPE_BYTES) {
            *pipes = 0;
        }
        self
    }

    /// Bytes that the buffers and pipes of a worker take at most.
    pub(in crate::serve) fn bytes(&self) -> u64 {
        self.buffers.bytes() as u64 + u64::from(self.buffers.pipes) * u64::from(PIPE_BYTES)
    }

    /// A ring of a worker, with this many entries for sockets.
    pub fn ring(&self, entries: u32) -> RingPlan {
        RingPlan {
            role: Role::Server,
            queues: self.queues,
            buffers: self.buffers,
            entries,
        }
    }

    /// Of workers that share CPUs: those of one CPU have the buffers of one worker.
    pub(crate) fn sharing(mut self, workers: usize, cpus: usize) -> UringPlan {
        const CIRCULATING: u16 = 32;
        const TOTAL: u16 = 1024;
        let part = workers.div_ceil(cpus.max(1)).min(u16::MAX.into()) as u16;
        let buffers = &mut self.buffers;
        buffers.circulating = (buffers.circulating / part).max(CIRCULATING.min(buffers.circulating));
        buffers.total = (buffers.total / part).max(TOTAL.min(buffers.total));
        self
    }

    /// Sockets that each worker of a server may have in the table of its ring; zero if they are descriptors.
    pub(in crate::serve) fn entries(&self, plan: &Plan) -> u32 {
        let share = plan
            .limits
            .connections
            .map_or(u32::MAX, |max| max.div_ceil(plan.workers as u32));
        match self.direct {
            true => share.min(limits::ring_entries()),
            false => 0,
        }
    }
}
