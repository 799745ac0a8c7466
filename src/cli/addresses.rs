//! Values of flags that are addresses: to connect to, to connect from, to listen on. Names are resolved when the
//! command runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cli::values::Parsed;
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::sys::resolve;
use crate::sys::signal::Stop;

/// Source addresses taken from a network, at most: with 28,232 ports each, no run needs more.
const SOURCES_MAX: u128 = 1024;

/// Addresses to connect from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sources {
    /// Those of a network.
    Network(Vec<IpAddr>),
    /// Those of a name, or an address with a scope; resolved when the command runs.
    Host(String),
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listen {
    /// On all addresses.
    All(u16),
    /// On one of those of a name or an address; resolved when the command runs.
    Host {
        /// Without brackets.
        host: String,
        port: u16,
    },
}

/// How long a name may take that cannot be resolved for the moment.
const RETRY_TIME: Nanos = Nanos(5_000_000_000);

/// An address, a network (`127.0.1.0/24`), a name, or an address with a scope (`fe80::1%eth0`).
pub(super) fn sources(text: &str) -> Parsed<Sources> {
    let hint = "write ADDRESS, NAME or ADDRESS/PREFIX, as in 127.0.1.0/24";
    let text = resolve::without_brackets(text);
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None if is_scoped(text) || is_name(text) => return Ok(Sources::Host(text.to_owned())),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address; {hint}"))?;
    check_scope(&address.to_string())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u32 = match prefix {
        None => bits,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|&prefix| prefix <= bits)
            .ok_or_else(|| format!("`{prefix}` is not a prefix length between 0 and {bits}; {hint}"))?,
    };
    Ok(Sources::Network(hosts(address, bits - prefix)))
}

impl Sources {
    /// All addresses, with port 0. Errors: [`Error::Machine`] if a name does not resolve.
    pub(super) fn addresses(&self, stop: &Stop) -> Result<Vec<SocketAddr>> {
        match self {
            Sources::Network(addresses) => Ok(addresses.iter().map(|&ip| SocketAddr::new(ip, 0)).collect()),
            Sources::Host(host) => resolve_local(host, 0, stop, |cause| {
                format!("cannot resolve --source {host}: {cause}. It needs addresses of this machine: see `ip address`")
            }),
        }
    }
}

/// The addresses of a network with this number of host bits, without its network and broadcast address if it has them.
fn hosts(address: IpAddr, bits: u32) -> Vec<IpAddr> {
    let (number, v4) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    };
    let size = 1_u128.checked_shl(bits).unwrap_or(u128::MAX);
    let network = number & !(size - 1);
    let (first, last) = if bits < 2 { (0, size - 1) } else { (1, size - 2) };
    let count = (last - first + 1).min(SOURCES_MAX);
    let at = |host: u128| {
        let number = network + first + host;
        if v4 {
            IpAddr::V4((number as u32).into())
        } else {
            IpAddr::V6(number.into())
        }
    };
    (0..count).map(at).collect()
}

/// `ADDRESS:PORT` or `NAME:PORT`. A name is resolved when the command runs.
pub(super) fn target(text: &str) -> Parsed<String> {
    let hint = "write ADDRESS:PORT, as in 127.0.0.1:7007 or [::1]:7007";
    match host_and_port(text, hint)? {
        (_, 0) => Err(format!("port 0 cannot be connected to; {hint}")),
        _ => Ok(text.to_owned()),
    }
}

/// `ADDRESS:PORT`, `NAME:PORT`, or `:PORT` and `*:PORT` for all addresses.
pub(super) fn listen(text: &str) -> Parsed<Listen> {
    let hint = "write ADDRESS:PORT, as in 127.0.0.1:7007 or [::1]:7007, or :7007 for all addresses";
    if let Some(port) = text.strip_prefix("*:").or(text.strip_prefix(':'))
        && let Ok(port) = port.parse()
    {
        return Ok(Listen::All(port));
    }
    let (host, port) = host_and_port(text, hint).map_err(|wrong| format!("invalid socket address: {wrong}"))?;
    let host = host.to_owned();
    Ok(Listen::Host { host, port })
}

impl Listen {
    /// The addresses to try in order. Errors: [`Error::Machine`] for a name that does not resolve.
    pub(super) fn addresses(&self, stop: &Stop) -> Result<Vec<SocketAddr>> {
        match self {
            Listen::All(port) => Ok(vec![
                (Ipv6Addr::UNSPECIFIED, *port).into(), // IPv4 as well
                (Ipv4Addr::UNSPECIFIED, *port).into(),
            ]),
            Listen::Host { host, port } => {
                let mut addresses = resolve_local(host, *port, stop, |cause| {
                    format!("cannot listen on {host}:{port}: cannot resolve {host}: {cause}")
                })?;
                addresses.sort_by_key(SocketAddr::is_ipv6);
                Ok(addresses)
            }
        }
    }
}

/// The addresses of a name of this machine. Errors: [`Error::Machine`]; [`Error::Target`] if it was interrupted.
fn resolve_local(host: &str, port: u16, stop: &Stop, describe: impl Fn(&str) -> String) -> Result<Vec<SocketAddr>> {
    resolve::addresses(host, port, RETRY_TIME, stop).map_err(|failure| match stop.has_fired() {
        true => Error::Target(failure.cause),
        false => Error::Machine(describe(&failure.cause)),
    })
}

/// Splits a host, which is returned without brackets, from a port.
fn host_and_port<'a>(text: &'a str, hint: &str) -> Parsed<(&'a str, u16)> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("it has no port; {hint}"))?;
    let address = resolve::without_brackets(host);
    let is_valid = if address == host {
        is_name(host) || host.parse::<Ipv4Addr>().is_ok()
    } else {
        is_scoped(address) || address.parse::<Ipv6Addr>().is_ok()
    };
    if !is_valid {
        return Err(format!("`{host}` is neither an address nor a name; {hint}"));
    }
    check_scope(address)?;
    let port = port.parse().map_err(|_| format!("`{port}` is not a port; {hint}"))?;
    Ok((address, port))
}

/// Errors: a link-local address without its interface. The kernel would only say that an argument is invalid.
fn check_scope(address: &str) -> Parsed<()> {
    match address.parse::<Ipv6Addr>() {
        Ok(ip) if ip.is_unicast_link_local() => Err(format!(
            "`{address}` is on every interface: add the name of one, as in {address}%eth0; see `ip link`"
        )),
        _ => Ok(()),
    }
}

/// True for an IPv6 address with the name or number of an interface: `fe80::1%eth0`.
fn is_scoped(text: &str) -> bool {
    text.split_once('%')
        .is_some_and(|(address, scope)| !scope.is_empty() && address.parse::<Ipv6Addr>().is_ok())
}

/// True for what a resolver may be asked: no address, and none that was meant to be one.
fn is_name(text: &str) -> bool {
    let has_letter = text.contains(|c: char| c.is_alphabetic());
    has_letter && text.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_an_address_or_a_name_with_a_port() {
        for valid in [
            "127.0.0.1:7007",
            "[::1]:7007",
            "[fe80::1%lo]:7007",
            "[fe80::1%2]:7007",
            "localhost:1",
            "echo.example:65535",
        ] {
            assert_eq!(target(valid), Ok(valid.to_owned()));
        }
        for wrong in [
            "localhost",
            "localhost:0",
            "localhost:70000",
            ":7007",
            "::1:7007",
            "[x]:7007",
            "[fe80::1%]:7007",
            "[127.0.0.1]:7007",
            "fe80::1%lo:7007",
            "1.2.3:7007",
            "http://a:80",
        ] {
            assert!(target(wrong).unwrap_err().contains("as in 127.0.0.1:7007"), "{wrong}");
        }
    }

    #[test]
    fn a_link_local_address_needs_its_interface() {
        let refusals = [
            target("[fe80::1]:7").unwrap_err(),
            listen("[fe80::1]:7").unwrap_err(),
            sources("fe80::1").unwrap_err(),
        ];
        for refusal in refusals {
            assert!(refusal.contains("as in fe80::1%eth0"), "{refusal}");
        }
        target("[fd00::1]:7").unwrap();
    }

    #[test]
    fn a_listener_has_an_address_a_name_or_all_addresses() {
        let host = |host: &str| {
            let host = host.to_owned();
            Ok(Listen::Host { host, port: 7 })
        };
        assert_eq!((listen(":7"), listen("*:7")), (Ok(Listen::All(7)), Ok(Listen::All(7))));
        assert_eq!(listen("[::]:7"), host("::"));
        assert_eq!(listen("[fe80::1%lo]:7"), host("fe80::1%lo"));
        assert_eq!(
            (listen("0.0.0.0:7"), listen("localhost:7")),
            (host("0.0.0.0"), host("localhost"))
        );
        for wrong in ["7163", "", "localhost", ":", "*:x", ":70000", "::1:7", "a b:7"] {
            assert!(
                listen(wrong).unwrap_err().contains(":7007 for all addresses"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_name_to_listen_on_is_ipv4_first() {
        let stop = Stop::new().unwrap();
        let addresses = listen("localhost:7").unwrap().addresses(&stop).unwrap();
        assert!(addresses.is_sorted_by_key(SocketAddr::is_ipv6), "{addresses:?}");
        assert_eq!(
            listen(":7").unwrap().addresses(&stop).unwrap()[0],
            "[::]:7".parse().unwrap()
        );
    }

    #[test]
    fn a_network_is_the_list_of_its_hosts() {
        let of = |text: &str| match sources(text).unwrap() {
            Sources::Network(addresses) => addresses,
            Sources::Host(host) => panic!("{host} is a name"),
        };
        assert_eq!(of("127.0.0.1"), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(of("127.0.1.7/30").len(), 2);
        assert_eq!(of("127.0.1.0/24")[0], "127.0.1.1".parse::<IpAddr>().unwrap());
        assert_eq!(
            (of("127.0.0.0/8").len(), of("127.0.0.4/31").len(), of("::1").len()),
            (1024, 2, 1)
        );
        assert_eq!(of("::/0").len(), 1024);
        for name in ["localhost", "fe80::1%lo", "[fe80::1%lo]"] {
            assert_eq!(
                sources(name),
                Ok(Sources::Host(resolve::without_brackets(name).to_owned()))
            );
        }
        for wrong in [
            "local host",
            "127.0.0.1/33",
            "127.0.0.1/x",
            "localhost/24",
            "127.0.0",
            "",
        ] {
            assert!(sources(wrong).unwrap_err().contains("127.0.1.0/24"), "{wrong}");
        }
    }
}
