//! `urecho serve`, in this process and as the real binary.

// Limits on connections, idle peers, several listeners, a worker that fails.
mod admission;

// A host that forbids io_uring.
mod blocked;

// The listening line, addresses and options that the host refuses.
mod command;

// Lost packets, other segments, delays, cuts.
mod faulty_networks;

// After a peer's FIN: all that is pending, then FIN, never RST.
mod half_close;

// Few buffers, queue entries or descriptors; CPU time of an idle server.
mod limits;

// Many peers at once: stalled, reset, short-lived.
mod many_peers;

// What a worker can do, and as whom.
mod sandbox;

// Service managers, metrics, and restarts.
mod service;

// Peers that never read: memory reaches a plateau.
mod never_readers;

// Long runs of everything at once, and many connections one after the other: nothing is left behind.
mod soak;

// netcat, socat and a Python socket.
mod standard_tools;

// Draining, and the second signal.
mod stop;

// One connection: every byte in order, then FIN.
mod streams;
