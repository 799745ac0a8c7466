//! The command line: help, version, and an error for each invalid value.
//!
//! Help is kept as snapshots; after an intended change, `SNAPSHOTS=overwrite cargo test --test it command_line`.

use std::path::Path;
use std::process::Command;

use snapbox::{Data, assert_data_eq};
use urecho::error::Error;

use crate::support::peers::Peer;
use crate::support::{Output, assert_says, run};

/// Every command, with its subcommands.
pub(crate) const COMMANDS: [&str; 18] = [
    "",
    "serve",
    "load",
    "bench",
    "compare",
    "check",
    "check replay",
    "check baseline",
    "check baseline save",
    "check baseline compare",
    "check history",
    "find-max",
    "report",
    "connect",
    "sockets",
    "doctor",
    "completions",
    "man",
];

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    for command in COMMANDS {
        let name = format!("help {command}").trim().replace([' ', '-'], "_");
        let snapshot = Data::read_from(&folder.join(name).with_extension("txt"), None);
        assert_data_eq!(help(&format!("{command} --help")), snapshot);
    }
}

#[test]
fn no_command_is_without_a_snapshot() {
    for command in COMMANDS {
        let help = help(&format!("{command} --help"));
        let listed = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        let lines = listed.lines().take_while(|line| !line.is_empty());
        // A name is indented by two spaces, the rest of its description by more.
        let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        for name in names.filter(|name| !["", "help"].contains(name)) {
            let full = format!("{command} {name}");
            assert!(COMMANDS.contains(&full.trim()), "{full}");
        }
    }
}

#[test]
fn short_help_has_one_line_per_flag() {
    for command in COMMANDS {
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
fn the_help_lists_the_exit_code_of_every_error() {
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
fn a_negative_value_is_refused_without_advice_to_pass_it_on() {
    for line in [
        "load -c -1",
        "load -d -5s",
        "serve --workers -1",
        "compare --restarts -10",
    ] {
        let ended = urecho(line);
        assert_refused(line, &["flag values cannot be negative"]);
        assert!(!ended.stderr.contains("tip:"), "{}", ended.stderr);
    }
}

#[test]
fn a_missing_or_unknown_command_is_refused_with_a_list() {
    assert_refused("", &["Usage: urecho [OPTIONS] <COMMAND>", "serve", "load", "bench"]);
    assert_refused("sevre", &["unrecognized subcommand 'sevre'", "'serve'"]);
}

#[test]
fn an_unknown_flag_is_refused_by_every_command() {
    for command in COMMANDS.into_iter().filter(|command| !command.is_empty()) {
        assert_refused(&format!("{command} --fast"), &["unexpected argument '--fast'"]);
    }
}

/// Invalid flags of `serve`, and parts of the error.
const INVALID_FOR_SERVE: &[(&str, &[&str])] = &[
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
    ("--drain-timeout 5w", &["unknown unit `w`", "write a duration like"]),
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
    ("--pin-workers=yes", &["unexpected value 'yes' for '--pin-workers'"]),
    ("--no-nodelay=yes", &["unexpected value 'yes' for '--no-nodelay'"]),
    ("here", &["unexpected argument 'here'"]),
];

#[test]
fn an_invalid_value_for_serve_is_refused_with_a_valid_form() {
    for (flags, words) in INVALID_FOR_SERVE {
        assert_refused(&format!("serve {flags}"), words);
    }
}

/// Invalid flags of `load` and `bench`, and parts of the error.
const INVALID_FOR_LOAD: &[(&str, &[&str])] = &[
    ("-c 0", &["'0' for '--connections <N>'", "must be at least 1"]),
    (
        "-c 10K",
        &["'10K' for '--connections <N>'", "unknown unit `K`", "write `10k`"],
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
    ("--seed 9007199254740992", &["the largest seed is 9007199254740991"]),
    ("--seed x", &["'x' for '--seed <N>'"]),
    ("-c 1,5", &["`1.5` for a fraction"]),
    ("-d 5M", &["unknown unit `M`", "`5m`"]),
    ("-s 4kib", &["`4KiB`"]),
    ("--rate 500rps", &["`500/s`"]),
    ("--pin 1-0", &["`0-1`"]),
    ("--assert p999<2ms", &["p99.9"]),
    ("--pin x", &["'x' for '--pin <CPUS>'", "`0-3`"]),
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
    ("--source 127.0.0", &["not an IP address", "127.0.1.0/24"]),
    ("--source 127.0.0.0/33", &["prefix length", "127.0.1.0/24"]),
    ("--source ::1", &["different address families"]),
    ("--assert fast", &["no comparison", "`p99<2ms`"]),
    ("--assert p100<2ms", &["unknown metric `p100`", "p99.9"]),
    ("--assert p99<2", &["`2s` or `2ms`"]),
    ("--assert response.p99<2ms", &["needs an open loop", "--rate"]),
    (
        "--rate 1k/s..2k/s --assert p99<2ms",
        &["over a ramp", "mixture", "find-max"],
    ),
    ("--json x --csv x", &["two outputs go to x"]),
];

#[test]
fn an_invalid_value_for_load_or_bench_is_refused_with_a_valid_form() {
    for (flags, words) in INVALID_FOR_LOAD {
        for command in ["load", "bench"] {
            assert_refused(&format!("{command} {flags}"), words);
        }
    }
}

/// What people type, and other tools take.
const UNDERSTOOD: &[&str] = &[
    "-d 1h",
    "-d 1h30m",
    "-d 1m30s",
    "-d 2s500ms",
    "-d 1d",
    "--rate 10/m",
    "--rate 10/min",
    "--rate 0.5/s",
    "--rate 10,000/s",
    "-c 10,000",
    "-c 10_000",
    "-c 1e4",
    "-c 1.5k",
    "--assert p95<1s",
    "--assert p75<10ms",
    "--assert p99.5<1s",
    "--pin 0-1",
    "--seed 1,234",
];

#[test]
fn what_people_type_is_understood() {
    for flags in UNDERSTOOD {
        let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
        command.args(["load", "127.0.0.1:7", "--preflight-timeout", "1ms"]);
        let ended = run(command.args(flags.split(' ')));
        // Nothing listens there; or more connections than this machine allows.
        assert!(matches!(ended.code(), Some(4 | 5)), "{flags}: {ended}");
    }
    // With a space between number and unit, as reports have it.
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args([
        "load",
        "127.0.0.1:7",
        "--preflight-timeout",
        "1 ms",
        "-d",
        "3,600 s",
        "-s",
        "4 KiB",
    ]);
    assert_eq!(run(&mut command).code(), Some(5));
    // A list is separated by commas.
    assert_refused("compare -c 10,000", &["`,` separates values", "`10000`"]);
}

#[test]
fn an_invalid_repeat_is_refused() {
    assert_refused("load --repeat 1", &["1 is not between 2 and 100"]);
    assert_refused("load --repeat 101", &["101 is not between 2 and 100"]);
    assert_refused("load --repeat 3 --hlog x", &["of a single run", "--json"]);
}

/// Invalid arguments of `find-max`, and parts of the error.
const INVALID_FOR_FIND_MAX: &[(&str, &[&str])] = &[
    ("", &["required", "<CONDITION>"]),
    ("p99", &["'p99' for '<CONDITION>'", "no comparison"]),
    (
        "p99<1ms localhost",
        &["'localhost' for '[TARGET]", "write ADDRESS:PORT"],
    ),
    ("p99<1ms --rate 1k/s", &["unexpected argument '--rate'"]),
    ("p99<1ms --churn 1", &["unexpected argument '--churn'"]),
    ("p99<1ms --source ::1", &["different address families"]),
    ("rate>=50k/s", &["`rate >= 50k/s`", "upper bound"]),
    ("service.p99<1ms", &["does not include the queue", "`response.p99`"]),
    ("p99<1ms --assert p50>1us", &["`p50 > 1us`", "upper bound"]),
];

#[test]
fn an_invalid_argument_of_find_max_is_refused() {
    for (arguments, words) in INVALID_FOR_FIND_MAX {
        assert_refused(&format!("find-max {arguments}"), words);
    }
}

#[test]
fn an_invalid_argument_of_doctor_is_refused() {
    assert_refused("doctor --noise 3", &["'3' for '--noise <TIME>'", "`3s` or `3ms`"]);
    assert_refused("doctor all", &["unexpected argument 'all'"]);
}

#[test]
fn an_invalid_target_is_refused_with_a_valid_form() {
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
fn bench_takes_workers_and_no_target() {
    assert_refused("bench 127.0.0.1:7007", &["unexpected argument '127.0.0.1:7007'"]);
    assert_refused(
        "bench --workers 0",
        &["'0' for '--workers <N>'", "0 is not between 1 and 1,024"],
    );
}

#[test]
fn an_invalid_command_line_opens_nothing() {
    let peer = Peer::honest();
    assert_refused(&format!("load {} -s 64k", peer.address), &["`64KiB`"]);
    assert_eq!(peer.accepted(), 0);
}

#[test]
fn a_missing_cpu_is_refused_with_a_list_of_those_available() {
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
