//! The same tests for every engine: all keep the contract of `serve::engine`.

use std::cell::Cell;

thread_local! {
    static DIRECT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test whose servers on `uring` have direct descriptors.
pub(crate) fn with_direct_descriptors(test: impl FnOnce()) {
    DIRECT.set(true); // Never reset: every test has a thread of its own.
    test();
}

/// What this thread has set, to be set in a thread that it starts.
pub(crate) fn inheritance() -> impl FnOnce() + Send {
    let direct = DIRECT.get();
    move || DIRECT.set(direct)
}

/// True if servers that this thread starts on `uring` are to have direct descriptors.
pub(crate) fn wants_direct_descriptors() -> bool {
    DIRECT.get()
}

/// Makes one module per engine, and one for `uring` with direct descriptors, with one test per function named. The
/// functions take the engine. Those behind `with_descriptors` are about
/// what direct descriptors do not have: a limit, keep-alive by default.
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        crate::support::on_every_engine! { $($test),*; with_descriptors: }
    };
    ($($test:ident),*; with_descriptors: $($other:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $test() { super::$test(urecho::serve::engine::Engine::Uring); })*
            $(#[test] fn $other() { super::$other(urecho::serve::engine::Engine::Uring); })*
        }
        mod uring_direct {
            $(#[test] fn $test() {
                crate::support::with_direct_descriptors(|| super::$test(urecho::serve::engine::Engine::Uring));
            })*
        }
        mod tokio_uring {
            $(#[test] fn $test() { super::$test(urecho::serve::engine::Engine::TokioUring); })*
            $(#[test] fn $other() { super::$other(urecho::serve::engine::Engine::TokioUring); })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test(urecho::serve::engine::Engine::Epoll); })*
            $(#[test] fn $other() { super::$other(urecho::serve::engine::Engine::Epoll); })*
        }
    };
}

pub(crate) use on_every_engine;
