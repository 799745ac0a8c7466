//! Whether absolute deadlines mean the same to the kernel and to this process.
//!
//! They do not in a time namespace before Linux 7.1 (io_uring took IORING_ENTER_ABS_TIMER for the host's clock), nor
//! where something stands between this process and its clock (libfaketime), nor before Linux 6.12, which has none. So
//! it is tried: a wait of a millisecond must take about that.

use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode};

use crate::clock::{self, Nanos};

/// IORING_ENTER_ABS_TIMER (Linux 6.12, io_uring_enter(2)), which the crate does not define yet.
pub(super) const ABS_TIMER: u32 = 1 << 5;

/// What is waited for.
const WAIT: Nanos = Nanos(1_000_000);

/// A relative timeout that ends the wait if the deadline does not. Static: the kernel reads it at submission.
static LIMIT: Timespec = Timespec::new().nsec(30_000_000);

/// How long the two completions of the trial may take.
const TRIAL_TIMEOUT: Nanos = Nanos::SECOND;

/// CLOCK_MONOTONIC at zero of [`crate::clock`], to add to deadlines; `None` if they have to be relative.
/// Errors: of io_uring_enter(2).
pub(super) fn epoch(uring: &mut IoUring) -> io::Result<Option<Nanos>> {
    let epoch = closest_epoch();
    let works = match epoch {
        Some(epoch) => is_kept(uring, epoch)?,
        None => false,
    };
    Ok(epoch.filter(|_| works))
}

/// From the quickest of a few readings of both clocks: what lies between them makes every deadline late.
fn closest_epoch() -> Option<Nanos> {
    const READINGS: usize = 8;
    let reading = || {
        let before = clock::now();
        let monotonic = monotonic()?;
        Some((clock::now() - before, monotonic - before))
    };
    let readings = (0..READINGS).map(|_| reading()).collect::<Option<Vec<_>>>()?;
    readings.into_iter().min().map(|(_, epoch)| epoch)
}

/// None if it is negative, which only a faked clock is.
fn monotonic() -> Option<Nanos> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let time = time.expect("Linux always has CLOCK_MONOTONIC");
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    Some(Nanos(seconds.checked_mul(1_000_000_000)? + time.tv_nsec() as u64))
}

/// True if a wait until an absolute deadline ends there. Leaves nothing in flight.
fn is_kept(uring: &mut IoUring, epoch: Nanos) -> io::Result<bool> {
    const TIMEOUT: u64 = 1;
    const REMOVE: u64 = 2;
    let begin = clock::now();
    let until = Timespec::from(Duration::from(epoch + begin + WAIT));
    push(uring, &opcode::Timeout::new(&LIMIT).build().user_data(TIMEOUT));
    // On its own: a call that submits something returns how much that was, and not ETIME.
    uring.submit()?;
    let ended = enter(uring, ABS_TIMER, &until);
    let took = clock::now() - begin;
    let is_kept = ended == Err(libc::ETIME) && took >= Nanos(WAIT.0 / 2) && uring.completion().is_empty();
    push(uring, &opcode::TimeoutRemove::new(TIMEOUT).build().user_data(REMOVE));
    let mut left = 2;
    while left > 0 {
        let ended = enter(uring, 0, &LIMIT);
        left -= uring.completion().count().min(left);
        let is_final =
            clock::now() - begin > TRIAL_TIMEOUT || matches!(ended, Err(libc::EPERM | libc::EACCES | libc::ENOSYS));
        if let (Err(errno), true) = (ended, is_final) {
            return Err(io::Error::from_raw_os_error(errno));
        }
    }
    Ok(is_kept)
}

fn push(uring: &mut IoUring, entry: &io_uring::squeue::Entry) {
    // SAFETY: the entry points to a static, or to nothing.
    let pushed = unsafe { uring.submission().push(entry) };
    pushed.expect("a new ring has room for two entries");
}

/// Submits, and waits for a completion until `time`. Errors: errno.
fn enter(uring: &mut IoUring, flags: u32, time: &Timespec) -> Result<(), i32> {
    let pending = uring.submission().len() as u32;
    let flags = EnterFlags::GETEVENTS.bits() | EnterFlags::EXT_ARG.bits() | flags;
    let args = SubmitArgs::new().timespec(time);
    // SAFETY: the arguments match the flags.
    let entered = unsafe { uring.submitter().enter(pending, 1, flags, Some(&args)) };
    entered.map(drop).map_err(|error| error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_by_another_clock_is_not_kept() {
        let Ok(mut uring) = IoUring::new(8) else {
            return println!("SKIPPED: needs io_uring");
        };
        let ours = closest_epoch().unwrap();
        let [early, late] = [ours - Nanos::SECOND, ours + Nanos(60 * 1_000_000_000)];
        assert!(!is_kept(&mut uring, early).unwrap());
        assert!(!is_kept(&mut uring, late).unwrap());
        assert!(uring.completion().is_empty(), "nothing is left in flight");
    }
}
