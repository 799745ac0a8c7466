//! A server under load: what the user calls it, and its addresses.

use std::fmt::Display;
use std::net::SocketAddr;

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::sys::resolve;
use crate::sys::signal::Stop;

/// A server under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given: `localhost:7007`.
    pub name: String,
    /// Its addresses, at least one. They are tried in order before a run, and the first that echoes is used.
    pub addresses: Vec<SocketAddr>,
}

impl Target {
    /// All addresses of `NAME:PORT` or `ADDRESS:PORT`, in the order of the resolver; an IPv6 address in brackets may
    /// have a scope, `[fe80::1%eth0]:7007`. A failure that may pass is tried again for `retry_time`, until `stop`
    /// fires. Errors: [`Error::Target`] if the name has no address, [`Error::Machine`] if this machine cannot ask.
    pub fn resolve(name: &str, retry_time: Nanos, stop: &Stop) -> Result<Target> {
        let failed = |cause: &dyn Display| {
            Error::Target(format!(
                "cannot resolve {name}: {cause}. Check the name, or give an address, as in 127.0.0.1:7007"
            ))
        };
        let (host, port) = split(name).ok_or_else(|| failed(&"it is not NAME:PORT"))?;
        let addresses = resolve::addresses(host, port, retry_time, stop).map_err(|failure| match failure.is_local {
            true => Error::Machine(format!("cannot resolve {name}: {}", failure.cause)),
            false => failed(&failure.cause),
        })?;
        if addresses.is_empty() {
            return Err(failed(&"it has no address"));
        }
        Ok(Target {
            name: name.to_owned(),
            addresses,
        })
    }

    /// The address that is used, once the others have been ruled out.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

/// How many ends of each connection are on this machine.
pub(super) fn ends_here(targets: &[Target]) -> u64 {
    let is_here = |target: &Target| target.address().ip().is_loopback();
    if targets.iter().all(is_here) { 2 } else { 1 }
}

/// Host and port; the host without brackets.
fn split(name: &str) -> Option<(&str, u16)> {
    let (host, port) = name.rsplit_once(':')?;
    Some((resolve::without_brackets(host), port.parse().ok()?))
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target {
            name: address.to_string(),
            addresses: vec![address],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str) -> Result<Target> {
        Target::resolve(name, Nanos(0), &Stop::new().unwrap())
    }

    #[test]
    fn an_address_is_its_own_name() {
        for text in ["127.0.0.1:7007", "[::1]:7007"] {
            let target = resolve(text).unwrap();
            assert_eq!(target, Target::from(text.parse::<SocketAddr>().unwrap()));
        }
    }

    #[test]
    fn a_name_has_all_of_its_addresses_and_keeps_its_name() {
        let target = resolve("localhost:7007").unwrap();
        assert!(
            target.addresses.iter().all(|address| address.ip().is_loopback()),
            "{target:?}"
        );
        assert_eq!(target.name, "localhost:7007");
    }

    #[test]
    fn an_address_may_have_the_name_of_an_interface() {
        let target = resolve("[fe80::1%lo]:7007").unwrap();
        assert_eq!(target.name, "[fe80::1%lo]:7007");
        assert_eq!(target.addresses, ["[fe80::1%1]:7007".parse().unwrap()]);
    }

    #[test]
    fn a_name_that_does_not_resolve_is_the_fault_of_the_target() {
        // Reserved for that, RFC 6761.
        let error = resolve("name.invalid:7").unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("cannot resolve name.invalid:7: "), "{error}");
    }
}
