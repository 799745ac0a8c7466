//! The kernel, and each feature of io_uring by trying it.

use super::finding::Finding;
use crate::error::Errno;
use crate::ring::{self, Diagnosis, Feature, Purpose, Refused, Ring, Trial};
use crate::serve::uring::UringPlan;
use crate::sys::affinity;
use crate::sys::machine::Machine;
use crate::sys::restrictions::Restrictions;

/// Findings about the kernel and io_uring.
pub(super) fn findings(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![kernel(machine), container(&Restrictions::read())];
    let works = match ring::killed_by() {
        Some(signal) => Err(killed(signal)),
        None => server_ring(),
    };
    match works {
        Ok(works) => {
            findings.push(works);
            findings.extend(ring::features().into_iter().map(feature));
        }
        Err(refused) => findings.push(blocked(refused)),
    }
    findings
}

fn kernel(machine: &Machine) -> Finding {
    match &machine.kernel {
        Some(release) => Finding::ok("kernel", format!("Linux {release}")),
        None => Finding::unknown("kernel", "/proc/sys/kernel/osrelease cannot be read"),
    }
}

fn container(restrictions: &Restrictions) -> Finding {
    let filter = match restrictions.seccomp_filter {
        Some(true) => "a seccomp filter decides which system calls are allowed",
        Some(false) => "no seccomp filter",
        None => "whether there is a seccomp filter is hidden",
    };
    let label = restrictions.label.as_ref();
    let label = label
        .map(|label| format!("; a security module has labelled it `{label}`"))
        .unwrap_or_default();
    match restrictions.container {
        Some(container) => Finding::note(
            "container",
            format!("this process runs in {container}; {filter}{label}"),
        ),
        None => Finding::ok("container", format!("none that can be seen; {filter}{label}")),
    }
}

/// A ring as large as those of `urecho serve` with its defaults, one of as many.
fn server_ring() -> Result<Finding, Refused> {
    let plan = UringPlan::default();
    let ring = Ring::attempt(plan.ring(0), affinity::parallelism())?;
    Ok(Finding::ok(
        "io_uring",
        format!("works: a ring received a byte (mode {})", ring.mode().name()),
    ))
}

fn killed(signal: i32) -> Refused {
    Refused {
        what: "cannot create an io_uring: the process is ended".into(),
        errno: Errno(0),
        diagnosis: Diagnosis::of_killed(signal),
    }
}

fn blocked(refused: Refused) -> Finding {
    let Refused { what, diagnosis, .. } = refused;
    Finding {
        explanation: diagnosis.explanation,
        remedies: diagnosis.remedies,
        ..Finding::blocked("io_uring", format!("{what}: {}", diagnosis.cause))
    }
}

fn feature(feature: Feature) -> Finding {
    let Feature {
        name,
        since,
        purpose,
        trial,
    } = feature;
    let loss = match purpose {
        Purpose::Required => "urecho needs it",
        Purpose::Mode => "urecho takes the best mode that works",
        Purpose::Used => "urecho does without: a little more work, or less exact",
        Purpose::Unused => "urecho does not use it",
    };
    match (trial, purpose) {
        (Trial::Works, _) => Finding::ok(name, "works"),
        (Trial::Failed(errno), Purpose::Required) => refused_feature(name, errno),
        (Trial::Absent, Purpose::Required) => {
            Finding::blocked(name, format!("not in this kernel (Linux {since} has it); {loss}"))
                .remedy("uname -r", "boot a newer kernel: 6.0 at least")
                .remedy("urecho serve --engine epoll", "the server without io_uring")
        }
        (Trial::Absent, _) => Finding::note(name, format!("not in this kernel (Linux {since} has it); {loss}")),
        (Trial::Failed(errno), _) => Finding::note(name, format!("fails: {errno}; {loss}")),
    }
}

fn refused_feature(name: &'static str, errno: Errno) -> Finding {
    let diagnosis = Diagnosis::of(errno.0);
    Finding {
        explanation: diagnosis.explanation,
        remedies: diagnosis.remedies,
        ..Finding::blocked(name, format!("fails: {errno}: {}", diagnosis.cause))
    }
}
