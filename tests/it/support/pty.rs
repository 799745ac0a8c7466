//! Pseudoterminals: pty(7).

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

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
