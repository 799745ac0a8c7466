//! Settings of TCP and of the network namespace. ip-sysctl.rst, nf_conntrack-sysctl.rst.

use super::finding::Finding;
use crate::sys::{socket, sysctl};
use crate::units::{show_count, show_size};

/// The accept queue that `urecho serve` and `urecho load` plan for.
const BACKLOG: u64 = 4_096;

/// Findings about the network.
pub(super) fn findings() -> Vec<Finding> {
    let mut findings = vec![
        loopback(),
        accept_queue(sysctl::number("net.core.somaxconn")),
        handshakes(
            sysctl::number("net.ipv4.tcp_max_syn_backlog"),
            sysctl::number("net.ipv4.tcp_syncookies"),
        ),
        congestion(&CongestionControls {
            default: sysctl::text("net.ipv4.tcp_congestion_control"),
            available: sysctl::words("net.ipv4.tcp_available_congestion_control").unwrap_or_default(),
            allowed: sysctl::words("net.ipv4.tcp_allowed_congestion_control").unwrap_or_default(),
            queue: sysctl::text("net.core.default_qdisc"),
        }),
        tcp_memory(sysctl::numbers("net.ipv4.tcp_mem")),
        time_wait(sysctl::number("net.ipv4.tcp_tw_reuse")),
    ];
    findings.extend(connection_tracking(
        sysctl::number("net.netfilter.nf_conntrack_max"),
        sysctl::number("net.netfilter.nf_conntrack_count"),
    ));
    findings
}

fn loopback() -> Finding {
    match socket::check_loopback() {
        Ok(()) => Finding::ok("loopback", "reachable"),
        Err(error) => Finding::blocked("loopback", error.to_string())
            .remedy("ip link set lo up", "as root, in this network namespace"),
    }
}

fn accept_queue(somaxconn: Option<u64>) -> Finding {
    let Some(most) = somaxconn else {
        return Finding::unknown("accept queue", "net.core.somaxconn cannot be read");
    };
    let what = format!(
        "{} connections may wait to be accepted (net.core.somaxconn)",
        show_count(most)
    );
    if most >= BACKLOG {
        return Finding::ok("accept queue", what);
    }
    let what = format!(
        "{what}, and urecho serve wants {}: connecting takes longer",
        show_count(BACKLOG)
    );
    Finding::warning("accept queue", what).remedy(
        format!("sysctl -w net.core.somaxconn={BACKLOG}"),
        "as root, in the network namespace of the server",
    )
}

fn handshakes(most: Option<u64>, cookies: Option<u64>) -> Finding {
    let Some(most) = most else {
        return Finding::unknown("handshakes", "net.ipv4.tcp_max_syn_backlog cannot be read");
    };
    let what = format!(
        "{} may be incomplete at once (net.ipv4.tcp_max_syn_backlog)",
        show_count(most)
    );
    match cookies {
        Some(0) if most < BACKLOG => Finding::warning(
            "handshakes",
            format!("{what}; the SYN beyond are dropped, and sent again after a second"),
        )
        .remedy(
            "sysctl -w net.ipv4.tcp_syncookies=1",
            "as root, in the network namespace of the server",
        ),
        Some(0) => Finding::ok("handshakes", what),
        _ => Finding::ok("handshakes", format!("{what}; SYN cookies beyond")),
    }
}

/// What the kernel says about congestion controls.
#[derive(Debug, Clone, Default)]
struct CongestionControls {
    default: Option<String>,
    available: Vec<String>,
    allowed: Vec<String>,
    queue: Option<String>,
}

fn congestion(controls: &CongestionControls) -> Finding {
    let Some(default) = &controls.default else {
        return Finding::unknown("congestion", "net.ipv4.tcp_congestion_control cannot be read");
    };
    let available = controls.available.join(", ");
    let what = format!("{default} by default; available: {available}");
    // BBR paces: by the queueing discipline fq, and otherwise by a timer in every socket.
    let paces = default == "bbr" && controls.queue.as_deref() != Some("fq");
    if !paces {
        return Finding::ok("congestion", what);
    }
    let allowed = |name: &&str| controls.allowed.iter().any(|allowed| allowed == name);
    let other = ["cubic", "reno"].into_iter().find(allowed).unwrap_or("reno");
    let cost =
        "bbr has a timer for every socket, which cost a server 1 to 3 % more CPU at 64 B, and 18 % at 1 MiB (measured)";
    Finding::warning("congestion", format!("{what}; {cost}"))
        .remedy(
            format!("urecho serve --congestion {other}; urecho load --congestion {other}"),
            "both, or the two ends differ; bench and compare have the flag too",
        )
        .remedy(
            format!("sysctl -w net.ipv4.tcp_congestion_control={other}"),
            "as root, for all programs of the machine",
        )
}

/// Pages at which TCP saves memory, and at which it refuses any.
fn tcp_memory(pages: Option<Vec<u64>>) -> Finding {
    const PAGE: u64 = 4096;
    let Some(&[_, _, most]) = pages.as_deref() else {
        return Finding::unknown("TCP memory", "net.ipv4.tcp_mem cannot be read");
    };
    let what = format!(
        "{} for the queues of all sockets (net.ipv4.tcp_mem), at a page for each",
        show_size(most.saturating_mul(PAGE))
    );
    Finding::ok("TCP memory", what)
        .allows(Some(most), Some(most))
        .remedy_if(
            most < 1 << 17,
            "sysctl -w net.ipv4.tcp_mem='196608 262144 393216'",
            "as root, on the host",
        )
}

fn time_wait(reuse: Option<u64>) -> Finding {
    match reuse {
        None => Finding::unknown("TIME_WAIT", "net.ipv4.tcp_tw_reuse cannot be read"),
        Some(0) => Finding::warning(
            "TIME_WAIT",
            "ports of closed connections stay in use for a minute (net.ipv4.tcp_tw_reuse is 0): --churn ends when none \
             is left",
        )
        .remedy(
            "sysctl -w net.ipv4.tcp_tw_reuse=2",
            "as root; 2 is the default of Linux: on loopback only",
        )
        .remedy("urecho load --churn 1 --close rst", "leaves no port in TIME_WAIT"),
        Some(2) => Finding::ok(
            "TIME_WAIT",
            "ports of closed connections are used again on loopback; elsewhere after a minute",
        ),
        Some(_) => Finding::ok("TIME_WAIT", "ports of closed connections are used again after a second"),
    }
}

/// None if the kernel does not track connections.
fn connection_tracking(most: Option<u64>, now: Option<u64>) -> Option<Finding> {
    let (most, now) = (most?, now?);
    let left = most.saturating_sub(now);
    let what = format!(
        "{} more in the firewall's table, if it has rules with state (net.netfilter.nf_conntrack_max)",
        show_count(left)
    );
    let finding = Finding::ok("conntrack", what).allows(Some(left), Some(left));
    Some(finding.remedy_if(
        left < 1 << 18,
        "sysctl -w net.netfilter.nf_conntrack_max=1048576",
        "as root, on the host",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_short_queue_is_a_warning_with_a_command() {
        let finding = accept_queue(Some(128));
        assert_eq!(finding.state, State::Warning);
        assert_eq!(finding.remedies[0].command, "sysctl -w net.core.somaxconn=4096");
        assert_eq!(accept_queue(Some(4_096)).state, State::Ok);
        assert_eq!(accept_queue(None).state, State::Unknown);
    }

    #[test]
    fn handshakes_are_dropped_only_without_cookies() {
        assert_eq!(handshakes(Some(256), Some(0)).state, State::Warning);
        assert_eq!(handshakes(Some(256), Some(1)).state, State::Ok);
        assert_eq!(handshakes(Some(4_096), Some(0)).state, State::Ok);
    }

    #[test]
    fn bbr_without_its_queue_is_a_warning_that_names_one_that_is_allowed() {
        let bbr = |queue: &str| CongestionControls {
            default: Some("bbr".into()),
            available: ["reno", "bbr", "cubic"].map(str::to_owned).to_vec(),
            allowed: ["reno", "bbr"].map(str::to_owned).to_vec(),
            queue: Some(queue.into()),
        };
        let finding = congestion(&bbr("pfifo_fast"));
        assert_eq!(finding.state, State::Warning);
        assert!(finding.remedies[0].command.contains("--congestion reno"), "{finding:?}");
        assert_eq!(congestion(&bbr("fq")).state, State::Ok);
        assert_eq!(congestion(&CongestionControls::default()).state, State::Unknown);
    }

    #[test]
    fn memory_of_tcp_is_counted_in_pages() {
        let finding = tcp_memory(Some(vec![287_901, 383_868, 575_802]));
        assert_eq!(finding.connections.unwrap().load, Some(575_802));
        assert!(finding.what.starts_with("2.2 GiB"), "{}", finding.what);
        assert_eq!(tcp_memory(Some(vec![1])).state, State::Unknown);
    }

    #[test]
    fn tracked_connections_are_a_limit_where_they_are_tracked() {
        assert_eq!(connection_tracking(None, None), None);
        assert_eq!(connection_tracking(Some(8_192), Some(0)).unwrap().state, State::Warning);
        assert_eq!(connection_tracking(Some(1 << 20), Some(10)).unwrap().state, State::Ok);
    }

    #[test]
    fn closed_connections_hold_their_ports_only_if_they_are_not_used_again() {
        assert_eq!(
            [Some(0), Some(1), Some(2), None].map(|reuse| time_wait(reuse).state),
            [State::Warning, State::Ok, State::Ok, State::Unknown]
        );
    }
}
