//! A server under load: what the user calls it, and its addresses.

use std::fmt::Display;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::error::{Error, Result};

/// A server under load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given: `localhost:7007`.
    pub name: String,
    /// Its addresses, at least one. They are tried in order before a run, and the first that echoes is used.
    pub addresses: Vec<SocketAddr>,
}

impl Target {
    /// All addresses of `NAME:PORT` or `ADDRESS:PORT`, in the order of the resolver. Errors: [`Error::Target`] if the name has
    /// none.
    pub fn resolve(name: &str) -> Result<Target> {
        let failed = |cause: &dyn Display| {
            Error::Target(format!(
                "cannot resolve {name}: {cause}. Check the name, or give an address, as in 127.0.0.1:7007"
            ))
        };
        let mut addresses = Vec::new();
        for address in name.to_socket_addrs().map_err(|cause| failed(&cause))? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
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

    #[test]
    fn an_address_is_its_own_name() {
        for text in ["127.0.0.1:7007", "[::1]:7007"] {
            let target = Target::resolve(text).unwrap();
            assert_eq!(target, Target::from(text.parse::<SocketAddr>().unwrap()));
        }
    }

    #[test]
    fn a_name_has_all_of_its_addresses_and_keeps_its_name() {
        let target = Target::resolve("localhost:7007").unwrap();
        assert!(
            target.addresses.iter().all(|address| address.ip().is_loopback()),
            "{target:?}"
        );
        assert_eq!(target.name, "localhost:7007");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_the_fault_of_the_target() {
        // Reserved for that, RFC 6761.
        let error = Target::resolve("name.invalid:7").unwrap_err();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("cannot resolve name.invalid:7: "), "{error}");
    }
}
