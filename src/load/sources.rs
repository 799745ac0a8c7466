//! Addresses to connect from, where one has too few ports: on the loopback interface every address of 127.0.0.0/8 is
//! ours (RFC 1122).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::load::target::Target;
use crate::load::workload::{Churn, Close, Workload};
use crate::sys::limits;

/// The first of them: `--source 127.0.1.0/24` has the same.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 1);

/// As many addresses as the connections of a workload to these targets need to be opened fast, if all targets are on
/// the loopback interface; each target has only such addresses then. None where one address suffices, or where the
/// kernel has to choose.
///
/// A connect looks for a free port first among those of one parity, and is some twenty times slower once these have run
/// out (net/ipv4/inet_hashtables.c). A connection that was closed by FIN keeps its port in TIME-WAIT.
pub fn sources_on_loopback(targets: &mut [Target], workload: &Workload) -> Vec<SocketAddr> {
    let ports = (limits::source_ports() / 2).max(1) * targets.len().max(1);
    let closed = match workload.churn {
        Some(Churn { close: Close::Fin, .. }) => limits::time_wait_max(),
        _ => 0,
    };
    let count = (workload.connections as usize + closed).div_ceil(ports);
    let is_local = |address: &SocketAddr| matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback());
    let all_local = targets.iter().all(|target| target.addresses.iter().any(is_local));
    if count < 2 || !all_local {
        return Vec::new();
    }
    for target in targets {
        target.addresses.retain(is_local);
    }
    let first = FIRST.to_bits();
    let last = Ipv4Addr::new(127, 255, 255, 254).to_bits();
    (first..=last)
        .take(count)
        .map(|bits| SocketAddr::from((Ipv4Addr::from_bits(bits), 0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(addresses: &[&str]) -> Target {
        Target {
            name: "a".into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn workload(connections: u32) -> Workload {
        Workload {
            connections,
            ..Workload::default()
        }
    }

    #[test]
    fn every_address_has_half_of_its_ports_to_connect_from() {
        let half = (limits::source_ports() / 2) as u32;
        let of = |connections| sources_on_loopback(&mut [target(&["127.0.0.1:7"])], &workload(connections)).len();
        assert_eq!([1, half, half + 1, 2 * half, 70 * half].map(of), [0, 0, 2, 2, 70]);
        let two = &mut [target(&["127.0.0.1:7"]), target(&["127.0.0.1:8"])];
        assert_eq!(sources_on_loopback(two, &workload(2 * half)), []);
        assert_eq!(sources_on_loopback(two, &workload(2 * half + 1)).len(), 2);
    }

    #[test]
    fn ports_in_time_wait_count_as_well() {
        let of = |close| {
            let churn = Some(Churn { messages: 1, close });
            let workload = Workload { churn, ..workload(1) };
            sources_on_loopback(&mut [target(&["127.0.0.1:7"])], &workload).len()
        };
        let needed = (limits::time_wait_max() + 1).div_ceil(limits::source_ports() / 2);
        assert_eq!(of(Close::Fin), if needed < 2 { 0 } else { needed });
        assert_eq!(of(Close::Rst), 0);
    }

    #[test]
    fn they_are_different_addresses_of_the_loopback_interface() {
        let sources = sources_on_loopback(&mut [target(&["127.0.0.1:7"])], &workload(100_000_000));
        let mut addresses: Vec<IpAddr> = sources.iter().map(SocketAddr::ip).collect();
        assert!(addresses.iter().all(IpAddr::is_loopback));
        addresses.dedup();
        assert_eq!(addresses.len(), sources.len());
    }

    #[test]
    fn a_name_keeps_the_addresses_that_can_be_reached_from_there() {
        let mut targets = [target(&["[::1]:7", "127.0.0.1:7"])];
        assert!(!sources_on_loopback(&mut targets, &workload(1_000_000)).is_empty());
        assert_eq!(targets[0], target(&["127.0.0.1:7"]));
        for elsewhere in [&["[::1]:7"], &["192.0.2.1:7"]] {
            let mut targets = [target(elsewhere), target(&["127.0.0.1:7"])];
            assert_eq!(sources_on_loopback(&mut targets, &workload(1_000_000)), []);
        }
    }
}
