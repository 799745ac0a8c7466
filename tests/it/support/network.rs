//! A network of its own for one test: nothing else is in its counters, and its packets may be lost.
//!
//! A network namespace belongs to a thread. Threads, sockets and processes that this thread starts are in it, and it
//! ends with the last of them. network_namespaces(7).

use std::fs;
use std::panic;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::{engines, io};

/// TCP counters that show a connection that did not end with FIN. Names in the kernel's net/ipv4/proc.c.
const RESETS: [(&str, &str); 4] = [
    ("snmp", "OutRsts"),
    ("snmp", "EstabResets"),
    ("netstat", "TCPAbortOnClose"),
    ("netstat", "TCPAbortOnData"),
];

/// The network of the current thread.
pub(crate) struct Network(());

/// Runs a test in a network of its own, or skips it where that is not allowed.
pub(crate) fn in_network(test: impl FnOnce(&Network) + Send) {
    let inheritances = (engines::inheritance(), io::inheritance());
    let ended = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            (inheritances.0)();
            (inheritances.1)();
            match Network::new() {
                Some(network) => test(&network),
                None => println!("SKIPPED: needs network namespaces (root) and ip"),
            }
        });
        thread.join()
    });
    if let Err(panic) = ended {
        panic::resume_unwind(panic);
    }
}

impl Network {
    fn new() -> Option<Network> {
        unshare(CloneFlags::CLONE_NEWNET).ok()?;
        succeeds("ip", &["link", "set", "lo", "up"]).then_some(Network(()))
    }

    /// Sets a limit of this network's sockets: `tcp_wmem`, `ip_local_port_range`.
    pub(crate) fn set(&self, name: &str, value: &str) {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap();
    }

    /// Drops one packet in a hundred, in both directions. Packets have 1,500 bytes at most. False without nft.
    pub(crate) fn lose_one_percent(&self) -> bool {
        // Without it, a packet has up to 64 KiB, and few are lost.
        succeeds("ip", &["link", "set", "lo", "mtu", "1500", "gso_max_segs", "1"]);
        let rules = [
            "add table ip loss",
            "add chain ip loss in { type filter hook input priority 0; }",
            "add rule ip loss in numgen random mod 100 < 1 drop",
        ];
        rules.into_iter().all(|rule| succeeds("nft", &[rule]))
    }

    /// Drops every packet until [`lose_nothing`](Self::lose_nothing). False without nft.
    pub(crate) fn lose_everything(&self) -> bool {
        let rules = [
            "add table ip loss",
            "add chain ip loss in { type filter hook input priority 0; policy drop; }",
        ];
        rules.into_iter().all(|rule| succeeds("nft", &[rule]))
    }

    /// Drops no packet any more.
    pub(crate) fn lose_nothing(&self) {
        assert!(succeeds("nft", &["delete table ip loss"]));
    }

    /// Keep-alive probes so far.
    pub(crate) fn keepalive_probes(&self) -> u64 {
        counter("netstat", "TCPKeepAlive")
    }

    /// The RST segments sent and connections aborted in this network so far, by counter.
    pub(crate) fn resets(&self) -> [(&'static str, u64); 4] {
        RESETS.map(|(file, name)| (name, counter(file, name)))
    }

    /// Retransmitted segments so far.
    pub(crate) fn retransmits(&self) -> u64 {
        counter("snmp", "RetransSegs")
    }
}

/// A counter of the current thread's network. A group is two lines: the names, then the values.
fn counter(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut groups = lines.chunks(2).filter(|group| group[0].starts_with("Tcp"));
    let value = groups.find_map(|group| {
        let mut columns = group[0].split_whitespace().zip(group[1].split_whitespace());
        columns.find(|&(column, _)| column == name)
    });
    value
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .1
        .parse()
        .unwrap()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_reset_is_counted_in_its_own_network_only() {
    use super::peers::Peer;
    use super::{assert_echo, connect, reset};
    in_network(|network| {
        let peer = Peer::honest();
        let mut stream = connect(peer.address);
        assert_echo(&mut stream, b"x");
        assert_eq!(network.resets().map(|(_, count)| count), [0; 4]);
        reset(stream);
        in_network(|inner| assert_eq!(inner.resets().map(|(_, count)| count), [0; 4]));
        assert!(network.resets()[0].1 > 0, "{:?}", network.resets());
    });
}

#[test]
fn packets_are_lost_and_retransmitted() {
    use super::peers::Peer;
    use super::{assert_echo_to_the_end, bytes, connect};
    in_network(|network| {
        if !network.lose_one_percent() {
            return println!("SKIPPED: needs nft (nftables)");
        }
        let peer = Peer::honest();
        assert_echo_to_the_end(&connect(peer.address), &bytes(4 << 20, 1));
        assert!(network.retransmits() > 0, "no packet was lost");
    });
}
