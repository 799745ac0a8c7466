//! What limits the number of connections of this process.

use super::finding::Finding;
use crate::load::MostConnections;
use crate::ring;
use crate::serve::admission;
use crate::sys::limits::{self, Limit};
use crate::sys::{affinity, sysctl};
use crate::units::{plural, show_count, show_size};

/// Descriptors of a server besides its connections: standard streams, the listener, the stop; and of each worker: its
/// ring, the mailbox of it, and two to spare.
const SERVER_OVERHEAD: u64 = 16;
const PER_WORKER: u64 = 4;

/// Memory of a connection without traffic at one end, most of it the kernel's: 3.8 kB for the socket, 0.9 kB for an
/// armed receive, up to 1.2 KiB are urecho's (measured).
const CONNECTION: u64 = 6 << 10;

/// What a limit is raised to.
const MANY: u64 = 1 << 20;

/// Findings about limits.
pub(super) fn findings() -> Vec<Finding> {
    // Before the load's limits are read, which raises the soft limit.
    let limit = limits::descriptors();
    let direct = ring::has_direct_descriptors();
    let most = MostConnections::of_this_process(direct);
    let workers = affinity::parallelism() as u64;
    let open = limits::open_descriptors() as u64;
    let taken = open + SERVER_OVERHEAD + PER_WORKER * workers + admission::reserve(limit.hard);
    let server = limit.hard.saturating_sub(taken);
    vec![
        descriptors(limit, sysctl::number("fs.nr_open"), server, most.descriptors, direct),
        file_table(sysctl::numbers("fs.file-nr")),
        source_ports(most.ports, limits::reserved_ports().is_empty()),
        memory(&most),
        locked_memory(ring::rings_within_locked_memory(), workers),
    ]
}

fn descriptors(limit: Limit, table_max: Option<u64>, serve: u64, load: u64, direct: bool) -> Finding {
    let Limit { soft, hard } = limit;
    let raised = match soft < hard {
        true => format!(" (soft limit {}, which urecho raises itself)", show_count(soft)),
        false => String::new(),
    };
    let what = format!("{} descriptors in a process{raised}", show_count(hard));
    let finding = Finding::ok("descriptors", what).allows(Some(serve), Some(load));
    let more = table_max.unwrap_or(MANY).min(MANY);
    if hard >= more {
        return finding;
    }
    finding
        .remedy(
            format!("ulimit -n {more}"),
            format!(
                "as root, in the shell that starts urecho; in a unit LimitNOFILE={more}, in a container `--ulimit \
                 nofile={more}`"
            ),
        )
        .remedy_if(
            direct,
            "urecho serve --max-connections 100k",
            "direct descriptors of io_uring, of which every worker may have as many; a load uses them by itself",
        )
}

/// fs.file-nr: in use, unused, limit. proc_sys_fs(5).
fn file_table(numbers: Option<Vec<u64>>) -> Finding {
    let Some(&[used, _, limit]) = numbers.as_deref() else {
        return Finding::unknown("open files", "fs.file-nr cannot be read");
    };
    let left = limit.saturating_sub(used);
    if left > u64::from(u32::MAX) {
        return Finding::ok("open files", "any number on the whole machine (fs.file-max)");
    }
    let what = format!("{} more files on the whole machine (fs.file-max)", show_count(left));
    Finding::ok("open files", what)
        .allows(Some(left), Some(left))
        .remedy_if(
            left < MANY,
            format!("sysctl -w fs.file-max={}", limit.saturating_mul(2)),
            "as root, on the host",
        )
}

fn source_ports(ports: u64, all_free: bool) -> Finding {
    let reserved = if all_free {
        ""
    } else {
        " without ip_local_reserved_ports"
    };
    let what = format!(
        "{} ports from a source address to a target (net.ipv4.ip_local_port_range{reserved}); connecting gets slower \
         beyond half",
        show_count(ports)
    );
    Finding::ok("source ports", what)
        .allows(None, Some(ports))
        .remedy(
            "urecho load -c 100k --source 127.0.1.0/24",
            "more source addresses: as many ports from each",
        )
        .remedy_if(
            ports < 50_000,
            "sysctl -w net.ipv4.ip_local_port_range='10000 65535'",
            "as root; servers that listen on a port in the range may find it taken",
        )
}

fn memory(most: &MostConnections) -> Finding {
    let Some((free, limit, load)) = most.memory else {
        return Finding::unknown("memory", "/proc/meminfo cannot be read");
    };
    let what = format!("{} of memory left ({limit})", show_size(free));
    let remedy = match limit.contains("ulimit") {
        true => ("ulimit -v unlimited", "in the shell that starts urecho"),
        false => (
            "docker update --memory=4g --memory-swap=4g CONTAINER",
            "or memory.max of its control group",
        ),
    };
    let is_own_limit = !limit.contains("MemAvailable");
    Finding::ok("memory", what)
        .allows(Some(free / CONNECTION), Some(load.min(free / CONNECTION)))
        .remedy_if(is_own_limit, remedy.0, remedy.1)
}

/// Rings count towards it, connections do not.
fn locked_memory(limit: Option<(u64, u64)>, workers: u64) -> Finding {
    let Some((bytes, rings)) = limit else {
        return Finding::ok("locked memory", "not limited for the rings of this process");
    };
    let what = format!(
        "{} for the rings of all processes of this user: up to {} of urecho",
        show_size(bytes),
        plural(rings, "thread")
    );
    let finding = match rings < workers {
        true => Finding::warning("locked memory", format!("{what}, and urecho serve starts {workers}")),
        false => Finding::ok("locked memory", what),
    };
    finding.remedy_if(
        rings < 64,
        "ulimit -l unlimited",
        "as root, in the shell that starts urecho; in a unit LimitMEMLOCK=infinity, in a container `--ulimit \
         memlock=-1`",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_limit_that_is_as_high_as_it_can_be_has_no_remedy() {
        let limit = |hard| Limit { soft: 1024, hard };
        let finding = descriptors(limit(20_000), Some(1 << 20), 19_960, 19_970, true);
        assert_eq!(
            (finding.state, finding.remedies[0].command.as_str()),
            (State::Ok, "ulimit -n 1048576")
        );
        assert!(finding.what.contains("soft limit 1,024"), "{}", finding.what);
        assert!(
            descriptors(limit(1 << 20), Some(1 << 20), 1 << 20, 1 << 20, true)
                .remedies
                .is_empty()
        );
        assert_eq!(
            descriptors(limit(4_096), None, 4_000, 4_000, true).state,
            State::Warning
        );
        let remedies = |direct| descriptors(limit(4_096), None, 4_000, 4_000, direct).remedies.len();
        assert_eq!((remedies(true), remedies(false)), (2, 1));
    }

    #[test]
    fn the_file_table_is_what_is_left_of_it() {
        let finding = file_table(Some(vec![990, 0, 2_466_186]));
        assert!(finding.what.starts_with("2,465,196 more files"), "{}", finding.what);
        assert_eq!(file_table(Some(vec![990, 0, 5_000])).state, State::Warning);
        let unlimited = file_table(Some(vec![990, 0, i64::MAX as u64]));
        assert!(unlimited.what.starts_with("any number"), "{}", unlimited.what);
        assert_eq!(file_table(None).state, State::Unknown);
        assert_eq!(file_table(Some(vec![1])).state, State::Unknown);
    }

    #[test]
    fn fewer_rings_than_workers_are_a_warning() {
        assert_eq!(locked_memory(Some((64 << 10, 2)), 4).state, State::Warning);
        assert_eq!(locked_memory(Some((8 << 20, 256)), 4).state, State::Ok);
        assert_eq!(locked_memory(None, 4).state, State::Ok);
    }
}
