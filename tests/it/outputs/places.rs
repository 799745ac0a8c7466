//! Files: checked before anything is measured, written whole and where links lead, lost for no other's failure.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{RUN, compare, folder_with_record, record, replay, server, urecho};
use crate::support::runs::until_valid;
use crate::support::{self, Process, Server, assert_says, run, until};

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn every_name_of_stdout_gets_the_document_and_nothing_else() {
    let folder = folder_with_record();
    symlink("/proc/self/fd/1", folder.path().join("link")).unwrap();
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"] {
        let output = run(&mut replay(folder.path(), &format!("--json {name}")));
        json(&output.stdout);
        let to_file = File::create(folder.path().join("captured")).unwrap();
        let status = replay(folder.path(), &format!("--json {name}"))
            .stdout(to_file)
            .status()
            .unwrap();
        assert_eq!((output.code(), status.code()), (Some(3), Some(3)), "{name}");
        json(&fs::read_to_string(folder.path().join("captured")).unwrap());
    }
    // The file that stdout was redirected to, by its own name.
    let to_file = File::create(folder.path().join("captured")).unwrap();
    replay(folder.path(), "--json captured")
        .stdout(to_file)
        .status()
        .unwrap();
    json(&fs::read_to_string(folder.path().join("captured")).unwrap());
    assert_eq!(
        fs::read_link(folder.path().join("link")).unwrap(),
        Path::new("/proc/self/fd/1")
    );
}

#[test]
fn links_modes_and_long_names_survive_every_output() {
    let (folder, server) = (folder_with_record(), Server::start());
    let path = |name: &str| folder.path().join(name);
    let outputs = ["json", "hgrm", "hlog", "jsonl", "csv", "markdown", "junit", "append"];
    for name in outputs {
        fs::write(path(&format!("{name}.real")), "").unwrap();
        fs::set_permissions(path(&format!("{name}.real")), Permissions::from_mode(0o600)).unwrap();
        symlink(format!("{name}.real"), path(name)).unwrap();
    }
    let flags = |names: &[&str]| names.iter().map(|name| format!("--{name} {name} ")).collect::<String>();
    let mut load = urecho(&format!("load {} {RUN} {}", server.address, flags(&outputs[..5])));
    run(load.current_dir(folder.path()));
    run(&mut replay(folder.path(), &flags(&outputs[5..])));
    for name in outputs {
        let real = fs::metadata(path(&format!("{name}.real"))).unwrap();
        assert!(real.len() > 0 && real.mode() & 0o777 == 0o600, "{name}: {real:?}");
        assert!(path(name).is_symlink(), "{name}");
    }
    let long = "x".repeat(250);
    assert_eq!(
        run(&mut replay(folder.path(), &format!("--json {long}"))).code(),
        Some(3)
    );
    assert_eq!(
        names(folder.path()).len(),
        2 * outputs.len() + 2,
        "{:?}",
        names(folder.path())
    );
}

#[test]
fn two_outputs_in_one_place_are_refused_before_anything_is_measured() {
    let folder = folder_with_record();
    symlink("there", folder.path().join("link")).unwrap();
    let unused = "load 127.0.0.1:1";
    let candidates = "a=touch$IFS'started'{port}";
    for arguments in [
        format!("{unused} --json - --csv -"),
        format!("{unused} --json x --jsonl ./x"),
        format!("{unused} --json there --hlog link"),
        format!("{unused} --hgrm - --csv /dev/stdout"),
        format!("compare {candidates} --json - --markdown -"),
        format!("compare {candidates} --json same --markdown same"),
        "check replay record.json --json x --append link/../x".to_owned(),
        "check replay record.json --junit x --markdown ./x".to_owned(),
        "check replay record.json --append record.json".to_owned(),
        "check history record.json --json record.json".to_owned(),
    ] {
        let output = run(urecho(&arguments).current_dir(folder.path()));
        // Where a part of the path is missing, that is the first error.
        let code = if arguments.contains("link/..") { 4 } else { 2 };
        assert_eq!(
            (output.code(), output.stdout.as_str()),
            (Some(code), ""),
            "{arguments}: {output}"
        );
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
    }
    assert_eq!(names(folder.path()), ["link", "record.json"]);
    assert_eq!(fs::read_to_string(folder.path().join("record.json")).unwrap(), record());
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = folder_with_record();
    // Nothing listens there, and no such program exists: measuring would end with 5.
    let pair = "--base ./nothing{port} --head ./nothing{port}";
    for command in [
        "load 127.0.0.1:1 --json",
        "load 127.0.0.1:1 --csv",
        "load 127.0.0.1:1 --repeat 2 --json",
        "find-max p99<1s 127.0.0.1:1 --json",
        "bench --hlog",
        "compare a=./nothing{port} --json",
        "compare a=./nothing{port} --markdown",
        &format!("check {pair} --json"),
        &format!("check {pair} --junit"),
        &format!("check {pair} --append"),
        "check replay record.json --markdown",
        "check history record.json --json",
        "check baseline save --head ./nothing{port}",
    ] {
        for place in ["/nowhere/at/all", "/", "/proc/version/x"] {
            let output = run(urecho(&format!("{command} {place}")).current_dir(folder.path()));
            let is_usage = command.contains("save") && output.code() == Some(2); // It is read first.
            assert!(output.code() == Some(4) || is_usage, "{command} {place}: {output}");
            assert_eq!(output.stdout, "", "{command} {place}");
            assert_says(&output.stderr, &[place]);
        }
    }
    assert_eq!(names(folder.path()), ["record.json"]);
}

#[test]
fn an_output_that_fails_is_named_and_costs_no_other() {
    let (folder, server) = (folder_with_record(), Server::start());
    let at = |name: &str| folder.path().join(name);
    for full in ["json", "hgrm", "hlog", "jsonl", "csv"] {
        let flags: String = ["json", "hgrm", "hlog", "jsonl", "csv"]
            .map(|name| format!("--{name} {} ", if name == full { "/dev/full" } else { name }))
            .concat();
        let mut load = urecho(&format!("load {} {RUN} {flags}", server.address));
        let output = run(load.current_dir(folder.path()));
        assert!([Some(4), Some(3)].contains(&output.code()), "{output}"); // 3: the machine is too busy.
        assert_says(&output.stdout, &["verdict"]);
        assert_says(&output.stderr, &["cannot write /dev/full: No space left"]);
        for name in ["json", "hgrm", "hlog", "jsonl", "csv"]
            .into_iter()
            .filter(|name| *name != full)
        {
            assert!(fs::metadata(at(name)).unwrap().len() > 0, "{name}");
            fs::remove_file(at(name)).unwrap();
        }
    }
    for full in ["json", "markdown", "junit", "append"] {
        let flags: String = ["json", "markdown", "junit", "append"]
            .map(|name| format!("--{name} {} ", if name == full { "/dev/full" } else { name }))
            .concat();
        let output = run(&mut replay(folder.path(), &flags));
        assert_eq!(output.code(), Some(3), "the verdict's: {output}");
        assert_says(&output.stdout, &["INCONCLUSIVE"]);
        assert_says(&output.stderr, &["cannot write /dev/full"]);
        assert_eq!(names(folder.path()).len(), 4, "{:?}", names(folder.path()));
        names(folder.path())
            .iter()
            .filter(|name| *name != "record.json")
            .for_each(|name| {
                fs::remove_file(at(name)).unwrap();
            });
    }
    let output = run(&mut compare("--json /dev/full --markdown /dev/full"));
    assert_eq!(output.code(), Some(2), "{output}");
    let output = run(&mut compare("--json /dev/full"));
    assert_eq!(output.code(), Some(4), "{output}");
    assert_says(&output.stdout, &["messages/s"]);
}

#[test]
fn lines_are_out_each_second_and_survive_a_kill() {
    let (folder, server) = (TempDir::new().unwrap(), Server::start());
    let mut command = urecho(&format!(
        "load {} -c 2 --rate 1k/s -d 60s --warmup 0s --hlog hlog --jsonl jsonl --csv csv --json json",
        server.address
    ));
    let process = Process::spawn(command.current_dir(folder.path()));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    // Each has two seconds: a header of one line, and one of seven.
    until("two seconds are out", || {
        read("jsonl").lines().count() >= 2 && read("csv").lines().count() >= 3 && read("hlog").lines().count() >= 11
    });
    process.signal(Signal::SIGKILL);
    process.wait();
    let csv = read("csv");
    let columns = |line: &str| line.split(',').count();
    let header = csv.lines().next().map_or(0, columns);
    assert!(
        csv.ends_with('\n') && csv.lines().all(|line| columns(line) == header),
        "{csv}"
    );
    let jsonl = read("jsonl");
    assert!(
        jsonl.ends_with('\n') && jsonl.lines().all(|line| json(line).is_object()),
        "{jsonl}"
    );
    assert!(read("hlog").ends_with('\n'));
    assert_eq!(
        names(folder.path()),
        ["csv", "hlog", "jsonl"],
        "nothing temporary is left"
    );
}

/// Runs a script that prints `code` and an exit code, where it may mount. None if that is not possible here, which is
/// said.
fn in_mount_namespace(folder: &TempDir, script: &str) -> Option<support::Output> {
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_urecho")])
        .current_dir(folder.path());
    let output = run(&mut command);
    let mounted = output.stdout.contains("code ") && !output.stderr.contains("mount:");
    if !mounted {
        println!("SKIPPED: needs a mount namespace: {output}");
    }
    mounted.then_some(output)
}

#[test]
fn a_mounted_file_is_written_in_place() {
    let folder = folder_with_record();
    let script = ": > out.json && mount --bind out.json out.json && \"$0\" check replay record.json --json out.json; \
                  echo \"code $?\"; ls -A | wc -l";
    let Some(output) = in_mount_namespace(&folder, script) else {
        return;
    };
    assert_says(&output.stdout, &["code 3\n2\n"]);
}

#[test]
fn a_file_in_a_folder_that_takes_no_other_is_written_in_place() {
    let folder = folder_with_record();
    let path = folder.path().join("sealed");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("out.json"), "old").unwrap();
    let script = "chmod 555 sealed && mount --bind sealed sealed && mount -o remount,bind,ro sealed; \
                  mount --bind out.json sealed/out.json && \"$0\" check replay record.json --json sealed/out.json; \
                  echo \"code $?\"; cat sealed/out.json";
    fs::write(folder.path().join("out.json"), "old").unwrap();
    let Some(output) = in_mount_namespace(&folder, script) else {
        return;
    };
    let (_, document) = output
        .stdout
        .split_once("code 3\n")
        .unwrap_or_else(|| panic!("{output}"));
    json(document);
}

#[test]
fn a_file_of_another_user_in_a_folder_for_all_is_written() {
    let (folder, server) = (folder_with_record(), Server::start());
    let path = |name: &str| folder.path().join(name);
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let outputs = ["json", "hgrm", "hlog", "jsonl", "csv", "markdown", "junit", "append"];
    for name in outputs {
        fs::write(path(name), "").unwrap();
        if chown(path(name), Some(65_534), None).is_err() {
            println!("SKIPPED: needs root");
            return;
        }
    }
    let flags = |names: &[&str]| names.iter().map(|name| format!("--{name} {name} ")).collect::<String>();
    let mut load = urecho(&format!("load {} {RUN} {}", server.address, flags(&outputs[..5])));
    let runs = [
        run(load.current_dir(folder.path())),
        run(&mut replay(folder.path(), &flags(&outputs[5..]))),
    ];
    for output in runs {
        assert_eq!(output.stderr, "", "{output}");
    }
    for name in outputs {
        let file = fs::metadata(path(name)).unwrap();
        assert!(file.len() > 0 && file.uid() == 65_534, "{name}: {file:?}");
    }
}

#[test]
fn a_limit_of_the_size_of_files_is_as_a_full_disk() {
    let (folder, server) = (folder_with_record(), Server::start());
    let limited = |arguments: &str| {
        let mut command = Command::new("sh");
        let script = format!("ulimit -f 0; exec \"$0\" {arguments}");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_urecho")]);
        command.env_remove("GITHUB_ACTIONS").env_remove("GITHUB_STEP_SUMMARY");
        run(command.current_dir(folder.path()))
    };
    for name in ["json", "hgrm", "hlog", "jsonl", "csv"] {
        let output = limited(&format!("load {} {RUN} --{name} out", server.address));
        assert!([Some(4), Some(3)].contains(&output.code()), "{name}: {output}"); // 3: the machine is too busy.
        assert_says(&output.stderr, &["cannot write out: File too large"]);
        assert_says(&output.stdout, &["verdict"]);
    }
    for name in ["json", "markdown", "junit", "append"] {
        let output = limited(&format!("check replay record.json --{name} out"));
        assert_eq!(output.code(), Some(3), "{name}: {output}");
        assert_says(&output.stderr, &["cannot write out: File too large"]);
    }
    // Servers under test have the signal as it was.
    let server = "a=sh -c 'grep SigIgn /proc/self/status >&2; exit 1' {port}";
    let output = run(urecho("compare --restarts 1").arg(server));
    let (_, mask) = output
        .stdout
        .split_once("SigIgn:")
        .unwrap_or_else(|| panic!("{output}"));
    let mask = mask.split_whitespace().next().unwrap();
    let mask = u64::from_str_radix(mask, 16).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(mask & (1 << 24), 0, "SIGXFSZ is number 25: {output}");
}

#[test]
fn a_torn_line_costs_a_history_that_line_only() {
    let folder = folder_with_record();
    let append = |label: &str| {
        let output = run(&mut replay(folder.path(), &format!("--append history --label {label}")));
        assert_eq!(output.code(), Some(3), "{output}");
    };
    append("a");
    append("b");
    let path = folder.path().join("history");
    let len = fs::metadata(&path).unwrap().len();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len - 40)
        .unwrap();
    append("c");
    let history = || run(urecho("check history history --json -").current_dir(folder.path()));
    let output = history();
    assert_eq!(
        (output.code(), json(&output.stdout)["checks"].as_u64()),
        (Some(0), Some(2)),
        "{output}"
    );
    assert_says(&output.stderr, &["history: line 2 is torn off"]);
    // Torn at its very end, also within a character.
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"label\":\"\xc3");
    fs::write(&path, bytes).unwrap();
    assert_eq!(history().code(), Some(0));
}

#[test]
fn a_step_summary_that_cannot_be_written_is_a_warning() {
    let folder = folder_with_record();
    for path in ["/nowhere/at/all", "/dev/full", "/"] {
        let output = run(replay(folder.path(), "").env("GITHUB_STEP_SUMMARY", path));
        assert_eq!(output.code(), Some(3), "{output}");
        assert_says(&output.stderr, &["warning", path]);
    }
    for (value, annotations) in [("true", 1), ("false", 0), ("", 0)] {
        let output = run(replay(folder.path(), "").env("GITHUB_ACTIONS", value));
        let found = output.stdout.lines().filter(|line| line.starts_with("::")).count();
        assert_eq!(found, annotations, "{value}: {output}");
    }
}

#[test]
fn a_comparison_that_runs_goes_to_both_files_and_to_stdout() {
    let folder = TempDir::new().unwrap();
    let output = until_valid(|| {
        run(compare("--json c.json --markdown c.md")
            .current_dir(folder.path())
            .stderr(Stdio::null()))
    });
    assert_eq!(output.code(), Some(0), "{} {output}", server());
    assert_says(&output.stdout, &["messages/s"]);
    json(&fs::read_to_string(folder.path().join("c.json")).unwrap());
    assert_says(
        &fs::read_to_string(folder.path().join("c.md")).unwrap(),
        &["| server |"],
    );
}
