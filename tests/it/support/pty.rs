//! Pseudoterminals: pty(7).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Both ends: that of the emulator, and that of programs.
pub(crate) fn pseudoterminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let mut options = OpenOptions::new();
    options.custom_flags(libc::O_NOCTTY);
    let slave = options.read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (master, slave)
}

/// A pseudoterminal, and everything that is written to it.
pub(crate) struct Terminal {
    master: OwnedFd,
    slave: File,
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// With this many columns, and 24 rows.
    pub(crate) fn new(columns: u16) -> Terminal {
        let (master, slave) = pseudoterminal();
        let mut reader = File::from(master.try_clone().unwrap());
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = text.clone();
        let reader = thread::spawn(move || {
            let mut part = [0; 4096];
            // EIO: the other end is closed.
            while let Ok(len @ 1..) = reader.read(&mut part) {
                sink.lock().unwrap().extend_from_slice(&part[..len]);
            }
        });
        let terminal = Terminal {
            master,
            slave,
            text,
            reader,
        };
        terminal.resize(columns);
        terminal
    }

    pub(crate) fn resize(&self, columns: u16) {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// The terminal as a stream of a program.
    pub(crate) fn stream(&self) -> Stdio {
        self.slave.try_clone().unwrap().into()
    }

    /// Types.
    pub(crate) fn press(&self, keys: &[u8]) {
        File::from(self.master.try_clone().unwrap()).write_all(keys).unwrap();
    }

    /// True if it passes lines on, as a shell has it.
    pub(crate) fn is_canonical(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// What was written so far.
    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    /// What was written, once nothing holds the other end any more. Drop what has its streams before.
    pub(crate) fn text(self) -> String {
        drop(self.slave);
        self.reader.join().unwrap();
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }
}
