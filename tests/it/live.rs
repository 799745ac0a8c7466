//! `--live`: a run on the screen, its rate changed by keys, and the terminal as it was afterwards.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::support::pty::pseudoterminal;
use crate::support::reports::{complaints, number};
use crate::support::{Server, assert_says, run, until};

fn live(server: &Server, flags: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_urecho"));
    command.args(["load", &server.address.to_string(), "--live"]);
    command.args(flags.split_whitespace()).env("TERM", "xterm-256color");
    command
}

/// A pseudoterminal of 100 columns and 24 rows, and everything that is drawn on it.
struct Screen {
    keys: File,
    slave: File,
    drawn: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Screen {
    fn new() -> Screen {
        let (master, slave): (OwnedFd, File) = pseudoterminal();
        let size = Winsize {
            ws_row: 24,
            ws_col: 100,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, size).unwrap();
        let keys = File::from(master.try_clone().unwrap());
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let sink = drawn.clone();
        let reader = thread::spawn(move || {
            let (mut part, mut master) = ([0; 4096], File::from(master));
            // EIO: the other end is closed.
            while let Ok(len @ 1..) = master.read(&mut part) {
                sink.lock().unwrap().extend_from_slice(&part[..len]);
            }
        });
        Screen {
            keys,
            slave,
            drawn,
            reader,
        }
    }

    fn spawn(&self, command: &mut Command) -> Child {
        let stream = || Stdio::from(self.slave.try_clone().unwrap());
        command.stdin(stream()).stdout(Stdio::null()).stderr(stream());
        command.spawn().unwrap()
    }

    fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// True if it passes lines on, as a shell has it.
    fn is_canonical(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// All that was drawn, once nothing holds the other end any more.
    fn close(self) -> String {
        drop((self.slave, self.keys));
        self.reader.join().unwrap();
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }
}

#[test]
fn keys_change_the_rate_and_end_the_run_and_the_terminal_is_as_it_was() {
    let (server, folder, mut screen) = (Server::start(), tempfile::tempdir().unwrap(), Screen::new());
    let path = folder.path().join("live.json");
    let mut command = live(&server, "-c 4 --rate 1k/s -d 300s --warmup 0s --json");
    let mut child = screen.spawn(command.arg(&path));
    drop(command);
    until("a second was measured", || screen.drawn().contains("p99"));
    assert!(!screen.is_canonical());
    assert_says(&screen.drawn(), &["\x1b[?1049h", "open", "response", "sent"]);
    screen.press(b"\x1b[A\x1b[6~");
    until("the rate was changed", || screen.drawn().contains("set"));
    screen.press(b"q");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(screen.is_canonical());
    let drawn = screen.close();
    let (_, after) = drawn.rsplit_once("\x1b[?1049l").unwrap();
    assert_says(after, &["live view: ", " of CPU time in "]);

    let report: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(complaints(&report), [""; 0]);
    let changes = report["rate_changes"].as_array().unwrap().iter();
    let rates: Vec<f64> = changes
        .map(|change| change["offered_per_s"].as_f64().unwrap())
        .collect();
    assert!(
        [vec![1100.0, 550.0], vec![550.0]].contains(&rates),
        "both at once are one change: {rates:?}"
    );
    assert_says(&report["verdict"].to_string(), &["rate-changed", "changed by hand"]);
    assert!(report["completed_per_s_interval"].is_null());
    assert!(number(&report, "/messages/completed") > 0);
}

#[test]
fn without_a_terminal_to_draw_on_nothing_is_started() {
    let server = Server::start();
    let ended = run(&mut live(&server, "-c 4 -d 300s"));
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(2), ""));
    assert_says(&ended.stderr, &["urecho: --live draws on a terminal"]);
    let ended = run(&mut live(&server, "-c 4 -d 300s --repeat 3"));
    assert_eq!(ended.code(), Some(2));
    assert_says(&ended.stderr, &["--live shows a single run"]);
}
