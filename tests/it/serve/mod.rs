//! `urecho serve`, in this process and as the real binary.

// Limits on connections, idle peers, several listeners, a worker that fails.
mod admission;

// A host that forbids io_uring.
mod blocked;

// The listening line, addresses and options that the host refuses.
mod command;

// Few buffers, queue entries or descriptors; CPU time of an idle server.
mod limits;

// Many peers at once: stalled, reset, short-lived.
mod many_peers;

// What a worker can do, and as whom.
mod sandbox;

// Service managers, metrics, and restarts.
mod service;

// netcat, socat and a Python socket.
mod standard_tools;

// Draining, and the second signal.
mod stop;

// One connection: every byte in order, then FIN.
mod streams;
