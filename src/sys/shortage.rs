//! What ran out, where the kernel says only ENOMEM or EAGAIN: several limits are behind each, and advice about the
//! wrong one costs an hour. getrlimit(2), clone(2), capabilities(7).
//!
//! Nothing here needs /proc, which may be hidden: what cannot be read is taken as not limiting, except for the locked
//! memory.

use std::{fs, io};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use crate::sys::restrictions::{self, CAP_IPC_LOCK};
use crate::sys::throttling;
use crate::units::show_size;

/// Bytes that a thread of the standard library maps for its stack.
const STACK: usize = 2 << 20;

/// What prevents this process from mapping `bytes` more.
pub fn of_memory(bytes: usize) -> String {
    limit_of_memory(bytes)
        .unwrap_or_else(|| "This machine, or the control group of this process, has no memory left".into())
}

/// The limit of this process that prevents it from mapping `bytes` more; none if it may.
fn limit_of_memory(bytes: usize) -> Option<String> {
    let limits = [
        (Resource::RLIMIT_AS, "address space", "ulimit -v"),
        (Resource::RLIMIT_DATA, "data", "ulimit -d"),
    ];
    let mut limits = limits.into_iter().filter_map(|(resource, what, command)| {
        let limit = show_size(soft(resource)?);
        Some(format!(
            "The {what} of this process is limited to {limit}: raise it with `{command} unlimited`"
        ))
    });
    limits.next().filter(|_| !can_map(bytes))
}

/// What prevents a ring with queues of `bytes`.
pub fn of_ring_memory(bytes: usize) -> String {
    match locked_memory() {
        Some(limit) if can_map(bytes) => format!(
            "Rings and their buffer rings count towards the locked-memory limit of {}, which all processes of this user \
             share: raise it with `ulimit -l unlimited` or LimitMEMLOCK=infinity, or use fewer threads",
            show_size(limit)
        ),
        _ => of_memory(bytes),
    }
}

/// What prevents a thread more.
pub fn of_threads() -> String {
    if let Some(limit) = limit_of_memory(STACK) {
        return limit;
    }
    let processes = soft(Resource::RLIMIT_NPROC).map(|limit| {
        format!("This user may have {limit} processes and threads at once: raise it with `ulimit -u` or LimitNPROC=")
    });
    let group = pids_max().map(|limit| {
        format!("The control group of this process may have {limit} processes and threads (pids.max): raise that")
    });
    match (processes, group) {
        (Some(processes), Some(group)) => format!("{processes}. {group}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => "The machine has reached kernel.threads-max or kernel.pid_max".into(),
    }
}

/// What prevented a process from being started; none if it is the program's own fault.
pub fn of_processes(cause: &io::Error) -> Option<String> {
    match cause.raw_os_error()? {
        libc::EAGAIN => Some(of_threads()),
        libc::ENOMEM => Some(of_memory(STACK)),
        _ => of_files(cause),
    }
}

/// What prevented a file from being opened; none if it is the file's own fault.
pub fn of_files(cause: &io::Error) -> Option<String> {
    match cause.raw_os_error()? {
        libc::EMFILE | libc::ENFILE => Some("Raise the limit with `ulimit -n`".into()),
        _ => None,
    }
}

/// The limit on locked memory, if it applies to the rings of this process: not with CAP_IPC_LOCK in the initial user
/// namespace.
pub fn locked_memory() -> Option<u64> {
    soft(Resource::RLIMIT_MEMLOCK).filter(|_| !restrictions::has_capability(CAP_IPC_LOCK))
}

/// The limit on address space, if there is one.
pub fn address_space() -> Option<u64> {
    soft(Resource::RLIMIT_AS)
}

/// The limit on data (private memory that may be written), if there is one.
pub fn data() -> Option<u64> {
    soft(Resource::RLIMIT_DATA)
}

/// A soft limit; none if it is infinite.
fn soft(resource: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(resource).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// The smallest limit on processes of the control groups that this process is in.
fn pids_max() -> Option<u64> {
    let groups = throttling::groups_of("pids");
    let limits = groups
        .iter()
        .filter_map(|group| fs::read_to_string(group.join("pids.max")).ok());
    limits.filter_map(|limit| limit.trim().parse().ok()).min()
}

/// True if this process can map that many bytes at this moment. Touches none of them.
pub fn can_map(bytes: usize) -> bool {
    let (protection, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    let bytes = bytes.max(1);
    // SAFETY: a new anonymous mapping at an address chosen by the kernel overlaps no existing one.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: the mapping was just made, and nothing refers to it.
    let failed = unsafe { libc::munmap(base, bytes) };
    debug_assert_eq!(failed, 0);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_for_want_of_descriptors_is_not_at_fault() {
        let why = |errno| of_files(&io::Error::from_raw_os_error(errno));
        assert!(why(libc::EMFILE).is_some() && why(libc::ENFILE).is_some());
        assert_eq!([libc::ENOENT, libc::EACCES].map(why), [None, None]);
    }

    #[test]
    fn a_mapping_beyond_the_address_space_cannot_be_made() {
        assert!(can_map(4096));
        assert!(!can_map(1 << 50));
    }

    #[test]
    fn every_shortage_has_a_remedy_or_names_what_is_exhausted() {
        for text in [of_memory(4096), of_ring_memory(4096), of_threads()] {
            assert!(
                ["raise", "no memory left", "has reached"]
                    .iter()
                    .any(|word| text.contains(word)),
                "{text}"
            );
        }
    }
}
