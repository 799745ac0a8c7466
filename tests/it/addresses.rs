//! Names with several addresses, all addresses, and addresses with an interface: as targets, sources and listeners.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use tempfile::TempDir;

use crate::support::peers::Peer;
use crate::support::runs::{load, load_targets};
use crate::support::{Output, ServeProcess, assert_echo, assert_says, connect, run};

fn serve_on(listen: &str) -> ServeProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["serve", "--workers", "1", "--listen", listen]);
    ServeProcess::spawn(command)
}

fn refused(listen: &str) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_urecho")).args(["serve", "--listen", listen]))
}

/// Runs a script as root of a network namespace of its own, with `$U` as the tool and `$D` as a folder. None, with a
/// message, where that is not allowed.
pub(crate) fn in_namespace(script: &str) -> Option<Output> {
    let allowed = Command::new("unshare")
        .args(["-n", "ip", "link", "set", "lo", "up"])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: needs network namespaces (unshare -n) and ip");
        return None;
    }
    let (script, folder) = (format!("ip link set lo up\n{script}"), TempDir::new().unwrap());
    let mut command = Command::new("unshare");
    command
        .args(["-n", "bash", "-c", &script])
        .env("U", env!("CARGO_BIN_EXE_urecho"))
        .env("D", folder.path());
    Some(run(&mut command))
}

#[test]
fn a_server_listens_on_a_name_and_says_on_which_address() {
    let server = serve_on("localhost:0");
    assert!(server.address.ip().is_loopback(), "{}", server.announced);
    assert_echo(&mut server.connect(), b"hello");
}

#[test]
fn a_server_listens_on_all_addresses() {
    for listen in [":0", "*:0"] {
        let server = serve_on(listen);
        assert!(server.address.ip().is_unspecified(), "{}", server.announced);
        let port = server.address.port();
        assert_echo(&mut connect(SocketAddr::from(([127, 0, 0, 1], port))), b"hello");
        if TcpListener::bind("[::1]:0").is_ok() {
            assert_echo(&mut connect(SocketAddr::new("::1".parse().unwrap(), port)), b"hello");
        }
    }
}

#[test]
fn a_listener_that_cannot_be_is_refused_with_the_forms_that_can() {
    for listen in ["7163", "::1:7", "localhost", "http://localhost:7"] {
        let ended = refused(listen);
        assert_eq!(ended.code(), Some(2), "{ended}");
        assert_says(
            &ended.stderr,
            &["127.0.0.1:7007", "[::1]:7007", ":7007 for all addresses"],
        );
    }
    let ended = refused("name.invalid:7");
    assert_eq!(ended.code(), Some(4), "{ended}");
    assert_says(&ended.stderr, &["cannot resolve name.invalid"]);
    let ended = refused("[fe80::1%nosuch]:7");
    assert_eq!(ended.code(), Some(4), "{ended}");
    assert_says(&ended.stderr, &["no interface `nosuch`"]);
}

#[test]
fn an_unknown_interface_of_a_target_is_not_a_usage_error() {
    let ended = load_targets("[fe80::1%nosuch]:7", "");
    assert_says(ended.refusal(5), &["[fe80::1%nosuch]:7", "no interface `nosuch`"]);
}

#[test]
fn connections_come_from_the_addresses_of_a_name() {
    let peer = Peer::honest();
    let measured = load(peer.address, "-c 2 --source localhost");
    assert_eq!(measured.report(0)["plan"]["sources"], 1, "{measured}");
    let ended = load(peer.address, "--source name.invalid");
    assert_says(ended.refusal(4), &["cannot resolve --source name.invalid"]);
}

#[test]
fn link_local_addresses_have_an_interface_as_target_source_and_listener() {
    let Some(ended) = in_namespace(
        "ip address add fe80::1/64 dev lo nodad || { echo SKIPPED: needs IPv6; exit 0; }
        \"$U\" serve --workers 1 --listen '[fe80::1%lo]:7007' > $D/line & server=$!
        while ! grep -q listening $D/line; do sleep 0.01; kill -0 $server || exit 9; done
        cat $D/line
        \"$U\" load '[fe80::1%lo]:7007' --source fe80::1%lo -c 2 -d 100ms --warmup 0s; code=$?
        kill $server; wait $server
        [ $code = 0 ] || [ $code = 3 ]",
    ) else {
        return;
    };
    if ended.stdout.starts_with("SKIPPED") {
        return println!("{}", ended.stdout.trim());
    }
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_says(
        &ended.stdout,
        &["listening on [fe80::1%", "load         [fe80::1%lo]:7007 ([fe80::1%"],
    );
}
