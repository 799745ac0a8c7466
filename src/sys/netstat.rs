//! What the kernel's TCP has counted that explains a long tail: overflowing accept queues, segments sent again.
//!
//! The counters belong to the network namespace, not to a process or a connection: on a machine that does other
//! things over TCP, they count those too. Differences over a run count. Whether they matter is for `report`.
//! /proc/net/netstat and /proc/net/snmp: proc_pid_net(5), names in the kernel's net/ipv4/proc.c.

use std::fs;

use serde::Serialize;

/// Counters of this network namespace since it was made, or their differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Netstat {
    /// Connections that found the accept queue full (ListenOverflows). Their client tries again after a second, or
    /// thinks it is connected and sends its first message again.
    pub listen_overflows: u64,
    /// Connections a listener dropped for any reason, the overflows included (ListenDrops).
    pub listen_drops: u64,
    /// Segments sent again for any reason (RetransSegs), the next two included.
    pub retransmits: u64,
    /// Retransmission timers that ran out (TCPTimeouts): each cost its connection 200 ms or more.
    pub timeouts: u64,
    /// SYN and SYN-ACK segments sent again (TCPSynRetrans): each made a connect a second longer, or more.
    pub syn_retransmits: u64,
    /// Segments that arrived damaged or made no sense (InErrs).
    pub bad_segments: u64,
}

/// Looks at the counters now. None where /proc/net is hidden, or the kernel counts less than we ask for.
pub fn read() -> Option<Netstat> {
    let read = |path| fs::read_to_string(path).ok();
    parse(&read("/proc/net/netstat")?, &read("/proc/net/snmp")?)
}

impl Netstat {
    /// What was counted since `before`. A counter that went back (another namespace) counts as zero.
    pub fn since(&self, before: &Netstat) -> Netstat {
        Netstat {
            listen_overflows: self.listen_overflows.saturating_sub(before.listen_overflows),
            listen_drops: self.listen_drops.saturating_sub(before.listen_drops),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            timeouts: self.timeouts.saturating_sub(before.timeouts),
            syn_retransmits: self.syn_retransmits.saturating_sub(before.syn_retransmits),
            bad_segments: self.bad_segments.saturating_sub(before.bad_segments),
        }
    }
}

fn parse(netstat: &str, snmp: &str) -> Option<Netstat> {
    Some(Netstat {
        listen_overflows: counter(netstat, "TcpExt:", "ListenOverflows")?,
        listen_drops: counter(netstat, "TcpExt:", "ListenDrops")?,
        retransmits: counter(snmp, "Tcp:", "RetransSegs")?,
        timeouts: counter(netstat, "TcpExt:", "TCPTimeouts")?,
        syn_retransmits: counter(netstat, "TcpExt:", "TCPSynRetrans")?,
        bad_segments: counter(snmp, "Tcp:", "InErrs")?,
    })
}

/// The counter of this name. A group is two lines that begin alike: the names, and the values under them.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter(|line| line.split_whitespace().next() == Some(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = columns.find(|&(column, _)| column == name)?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETSTAT: &str = "\
TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPTimeouts TCPSynRetrans
TcpExt: 0 847 8890 307 54
IpExt: InNoRoutes InTruncatedPkts
IpExt: 0 0
";
    const SNMP: &str = "\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 25400798
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn InSegs OutSegs RetransSegs InErrs OutRsts
Tcp: 1 200 120000 -1 25399441 25399014 13803 2 3162
";

    #[test]
    fn this_kernel_counts_all_we_ask_for_and_never_backwards() {
        let Some(before) = read() else {
            println!("SKIPPED: needs /proc/net");
            return;
        };
        let after = read().unwrap();
        assert_eq!(before.since(&after), Netstat::default());
    }

    #[test]
    fn the_files_read_as_the_kernel_writes_them() {
        let expected = Netstat {
            listen_overflows: 847,
            listen_drops: 8_890,
            retransmits: 13_803,
            timeouts: 307,
            syn_retransmits: 54,
            bad_segments: 2,
        };
        assert_eq!(parse(NETSTAT, SNMP), Some(expected));
    }

    #[test]
    fn a_run_counts_from_where_it_began() {
        let before = parse(NETSTAT, SNMP).unwrap();
        let after = Netstat {
            listen_overflows: 850,
            timeouts: 0, // as if somebody had moved us to another namespace
            ..before
        };
        let expected = Netstat {
            listen_overflows: 3,
            ..Netstat::default()
        };
        assert_eq!(after.since(&before), expected);
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        assert_eq!(counter(NETSTAT, "Tcp:", "ListenDrops"), None);
        assert_eq!(counter(SNMP, "TcpExt:", "RetransSegs"), None);
        assert_eq!(counter(SNMP, "Tcp:", "Retrans"), None);
    }

    #[test]
    fn what_is_missing_or_strange_is_none() {
        for text in [
            "",
            "TcpExt: ListenDrops",
            "TcpExt: ListenDrops\nTcpExt:\n",
            "TcpExt: ListenDrops\nTcpExt: x\n",
            "TcpExt: ListenDrops\nTcpExt: -1\n",
            "TcpExt: ListenDrops\nIpExt: 1\n",
            "TcpExt: InErrs ListenDrops\nTcpExt: 1\n",
            "\0\u{fffd}::\n\n",
        ] {
            assert_eq!(counter(text, "TcpExt:", "ListenDrops"), None, "{text:?}");
            assert_eq!(parse(text, SNMP), None, "{text:?}");
        }
    }
}
