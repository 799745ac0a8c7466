//! The README's contract: every row of its table is produced, and the program does what the row says.
//!
//! The exit codes are read from the table, so that neither can change alone. What else belongs to a subject - every
//! command, every limit, every stream - is in the tests of that subject.

// Exit codes of everything but signals.
mod endings;
// What is on stdout, stderr and in files, and when.
mod outputs;
// SIGINT, SIGTERM, SIGHUP, SIGKILL and SIGPIPE.
mod signals;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::Output;

/// A row of the table.
struct Row {
    what: String,
    codes: Vec<i32>,
}

/// Produces a row, and panics unless the program does what it says.
type Check = fn(&Row);

/// The first cell of a row, and what produces it.
type Checks = &'static [(&'static str, Check)];

fn readme() -> String {
    fs::read_to_string("README.md").unwrap()
}

fn rows() -> Vec<Row> {
    let readme = readme();
    let (_, section) = readme.split_once("\n## Contract\n").unwrap();
    let table = section.lines().skip_while(|line| !line.starts_with('|'));
    let table = table.take_while(|line| line.starts_with('|')).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [what, codes, holds] = cells[..] else {
            panic!("three cells: {line}")
        };
        assert!(!holds.is_empty(), "{line}");
        let codes = codes
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|code| code.parse().ok());
        Row {
            what: what.to_owned(),
            codes: codes.collect(),
        }
    };
    table.map(row).collect()
}

/// Produces these rows.
fn check(checks: Checks) {
    let rows = rows();
    for (what, check) in checks {
        let row = rows.iter().find(|row| row.what == *what);
        check(row.unwrap_or_else(|| panic!("the README has no row {what:?}")));
    }
}

impl Row {
    /// The only exit code of the row.
    fn code(&self) -> Option<i32> {
        assert_eq!(self.codes.len(), 1, "{}", self.what);
        Some(self.codes[0])
    }

    /// The flags that it names.
    fn flags(&self) -> Vec<&str> {
        let names = self.what.split('`').skip(1).step_by(2);
        names.filter_map(|name| name.strip_prefix("--")).collect()
    }
}

fn urecho(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command
        .args(arguments.split_whitespace())
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY");
    command
}

/// `urecho serve`, as a command under test.
fn server() -> String {
    let program = env!("CARGO_BIN_EXE_urecho");
    format!("{program} serve --workers 1 --listen 127.0.0.1:{{port}}")
}

/// Panics unless there is one line on stderr, and nothing on stdout.
fn assert_one_line(ended: &Output) {
    assert!(
        ended.stdout.is_empty() && ended.stderr.starts_with("urecho: ") && ended.stderr.lines().count() == 1,
        "{ended}"
    );
}

#[test]
fn every_row_of_the_readme_is_produced_and_no_other() {
    let checks = [endings::CHECKS, signals::CHECKS, outputs::CHECKS].concat();
    let produced: Vec<&str> = checks.iter().map(|(what, _)| *what).collect();
    let written: Vec<String> = rows().into_iter().map(|row| row.what).collect();
    assert_eq!(produced, written);
}

#[test]
fn the_readme_and_the_help_have_the_same_exit_codes() {
    let help = urecho("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, list) = help.split_once("Exit codes:\n").unwrap();
    let first_word = |line: &str| line.split_whitespace().next()?.parse().ok();
    let in_help: BTreeSet<i32> = list.lines().filter_map(first_word).collect();
    let in_readme: BTreeSet<i32> = rows().into_iter().flat_map(|row| row.codes).collect();
    assert_eq!(in_help, in_readme);
}

#[test]
fn the_readme_names_every_output_of_every_command() {
    let snapshots = fs::read_dir("tests/it/snapshots").unwrap().flatten();
    let texts: Vec<String> = snapshots
        .map(|entry| fs::read_to_string(entry.path()).unwrap())
        .collect();
    let words = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    let in_help: BTreeSet<&str> = words
        .filter_map(|line| line.strip_prefix("--")?.split_once(" <FILE>"))
        .map(|(name, _)| name)
        .collect();
    let rows = rows();
    let of_outputs = rows.iter().filter(|row| row.codes.is_empty());
    let in_readme: BTreeSet<&str> = of_outputs.flat_map(Row::flags).collect();
    assert_eq!(in_help, in_readme);
}
