//! A peer in a process of its own, for commands that start their servers: this test binary, executed again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, process, thread};

use super::peers::{Peer, Reply};

const MODE: &str = "URECHO_TEST_PEER";
const PORT: &str = "URECHO_TEST_PORT";

/// The default message size of every command.
const SIZE: usize = 64;

/// Messages that a peer echoes before it departs from echoing.
const HONEST: usize = 40;

/// How a peer departs from echoing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Honest,
    /// Exits with code 1 and [`LAST_LINE`] on stderr.
    Exits,
    ClosesConnections,
    NeverReplies,
    FlipsBits,
}

/// What a peer that exits has written on stderr.
pub(crate) const LAST_LINE: &str = "the peer exits on purpose";

const MODES: [(Mode, &str); 5] = [
    (Mode::Honest, "honest"),
    (Mode::Exits, "exits"),
    (Mode::ClosesConnections, "closes-connections"),
    (Mode::NeverReplies, "never-replies"),
    (Mode::FlipsBits, "flips-bits"),
];

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        let found = MODES.iter().find(|(mode, _)| *mode == self);
        found.unwrap().1
    }

    /// A command with `{port}` that starts such a peer.
    pub(crate) fn command(self) -> String {
        let program = env::current_exe().unwrap();
        let name = self.name();
        format!(
            "env {MODE}={name} {PORT}={{port}} {} --exact support::peer_process::serve --ignored --nocapture",
            program.display()
        )
    }
}

#[test]
#[ignore = "a server that other tests start; it does not return"]
fn serve() {
    let (Ok(name), Ok(port)) = (env::var(MODE), env::var(PORT)) else {
        return;
    };
    let (mode, _) = *MODES.iter().find(|(_, known)| *known == name).unwrap();
    let received = AtomicUsize::new(0);
    let _peer = Peer::replying_on(port.parse().unwrap(), SIZE, move |_, _, mut bytes| {
        if received.fetch_add(1, Ordering::Relaxed) < HONEST {
            return Reply::Bytes(bytes);
        }
        match mode {
            Mode::Honest => Reply::Bytes(bytes),
            Mode::Exits => {
                eprintln!("{LAST_LINE}");
                process::exit(1);
            }
            Mode::ClosesConnections => Reply::Close(Vec::new()),
            Mode::NeverReplies => Reply::Nothing,
            Mode::FlipsBits => {
                bytes.iter_mut().for_each(|byte| *byte ^= 1);
                Reply::Bytes(bytes)
            }
        }
    });
    loop {
        thread::park();
    }
}
