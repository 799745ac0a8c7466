//! Writing to descriptors that may not take everything at once: pipes with a slow reader, also in non-blocking mode,
//! files on a full disk, terminals.
//!
//! By system call: `std::io::Stdout` fails at EAGAIN, and does not say how much it has written.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::FileType;

/// PIPE_BUF, pipe(7): a pipe that is ready takes that much, so that a write of it does not block.
const ALWAYS_FITS: usize = 4096;

/// How long to wait for a reader that takes nothing.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// For as long as it takes.
    Unlimited,
    /// This many milliseconds.
    Milliseconds(u16),
    /// Until this descriptor is readable.
    Until(BorrowedFd<'a>),
}

/// Writes all bytes. Errors: also [`ErrorKind::TimedOut`] if it has waited long enough, with part of them written.
pub fn write_all(out: impl AsFd, mut bytes: &[u8], wait: Wait<'_>) -> io::Result<()> {
    let out = out.as_fd();
    while !bytes.is_empty() {
        let part = match wait {
            Wait::Unlimited => bytes,
            Wait::Milliseconds(_) | Wait::Until(_) => {
                wait_for_room(out, wait)?;
                &bytes[..bytes.len().min(ALWAYS_FITS)]
            }
        };
        match nix::unistd::write(out, part) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait_for_room(out, wait)?,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Returns once there is room, or an error that the next write will return.
fn wait_for_room(out: BorrowedFd<'_>, wait: Wait<'_>) -> io::Result<()> {
    let room = PollFd::new(out, PollFlags::POLLOUT);
    let (mut fds, timeout) = match wait {
        Wait::Unlimited => (vec![room], PollTimeout::NONE),
        Wait::Milliseconds(limit) => (vec![room], PollTimeout::from(limit)),
        Wait::Until(stop) => (vec![room, PollFd::new(stop, PollFlags::POLLIN)], PollTimeout::NONE),
    };
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) if fds[0].any() != Some(false) => return Ok(()),
            Ok(_) => return Err(ErrorKind::TimedOut.into()),
        }
    }
}

/// True if the reader of `out` is gone: it has read enough, and that is no failure.
pub fn is_closed(out: impl AsFd, cause: &io::Error) -> bool {
    match cause.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => true,
        // A terminal whose window was closed: it answers nothing any more, not even that it is one.
        _ => cause.raw_os_error() == Some(libc::EIO) && is_character_device(out),
    }
}

fn is_character_device(of: impl AsFd) -> bool {
    let kind = rustix::fs::fstat(of).map(|stat| FileType::from_raw_mode(stat.st_mode));
    kind.is_ok_and(|kind| kind == FileType::CharacterDevice)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::thread;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn a_slow_reader_of_a_non_blocking_stream_gets_every_byte() {
        let (reader, writer) =
            socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_NONBLOCK).unwrap();
        let sent: Vec<u8> = (0..4 << 20).map(|byte: u32| byte as u8).collect();
        for wait in [Wait::Unlimited, Wait::Milliseconds(30_000)] {
            let got = thread::scope(|scope| {
                scope.spawn(|| write_all(&writer, &sent, wait).unwrap());
                let mut reader = std::os::unix::net::UnixStream::from(reader.try_clone().unwrap());
                reader.set_nonblocking(false).unwrap();
                let mut got = vec![0; sent.len()];
                reader.read_exact(&mut got).unwrap();
                got
            });
            assert!(got == sent);
        }
    }

    #[test]
    fn a_reader_that_takes_nothing_is_waited_for_as_long_as_requested() {
        let (_reader, writer) = pipe().unwrap();
        let text = vec![b'x'; 1 << 20];
        let (stop, mut fires) = pipe().unwrap();
        let failure = write_all(&writer, &text, Wait::Milliseconds(1)).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::TimedOut);
        io::Write::write_all(&mut fires, b"!").unwrap();
        let failure = write_all(&writer, &text, Wait::Until(stop.as_fd())).unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_reader_that_is_gone_is_distinguished_from_a_full_disk() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let cause = write_all(&writer, b"x", Wait::Unlimited).unwrap_err();
        assert!(is_closed(&writer, &cause));
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let cause = write_all(&full, b"x", Wait::Unlimited).unwrap_err();
        assert!(!is_closed(&full, &cause), "{cause}");
    }
}
