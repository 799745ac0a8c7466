//! Completions and man pages.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::command_line::COMMANDS;
use crate::support::run;

#[test]
fn completions_are_scripts_that_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(Command::new(env!("CARGO_BIN_EXE_urecho")).args(["completions", shell]));
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        for command in ["serve", "find-max", "sockets"] {
            assert!(ended.stdout.contains(command), "{shell}: {command}");
        }
        assert!(
            !ended.stdout.contains("guard"),
            "{shell}: hidden commands are not completed"
        );
    }
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("urecho");
    fs::write(
        &script,
        run(Command::new(env!("CARGO_BIN_EXE_urecho")).args(["completions", "bash"])).stdout,
    )
    .unwrap();
    let checked = run(Command::new("bash").arg("-n").arg(&script));
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
}

#[test]
fn every_command_has_a_man_page() {
    let folder = TempDir::new().unwrap();
    let ended = run(Command::new(env!("CARGO_BIN_EXE_urecho")).arg("man").arg(folder.path()));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    for command in COMMANDS {
        let name = format!("urecho {command}").trim().replace(' ', "-") + ".1";
        let page = fs::read_to_string(folder.path().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}");
    }
    let nowhere = run(Command::new(env!("CARGO_BIN_EXE_urecho")).args(["man", "/nowhere"]));
    assert_eq!(nowhere.code(), Some(4), "{}", nowhere.stderr);
}
