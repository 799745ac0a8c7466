//! Rules about a generator that was stalled, or is too slow to be exact. They hold in a closed loop too, where nothing
//! else shows it: what the generator does not send was planned nowhere.

use super::{grade_of, percent};
use crate::clock::Nanos;
use crate::report::sections::ratio;
use crate::report::validity::{Grade, Inputs, Reason, quota};
use crate::units::{show_count, show_duration};

pub(super) fn stalled(inputs: &Inputs) -> Option<Reason> {
    // As with steal: stalls of 1 % of the time reach p99, those of 10 % reach p90. A long one makes the largest
    // latencies those of the generator, however long the run. Less than that in all is a wake-up that came late in
    // a short run.
    const SUSPECT: f64 = 0.01;
    const INVALID: f64 = 0.1;
    const LONG: Nanos = Nanos(50_000_000);
    let share = share_of(inputs, inputs.stalled);
    let grade = match grade_of(share, SUSPECT, INVALID) {
        Some(Grade::Invalid) if inputs.stalled < LONG => Grade::Suspect,
        Some(grade) => grade,
        None if inputs.stalled_longest >= LONG => Grade::Suspect,
        None => return None,
    };
    Some(Reason {
        grade,
        code: "generator-stalled".into(),
        what: format!(
            "a thread of the generator was stalled for {} of the time, the longest stall was {} (suspect over {} or from {}, invalid \
             over {})",
            percent(share),
            show_duration(inputs.stalled_longest),
            percent(SUSPECT),
            show_duration(LONG),
            percent(INVALID),
        ),
        advice: "It sent and received nothing meanwhile: find what stopped it (a suspended machine, SIGSTOP, a busy host), and repeat.".into(),
    })
}

pub(super) fn waited(inputs: &Inputs) -> Option<Reason> {
    // Kernel threads and interrupts take up to a few per cent of a CPU that nothing else uses. Beyond, other tasks run
    // on it while messages wait to be sent and replies to be seen.
    const SUSPECT: f64 = 0.05;
    let share = share_of(inputs, inputs.run_delay);
    (share > SUSPECT).then(|| Reason {
        grade: Grade::Suspect,
        code: "generator-waited".into(),
        what: format!(
            "a thread of the generator waited for a CPU for {} of the time (suspect over {})",
            percent(share),
            percent(SUSPECT),
        ),
        advice: "Other tasks took its CPU: stop them, or give generator and server CPUs of their own (--pin).".into(),
    })
}

pub(super) fn throttled(inputs: &Inputs) -> Option<Reason> {
    quota::of_generator(inputs.throttling, inputs.measured)
}

pub(super) fn passes(inputs: &Inputs) -> Option<Reason> {
    // All that a pass handles gets the instant of its beginning, and all that it sends leaves at its end: its length is
    // the largest error of a latency. Half of the median is a different experiment. A fifth of a millisecond is
    // what a hundred messages take that arrive at once.
    const SUSPECT: f64 = 0.5;
    const FLOOR: Nanos = Nanos(200_000);
    let pass = inputs.pass_p99?;
    let service = inputs.service_p50.unwrap_or_default();
    let suspect = FLOOR.max(Nanos((service.0 as f64 * SUSPECT) as u64));
    (pass > suspect).then(|| Reason {
        grade: Grade::Suspect,
        code: "long-passes".into(),
        what: format!(
            "1 reply in 100 was handled in a pass of the generator's loop of at least {} (suspect over {}), which service times \
             may include",
            show_duration(pass),
            show_duration(suspect),
        ),
        advice: "The generator handles too much at once: add --threads on separate CPUs, or use fewer connections or a lower rate.".into(),
    })
}

pub(super) fn merged(inputs: &Inputs) -> Option<Reason> {
    // No figure of the report depends on who reads the outputs; the lines per second are fewer and longer.
    let merged = inputs.merged_intervals;
    (merged > 0).then(|| Reason {
        grade: Grade::Valid,
        code: "slow-reader".into(),
        what: format!(
            "{} seconds are part of a longer line in the outputs, whose reader was slow",
            show_count(merged)
        ),
        advice: "Each line says which time it covers; write to a file to have all of them.".into(),
    })
}

fn share_of(inputs: &Inputs, time: Nanos) -> f64 {
    ratio(time.as_secs(), inputs.measured.as_secs())
}

#[cfg(test)]
mod tests {
    use crate::clock::Nanos;
    use crate::report::validity::Grade::{Invalid, Suspect, Valid};
    use crate::report::validity::tests::{assert_reason, assert_valid, idle_machine_but, saturated_but};
    use crate::sys::throttling::Throttling;

    const fn ms(count: u64) -> Nanos {
        Nanos(count * 1_000_000)
    }

    #[test]
    fn a_generator_that_stood_still_is_not_valid_in_a_closed_loop_either() {
        // Of 30 s.
        let with = |total, longest| saturated_but(|run| (run.stalled, run.stalled_longest) = (ms(total), ms(longest)));
        assert_valid(&with(300, 49));
        assert_reason(&with(301, 10), Suspect, "generator-stalled");
        assert_reason(&with(50, 50), Suspect, "generator-stalled");
        assert_reason(&with(3_000, 300), Suspect, "generator-stalled");
        let what = assert_reason(&with(3_300, 400), Invalid, "generator-stalled");
        assert!(what.contains("11 %") && what.contains("400 ms"), "{what}");
    }

    #[test]
    fn a_late_wake_up_in_a_short_run_is_not_invalid() {
        let run = idle_machine_but(|run| {
            run.measured = ms(100);
            run.run_delay = ms(1);
            (run.stalled, run.stalled_longest) = (ms(20), ms(20));
        });
        assert_reason(&run, Suspect, "generator-stalled");
    }

    #[test]
    fn a_generator_that_shares_its_cpu_is_not_valid() {
        let with = |waited| saturated_but(|run| run.run_delay = ms(waited));
        assert_valid(&with(1_500));
        assert_reason(&with(1_501), Suspect, "generator-waited");
    }

    #[test]
    fn one_used_up_quota_is_suspect_and_a_tenth_of_the_time_the_limit() {
        let with = |periods, stopped| {
            saturated_but(|run| {
                run.throttling = Some(Throttling {
                    periods,
                    throttled: ms(stopped),
                });
            })
        };
        assert_valid(&with(0, 0));
        assert_reason(&with(1, 20), Suspect, "cpu-quota");
        let what = assert_reason(&with(60, 3_300), Invalid, "cpu-quota");
        assert!(what.contains("60 periods, for 11 %"), "{what}");
    }

    #[test]
    fn a_slow_reader_is_a_note() {
        assert_reason(&saturated_but(|run| run.merged_intervals = 3), Valid, "slow-reader");
    }

    #[test]
    fn a_pass_is_judged_relative_to_the_service_time() {
        let with = |pass, service| {
            saturated_but(|run| (run.pass_p99, run.service_p50) = (Some(Nanos(pass)), Some(Nanos(service))))
        };
        assert_valid(&with(200_000, 20_000));
        assert_reason(&with(200_001, 20_000), Suspect, "long-passes");
        assert_valid(&with(500_000, 1_000_000));
        assert_reason(&with(500_001, 1_000_000), Suspect, "long-passes");
    }
}
