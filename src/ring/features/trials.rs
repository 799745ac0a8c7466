//! One function for each feature: it does the least that shows the feature at work.
//!
//! Errors: of the kernel, EINVAL for a feature that it does not know. What a trial leaves in flight ends with its ring.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering};

use io_uring::squeue::Entry;
use io_uring::types::{DestinationSlot, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode};

use super::super::deadline;
use super::super::probe;
use super::super::setup::Mode;
use super::super::{Ring, RingPlan};

/// How long a completion may take.
static TIMEOUT: Timespec = Timespec::new().sec(1);

pub(super) fn mode(mode: Mode) -> io::Result<()> {
    mode.build(probe::SMALLEST, None).map(drop)
}

/// A ring without any mode: each feature is tried by itself.
fn small() -> io::Result<IoUring> {
    IoUring::builder().dontfork().build(8)
}

/// Submits an entry. Errors: of io_uring_enter(2).
fn submit(uring: &mut IoUring, entry: &Entry) -> io::Result<()> {
    // SAFETY: the entries of the trials point to nothing.
    let pushed = unsafe { uring.submission().push(entry) };
    pushed.expect("a new ring has room for an entry");
    uring.submit().map(drop)
}

/// Waits for a completion, and returns its result. Errors: its own; ETIMEDOUT if there is none.
fn completion(uring: &mut IoUring) -> io::Result<(u32, cqueue::Entry)> {
    let arguments = SubmitArgs::new().timespec(&TIMEOUT);
    match uring.submitter().submit_with_args(1, &arguments) {
        Err(cause) if cause.raw_os_error() != Some(libc::ETIME) => return Err(cause),
        _ => {}
    }
    let entry = uring.completion().next();
    let entry = entry.ok_or_else(|| io::Error::from_raw_os_error(libc::ETIMEDOUT))?;
    match u32::try_from(entry.result()) {
        Ok(result) => Ok((result, entry)),
        Err(_) => Err(io::Error::from_raw_os_error(-entry.result())),
    }
}

/// EINVAL, as of a kernel that does not know a feature, unless it is there.
fn known(is_known: bool) -> io::Result<()> {
    is_known
        .then_some(())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Accepts a connection, and goes on.
pub(super) fn multishot_accept() -> io::Result<()> {
    // A socket that needs neither a network nor a file: the loopback interface has a finding of its own.
    static NAMES: AtomicU32 = AtomicU32::new(0);
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    let name = format!("urecho-doctor-{}-{name}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    let mut uring = small()?;
    submit(&mut uring, &opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).build())?;
    for _ in 0..2 {
        let _peer = UnixStream::connect_addr(&listener.local_addr()?)?;
        let (accepted, entry) = completion(&mut uring)?;
        // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
        drop(unsafe { OwnedFd::from_raw_fd(accepted as i32) });
        known(cqueue::more(entry.flags()))?;
    }
    Ok(())
}

/// A ring as the server has it, but small, with this many direct descriptors.
fn ring(entries: u32) -> io::Result<Ring> {
    let plan = RingPlan {
        entries,
        ..probe::SMALLEST
    };
    let refused = match Ring::attempt(plan, 1) {
        Ok(ring) => return Ok(ring),
        Err(refused) => refused,
    };
    Err(io::Error::from_raw_os_error(refused.errno.0))
}

/// A new ring receives a byte into a provided buffer.
pub(super) fn multishot_receive() -> io::Result<()> {
    ring(0).map(drop)
}

/// A receive that fills several buffers at once. By what the kernel says: trials depend on the number of buffers.
pub(super) fn receive_bundles() -> io::Result<()> {
    known(small()?.params().is_feature_recvsend_bundle())
}

/// A number arrives in another ring.
pub(super) fn msg_ring() -> io::Result<()> {
    let (mut from, mut to) = (small()?, small()?);
    submit(
        &mut from,
        &opcode::MsgRingData::new(Fd(to.as_raw_fd()), 7, 0, None).build(),
    )?;
    completion(&mut from)?;
    completion(&mut to).map(drop)
}

/// A socket without a number in the table of the process.
fn direct_socket() -> io::Result<IoUring> {
    let mut uring = small()?;
    uring.submitter().register_files_sparse(1)?;
    let slot = DestinationSlot::try_from_slot_target(0).expect("zero is a slot");
    let socket = opcode::Socket::new(libc::AF_UNIX, libc::SOCK_STREAM, 0).file_index(Some(slot));
    submit(&mut uring, &socket.build())?;
    completion(&mut uring)?;
    Ok(uring)
}

/// Sockets of connections in the table of a ring, as the server has them.
pub(super) fn direct_descriptors() -> io::Result<()> {
    ring(2).map(drop)
}

/// Such a socket arrives in another ring.
pub(super) fn msg_ring_descriptors() -> io::Result<()> {
    let (mut from, mut to) = (direct_socket()?, small()?);
    to.submitter().register_files_sparse(1)?;
    let slot = DestinationSlot::auto_target();
    submit(
        &mut from,
        &opcode::MsgRingSendFd::new(Fd(to.as_raw_fd()), Fixed(0), slot, 0).build(),
    )?;
    completion(&mut from)?;
    completion(&mut to).map(drop)
}

/// A wait ends at an instant of our clock.
pub(super) fn absolute_deadlines() -> io::Result<()> {
    let kept = deadline::epoch(&mut small()?)?;
    known(kept.is_some())
}

/// A wait that does not count as a wait for a disk.
pub(super) fn no_iowait() -> io::Result<()> {
    let uring = small()?;
    let flags = (EnterFlags::GETEVENTS | EnterFlags::NO_IOWAIT).bits();
    // SAFETY: submits nothing, waits for nothing, and passes no argument.
    let entered = unsafe { uring.submitter().enter::<libc::sigset_t>(0, 0, flags, None) };
    entered.map(drop)
}

/// The ring is entered by an index instead of its descriptor.
pub(super) fn registered_ring() -> io::Result<()> {
    let uring = small()?;
    let mut submitter = uring.submitter();
    submitter.register_ring_fd()?;
    // SAFETY: submits nothing, waits for nothing, and passes no argument.
    let entered = unsafe { submitter.enter::<libc::sigset_t>(0, 0, EnterFlags::GETEVENTS.bits(), None) };
    entered?;
    submitter.unregister_ring_fd()
}

/// A wait for several completions that ends with fewer after a time. By what the kernel says: a wait does not show it.
pub(super) fn min_wait() -> io::Result<()> {
    known(small()?.params().is_feature_min_timeout())
}

/// By what the kernel says: on loopback it copies.
pub(super) fn send_zero_copy() -> io::Result<()> {
    let uring = small()?;
    let mut probe = Probe::new();
    uring.submitter().register_probe(&mut probe)?;
    known(probe.is_supported(opcode::SendZc::CODE))
}
