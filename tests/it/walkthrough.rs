//! The walk through TCP in `src/connect/README.md`: its commands are run, and do what the page shows.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::until;

/// A command of the page, and what it prints.
struct Step {
    command: String,
    output: Vec<String>,
}

/// The port of the page.
const PORT: &str = "7007";

/// The steps of the page.
fn steps() -> Vec<Step> {
    let page = fs::read_to_string("src/connect/README.md").unwrap();
    let blocks = page
        .split("```text\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let mut steps: Vec<Step> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            None => steps.last_mut().unwrap().output.push(line.to_owned()),
        }
    }
    steps
}

/// What a line says without what differs from run to run. Of a socket: its state, whether its queues are empty, and
/// which end it is. Heads of tables, whose columns move, say
/// nothing.
fn gist(line: &str, port: &str) -> String {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is_state = |field: &&str| {
        field
            .chars()
            .all(|c| c.is_ascii_uppercase() || c == '-' || c.is_ascii_digit())
    };
    match fields.as_slice() {
        [state, receive, send, local, _, ..] if is_state(state) && local.contains(':') => {
            let end = if local.ends_with(&format!(":{port}")) {
                "server"
            } else {
                "client"
            };
            let queue = |length: &str| if length == "0" { "empty" } else { "not empty" };
            format!("{state} {} {} {end}", queue(receive), queue(send))
        }
        ["state", ..] => String::new(),
        _ => line.to_owned(),
    }
}

/// The gist of several lines. Their order is that of ports, which differ: it is of no importance.
fn gists(lines: &[impl AsRef<str>], port: &str) -> Vec<String> {
    let mut gists: Vec<String> = lines.iter().map(|line| gist(line.as_ref(), port)).collect();
    gists.sort_unstable();
    gists
}

/// A shell that runs the steps, and all that it has printed. Ends with everything that it started when dropped.
struct Shell {
    shell: Child,
    printed: Arc<Mutex<String>>,
}

impl Shell {
    fn start(folder: &Path) -> Shell {
        let urecho = Path::new(env!("CARGO_BIN_EXE_urecho"));
        let path = format!(
            "{}:{}",
            urecho.parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        let mut shell = Command::new("bash")
            .args(["--noprofile", "--norc", "-s"])
            .current_dir(folder)
            .env("PATH", path)
            .env("URECHO_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let (sink, mut output) = (Arc::clone(&printed), shell.stdout.take().unwrap());
        thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(len @ 1..) = std::io::Read::read(&mut output, &mut part) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..len]));
            }
        });
        let mut shell = Shell { shell, printed };
        shell.send("exec 2>&1; trap 'kill -CONT $server; kill -KILL $server $(jobs -p)' EXIT");
        shell
    }

    /// Runs the first command, which starts the server. Returns its port.
    fn begin(&mut self, command: &str) -> String {
        self.send(command);
        let listening = |text: &str| {
            let (_, rest) = text.split_once("listening on 127.0.0.1:")?;
            Some(rest.split_once(' ')?.0.to_owned())
        };
        until("the server listens", || listening(&self.text()).is_some());
        listening(&self.text()).unwrap()
    }

    fn send(&mut self, line: &str) {
        let mut input = self.shell.stdin.as_ref().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    fn text(&self) -> String {
        self.printed.lock().unwrap().clone()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.shell.stdin.take()); // Its trap runs.
        let _ = self.shell.wait();
    }
}

#[test]
fn every_command_of_the_walk_through_tcp_does_what_the_page_shows() {
    let folder = tempfile::tempdir().unwrap();
    let steps = steps();
    assert!(steps.len() > 15, "the page has lost its commands");
    let mut shell = Shell::start(folder.path());
    let mut port = None;
    for Step { command, output } in &steps {
        let ours = |text: &str| text.replace(PORT, port.as_deref().unwrap_or(PORT));
        // The client of the page has the server of the page as its default.
        let command = ours(&command.replace("urecho connect", &format!("urecho connect 127.0.0.1:{PORT}")));
        let wanted: Vec<String> = output.iter().map(|line| ours(line)).collect();
        if port.is_none() {
            port = Some(shell.begin(&command));
            continue;
        }
        let port = port.as_deref().unwrap();
        let wanted = gists(&wanted, port);
        let mut begin = shell.text().len();
        shell.send(&command);
        until(&format!("{command}\n{wanted:#?}"), || {
            let text = shell.text();
            let lines: Vec<&str> = text[begin..].lines().collect();
            let last = lines.len().saturating_sub(wanted.len());
            let matches = gists(&lines[last..], port) == wanted;
            // The kernel takes a moment: look again.
            if !matches && command.starts_with("urecho sockets") && text[begin..].contains("sockets: ") {
                begin = text.len();
                shell.send(&command);
            }
            matches
        });
    }
}
