//! What the command line says and refuses: help, versions, one message for each wrong value.
//!
//! The help is kept as snapshots; after a change on purpose, `SNAPSHOTS=overwrite cargo test --test it command_line`.

use std::process::Command;

use snapbox::{assert_data_eq, file};
use urecho::error::Error;

use crate::support::peers::Peer;
use crate::support::{Output, assert_says, run};

#[test]
fn help_is_as_reviewed() {
    assert_data_eq!(help("--help"), file!["snapshots/help.txt"]);
}

#[test]
fn help_of_serve_is_as_reviewed() {
    assert_data_eq!(help("serve --help"), file!["snapshots/help_serve.txt"]);
}

#[test]
fn help_of_load_is_as_reviewed() {
    assert_data_eq!(help("load --help"), file!["snapshots/help_load.txt"]);
}

#[test]
fn help_of_check_is_as_reviewed() {
    assert_data_eq!(help("check --help"), file!["snapshots/help_check.txt"]);
}

#[test]
fn help_of_bench_is_as_reviewed() {
    assert_data_eq!(help("bench --help"), file!["snapshots/help_bench.txt"]);
}

#[test]
fn help_of_compare_is_as_reviewed() {
    assert_data_eq!(help("compare --help"), file!["snapshots/help_compare.txt"]);
}

#[test]
fn help_of_find_max_is_as_reviewed() {
    assert_data_eq!(help("find-max --help"), file!["snapshots/help_find_max.txt"]);
}

#[test]
fn help_of_the_subcommands_of_check_is_as_reviewed() {
    assert_data_eq!(help("check replay --help"), file!["snapshots/help_check_replay.txt"]);
    assert_data_eq!(
        help("check baseline save --help"),
        file!["snapshots/help_check_baseline_save.txt"]
    );
    assert_data_eq!(
        help("check baseline compare --help"),
        file!["snapshots/help_check_baseline_compare.txt"]
    );
    assert_data_eq!(help("check history --help"), file!["snapshots/help_check_history.txt"]);
}

#[test]
fn short_help_has_one_line_per_flag() {
    for command in ["serve", "load", "bench", "compare", "check", "find-max"] {
        let help = help(&format!("{command} -h"));
        let flags = help.lines().filter(|line| line.trim_start().starts_with('-')).count();
        assert!(help.lines().count() < 2 * flags + 40, "{help}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(help("--version"), concat!("urecho ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn the_exit_codes_in_the_help_are_those_of_the_errors() {
    let help = help("--help");
    let (_, table) = help.split_once("Exit codes:\n").unwrap();
    let listed = |code: u8| table.lines().any(|line| line.trim().starts_with(&format!("{code} ")));
    let text = String::new;
    let errors = [
        Error::Usage(text()),
        Error::Machine(text()),
        Error::Target(text()),
        Error::Data(text()),
        Error::Bug(text()),
    ];
    for error in errors {
        assert!(listed(error.exit_code()), "{error:?} in {table}");
    }
    assert!(listed(0));
}

#[test]
fn a_command_that_is_missing_or_unknown_is_refused_with_the_known_ones() {
    assert_refused("", &["Usage: urecho <COMMAND>", "serve", "load", "bench"]);
    assert_refused("sevre", &["unrecognized subcommand 'sevre'", "'serve'"]);
}

#[test]
fn an_unknown_flag_is_refused_in_every_command() {
    for command in ["serve", "load", "bench"] {
        assert_refused(&format!("{command} --fast"), &["unexpected argument '--fast'"]);
    }
}

/// Wrong flags of `serve`, and what the refusal must say.
const WRONG_SERVE: &[(&str, &[&str])] = &[
    (
        "--listen localhost",
        &["'localhost' for '--listen <ADDR>'", "invalid socket address"],
    ),
    ("--listen 127.0.0.1:70000", &["'127.0.0.1:70000' for '--listen <ADDR>'"]),
    (
        "--workers 0",
        &["'0' for '--workers <N>'", "0 is not between 1 and 1,024"],
    ),
    ("--workers -1", &["'-1'"]),
    ("--workers 20000", &["20000 is not between 1 and 1,024"]),
    (
        "--workers many",
        &["'many' for '--workers <N>'", "write a count like `500`"],
    ),
    ("--backlog 0", &["'0' for '--backlog <N>'", "must be at least 1"]),
    ("--backlog 5G", &["'5G' for '--backlog <N>'", "unknown unit `G`"]),
    (
        "--backlog 5000M",
        &["'5000M' for '--backlog <N>'", "5000000000 is more than"],
    ),
    (
        "--drain-timeout 5",
        &["'5' for '--drain-timeout <TIME>'", "`5s` or `5ms`"],
    ),
    ("--drain-timeout 5h", &["unknown unit `h`", "write a duration like"]),
    ("--buffers 0", &["'0' for '--buffers <N>'", "not between 1 and 32,768"]),
    (
        "--buffers 32769",
        &["'32769' for '--buffers <N>'", "not between 1 and 32,768"],
    ),
    (
        "--buffer-size 4k",
        &[
            "'4k' for '--buffer-size <SIZE>'",
            "`4kB` (4,000 bytes)",
            "`4KiB` (4,096 bytes)",
        ],
    ),
    ("--buffer-size 63B", &["63 B is not between 64 B and 1 MiB"]),
    ("--buffer-size 2MiB", &["2 MiB is not between 64 B and 1 MiB"]),
    (
        "--engine kqueue",
        &["'kqueue' for '--engine <NAME>'", "`uring`, `tokio-uring` or `epoll`"],
    ),
    (
        "--engine epoll --buffers 64",
        &["--buffers only applies to --engine uring"],
    ),
    ("--pin=yes", &["unexpected value 'yes' for '--pin'"]),
    ("--no-nodelay=yes", &["unexpected value 'yes' for '--no-nodelay'"]),
    ("here", &["unexpected argument 'here'"]),
];

#[test]
fn wrong_values_of_serve_are_refused_with_the_right_form() {
    for (flags, words) in WRONG_SERVE {
        assert_refused(&format!("serve {flags}"), words);
    }
}

/// Wrong flags of `load` and `bench`, and what the refusal must say.
const WRONG_MEASURING: &[(&str, &[&str])] = &[
    ("-c 0", &["'0' for '--connections <N>'", "must be at least 1"]),
    (
        "-c 10K",
        &["'10K' for '--connections <N>'", "unknown unit `K`", "`10k` (10,000)"],
    ),
    ("-c 1.5", &["'1.5' for '--connections <N>'"]),
    ("-c 5000M", &["5000000000 is more than the maximum"]),
    ("-d 10", &["'10' for '--duration <TIME>'", "`10s` or `10ms`"]),
    (
        "-d 0s",
        &[
            "'0s' for '--duration <TIME>'",
            "the duration must be greater than 0",
            "`10s`",
        ],
    ),
    ("-d ten", &["'ten' for '--duration <TIME>'", "not a number"]),
    ("-s 64", &["'64' for '--size <SIZE>'", "`64B`"]),
    (
        "-s 64k",
        &[
            "'64k' for '--size <SIZE>'",
            "`64kB` (64,000 bytes)",
            "`64KiB` (65,536 bytes)",
        ],
    ),
    (
        "-s 0B",
        &["'0B' for '--size <SIZE>'", "the size must be at least 1 byte", "`64B`"],
    ),
    ("-s 2GiB", &["2 GiB is more than 1 GiB"]),
    ("-t 0", &["'0' for '--threads <N>'", "0 is not between 1 and 1,024"]),
    ("-t 1025", &["1025 is not between 1 and 1,024"]),
    ("--warmup 1", &["'1' for '--warmup <TIME>'", "`1s` or `1ms`"]),
    ("--drain soon", &["'soon' for '--drain <TIME>'", "not a number"]),
    ("--seed -1", &["'-1'"]),
    ("--seed x", &["'x' for '--seed <N>'"]),
    ("--pin x", &["'x' for '--pin <CPU,...>'"]),
    ("--json", &["a value is required for '--json <FILE>'"]),
    ("--rate 50k", &["'50k' for '--rate <RATE>'", "`50k/s`"]),
    ("--rate 0/s", &["must be greater than 0", "`50k/s`"]),
    ("--rate 1k/s..fast", &["'--rate <RATE>'"]),
    (
        "--arrivals sometimes --rate 1k/s",
        &["possible values: poisson, constant"],
    ),
    ("--arrivals constant", &["required", "--rate <RATE>"]),
    ("--pipeline 0", &["0 is not between 1 and 65,536"]),
    ("-s uniform:64B", &["`uniform:64B..4KiB`"]),
    ("-s uniform:4KiB..64B", &["write the smaller end first"]),
    ("-s file:/nowhere", &["cannot read /nowhere"]),
    ("--think 1", &["'1' for '--think <TIME>'", "`1s` or `1ms`"]),
    (
        "--think 1ms --rate 1k/s",
        &["'--think <TIME>' cannot be used with '--rate <RATE>'"],
    ),
    ("--churn 0", &["must be at least 1"]),
    (
        "--churn 1 --rate 1k/s",
        &["'--churn <N>' cannot be used with '--rate <RATE>'"],
    ),
    ("--close rst", &["required", "--churn <N>"]),
    ("--close soon --churn 1", &["possible values: fin, rst"]),
    ("--source localhost", &["not an IP address", "127.0.1.0/24"]),
    ("--source 127.0.0.0/33", &["prefix length", "127.0.1.0/24"]),
    ("--source ::1", &["different address families"]),
    ("--assert fast", &["no comparison", "`p99<2ms`"]),
    ("--assert p98<2ms", &["unknown metric `p98`", "p99.99"]),
    ("--assert p99<2", &["`2s` or `2ms`"]),
    ("--assert response.p99<2ms", &["needs an open loop", "--rate"]),
    ("--json x --csv x", &["two outputs go to x"]),
];

#[test]
fn wrong_values_of_load_and_bench_are_refused_with_the_right_form() {
    for (flags, words) in WRONG_MEASURING {
        for command in ["load", "bench"] {
            assert_refused(&format!("{command} {flags}"), words);
        }
    }
}

#[test]
fn wrong_targets_are_refused_with_the_right_form() {
    for target in [
        "localhost",
        "127.0.0.1",
        "127.0.0.1:70000",
        "127.0.0.1:0",
        ":7007",
        "[::1:7007",
    ] {
        let what = format!("'{target}' for '[TARGET]");
        assert_refused(
            &format!("load {target}"),
            &[&what, "write ADDRESS:PORT, as in 127.0.0.1:7007 or [::1]:7007"],
        );
    }
}

#[test]
fn bench_has_no_target_and_its_workers_are_counted() {
    assert_refused("bench 127.0.0.1:7007", &["unexpected argument '127.0.0.1:7007'"]);
    assert_refused(
        "bench --workers 0",
        &["'0' for '--workers <N>'", "0 is not between 1 and 1,024"],
    );
}

#[test]
fn a_wrong_command_line_opens_nothing() {
    let peer = Peer::honest();
    assert_refused(&format!("load {} -s 64k", peer.address), &["`64KiB`"]);
    assert_eq!(peer.accepted(), 0);
}

#[test]
fn a_cpu_that_is_not_there_is_refused_with_the_ones_that_are() {
    let peer = Peer::honest();
    let ended = urecho(&format!("load {} --pin 1000", peer.address));
    assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
    assert_says(
        &ended.stderr,
        &[
            "cannot pin a thread to CPU 1000",
            "Choose from the CPUs that it may use: ",
        ],
    );
}

#[test]
fn an_unknown_congestion_control_is_refused() {
    let peer = Peer::honest();
    let ended = urecho(&format!("load {} --congestion wishful", peer.address));
    assert_ne!(ended.code(), Some(0));
    assert!(
        ended.stderr.starts_with("urecho: ") && ended.stdout.is_empty(),
        "{}",
        ended.stderr
    );
}

/// Exit 2 before anything is opened, nothing on stdout, one error on stderr with all these words.
fn assert_refused(line: &str, words: &[&str]) {
    let ended = urecho(line);
    assert_eq!(ended.code(), Some(2), "urecho {line}: {}", ended.stderr);
    assert_eq!(ended.stdout, "", "urecho {line}");
    let one_line = ended.stderr.starts_with("urecho: ") && ended.stderr.lines().count() == 1;
    let no_command = ended.stderr.contains("Commands:");
    assert!(one_line || no_command, "urecho {line}: {}", ended.stderr);
    assert_says(&ended.stderr, words);
}

/// What goes to stdout, with nothing on stderr and exit 0.
fn help(line: &str) -> String {
    let ended = urecho(line);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "urecho {line}");
    ended.stdout
}

fn urecho(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    // As wide everywhere, and without colours.
    command
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .args(line.split_whitespace());
    run(&mut command)
}
