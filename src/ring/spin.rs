//! Whether to busy-poll for completions before sleeping.
//!
//! An idle CPU of a virtual machine takes longer to wake than a peer on the same machine takes to reply. Busy-polling
//! costs CPU time, though, and keeps other tasks off this CPU. Two mechanisms bound that cost: [`SpinHistory`] stops
//! polling that finds nothing, and [`SpinPolicy`] stops polling while another task wants this CPU.

use crate::clock::{self, Nanos};
use crate::sys::run_delay::RunDelay;

/// A wait that returns more completions than this is not followed by busy-polling: they share the cost of one wake-up.
const FEW: usize = 2;

/// Most waits without polling after repeated misses: 20 µs in 255 waits is negligible.
const SKIP_MAX: u32 = 255;

/// CPU time that one wait may cost in polling, over the last polls: about twice what sleeping and waking up costs. In
/// an open loop of 20,000/s every third poll finds something, at 50 µs each.
const WORTH: Nanos = Nanos(15_000);

/// How many polls the average goes back: each counts for 7/8 of the one after it.
const DECAY: f64 = 7.0 / 8.0;

/// Consecutive contended checks that make contention lasting. One check in a hundred is contended by a kernel thread; a
/// task that keeps wanting this CPU shows in every check.
const LASTING: u32 = 4;

/// When to busy-poll, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// Sleep at once.
    Never,
    /// Poll for this long before every sleep, and wake up this long before a deadline to poll until it.
    Always(Nanos),
    /// Poll for this long while that finds completions soon, and few at a time. Each miss, and each find while finds
    /// cost too much, doubles the number of waits that sleep at once: an idle ring polls once, a ring that shares
    /// its CPU with its peer almost never.
    Adaptive(Nanos),
}

/// Parameters of a [`SpinPolicy`].
#[derive(Debug, Clone, Copy)]
pub struct SpinLimits {
    /// What to do while no other task wants this CPU.
    pub spin: Spin,
    /// Time between two checks for contention; at least 10 ms, or single time slices of other tasks show.
    pub check_every: Nanos,
    /// How long to sleep at once after the last check that found contention.
    pub backoff: Nanos,
}

/// Busy-poll only while no other task wants this CPU. For the thread that made it.
///
/// The success of polling cannot decide this: a peer that runs while our polling is preempted makes polling look
/// successful. Only the time that this thread waited for its CPU shows the contention.
#[derive(Debug)]
pub struct SpinPolicy {
    limits: SpinLimits,
    run_delay: RunDelay,
    contention: Contention,
    next_check: Nanos,
    resume: Nanos,
}

impl SpinPolicy {
    /// For the calling thread. The first check is due at once.
    pub fn of_this_thread(limits: SpinLimits) -> SpinPolicy {
        let run_delay = RunDelay::of_this_thread();
        let contention = Contention::since(clock::now(), run_delay.read());
        SpinPolicy {
            limits,
            run_delay,
            contention,
            next_check: Nanos(0),
            resume: Nanos(0),
        }
    }

    /// How long the thread has waited for a CPU so far.
    pub fn run_delay(&self) -> Nanos {
        self.run_delay.read()
    }

    /// Checks for contention if a check is due, and returns what [`Ring::set_spin`](super::Ring::set_spin) should get.
    pub fn check(&mut self, now: Nanos) -> Spin {
        if self.limits.spin != Spin::Never && now >= self.next_check {
            self.next_check = now + self.limits.check_every;
            if self.contention.lasts(now, self.run_delay.read()) {
                self.resume = now + self.limits.backoff;
            }
        }
        if now < self.resume {
            Spin::Never
        } else {
            self.limits.spin
        }
    }
}

/// Detects that another task keeps wanting a thread's CPU, from the thread's run delay.
#[derive(Debug)]
struct Contention {
    /// Time and run delay at the last check.
    checked: Nanos,
    run_delay: Nanos,
    /// Consecutive contended checks.
    contended: u32,
}

impl Contention {
    fn since(now: Nanos, run_delay: Nanos) -> Contention {
        Contention {
            checked: now,
            run_delay,
            contended: 0,
        }
    }

    /// True if the thread waited for its CPU for more than a fifth of the time before each of the last checks. A peer
    /// that replies on the same CPU takes a quarter of it or more; kernel threads and occasional work take less.
    fn lasts(&mut self, now: Nanos, run_delay: Nanos) -> bool {
        let contended = (run_delay - self.run_delay).0 > (now - self.checked).0 / 5;
        (self.checked, self.run_delay) = (now, run_delay);
        self.contended = if contended { self.contended.saturating_add(1) } else { 0 };
        self.contended >= LASTING
    }
}

/// Results of busy-polling so far.
#[derive(Debug, Default)]
pub(super) struct SpinHistory {
    /// Completions of the last wait.
    last: usize,
    /// Waits left that sleep at once.
    skip: u32,
    /// Where `skip` started after the last poll.
    skip_length: u32,
    /// Nanoseconds spent polling, and completions found by it, each weighted by its age.
    spent: f64,
    found: f64,
}

impl SpinHistory {
    /// Records the number of completions of a wait.
    pub(super) fn waited(&mut self, completions: usize) {
        self.last = completions;
    }

    /// True if the next wait should busy-poll.
    pub(super) fn is_worth_it(&mut self) -> bool {
        if self.last > FEW {
            return false;
        }
        let skipped = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        !skipped
    }

    /// Records whether busy-polling found a completion, and how long it took.
    pub(super) fn polled(&mut self, found: bool, took: Nanos) {
        self.spent = self.spent * DECAY + took.0 as f64;
        self.found = self.found * DECAY + f64::from(u8::from(found));
        let pays = self.spent <= self.found * WORTH.0 as f64;
        self.skip_length = if found && pays {
            0
        } else {
            (self.skip_length * 2 + 1).min(SKIP_MAX)
        };
        self.skip = self.skip_length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Nanos = Nanos(20_000);

    /// How many of `waits` busy-poll if none of them finds anything.
    fn polls_without_success(history: &mut SpinHistory, waits: usize) -> usize {
        (0..waits)
            .filter(|_| {
                let polls = history.is_worth_it();
                if polls {
                    history.polled(false, WINDOW);
                }
                polls
            })
            .count()
    }

    #[test]
    fn polling_that_finds_nothing_becomes_rare() {
        let mut history = SpinHistory::default();
        assert!(history.is_worth_it());
        history.polled(false, WINDOW);
        let polls = polls_without_success(&mut history, 100_000);
        assert!((300..500).contains(&polls), "{polls}");
    }

    #[test]
    fn success_resumes_polling() {
        let mut history = SpinHistory::default();
        polls_without_success(&mut history, 1000);
        while !history.is_worth_it() {}
        while history.skip_length > 0 {
            history.polled(true, Nanos(5_000));
        }
        assert!(history.is_worth_it());
    }

    /// Every `nth` poll finds a completion in the middle of the window. Returns how many of 10,000 waits poll.
    fn polls_with_finds(nth: usize) -> usize {
        let mut history = SpinHistory::default();
        let mut polls = 0;
        for _ in 0..10_000 {
            if history.is_worth_it() {
                polls += 1;
                let found = polls % nth == 0;
                history.polled(found, if found { Nanos(WINDOW.0 / 2) } else { WINDOW });
            }
        }
        polls
    }

    #[test]
    fn polling_stops_where_finds_cost_more_than_waking_up() {
        assert_eq!(polls_with_finds(1), 10_000);
        let rare = polls_with_finds(3);
        assert!(rare < 500, "{rare}");
    }

    #[test]
    fn a_wait_with_many_completions_is_not_followed_by_polling() {
        let mut history = SpinHistory::default();
        history.waited(FEW + 1);
        assert!(!history.is_worth_it());
        history.waited(FEW);
        assert!(history.is_worth_it());
    }

    #[test]
    fn contention_lasts_from_the_fourth_contended_check_to_the_first_other_one() {
        let ms = |count: u64| Nanos(count * 1_000_000);
        let mut contention = Contention::since(ms(0), ms(0));
        // A check every 10 ms; the thread waited 3 ms, then 2 ms (a fifth is not more than a fifth) before each.
        let contended: Vec<bool> = (1..=5).map(|n| contention.lasts(ms(10 * n), ms(3 * n))).collect();
        assert_eq!(contended, [false, false, false, true, true]);
        assert!(!contention.lasts(ms(60), ms(17)));
        assert!(!contention.lasts(ms(70), ms(20)), "one contended check does not last");
    }

    #[test]
    fn without_permission_to_spin_a_policy_never_spins() {
        let mut policy = SpinPolicy::of_this_thread(SpinLimits {
            spin: Spin::Never,
            check_every: Nanos(0),
            backoff: Nanos(0),
        });
        assert_eq!(policy.check(clock::now()), Spin::Never);
    }
}
