//! `urecho`: serve TCP echo, load it, measure it.

use std::process::ExitCode;

/// Large slabs and per-thread heaps beat glibc's arenas here: 10,000 connections stay under the memory the
/// README promises, because freed pages go back at once. On the data path nothing is allocated at all.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    urecho::cli::main()
}
