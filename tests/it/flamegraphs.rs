//! The committed flamegraphs: each has its folded stacks and a row in the README whose figures are those of the stacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Output, run};

const FOLDER: &str = "flamegraphs";

#[test]
fn every_sample_counts_once_and_the_rest_is_listed_by_innermost_function() {
    let folded = "\
        urecho;main;syscall_[k];tcp_sendmsg_[k];tcp_sendmsg_locked_[k];tcp_rcv_established_[k] 300\n\
        urecho;main;syscall_[k];tcp_sendmsg_locked_[k] 100\n\
        urecho;main;tcp_sendmsg_[k];softirq_[k];tcp_recvmsg_[k] 100\n\
        urecho;main;syscall_[k];tcp_recvmsg_[k];copy_[k] 90\n\
        urecho;main;splice_[k];tcp_splice_read_[k] 10\n\
        urecho;main;<urecho::Ring as Wait>::wait 40\n\
        urecho;main;my_tcp_sendmsg;turn_[k] 30\n\
        urecho;main;tcp_sendmsg_fastopen_[k];beta_[k] 200\n\
        urecho;other;beta_[k] 100\n\
        urecho;main;alpha_[k] 30\n";
    assert_eq!(
        shares(folded),
        "send 50.0 %, receive 10.0 %, rest 40.0 % of 1000 samples; of the rest: beta 30.0 %, \
         <urecho::Ring as Wait>::wait 4.0 %, alpha 3.0 %\n"
    );
}

#[test]
fn an_empty_rest_has_no_functions() {
    assert_eq!(
        shares("urecho;tcp_sendmsg 3\nurecho;tcp_recvmsg 1\n"),
        "send 75.0 %, receive 25.0 %, rest 0.0 % of 4 samples\n"
    );
}

#[test]
fn input_other_than_folded_stacks_is_refused() {
    for (text, words) in [("", "no samples"), ("urecho;main\n", ":1: not")] {
        let output = shares_of(text);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(output.stderr.contains(words), "{output}");
    }
}

#[test]
fn an_unknown_scenario_is_refused_before_anything_is_built() {
    for arguments in [vec![], vec!["c51"], vec!["c50", "kqueue"]] {
        let record = run(Command::new("flamegraphs/record").args(&arguments));
        assert_eq!(record.code(), Some(2), "{arguments:?}");
        assert!(record.stderr.starts_with("usage: "));
    }
}

#[test]
fn a_server_that_is_wrong_under_a_load_is_refused_before_anything_is_built() {
    for scenario in ["c1", "pipeline16", "1MiB", "churn"] {
        let record = run(Command::new("flamegraphs/record").args([scenario, "minimal-uring"]));
        assert_eq!(record.code(), Some(2), "{scenario}");
        assert!(record.stderr.contains("c50 and c1000 only"), "{record}");
    }
}

#[test]
fn every_picture_has_its_stacks_and_a_row_with_their_figures() {
    let readme = fs::read_to_string("flamegraphs/README.md").unwrap();
    let (pictures, stacks) = (names("svg"), names("folded"));
    assert_eq!(pictures, stacks, "pictures and folded stacks");
    for name in pictures {
        let link = format!("]({name}.svg)");
        let line = readme.lines().find(|line| line.contains(&link));
        let line = line.unwrap_or_else(|| panic!("{name} has no row in {FOLDER}/README.md"));
        let path = format!("{FOLDER}/{name}.folded");
        let figures = stdout(shares_at(Path::new(&path)));
        // `send 50.0 %, receive 10.0 %, rest 40.0 % of …`
        let shares = figures.split(" of ").next().unwrap().split(", ");
        for figure in shares.filter_map(|figure| figure.split_once(' ')) {
            let cell = format!("| {} |", figure.1);
            assert!(line.contains(&cell), "the stacks have {figures}, the README: {line}");
        }
    }
}

#[test]
fn no_picture_shows_uncommitted_code_or_local_paths() {
    for name in names("folded") {
        assert!(!name.contains("-dirty"), "{name}: commit the code first");
        for kind in ["folded", "svg"] {
            let text = fs::read_to_string(format!("{FOLDER}/{name}.{kind}")).unwrap();
            for folder in ["/home/", "/root/", "/tmp/", "/work/", ".cargo", ".rustup"] {
                assert!(!text.contains(folder), "{name}.{kind} names {folder}");
            }
        }
    }
}

/// The names of all files with this extension, without it.
fn names(kind: &str) -> BTreeSet<String> {
    let files = fs::read_dir(FOLDER).unwrap().flatten();
    let ours = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == kind));
    ours.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn shares(folded: &str) -> String {
    stdout(shares_of(folded))
}

fn shares_of(folded: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stacks.folded");
    fs::write(&file, folded).unwrap();
    shares_at(&file)
}

fn shares_at(file: &Path) -> Output {
    run(Command::new("flamegraphs/shares").arg(file))
}

fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output}");
    output.stdout
}
