//! How much memory a server can take, whatever its peers do.

use std::fmt;

use crate::serve::{EnginePlan, Plan, epoll};
use crate::sys::limits::{self, SocketMemory};
use crate::units::{show_count, show_size};

/// What a connection takes besides its buffers: its slot, its place in queues and heaps, and what the allocator adds.
const PER_CONNECTION: u64 = 512;

/// What a task of tokio-uring takes besides its buffer.
const PER_TASK: u64 = 2048;

/// The memory that a server takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBound {
    /// Workers, and bytes of the buffers of each.
    workers: u64,
    per_worker: u64,
    /// Connections, and bytes of this process for each.
    connections: u64,
    per_connection: u64,
    /// Socket buffers of the kernel.
    sockets: SocketMemory,
}

impl MemoryBound {
    /// Of a server with this many connections.
    pub fn of(plan: &Plan, connections: usize) -> MemoryBound {
        let (per_worker, per_connection) = match &plan.engine {
            EnginePlan::Uring(uring) => (uring.within(plan).bytes(), PER_CONNECTION),
            EnginePlan::Epoll { buffer_size } => (
                (epoll::KEPT_MAX as u64) + u64::from(*buffer_size),
                PER_CONNECTION + epoll::READ_MIN as u64,
            ),
            EnginePlan::TokioUring { buffer_size } => {
                let buffer = u64::from(*buffer_size).min(plan.buffer_limit);
                (0, PER_CONNECTION + PER_TASK + buffer)
            }
        };
        MemoryBound {
            workers: plan.workers as u64,
            per_worker,
            connections: connections as u64,
            per_connection,
            sockets: limits::socket_memory(plan.options.buffer),
        }
    }

    /// Of this process.
    pub fn own(&self) -> u64 {
        self.workers * self.per_worker + self.connections * self.per_connection
    }
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MemoryBound {
            workers,
            per_worker,
            connections,
            per_connection,
            sockets,
        } = self;
        write!(
            f,
            "memory: this process at most {} = {workers} workers x {} + {} connections x {}; the kernel at most {} for each \
             connection",
            show_size(self.own()),
            show_size(*per_worker),
            show_count(*connections),
            show_size(*per_connection),
            show_size(sockets.per_connection),
        )?;
        match sockets.total {
            Some(total) => write!(f, ", and {} for all of this host (net.ipv4.tcp_mem)", show_size(total)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::engine::Engine;

    #[test]
    fn the_bound_grows_with_workers_and_connections() {
        for engine in Engine::ALL {
            let mut plan = Plan::loopback(engine);
            let one = MemoryBound::of(&plan, 1000);
            plan.workers = 2;
            let two = MemoryBound::of(&plan, 1000);
            assert_eq!(two.own() - one.own(), one.per_worker);
            assert_eq!(MemoryBound::of(&plan, 1001).own() - two.own(), two.per_connection);
        }
    }

    #[test]
    fn a_buffer_limit_below_a_stream_leaves_the_pipes_out() {
        let mut plan = Plan::loopback(Engine::Uring);
        let with = MemoryBound::of(&plan, 1).own();
        plan.buffer_limit = 100_000;
        assert_eq!(with - MemoryBound::of(&plan, 1).own(), 1 << 20);
    }
}
