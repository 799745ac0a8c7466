//! Worker threads: named, pinned, joined. One that fails stops the others.

use std::io;
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};

use crate::error::{Error, Result};
use crate::sys::affinity;
use crate::sys::shortage;
use crate::sys::signal::Stop;

/// Threads with the same task, each returning a `T`. Dropping this stops and joins them.
#[derive(Debug)]
pub struct ThreadGroup<T> {
    role: &'static str,
    stop: Stop,
    cpus: Vec<usize>,
    handles: Vec<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> ThreadGroup<T> {
    /// No threads yet. They will be named `role-0`, `role-1`, …, and pinned to `cpus` in turn (not pinned if it is
    /// empty). `stop` fires when a worker returns an error or panics, so that a lost worker never goes unnoticed.
    pub fn new(role: &'static str, cpus: &[usize], stop: &Stop) -> ThreadGroup<T> {
        ThreadGroup {
            role,
            stop: stop.clone(),
            cpus: cpus.to_vec(),
            handles: Vec::new(),
        }
    }

    /// Starts the next worker. Errors: [`Error::Machine`] when no thread can be created. If its CPU is not available,
    /// the worker returns the error.
    pub fn spawn(&mut self, body: impl FnOnce() -> Result<T> + Send + 'static) -> Result<()> {
        let index = self.handles.len();
        let cpu = (!self.cpus.is_empty()).then(|| self.cpus[index % self.cpus.len()]);
        let stop = self.stop.clone();
        let work = move || {
            let mut failure = StopOnFailure { stop, failed: true };
            if let Some(cpu) = cpu {
                affinity::pin(cpu)?;
            }
            let result = body();
            failure.failed = result.is_err();
            result
        };
        let handle = thread::Builder::new()
            .name(format!("{}-{index}", self.role))
            .spawn(work)
            .map_err(|cause| refused(&cause))?;
        self.handles.push(handle);
        Ok(())
    }

    /// True as long as no worker has ended.
    pub fn all_running(&self) -> bool {
        !self.handles.iter().any(JoinHandle::is_finished)
    }

    /// Waits for all workers and returns their results in order. Errors: the first error in that order; [`Error::Bug`]
    /// for a panic.
    pub fn join(&mut self) -> Result<Vec<T>> {
        self.join_each().into_iter().collect()
    }

    /// Waits for all workers and returns the result of each, in order: [`Error::Bug`] for a panic.
    pub fn join_each(&mut self) -> Vec<Result<T>> {
        let role = self.role;
        let panicked = |_| Error::Bug(format!("a {role} thread panicked"));
        let results = self.handles.drain(..).map(|handle| handle.join().map_err(panicked)?);
        results.collect()
    }
}

impl<T> Drop for ThreadGroup<T> {
    fn drop(&mut self) {
        if !self.handles.is_empty() {
            self.stop.fire();
        }
        for handle in self.handles.drain(..) {
            let _ = handle.join(); // The caller already returns another error.
        }
    }
}

/// Starts a thread of a scope, where [`Scope::spawn`] would panic. Errors: [`Error::Machine`].
pub fn scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    body: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new()
        .spawn_scoped(scope, body)
        .map_err(|cause| refused(&cause))
}

/// Stack of a thread that waits most of the time.
const SMALL_STACK: usize = 256 << 10;

/// Starts a thread that is not joined and needs little stack, where [`thread::spawn`] would panic. Errors:
/// [`Error::Machine`].
pub fn detached(body: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = thread::Builder::new().stack_size(SMALL_STACK).spawn(body);
    started.map(drop).map_err(|cause| refused(&cause))
}

fn refused(cause: &io::Error) -> Error {
    Error::Machine(format!("cannot start a thread: {cause}. {}", shortage::of_threads()))
}

/// Fires `stop` when a worker ends with an error or a panic.
struct StopOnFailure {
    stop: Stop,
    failed: bool,
}

impl Drop for StopOnFailure {
    fn drop(&mut self) {
        if self.failed {
            self.stop.fire();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// A task that returns when `stop` fires, as every worker's must.
    fn until(stop: &Stop) -> impl FnOnce() -> Result<u32> + Send + 'static {
        let stop = stop.clone();
        move || {
            while !stop.has_fired() {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(1)
        }
    }

    #[test]
    fn results_are_returned_in_order() {
        let mut workers = ThreadGroup::new("worker", &[], &Stop::new().unwrap());
        (0..4).for_each(|number| workers.spawn(move || Ok(number)).unwrap());
        assert_eq!(workers.join().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_failed_worker_stops_the_others_and_its_error_is_returned() {
        let stop = Stop::new().unwrap();
        let mut workers = ThreadGroup::new("worker", &[], &stop);
        workers.spawn(until(&stop)).unwrap();
        workers.spawn(|| Err(Error::Machine("no ring".into()))).unwrap();
        assert!(matches!(workers.join(), Err(Error::Machine(text)) if text == "no ring"));
    }

    #[test]
    fn a_panic_stops_the_others_and_is_reported_as_a_bug() {
        let stop = Stop::new().unwrap();
        let mut workers = ThreadGroup::new("worker", &[], &stop);
        workers.spawn(until(&stop)).unwrap();
        workers.spawn(|| panic!("on purpose")).unwrap();
        assert!(matches!(workers.join(), Err(Error::Bug(text)) if text == "a worker thread panicked"));
    }

    #[test]
    fn dropped_workers_are_stopped_and_joined() {
        let stop = Stop::new().unwrap();
        let (sender, ended) = mpsc::channel();
        let mut workers = ThreadGroup::new("worker", &[], &stop);
        let body = until(&stop);
        workers
            .spawn(move || {
                let result = body();
                let _ = sender.send(());
                result
            })
            .unwrap();
        drop(workers);
        assert_eq!(ended.try_recv(), Ok(()));
    }
}
