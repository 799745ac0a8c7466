//! `urecho`: serve TCP echo, load it, measure it.

use std::process::ExitCode;

/// For set-up and reports: the data path does not allocate, and a test counts allocations. The client chose this
/// allocator. It asks for huge pages, which `sys::prctl::disable_huge_pages` disables to keep 10,000 connections within
/// their memory.
#[global_allocator]
static ALLOCATOR: urecho::sys::allocator::Allocator = urecho::sys::allocator::Allocator;

fn main() -> ExitCode {
    urecho::cli::main()
}
