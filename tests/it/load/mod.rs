//! `urecho load`, in this process and as the real binary.

// What fails or never opens stays in the distributions, and in the plan.
mod censored;

// Peers that do not echo, or stop echoing: one exit code and message each.
mod dishonest_peers;

// Honest peers; limits, signals and slow accepts.
mod honest_peers;

// The files of a run agree with each other and with the exit code.
mod outputs;

// What is proven of targets before a run.
mod preflight;

// Real reports satisfy the JSON Schema, broken ones do not.
mod report;

// Servers of several processes, and several servers.
mod servers;

// A load carried out slice by slice.
mod session;

// A stopped generator; how the load is dealt to threads.
mod standstill;

// A stopped server: what an open loop and a closed loop record of it.
mod stall;

// Every kind of workload against a real server.
mod workloads;
