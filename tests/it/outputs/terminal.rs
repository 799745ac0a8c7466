//! The progress line on terminals of several kinds.

use std::process::{Child, Command, Stdio};

use unicode_width::UnicodeWidthStr;

use super::{CHECK, compare, folder_with_record, replay, server, urecho};
use crate::support::pty::{Terminal, pseudoterminal};
use crate::support::{Server, until};

/// Starts a command with its stderr on the terminal.
fn spawn(terminal: &Terminal, command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(terminal.stream()).spawn().unwrap()
}

/// What was written to the terminal by a command that has ended.
fn text(terminal: Terminal, command: Command) -> String {
    drop(command); // It holds the other end.
    terminal.text()
}

/// A command, and the width and variables of its terminal.
type Case<'a> = (Command, u16, &'a [(&'a str, &'a str)]);

/// What these commands draw, each on a terminal of its own, all at once.
fn drawn(cases: Vec<Case<'_>>) -> Vec<String> {
    let start = |(mut command, columns, environment): Case<'_>| {
        let terminal = Terminal::new(columns);
        command.env("TERM", "xterm").envs(environment.iter().copied());
        (spawn(&terminal, &mut command), terminal, command)
    };
    let started: Vec<_> = cases.into_iter().map(start).collect();
    let end = |(mut child, terminal, command): (Child, Terminal, Command)| {
        child.wait().unwrap();
        text(terminal, command)
    };
    started.into_iter().map(end).collect()
}

/// The texts drawn after each carriage return, without escape codes for colours.
fn redraws(text: &str) -> Vec<String> {
    let plain = text.replace("\x1b[2m", "").replace("\x1b[0m", "");
    plain
        .split('\r')
        .filter(|part| !part.starts_with('\n'))
        .map(str::to_owned)
        .collect()
}

fn load(server: &Server) -> Command {
    urecho(&format!(
        "load {} -c 2 --rate 1k/s -d 1s --warmup 300ms",
        server.address
    ))
}

#[test]
fn the_progress_line_fits_every_width_and_leaves_nothing_behind() {
    let server = Server::start();
    // The last does not say how wide it is.
    let widths = [10, 30, 80, 200, 0];
    let texts = drawn(widths.map(|columns| (load(&server), columns, &[][..])).into());
    for (columns, text) in widths.into_iter().zip(texts) {
        let columns = if columns == 0 { 80 } else { columns };
        let redraws = redraws(&text);
        assert!(redraws.len() > 2 && text.contains(" left"), "{text:?}");
        for redraw in &redraws {
            assert!(redraw.width() < columns.into(), "{columns} columns: {redraw:?}");
        }
        assert!(
            redraws[redraws.len() - 2].chars().all(|c| c == ' '),
            "it is erased: {text:?}"
        );
    }
}

#[test]
fn a_report_has_bars_on_a_terminal_with_room_for_them() {
    let server = Server::start();
    for (columns, term, expected) in [(120, "xterm", true), (80, "xterm", false), (120, "dumb", false)] {
        let terminal = Terminal::new(columns);
        let mut command = load(&server);
        let stdout = terminal.stream();
        command
            .env("TERM", term)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::null());
        command.spawn().unwrap().wait().unwrap();
        let text = text(terminal, command);
        assert!(text.contains("verdict"), "{text}");
        assert_eq!(
            text.contains("logarithmic scale") && text.contains("███"),
            expected,
            "{text}"
        );
    }
}

#[test]
fn the_progress_line_follows_a_resize() {
    let server = Server::start();
    let terminal = Terminal::new(120);
    let mut command = urecho(&format!("load {} -c 2 --rate 1k/s -d 3s --warmup 0s", server.address));
    let mut child = spawn(&terminal, command.env("TERM", "xterm"));
    let so_far = || terminal.so_far().len();
    until("progress is shown", || so_far() > 100);
    terminal.resize(20);
    let resized = so_far();
    child.wait().unwrap();
    let text = text(terminal, command);
    assert!(
        redraws(&text[..resized]).iter().any(|redraw| redraw.width() > 20),
        "{text:?}"
    );
    // The first may have begun before it.
    let narrow = redraws(&text[resized..]);
    assert!(narrow.len() > 3, "{text:?}");
    assert!(narrow.iter().skip(2).all(|redraw| redraw.width() < 20), "{narrow:?}");
}

#[test]
fn a_dumb_terminal_gets_no_escape_code_and_no_color_no_colour() {
    let server = Server::start();
    let environments = [&[("TERM", "dumb")][..], &[("TERM", "")], &[("NO_COLOR", "1")], &[]];
    let texts = drawn(environments.map(|environment| (load(&server), 80, environment)).into());
    for (environment, text) in environments.into_iter().zip(&texts) {
        assert!(text.contains(" left"), "{environment:?}: {text:?}");
        let is_dim = text.contains("\x1b[2m");
        let expected = (environment.is_empty(), environment.is_empty());
        assert_eq!((is_dim, text.contains('\x1b')), expected, "{environment:?}: {text:?}");
    }
}

#[test]
fn every_command_that_takes_long_shows_what_is_left() {
    let server_thread = Server::start();
    let address = server_thread.address;
    let flags = "-c 2 -d 600ms --warmup 0s --drain 20s";
    let mut check = urecho(&format!("check {CHECK}"));
    check.args(["--base", &server(), "--head", &server()]);
    let folder = tempfile::TempDir::new().unwrap();
    let mut save = urecho(&format!(
        "check baseline save b.json {}",
        CHECK.replace("--gate throughput", "")
    ));
    save.args(["--head", &server()]).current_dir(folder.path());
    let commands = [
        urecho(&format!("load {address} {flags}")),
        urecho(&format!("load {address} {flags} --repeat 2")),
        urecho(&format!("bench {flags}")),
        urecho(&format!("find-max p50<1ns {address} {flags}")),
        compare(""),
        check,
        save,
    ];
    let shown: Vec<String> = commands.iter().map(|command| format!("{command:?}")).collect();
    let texts = drawn(commands.map(|command| (command, 120, &[][..])).into());
    for (shown, text) in shown.into_iter().zip(texts) {
        assert!(text.contains(" left"), "{shown}: {text:?}");
    }
}

#[test]
fn help_has_styles_on_a_terminal_that_shows_them() {
    let help = |environment: &[(&str, &str)]| {
        let terminal = Terminal::new(80);
        let mut command = urecho("--help");
        command.env("TERM", "xterm").envs(environment.iter().copied());
        let stdout = terminal.stream();
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
        text(terminal, command)
    };
    assert!(help(&[]).contains('\x1b'));
    assert!(!help(&[("TERM", "dumb")]).contains('\x1b'));
    assert!(!help(&[("NO_COLOR", "1")]).contains('\x1b'));
}

#[test]
fn a_terminal_that_is_gone_is_a_reader_that_has_read_enough() {
    let folder = folder_with_record();
    for (mut command, code) in [
        (urecho("--help"), 0),
        (urecho("load --nonsense"), 2),
        (replay(folder.path(), ""), 3),
        (replay(folder.path(), "--json -"), 3),
    ] {
        let (master, slave) = pseudoterminal();
        drop(master);
        let stdout = slave.try_clone().unwrap();
        let status = command.stdin(Stdio::null()).stdout(stdout).stderr(slave).status();
        assert_eq!(status.unwrap().code(), Some(code), "{command:?}");
    }
}
