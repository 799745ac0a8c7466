//! Names and addresses with a host part: names with several addresses, and IPv6 addresses with the name of an interface
//! (`fe80::1%eth0`). getaddrinfo(3), which the standard library has without its error numbers.

use std::ffi::{CStr, CString};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ptr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::sys::shortage;
use crate::sys::signal::Stop;

/// Between two tries.
const RETRY_PERIOD: Duration = Duration::from_millis(250);

/// How often a wait for the resolver checks the stop.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The cause.
    pub cause: String,
    /// True if another try may succeed.
    pub temporary: bool,
    /// True if this machine could not ask.
    pub is_local: bool,
}

/// A host as it stands in `HOST:PORT`, without the brackets of an IPv6 address.
pub fn without_brackets(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// All addresses of a host, in the order of the resolver, each once. `host` is a name or an address, which may have a
/// scope: `fe80::1%lo`. Tries again while the failure is temporary and `retry_time` is not over; returns early when
/// `stop` fires.
pub fn addresses(host: &str, port: u16, retry_time: Nanos, stop: &Stop) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if let Some((ip, scope)) = host.split_once('%')
        && let Ok(ip) = ip.parse()
    {
        return Ok(vec![SocketAddrV6::new(ip, port, 0, interface(scope)?).into()]);
    }
    let begin = clock::now();
    loop {
        let failure = match query_on_thread(host, port, stop) {
            Err(failure) if failure.temporary => failure,
            result => return result,
        };
        if clock::now() - begin >= retry_time || stop.has_fired() {
            return Err(failure);
        }
        thread::sleep(RETRY_PERIOD.min(retry_time.into()));
    }
}

/// The number of an interface of this machine. (getaddrinfo(3) takes its name for link-local addresses only.)
fn interface(scope: &str) -> Result<u32, Failure> {
    let unknown = || Failure {
        cause: format!("this machine has no interface `{scope}`: see `ip link`"),
        temporary: false,
        is_local: false,
    };
    if let Ok(number) = scope.parse() {
        return Ok(number);
    }
    let name = CString::new(scope).map_err(|_| unknown())?;
    // SAFETY: a terminated string, which is only read.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(unknown()),
        number => Ok(number),
    }
}

/// The resolver may wait for many seconds and cannot be cancelled: a thread that waits for it is left behind on a stop.
fn query_on_thread(host: &str, port: u16, stop: &Stop) -> Result<Vec<SocketAddr>, Failure> {
    let (sender, result) = mpsc::channel();
    let name = host.to_owned();
    let ask = move || {
        let _ = sender.send(query(&name, port)); // After a stop the receiver is gone.
    };
    thread::Builder::new()
        .name("resolver".into())
        .spawn(ask)
        .map_err(|cause| Failure {
            cause: format!("cannot start a thread: {cause}. {}", shortage::of_threads()),
            temporary: false,
            is_local: true,
        })?;
    while !stop.has_fired() {
        if let Ok(result) = result.recv_timeout(POLL_INTERVAL) {
            return result;
        }
    }
    Err(Failure {
        cause: "interrupted".into(),
        temporary: false,
        is_local: false,
    })
}

fn query(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let name = CString::new(host).map_err(|_| Failure {
        cause: "it contains a zero byte".into(),
        temporary: false,
        is_local: false,
    })?;
    let mut list = ptr::null_mut();
    // SAFETY: all fields are integers or pointers, for which zero is a valid value and means "no preference".
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    // SAFETY: the name is terminated, no service is named, and the list is freed below.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    if code != 0 {
        return Err(failure(code));
    }
    let mut addresses = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: an entry of the list that getaddrinfo(3) has made, which is freed only below.
        let entry = unsafe { &*next };
        // SAFETY: its address is as long as its family says.
        let address = unsafe { address_of(entry.ai_addr) };
        addresses.extend(address.filter(|address| !addresses.contains(address)));
        next = entry.ai_next;
    }
    // SAFETY: made by getaddrinfo(3), and no entry is used any more.
    unsafe { libc::freeaddrinfo(list) };
    for address in &mut addresses {
        address.set_port(port);
    }
    Ok(addresses)
}

/// Reads an address with its scope; `None` if it is neither IPv4 nor IPv6.
///
/// # Safety
///
/// Null, or a complete socket address of its family.
unsafe fn address_of(address: *const libc::sockaddr) -> Option<SocketAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller promises a complete address.
    let family = unsafe { (*address).sa_family };
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: of this family.
            let v4 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(SocketAddrV4::new(v4.sin_addr.s_addr.to_ne_bytes().into(), 0).into())
        }
        libc::AF_INET6 => {
            // SAFETY: of this family.
            let v6 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(SocketAddrV6::new(v6.sin6_addr.s6_addr.into(), 0, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn failure(code: i32) -> Failure {
    let cause = if code == libc::EAI_SYSTEM {
        io::Error::last_os_error().to_string()
    } else {
        // SAFETY: takes any number, and returns a string.
        let text = unsafe { libc::gai_strerror(code) };
        // SAFETY: terminated, and never freed.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_string_lossy().into_owned()
    };
    Failure {
        cause,
        temporary: code == libc::EAI_AGAIN,
        is_local: code == libc::EAI_MEMORY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str) -> Result<Vec<SocketAddr>, Failure> {
        addresses(host, 7, Nanos(0), &Stop::new().unwrap())
    }

    #[test]
    fn an_address_is_its_own_and_a_scope_is_the_name_or_number_of_an_interface() {
        assert_eq!(of("127.0.0.1").unwrap(), ["127.0.0.1:7".parse().unwrap()]);
        assert_eq!(of("::1").unwrap(), ["[::1]:7".parse().unwrap()]);
        for host in ["fe80::1%lo", "fe80::1%1"] {
            // The loopback interface is the first of every network namespace.
            assert_eq!(of(host).unwrap(), ["[fe80::1%1]:7".parse().unwrap()], "{host}");
        }
        assert_eq!(of("::1%lo").unwrap(), ["[::1%1]:7".parse().unwrap()]);
        assert!(
            of("fe80::1%nosuch")
                .unwrap_err()
                .cause
                .contains("no interface `nosuch`")
        );
    }

    #[test]
    fn a_name_has_each_of_its_addresses_once() {
        let found = of("localhost").unwrap();
        assert!(
            found
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7)
        );
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(k, address)| !found[..k].contains(address))
        );
    }

    #[test]
    fn a_stop_ends_the_wait_for_a_resolver() {
        let stop = Stop::new().unwrap();
        stop.fire();
        let failure = addresses("localhost", 7, Nanos::NEVER, &stop).unwrap_err();
        assert_eq!(failure.cause, "interrupted");
    }

    #[test]
    fn only_a_temporary_failure_is_worth_another_try() {
        assert!(failure(libc::EAI_AGAIN).temporary);
        assert!(!failure(libc::EAI_NONAME).temporary);
    }
}
