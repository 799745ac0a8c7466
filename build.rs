//! Tells the program how it is built, and from which commit: URECHO_BUILD_PROFILE, and URECHO_BUILD_COMMIT if that is
//! known.
//!
//! Debug builds have no commit: otherwise each commit would compile everything anew.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=URECHO_BUILD_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let profile = env::var("PROFILE").unwrap_or_default();
    println!("cargo::rustc-env=URECHO_BUILD_PROFILE={profile}");
    if profile == "debug" {
        return;
    }
    // Packagers, who build from an archive, may name the commit.
    if let Some(commit) = env::var("URECHO_BUILD_COMMIT").ok().or_else(checked_out) {
        println!("cargo::rustc-env=URECHO_BUILD_COMMIT={commit}");
    }
}

/// The commit that is checked out here; none without git, and in an archive that lies in some other repository.
fn checked_out() -> Option<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().ok()?;
    let top = Path::new(&git(&["rev-parse", "--show-toplevel"])?)
        .canonicalize()
        .ok()?;
    if here != top {
        return None;
    }
    // HEAD names a branch; its log changes with every commit and checkout.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}
