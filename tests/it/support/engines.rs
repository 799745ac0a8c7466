//! The same tests for every engine: all keep the contract of `serve::engine`.

/// Makes one module per engine, with one test per function named. The functions take the engine.
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
