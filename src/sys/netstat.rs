//! TCP counters of the kernel that explain a long tail: overflows of accept queues, retransmits.
//!
//! They belong to the network namespace, not to a process or a connection: on a machine with other TCP traffic they
//! count that as well. Only differences over a run are meaningful; `report` judges them. /proc/net/netstat and
//! /proc/net/snmp: proc_pid_net(5), names in the kernel's net/ipv4/proc.c.

use std::fs;

use serde::{Deserialize, Serialize};

/// Counters of this network namespace since its creation, or their differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Netstat {
    /// Connections that found the accept queue full (ListenOverflows). The client retries after a second, or considers
    /// itself connected and retransmits its first message.
    pub listen_overflows: u64,
    /// Connections dropped by a listener for any reason, including overflows (ListenDrops).
    pub listen_drops: u64,
    /// Retransmitted segments for any reason (RetransSegs), including those of the next two counters.
    pub retransmits: u64,
    /// Expired retransmission timers (TCPTimeouts): each delayed its connection by 200 ms or more.
    pub timeouts: u64,
    /// Retransmitted SYN and SYN-ACK segments (TCPSynRetrans): each delayed a connect by a second or more.
    pub syn_retransmits: u64,
    /// Segments received damaged or malformed (InErrs).
    pub bad_segments: u64,
}

/// The counters now. None if /proc/net is hidden, or if the kernel lacks one of them.
pub fn read() -> Option<Netstat> {
    let read = |path| fs::read_to_string(path).ok();
    parse(&read("/proc/net/netstat")?, &read("/proc/net/snmp")?)
}

impl Netstat {
    /// The counts since `before`. A counter that decreased (in another namespace) is zero.
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

/// The counter of this name. A group is two lines with the same prefix: the names, then the values.
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
    fn this_kernel_has_all_counters_and_they_never_decrease() {
        let Some(before) = read() else {
            println!("SKIPPED: needs /proc/net");
            return;
        };
        let after = read().unwrap();
        assert_eq!(before.since(&after), Netstat::default());
    }

    #[test]
    fn the_files_are_parsed_as_the_kernel_writes_them() {
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
    fn a_difference_is_never_negative() {
        let before = parse(NETSTAT, SNMP).unwrap();
        let after = Netstat {
            listen_overflows: 850,
            timeouts: 0, // As in another namespace.
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
    fn missing_and_malformed_counters_have_no_value() {
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
