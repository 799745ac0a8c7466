//! `urecho`: serve TCP echo, load it, measure it.

use std::process::ExitCode;

/// For set-up and reports only: on the data path nothing is allocated, and a test counts. The client asked for this one.
/// Its huge pages are kept off (`sys::limits::disable_thp`), or 10,000 connections would not fit the memory promised.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    urecho::cli::main()
}
