//! Places with limits: users without privileges, little memory, few threads, short descriptors, clocks that lie,
//! quotas, a hidden /proc. Each command measures right there, or refuses with the true reason and exit code 4; it never
//! panics.
//!
//! The places are made by shell commands (`ulimit`, `unshare`, `setpriv`, `strace`). A machine that cannot make one
//! skips its tests, and says so.

// Time namespaces and faked clocks.
mod clock;
// More connections than descriptors.
mod descriptors;
// Every command at every limit: exit code 4, and one line.
mod exit_codes;
// Locked memory, address space, stacks, control groups.
mod memory;
// CPU quotas of control groups.
mod quota;
// io_uring calls that the kernel refuses.
mod ring;
// Limits on processes and threads.
mod threads;
// /proc, /dev and /sys that are missing or read-only.
mod visibility;

use std::process::Command;

use crate::support::{Output, run};

/// `urecho` in a shell, as `$U`, with these positional parameters.
fn shell(script: &str, parameters: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(parameters);
    command
        .env("U", env!("CARGO_BIN_EXE_urecho"))
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY");
    command
}

/// Runs a script until it exits.
fn sh(script: &str, parameters: &[&str]) -> Output {
    run(&mut shell(script, parameters))
}

/// True if this machine can do what `script` tries. Says so otherwise.
fn can(script: &str, needs: &str) -> bool {
    let possible = sh(script, &[]).status.success();
    if !possible {
        println!("SKIPPED: needs {needs}");
    }
    possible
}

/// Panics unless it measured: valid or not, since the places are slow.
fn assert_measured(ended: &Output) {
    assert!(matches!(ended.code(), Some(0 | 3)), "{ended}");
    assert!(ended.stdout.contains("0 failed + 0 missing"), "{ended}");
}

/// Panics unless it refused with one message that has these words.
fn assert_refused(ended: &Output, words: &[&str]) {
    assert_eq!(ended.code(), Some(4), "{ended}");
    let messages: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.starts_with("urecho: "))
        .collect();
    assert_eq!(messages.len(), 1, "{ended}");
    for word in words {
        assert!(messages[0].contains(word), "no {word:?} in: {ended}");
    }
}

/// Panics unless it measured, or refused with exit code 4 for one of these reasons.
fn assert_measured_or_refused(ended: &Output, reasons: &[&str]) {
    match ended.code() {
        Some(4) => assert!(reasons.iter().any(|reason| ended.stderr.contains(reason)), "{ended}"),
        _ => assert_measured(ended),
    }
}

const ROOT: &str = "root, unshare and setpriv (util-linux)";

/// True if other users and namespaces can be had.
fn is_root() -> bool {
    can(
        "test \"$(id -u)\" = 0 && setpriv --reuid=65532 --clear-groups true && unshare -m true",
        ROOT,
    )
}

/// A prefix for a script: the rest runs as a user that runs nothing else, to whom limits apply that count per user.
/// `$U` is a copy that any user may execute, removed with `$D`.
fn as_user(uid: u32, script: &str) -> String {
    format!(
        "D=$(mktemp -d) && trap 'rm -rf \"$D\"' EXIT && chmod 755 \"$D\" && cp \"$U\" \"$D/urecho\" && chmod 755 \"$D/urecho\" && \
         U=\"$D/urecho\" setpriv --reuid={uid} --regid={uid} --clear-groups --inh-caps=-all sh -c '{script}' sh \"$@\""
    )
}
