//! `urecho load` against peers that do not echo, or stop echoing: each fault has its exit code and message.

use std::fs;
use std::io::{Read, Write};
use std::sync::Mutex;

use serde_json::json;
use tempfile::TempDir;
use urecho::load::payload::PayloadStream;
use urecho::random::Random;

use crate::support::io::{on_direct_descriptors, on_each_io};
use crate::support::peers::{Peer, Reply, discard, echo, refusing};
use crate::support::reports::number;
use crate::support::runs::{Finished, load};
use crate::support::{assert_says, reset};

on_each_io! {
    a_flipped_bit_in_the_first_message_means_not_an_echo_server,
    a_flipped_bit_in_a_later_message_is_wrong_data_with_its_exact_place,
    the_connection_with_the_wrong_data_is_named,
    wrong_data_on_one_thread_stops_all_threads,
    a_flipped_bit_far_into_a_large_message_has_its_exact_place,
    what_was_measured_before_a_wrong_byte_is_reported,
    messages_swapped_between_two_connections_are_wrong_data,
    an_old_message_in_place_of_the_new_one_is_wrong_data,
    a_message_that_comes_twice_is_wrong_data,
    bytes_beyond_the_message_are_wrong_data,
    a_short_reply_and_fin_means_not_an_echo_server,
    no_reply_means_not_an_echo_server,
    a_peer_that_discards_everything_is_not_an_echo_server,
    a_peer_that_never_reads_is_not_an_echo_server_even_for_large_messages,
    a_banner_is_shown,
    the_reply_of_a_web_server_is_shown,
    control_characters_from_the_peer_are_escaped,
    a_close_on_accept_means_not_an_echo_server,
    a_reset_on_accept_means_not_an_echo_server,
    a_refused_connection_is_explained_with_advice,
    connections_that_stop_replying_leave_missing_messages,
    half_of_the_connections_are_closed_and_counted_and_the_others_continue,
    half_of_the_connections_are_reset_and_counted_and_the_others_continue,
    a_reply_that_breaks_off_is_a_failed_message,
    a_server_that_closes_all_connections_is_an_unreachable_target,
    connections_that_do_not_open_are_counted_and_the_run_continues,
    a_connection_without_a_first_reply_times_out,
    a_thread_that_loses_all_its_connections_does_not_lengthen_the_measured_time,
    every_message_is_accounted_for_under_random_faults,
}

on_direct_descriptors! {
    a_flipped_bit_in_a_later_message_is_wrong_data_with_its_exact_place,
    connections_that_stop_replying_leave_missing_messages,
    half_of_the_connections_are_closed_and_counted_and_the_others_continue,
    half_of_the_connections_are_reset_and_counted_and_the_others_continue,
    connections_that_do_not_open_are_counted_and_the_run_continues,
    every_message_is_accounted_for_under_random_faults,
}

/// The default message size, in bytes.
const SIZE: usize = 64;

fn a_flipped_bit_in_the_first_message_means_not_an_echo_server() {
    let peer = Peer::replying(SIZE, |_, _, bytes| Reply::Bytes(flipped(bytes, 10)));
    let (expected, found) = byte(0, 0, 10);
    let what = format!("byte 10 of the first message came back as 0x{found:02x} instead of 0x{expected:02x}");
    assert_not_an_echo_server(&peer, &[&what]);
}

fn a_flipped_bit_in_a_later_message_is_wrong_data_with_its_exact_place() {
    let peer = honest_except(5, |_, bytes| Reply::Bytes(flipped(bytes, 7)));
    let (expected, found) = byte(0, 5, 7);
    let what = format!("connection 0, message 5, offset 7: expected 0x{expected:02x}, found 0x{found:02x}");
    assert_wrong_data(&peer, "-c 1", &[&what]);
}

fn the_connection_with_the_wrong_data_is_named() {
    let peer = honest_except(5, |connection, bytes| match connection {
        1 => Reply::Bytes(flipped(bytes, 63)),
        _ => Reply::Bytes(bytes),
    });
    assert_wrong_data(&peer, "-c 2", &["connection 1, message 5, offset 63: "]);
}

fn wrong_data_on_one_thread_stops_all_threads() {
    let peer = honest_except(5, |connection, bytes| match connection {
        3 => Reply::Bytes(flipped(bytes, 0)),
        _ => Reply::Bytes(bytes),
    });
    assert_wrong_data(&peer, "-c 8 -t 2 -d 60s", &["message 5, offset 0: "]);
}

fn a_flipped_bit_far_into_a_large_message_has_its_exact_place() {
    let peer = Peer::replying(1 << 20, |_, number, bytes| match number {
        2 => Reply::Bytes(flipped(bytes, 1_000_000)),
        _ => Reply::Bytes(bytes),
    });
    assert_wrong_data(
        &peer,
        "-c 1 -s 1MiB -d 60s",
        &["connection 0, message 2, offset 1000000: "],
    );
}

fn what_was_measured_before_a_wrong_byte_is_reported() {
    const HONEST: usize = 2_000;
    let peer = honest_except(HONEST, |connection, bytes| match connection {
        1 => Reply::Bytes(flipped(bytes, 0)),
        _ => Reply::Bytes(bytes),
    });
    let folder = TempDir::new().unwrap();
    let csv = folder.path().join("seconds.csv");
    let measured = load(
        peer.address,
        &format!("-c 2 -d 60s --warmup 0s --csv {}", csv.display()),
    );
    let report = measured.report(6);
    assert!(number(report, "/messages/completed") >= HONEST as u64 - 1, "{report:#}");
    assert_eq!(number(report, "/messages/failed"), 1, "the message with the wrong byte");
    assert_eq!(report["connections"]["lost"], json!({ "wrong_data": 1 }));
    assert_says(&measured.stdout, &["PARTIAL: ended by wrong data", "wrong-data"]);
    assert_says(&fs::read_to_string(csv).unwrap(), &[",true\n"]);
}

fn messages_swapped_between_two_connections_are_wrong_data() {
    let held = Mutex::new(Vec::new());
    let peer = honest_except(4, move |_, bytes| {
        let other = std::mem::replace(&mut *held.lock().unwrap(), bytes);
        if other.is_empty() {
            Reply::Nothing
        } else {
            Reply::Bytes(other)
        }
    });
    assert_wrong_data(&peer, "-c 2", &["message 4, offset 0: "]);
}

fn an_old_message_in_place_of_the_new_one_is_wrong_data() {
    let last = Mutex::new(Vec::new());
    let peer = Peer::replying(SIZE, move |_, number, bytes| {
        let mut last = last.lock().unwrap();
        if number != 6 {
            last.clone_from(&bytes);
        }
        Reply::Bytes(last.clone())
    });
    assert_wrong_data(&peer, "-c 1", &["connection 0, message 6, offset 0: "]);
}

fn a_message_that_comes_twice_is_wrong_data() {
    let peer = honest_except(5, |_, bytes| Reply::Bytes([bytes.clone(), bytes].concat()));
    assert_wrong_data(&peer, "-c 1", &["connection 0, message 6, ", "found 64 bytes"]);
}

fn bytes_beyond_the_message_are_wrong_data() {
    let peer = honest_except(5, |_, bytes| Reply::Bytes([&bytes[..], b"xyz"].concat()));
    assert_wrong_data(
        &peer,
        "-c 1",
        &["connection 0, message 6, ", "had not been sent", "found 3 bytes"],
    );
}

fn a_short_reply_and_fin_means_not_an_echo_server() {
    let peer = Peer::replying(SIZE, |_, _, bytes| Reply::Close(bytes[..10].to_vec()));
    assert_not_an_echo_server(
        &peer,
        &["only 10 of 64 bytes came back before it closed the connection"],
    );
}

fn no_reply_means_not_an_echo_server() {
    let peer = Peer::replying(SIZE, |_, _, _| Reply::Nothing);
    assert_not_an_echo_server(
        &peer,
        &["it accepted the connection, but nothing came back within 300 ms"],
    );
}

fn a_peer_that_discards_everything_is_not_an_echo_server() {
    let peer = Peer::start(|_, stream| discard(&stream));
    assert_not_an_echo_server(
        &peer,
        &["it accepted the connection, but nothing came back within 300 ms"],
    );
}

fn a_peer_that_never_reads_is_not_an_echo_server_even_for_large_messages() {
    let streams = Mutex::new(Vec::new());
    let peer = Peer::start(move |_, stream| streams.lock().unwrap().push(stream));
    let measured = load(peer.address, "-s 100MiB --preflight-timeout 300ms");
    assert_says(measured.refusal(5), &["nothing came back within 300 ms"]);
}

fn a_banner_is_shown() {
    let peer = Peer::start(|_, mut stream| {
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        echo(stream);
    });
    assert_not_an_echo_server(
        &peer,
        &[r#"It sent "220 mail.example ESMTP\r\n"#, "byte 0 of the first message"],
    );
}

fn the_reply_of_a_web_server_is_shown() {
    let peer = Peer::start(|_, mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    assert_not_an_echo_server(&peer, &[r#"It sent "HTTP/1.1 400 Bad Request\r\nConnection: close"#]);
}

fn control_characters_from_the_peer_are_escaped() {
    let peer = Peer::start(|_, mut stream| {
        stream.write_all(b"\x1b]0;owned\x07\xff\x00").unwrap();
        discard(&stream);
    });
    assert_not_an_echo_server(&peer, &[r#"It sent "\x1b]0;owned\x07\xff\x00""#]);
}

fn a_close_on_accept_means_not_an_echo_server() {
    let peer = Peer::start(|_, stream| drop(stream));
    assert_not_an_echo_server(&peer, &["nothing came back"]);
}

fn a_reset_on_accept_means_not_an_echo_server() {
    let peer = Peer::start(|_, stream| reset(stream));
    // It may arrive while connecting, writing or reading; the kernel reports it once.
    let measured = load(peer.address, "-c 50");
    assert_says(measured.refusal(5), &[&peer.address.to_string()]);
    assert!(
        ["reset", "closed"].iter().any(|word| measured.stderr.contains(word)),
        "{measured}"
    );
    assert_eq!(peer.accepted(), 1);
}

fn a_refused_connection_is_explained_with_advice() {
    let (_taken, address) = refusing();
    let refusal = load(address, "-c 50");
    let what = format!("cannot connect to {address}: Connection refused");
    assert_says(refusal.refusal(5), &[&what, "Nothing listens there", "urecho serve"]);
}

fn connections_that_stop_replying_leave_missing_messages() {
    let peer = Peer::replying(SIZE, |connection, number, bytes| match (connection, number) {
        (1 | 2, 5..) => Reply::Nothing,
        _ => Reply::Bytes(bytes),
    });
    let measured = load(peer.address, "-c 4 --warmup 0s --drain 200ms");
    let report = measured.report(6);
    assert_eq!(number(report, "/messages/missing"), 2);
    assert_eq!(number(report, "/messages/failed"), 0);
    assert!(
        report["latency"]["service"]["lower_bounds"]
            .as_array()
            .unwrap()
            .contains(&"max_ns".into())
    );
    assert_says(&measured.stderr, &["urecho: 2 of ", "messages got no reply"]);
    let marked = |line: &str| line.trim().starts_with("max ") && line.contains(" > ");
    assert!(measured.stdout.lines().any(marked), "{measured}");
}

fn half_of_the_connections_are_closed_and_counted_and_the_others_continue() {
    let measured = half_lost(|| Reply::Close(Vec::new()));
    assert_eq!(
        measured.report(6)["connections"]["lost"],
        serde_json::json!({ "eof": 5 })
    );
    assert_says(&measured.stdout, &["10 opened, 0 failed, 5 lost (5 eof)"]);
}

fn half_of_the_connections_are_reset_and_counted_and_the_others_continue() {
    let measured = half_lost(|| Reply::Reset);
    assert_eq!(
        measured.report(6)["connections"]["lost"],
        serde_json::json!({ "reset": 5 })
    );
}

fn a_reply_that_breaks_off_is_a_failed_message() {
    let peer = honest_except(5, |_, bytes| Reply::Close(bytes[..10].to_vec()));
    let measured = load(peer.address, "-c 1 --warmup 0s");
    assert_eq!(number(measured.report(5), "/messages/failed"), 1);
}

fn a_server_that_closes_all_connections_is_an_unreachable_target() {
    let peer = honest_except(20, |_, _| Reply::Close(Vec::new()));
    let measured = load(peer.address, "-c 10 --warmup 0s -d 60s");
    assert_eq!(number(measured.report(5), "/connections/lost/eof"), 10);
    assert_says(&measured.stderr, &["closed every connection before the run was over"]);
}

fn connections_that_do_not_open_are_counted_and_the_run_continues() {
    let peer = honest_except(0, |connection, bytes| match connection {
        7.. => Reply::Reset,
        _ => Reply::Bytes(bytes),
    });
    let measured = load(peer.address, "-c 10");
    let report = measured.report(5);
    assert_eq!(number(report, "/connections/failures/reset"), 3);
    assert_eq!(number(report, "/connections/opened"), 7);
    assert!(number(report, "/messages/completed") > 0);
    assert_says(&measured.stderr, &["urecho: 3 ", "connections did not open"]);
}

fn a_connection_without_a_first_reply_times_out() {
    let peer = honest_except(0, |connection, bytes| match connection {
        1 => Reply::Nothing,
        _ => Reply::Bytes(bytes),
    });
    let measured = load(peer.address, "-c 3");
    assert_eq!(number(measured.report(5), "/connections/failures/timeout"), 1);
}

fn a_thread_that_loses_all_its_connections_does_not_lengthen_the_measured_time() {
    let peer = honest_except(0, |connection, bytes| match connection {
        0 => Reply::Bytes(bytes),
        _ => Reply::Reset,
    });
    let measured = load(peer.address, "-c 2 -t 2 --warmup 2s -d 100ms");
    // The warm-up is far longer than the measured time, and must not be part of it.
    assert!(number(measured.report(5), "/elapsed_ns") < 2_000_000_000, "{measured}");
}

fn every_message_is_accounted_for_under_random_faults() {
    // The sums are checked in every report that is read: `support::reports`.
    for seed in 1..=12 {
        let peer = Peer::replying(SIZE, move |connection, number, bytes| {
            random_reply(seed, connection, number, bytes)
        });
        let measured = load(peer.address, "-c 12 -t 2 -d 60ms --warmup 10ms --drain 30ms");
        let report = measured.report(measured.code().unwrap());
        assert!(
            matches!(measured.code(), Some(0 | 3 | 5 | 6)),
            "seed {seed}: {measured}"
        );
        assert_eq!(report["partial"], false, "seed {seed}");
    }
}

/// Echoes all but about one message of fifty. The very first message is always echoed.
fn random_reply(seed: u64, connection: usize, number: usize, bytes: Vec<u8>) -> Reply {
    let mut random = Random::new(seed, (connection << 32 | number) as u64);
    let part = bytes[..random.below(bytes.len())].to_vec();
    match random.below(256) {
        _ if connection == 0 && number == 0 => Reply::Bytes(bytes),
        0 => Reply::Close(part),
        1 => Reply::Close(bytes),
        2 => Reply::Reset,
        3 => Reply::Nothing,
        4 => Reply::Bytes(part),
        _ => Reply::Bytes(bytes),
    }
}

/// Echoes every message but that with number `faulty` on each connection, to which `reply` replies.
fn honest_except(faulty: usize, reply: impl Fn(usize, Vec<u8>) -> Reply + Send + Sync + 'static) -> Peer {
    Peer::replying(SIZE, move |connection, number, bytes| {
        if number == faulty {
            reply(connection, bytes)
        } else {
            Reply::Bytes(bytes)
        }
    })
}

/// Even connections echo to the end of the run, odd ones end with message 20.
fn half_lost(end: impl Fn() -> Reply + Send + Sync + 'static) -> Finished {
    let peer = honest_except(20, move |connection, bytes| match connection % 2 {
        0 => Reply::Bytes(bytes),
        _ => end(),
    });
    let measured = load(peer.address, "-c 10 --warmup 0s -d 500ms");
    let report = measured.report(6);
    assert_eq!(number(report, "/messages/failed"), 5);
    assert!(number(report, "/elapsed_ns") >= 100_000_000); // of 500 ms
    assert!(number(report, "/messages/completed") > 10 * 20);
    measured
}

/// Refused with exit 5 and these phrases, after one connection of the 50 requested.
fn assert_not_an_echo_server(peer: &Peer, phrases: &[&str]) {
    let measured = load(peer.address, "-c 50 --seed 1 --preflight-timeout 300ms");
    let refusal = measured.refusal(5);
    assert_says(refusal, &[&format!("{} is not an echo server: ", peer.address)]);
    assert_says(refusal, phrases);
    assert_eq!(peer.accepted(), 1, "one connection was enough");
}

/// Ends with exit 6 and these phrases.
fn assert_wrong_data(peer: &Peer, flags: &str, phrases: &[&str]) {
    let measured = load(peer.address, &format!("{flags} --seed 1"));
    let report = measured.report(6);
    for text in [&measured.stderr, report["wrong_data"].as_str().unwrap()] {
        assert_says(text, &[&format!("wrong data from {}: ", peer.address)]);
        assert_says(text, phrases);
    }
    let found = (&report["partial"], &report["verdict"]["grade"]);
    assert!(found == (&json!(true), &json!("INVALID")), "{report:#}");
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

/// The byte of seed 1 at this place, and the same byte with a bit flipped.
fn byte(connection: u64, message: u64, at: u64) -> (u8, u8) {
    let mut byte = [0];
    PayloadStream::new(1, connection).fill(message, at, &mut byte);
    (byte[0], byte[0] ^ 1)
}
