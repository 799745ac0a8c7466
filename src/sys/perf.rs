//! Whether performance counters count for this process. perf_event_open(2).

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};

/// What to count, for this process and in user mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// CPU cycles, by the processor. Most virtual machines have none.
    Cycles,
    /// CPU time, by the kernel: what profilers fall back to.
    CpuClock,
}

/// `struct perf_event_attr` in its first version, of 64 bytes, which every kernel accepts.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_kind: u32,
    breakpoint: u64,
}

/// PERF_TYPE_HARDWARE and PERF_COUNT_HW_CPU_CYCLES, PERF_TYPE_SOFTWARE and PERF_COUNT_SW_CPU_CLOCK: kind and number.
const CYCLES: (u32, u64) = (0, 0);
const CPU_CLOCK: (u32, u64) = (1, 0);

/// The bits exclude_kernel and exclude_hv: what an ordinary user may count.
const USER_MODE: u64 = 1 << 5 | 1 << 6;

/// PERF_FLAG_FD_CLOEXEC.
const CLOSE_ON_EXEC: u32 = 1 << 3;

impl Counter {
    /// True if it counts; false if it can be opened and stays zero. Errors: ENOENT if there is no such counter,
    /// EACCES or EPERM if this process may not use it.
    pub fn attempt(self) -> io::Result<bool> {
        let mut counter = File::from(self.open()?);
        (0..100_000_u64).for_each(|k| _ = black_box(k));
        let mut count = [0; 8];
        counter.read_exact(&mut count)?;
        Ok(u64::from_ne_bytes(count) > 0)
    }

    fn open(self) -> io::Result<OwnedFd> {
        let (kind, config) = match self {
            Counter::Cycles => CYCLES,
            Counter::CpuClock => CPU_CLOCK,
        };
        let attributes = Attributes {
            kind,
            size: size_of::<Attributes>() as u32,
            config,
            flags: USER_MODE,
            ..Attributes::default()
        };
        let (process, cpu, group) = (0, -1, -1); // This process, on any CPU, in no group.
        let flags = CLOSE_ON_EXEC;
        let attributes = &raw const attributes;
        // SAFETY: the kernel reads as many bytes as `size` says, and writes that field only.
        let opened = unsafe { libc::syscall(libc::SYS_perf_event_open, attributes, process, cpu, group, flags) };
        if opened < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(opened as i32) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_counted_where_that_is_allowed() {
        match Counter::CpuClock.attempt() {
            Ok(counts) => assert!(counts),
            Err(cause) => println!("SKIPPED: needs perf_event_open(2): {cause}"),
        }
    }
}
