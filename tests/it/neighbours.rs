//! Ports and other processes: a server under test is ours, and ports that are lacking here are not blamed on the
//! target.

use crate::addresses::in_namespace;
use crate::support::assert_says;

/// A server that takes some time to start.
const LATE: &str = "late='sh -c \"sleep 0.7; exec \\\"$U\\\" serve --workers 1 --listen 127.0.0.1:{port}\"'\n";

const SHORT: &str = "-c 2 --restarts 1 --blocks 1 --slice 300ms --slice-warmup 5ms";

#[test]
fn runs_side_by_side_measure_their_own_servers_whatever_the_range_of_ports() {
    for range in ["1024 65535", "15000 15003", "32768 60999"] {
        let script = format!(
            "{LATE} echo '{range}' > /proc/sys/net/ipv4/ip_local_port_range
            for i in 1 2 3; do \"$U\" compare {SHORT} a=\"$late\" b=\"$late\" & done; wait"
        );
        let Some(ended) = in_namespace(&script) else {
            return;
        };
        let rows = ended.stdout.lines().filter(|line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("a" | "b")) && line.contains("µs")
        });
        assert_eq!(rows.count(), 6, "{ended}");
        assert!(
            !ended.stdout.contains("FAILED") && !ended.stdout.contains(" 0 ns"),
            "{ended}"
        );
    }
}

#[test]
fn a_server_that_the_command_did_not_start_is_not_measured() {
    // A neighbour listens on every port that the command is started with.
    let script = format!(
        "cat > \"$D/share.py\" <<'PY'
import glob, os, socket, sys, time
sockets = dict()
while True:
    for path in glob.glob(sys.argv[1] + '/go.*'):
        port = int(path.rsplit('.', 1)[1])
        if port not in sockets:
            sockets[port] = socket.socket(); sockets[port].bind(('127.0.0.1', port)); sockets[port].listen(9)
    time.sleep(0.01)
PY
        python3 \"$D/share.py\" \"$D\" & neighbour=$!
        echo \": > $D/go.\\$1; sleep 600\" > \"$D/never\"
        \"$U\" compare {SHORT} a=\"sh $D/never {{port}}\"; code=$?
        kill $neighbour; wait $neighbour; exit $code"
    );
    let Some(ended) = in_namespace(&script) else {
        return;
    };
    assert!(ended.stdout.contains("FAILED"), "{ended}");
    assert_says(&ended.stdout, &["is not the server's: python3 (process "]);
    assert_eq!(ended.code(), Some(5), "{ended}");
}

#[test]
fn reserved_ports_and_ports_in_use_are_counted_before_a_target_is_blamed() {
    let script = "echo '20000 20003' > /proc/sys/net/ipv4/ip_local_port_range
        echo 20001,20002 > /proc/sys/net/ipv4/ip_local_reserved_ports
        \"$U\" serve --workers 1 --listen 127.0.0.1:7007 > \"$D/line\" & server=$!
        while ! grep -q listening \"$D/line\"; do sleep 0.01; done
        \"$U\" load 127.0.0.1:7007 -c 3 -d 100ms --source 127.0.0.1; echo \"too many: $?\"
        exec 3<>/dev/tcp/127.0.0.1/7007 4<>/dev/tcp/127.0.0.1/7007
        \"$U\" load 127.0.0.1:7007 -c 1 -d 100ms; echo \"in use: $?\"
        exec 3>&- 4>&-; kill $server; wait $server";
    let Some(ended) = in_namespace(script) else {
        return;
    };
    assert_says(&ended.stdout, &["too many: 4", "in use: 4"]);
    assert_says(
        &ended.stderr,
        &[
            "ip_local_reserved_ports has 2",
            "no source port is free",
            "2 source ports",
            "2 connected",
        ],
    );
}
