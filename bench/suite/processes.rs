//! One server in several processes that share a listener, where a process may not have enough descriptors.
//!
//! `suite processes N ADDRESS PROGRAM ARGUMENTS...` listens, and starts the program N times with that listener, by the
//! protocol of systemd: descriptor 3, LISTEN_FDS and LISTEN_PID, sd_listen_fds(3). A signal ends all processes, and so
//! does the end of one; a SIGKILL of this process kills them (`urecho::sys::child`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use urecho::error::{Error, Result};
use urecho::sys::child::{self, TiedChild};
use urecho::sys::signal::Stop;
use urecho::sys::socket::{self, Options};

/// As `urecho serve` and the peers have it.
const BACKLOG: u32 = 4096;

/// Makes descriptor 3 of stdin, and becomes the program: LISTEN_PID is its process id then.
const PASS_LISTENER: &str = r#"export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&0 0</dev/null"#;

/// Runs `count` processes until the first of them ends, or a signal comes. Call from the main thread. Errors:
/// [`Error::Machine`] if the address is taken, or a process cannot be started or fails.
pub(crate) fn run(count: usize, address: SocketAddr, command: &[String]) -> Result<()> {
    let stop = Stop::on_signals()?;
    let listener = socket::listen(&[address], BACKLOG, &Options::server())?;
    let children = (0..count).map(|_| start(&listener, command));
    let mut children: Vec<TiedChild> = children.collect::<Result<_>>()?;
    drop(listener);
    let ids: Vec<u32> = children.iter().map(TiedChild::id).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            stop.wait();
            ids.iter().copied().for_each(child::terminate);
        });
        // Waits for the first to end, and leaves its id valid. Cannot fail: there are children, and no signal handlers.
        let _ = waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        stop.fire();
    });
    let statuses = children.iter_mut().map(|child| child.process.wait());
    let failed = statuses.filter(|status| !status.as_ref().is_ok_and(std::process::ExitStatus::success));
    match failed.count() {
        0 => Ok(()),
        failed => Err(Error::Machine(format!("{failed} of {count} processes failed"))),
    }
}

fn start(listener: &OwnedFd, command: &[String]) -> Result<TiedChild> {
    let failed = |cause| Error::Machine(format!("cannot start {}: {cause}", command.join(" ")));
    let stdin = Stdio::from(listener.try_clone().map_err(failed)?);
    let mut shell = Command::new("sh");
    shell.args(["-c", PASS_LISTENER, "sh"]).args(command).stdin(stdin);
    child::spawn(&mut shell).map_err(failed)
}
