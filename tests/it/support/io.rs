//! The same tests with all ways in which a generator talks to the kernel.

use std::cell::Cell;
use std::process::Command;

use urecho::load::Io;

use super::seccomp;

thread_local! {
    /// What loads use that this thread starts.
    static CURRENT: Cell<Io> = const { Cell::new(Io::Uring) };
    static DIRECT: Cell<bool> = const { Cell::new(false) };
}

/// Makes one module for io_uring and one for epoll, with one test per function named.
macro_rules! on_each_io {
    ($($test:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $test() { super::$test(); })*
        }
        mod epoll {
            $(#[test] fn $test() { crate::support::io::on_epoll(super::$test); })*
        }
    };
}

pub(crate) use on_each_io;

/// Makes a module for io_uring with direct descriptors, with one test per function named.
macro_rules! on_direct_descriptors {
    ($($test:ident),* $(,)?) => {
        mod uring_direct {
            $(#[test] fn $test() { crate::support::io::with_direct_descriptors(super::$test); })*
        }
    };
}

pub(crate) use on_direct_descriptors;

/// Runs a test whose loads use epoll, under a filter that refuses io_uring, as in a container of Docker.
pub(crate) fn on_epoll(test: fn()) {
    CURRENT.set(Io::Epoll);
    test();
}

/// Runs a test whose loads have direct descriptors.
pub(crate) fn with_direct_descriptors(test: fn()) {
    DIRECT.set(true);
    test();
}

/// What this thread has set, to be set in a thread that it starts.
pub(crate) fn inheritance() -> impl FnOnce() + Send {
    let (current, direct) = (CURRENT.get(), DIRECT.get());
    move || {
        CURRENT.set(current);
        DIRECT.set(direct);
    }
}

/// True if loads have direct descriptors in this test.
pub(crate) fn is_direct() -> bool {
    DIRECT.get()
}

/// What loads use in this test.
pub(crate) fn current() -> Io {
    CURRENT.get()
}

/// Adds the flag, and for epoll the filter, to a command with a load.
pub(crate) fn apply(command: &mut Command) {
    if is_direct() {
        command.arg("--direct-descriptors");
    }
    if current() == Io::Epoll {
        command.args(["--io", "epoll"]);
        seccomp::refuse_io_uring(command, libc::EPERM);
    }
}
