//! A server as a service: it reports to the service manager, shows its counters, and starts its successor.
//!
//! - Readiness, stopping and the watchdog: sd_notify(3). Nothing happens without a service manager.
//! - SIGUSR1 writes the metrics to stderr.
//! - SIGUSR2 starts the program again with the same arguments, passes the listeners on, and drains once the new process
//!   accepts connections. The file of the program may have been replaced. If the new process fails, this one goes on.

use std::env;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use sd_notify::NotifyState;

use crate::error::{Error, Result};
use crate::output::console;
use crate::serve::control::Control;
use crate::serve::metrics;
use crate::sys::child;
use crate::sys::signal::{Signal, Signals, Stop};
use crate::sys::successor::{self, Inherited};
use crate::sys::threads;

/// Signals to a running server. They must be blocked before any thread is started.
#[derive(Debug)]
pub struct Service {
    signals: Signals,
    /// The file of this program, found before it can be replaced.
    program: PathBuf,
}

impl Service {
    /// Before any thread is started. Errors: [`Error::Machine`].
    pub fn prepare() -> Result<Service> {
        Ok(Service {
            signals: Signals::block([Signal::SIGUSR1, Signal::SIGUSR2])?,
            program: env::current_exe()
                .map_err(|cause| Error::Machine(format!("cannot find the file of this program: {cause}")))?,
        })
    }

    /// When the server accepts connections. Errors: [`Error::Machine`] when no thread can be started.
    pub fn begin(
        self,
        control: Control,
        stop: &Stop,
        inherited: Option<Inherited>,
        metrics: Option<TcpListener>,
    ) -> Result<()> {
        let endpoint = metrics.map(Arc::new);
        if let Some(listener) = endpoint.clone() {
            let control = control.clone();
            threads::detached(move || match control.confine() {
                Ok(()) => metrics::serve(&listener, &control),
                Err(error) => console::note(format_args!("no metrics are served: {error}")),
            })?;
        }
        if let Some(period) = sd_notify::watchdog_enabled() {
            let control = control.clone();
            threads::detached(move || {
                loop {
                    if control.counters().is_some() {
                        notify(&[NotifyState::Watchdog]);
                    }
                    thread::sleep(period / 2);
                }
            })?;
        }
        if env::var_os("NOTIFY_SOCKET").is_some() {
            let (stopped, handed_over) = (stop.clone(), control.clone());
            threads::detached(move || {
                stopped.wait();
                report_stopping(&handed_over);
            })?;
        }
        threads::detached(move || self.react(&control, endpoint.as_deref()))?;
        if let Some(inherited) = inherited {
            if inherited.replaces() {
                notify(&[NotifyState::MainPid(std::process::id())]);
            }
            inherited.ready();
        }
        notify(&[NotifyState::Ready]);
        Ok(())
    }

    fn react(&self, control: &Control, endpoint: Option<&TcpListener>) {
        loop {
            match self.signals.wait() {
                Signal::SIGUSR1 => match metrics::text(control) {
                    Some(text) => console::note(text),
                    None => console::note("a worker does not answer"),
                },
                _ if control.is_stopping() => console::note("a server that drains is not replaced"),
                _ => self.replace(control, endpoint),
            }
        }
    }

    fn replace(&self, control: &Control, endpoint: Option<&TcpListener>) {
        let mut descriptors: Vec<BorrowedFd<'_>> = control.listeners().iter().map(AsFd::as_fd).collect();
        descriptors.extend(endpoint.map(AsFd::as_fd)); // The last one, as `--metrics` of the new process expects.
        match successor::start(&self.program, &descriptors) {
            // The stop has closed the listeners of both.
            Ok(pid) if control.is_stopping() => child::terminate(pid),
            Ok(pid) => {
                console::note(format_args!("process {pid} accepts connections now; this one drains"));
                control.hand_over();
            }
            Err(cause) => console::note(format_args!(
                "cannot start {} in place of this process, which goes on: {cause}",
                self.program.display()
            )),
        }
    }
}

/// Reports that the server drains, or has ended. Twice does no harm.
pub fn report_stopping(control: &Control) {
    if !control.is_handed_over() {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state); // Without a service manager there is nothing to report to.
}
