//! Before a run every target echoes one message: what that outlasts, and what it says of each target that does not.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::peers::{Peer, Reply, echo, refusing};
use crate::support::reports::number;
use crate::support::runs::{load, load_targets};
use crate::support::{assert_says, until};

#[test]
fn a_lost_syn_is_outlasted() {
    let listener = full_listener();
    let address = listener.local_addr().unwrap();
    let running = crate::support::runs::Running::load(address, "-c 1");
    until("the SYN of the run has been dropped", || has_syn_sent(address));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    let measured = running.wait();
    // The kernel sends it again after a second.
    assert!(
        number(measured.report(0), "/connect/max_ns") > 900_000_000,
        "{measured}"
    );
}

#[test]
fn a_server_whose_first_reply_takes_longer_than_a_second_is_outlasted() {
    let cold = Mutex::new(true);
    let peer = Peer::replying(64, move |_, _, bytes| {
        if std::mem::take(&mut *cold.lock().unwrap()) {
            thread::sleep(Duration::from_millis(1200));
        }
        Reply::Bytes(bytes)
    });
    load(peer.address, "-c 2").report(0);
}

#[test]
fn a_server_that_starts_to_listen_after_the_load_is_awaited() {
    let (socket, address) = refusing();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        socket.listen(128).unwrap();
        for stream in TcpListener::from(socket).incoming().flatten() {
            thread::spawn(move || echo(stream));
        }
    });
    load(address, "-c 2").report(0);
}

#[test]
fn every_target_has_to_echo_and_each_that_does_not_has_its_message() {
    let (honest, silent) = (Peer::honest(), Peer::replying(64, |_, _, _| Reply::Nothing));
    let (_taken, refusing) = refusing();
    let targets = format!("{} {} {refusing}", honest.address, silent.address);
    let refusal = load_targets(&targets, "-c 3 --preflight-timeout 300ms");
    let silent = format!(
        "{} is not an echo server: it accepted the connection, but nothing came back",
        silent.address
    );
    let refusing = format!("cannot connect to {refusing}: Connection refused");
    assert_says(refusal.refusal(5), &[&silent, &refusing]);
    assert!(!refusal.stderr.contains(&honest.address.to_string()), "{refusal}");
}

#[test]
fn a_target_that_no_connection_uses_is_left_alone() {
    let (honest, other) = (Peer::honest(), Peer::honest());
    load_targets(&format!("{} {}", honest.address, other.address), "-c 1").report(0);
    assert_eq!(other.accepted(), 0);
}

#[test]
fn the_addresses_of_a_name_are_tried_in_order_and_the_one_used_is_reported() {
    // Where localhost is ::1 first, nothing listens there.
    let peer = Peer::honest();
    let name = format!("localhost:{}", peer.address.port());
    let measured = load_targets(&name, "-c 2");
    let address = peer.address.to_string();
    let expected = json!([{ "name": name, "address": address }]);
    assert_eq!(measured.report(0)["plan"]["targets"], expected, "{measured}");
    assert_says(&measured.stdout, &[&format!("load         {name} ({address}): ")]);
}

#[test]
fn a_name_that_does_not_resolve_is_not_a_usage_error() {
    assert_says(
        load_targets("name.invalid:7", "").refusal(5),
        &["cannot resolve name.invalid:7"],
    );
}

#[test]
fn an_address_to_connect_from_that_is_not_ours_is_the_fault_of_this_machine() {
    let peer = Peer::honest();
    let refusal = load(peer.address, "--source 192.0.2.1");
    assert_says(refusal.refusal(4), &["cannot connect from 192.0.2.1", "--source"]);
    let refusal = load(peer.address, "--congestion nosuch");
    assert_says(refusal.refusal(4), &["congestion control nosuch", "Available here"]);
}

#[test]
fn a_large_message_is_echoed_piece_by_piece() {
    load(Peer::honest().address, "-c 1 -s 64MiB -d 1ms --warmup 0s").report(0);
}

/// A listener whose accept queue is full: the kernel drops the next SYN.
fn full_listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap(); // One connection fits.
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    drop(TcpStream::connect(address).unwrap());
    listener
}

/// True if a connection to this address waits for its handshake. proc(5), /proc/net/tcp; SYN_SENT is 02.
fn has_syn_sent(address: SocketAddr) -> bool {
    let remote = format!("0100007F:{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.any(|fields| fields.get(2) == Some(&remote.as_str()) && fields.get(3) == Some(&"02"))
}
