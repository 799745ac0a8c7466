//! CPU quotas of control groups, seen without pressure stall information.

use super::{can, sh};
use crate::support::assert_says;
use crate::support::runs::until_valid;

/// Makes a group `$Q` that may use a fifth of a CPU, in either version of control groups.
const QUOTA: &str = "
    V1=/sys/fs/cgroup/cpu V2=/sys/fs/cgroup
    if [ -e $V1/cpu.cfs_quota_us ]; then
        Q=$V1/urecho-test-$$; mkdir $Q || exit 77; echo 20000 > $Q/cpu.cfs_quota_us || exit 77
    else
        Q=$V2/urecho-test-$$; mkdir $Q || exit 77; echo '20000 100000' > $Q/cpu.max || exit 77
    fi
    limited() { sh -c 'echo $$ > \"$0/cgroup.procs\" && exec \"$@\"' \"$Q\" \"$@\"; }
    trap 'for n in 1 2 3 4 5 6 7 8 9; do rmdir $Q 2> /dev/null && break; sleep 0.2; done' EXIT
    limited true || exit 77
";

fn has_quotas() -> bool {
    can(QUOTA, "root and control groups with CPU quotas")
}

#[test]
fn a_quota_of_the_generator_makes_the_run_invalid() {
    if !has_quotas() {
        return;
    }
    let script = format!(
        "{QUOTA} limited unshare -m sh -c 'mount -t tmpfs none /proc/pressure 2> /dev/null; exec \"$U\" bench -c 20 -d 1s --warmup 200ms'"
    );
    let ended = sh(&script, &[]);
    assert_eq!(ended.code(), Some(3), "{ended}");
    assert_says(
        &ended.stdout,
        &["INVALID", "cpu-quota: the CPU quota of the generator's control group"],
    );
}

#[test]
fn a_quota_of_the_server_alone_is_seen() {
    if !has_quotas() {
        return;
    }
    let script = format!(
        "{QUOTA} F=$(mktemp); limited \"$U\" serve --workers 1 --listen 127.0.0.1:0 > $F & P=$!
        until grep -q listening $F; do sleep 0.05; done
        A=$(sed -n 's/listening on \\([^ ]*\\) .*/\\1/p' $F)
        \"$U\" load $A -c 20 -d 1s --warmup 200ms; R=$?
        S=$(cat $Q/cgroup.procs); kill $S; wait $P; rm $F; exit $R"
    );
    let ended = sh(&script, &[]);
    assert_says(
        &ended.stdout,
        &["server-cpu-quota: the CPU quota of the server's control group"],
    );
    assert!(!ended.stdout.contains("verdict      VALID"), "{ended}");
}

#[test]
fn a_comparison_under_a_quota_is_invalid_and_a_check_inconclusive() {
    if !has_quotas() {
        return;
    }
    let server = "\"$U serve --workers 1 --listen 127.0.0.1:{port}\"";
    let flags = "-c 20 --restarts 1 --blocks 1 --slice 300ms";
    let compare = format!("limited \"$U\" compare {flags} a={server} b={server}");
    let ended = sh(&format!("{QUOTA} {compare}"), &[]);
    assert_eq!(ended.code(), Some(3), "{ended}");
    assert_says(
        &ended.stdout,
        &["INVALID    cpu-quota: the CPU quota of the generator's control group was used up in"],
    );
    let check = format!("limited \"$U\" check {flags} --profile closed --base {server} --head {server}");
    let ended = sh(&format!("{QUOTA} {check}"), &[]);
    assert_eq!(ended.code(), Some(3), "{ended}");
    assert_says(
        &ended.stdout,
        &[
            "the CPU quota of the generator's control group was used up in",
            "too noisy, mostly because of the CPU quota",
        ],
    );
}

#[test]
fn a_compared_server_with_a_quota_of_its_own_is_named() {
    if !has_quotas() {
        return;
    }
    // A server that moves itself into the group.
    let server = "$U serve --workers 1 --listen 127.0.0.1:{port}";
    let script = format!(
        "{QUOTA} \"$U\" compare -c 20 --restarts 1 --blocks 1 --slice 300ms \"free={server}\" \
        \"held=sh -c 'echo \\$\\$ > $Q/cgroup.procs; exec {server}'\""
    );
    let ended = until_valid(|| sh(&script, &[]));
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_says(
        &ended.stdout,
        &["SUSPECT    server-cpu-quota: the CPU quota of held's control group was used up in"],
    );
    assert!(!ended.stdout.contains("the generator's control group"), "{ended}");
}
