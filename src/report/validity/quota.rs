//! Rules about CPU quotas of control groups, for a run and for the blocks of a comparison.

use super::{Grade, Reason, percent};
use crate::clock::Nanos;
use crate::report::sections::ratio;
use crate::sys::throttling::Throttling;
use crate::units::plural;

/// A quota stops all threads until its period is over, some tens of milliseconds: one is enough for the largest
/// latencies. Groups may hold other processes as well; a tenth of the time is much more than they explain.
const INVALID: f64 = 0.1;

/// What a quota of the generator's control group means for figures that were measured in `span`. None if it stopped
/// nothing.
pub fn of_generator(throttling: Option<Throttling>, span: Nanos) -> Option<Reason> {
    let used_up = used_up("the generator's control group", throttling, span)?;
    Some(Reason {
        grade: if share(throttling, span) > INVALID {
            Grade::Invalid
        } else {
            Grade::Suspect
        },
        code: "cpu-quota".into(),
        what: format!("{used_up} (invalid over {})", percent(INVALID)),
        advice: "The quota stopped the generator: raise it (cpu.max, docker run --cpus), or use fewer threads and a lower rate.".into(),
    })
}

/// The same for a quota of a control group that a server is in and the generator is not.
pub fn of_server(server: &str, throttling: Option<Throttling>, span: Nanos) -> Option<Reason> {
    // The quota may be how the server is deployed: then its gaps belong to the figures. The reader must know that the
    // tail is that of the quota.
    Some(Reason {
        grade: Grade::Suspect,
        code: "server-cpu-quota".into(),
        what: used_up(&format!("{server}'s control group"), throttling, span)?,
        advice:
            "The tail is the length of the gaps and not the server's: raise the quota (cpu.max, docker run --cpus)."
                .into(),
    })
}

/// How often a quota was used up, and for how much of the time. None if it never was.
pub fn used_up(whose: &str, throttling: Option<Throttling>, span: Nanos) -> Option<String> {
    let periods = throttling?.periods;
    (periods > 0).then(|| {
        format!(
            "the CPU quota of {whose} was used up in {}, for {} of the time, CPUs added up",
            plural(periods, "period"),
            percent(share(throttling, span))
        )
    })
}

fn share(throttling: Option<Throttling>, span: Nanos) -> f64 {
    ratio(throttling.unwrap_or_default().throttled.as_secs(), span.as_secs())
}
