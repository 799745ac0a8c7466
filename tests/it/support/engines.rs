//! The same test for every engine: what one promises, all must keep.

/// Makes a module for each engine with a test for each function named, which takes the engine to test.
macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        mod uring {
            $(#[test] fn $test() { super::$test(urecho::serve::engine::Engine::Uring); })*
        }
        mod tokio_uring {
            $(#[test] fn $test() { super::$test(urecho::serve::engine::Engine::TokioUring); })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test(urecho::serve::engine::Engine::Epoll); })*
        }
    };
}

pub(crate) use on_every_engine;
