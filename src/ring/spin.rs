//! Whether to look for completions before going to sleep.
//!
//! A sleeping CPU of a virtual machine takes longer to wake than a peer on the same machine takes to answer. Looking
//! costs CPU time, though, and keeps others off this CPU.

use crate::clock::Nanos;

/// Completions of one turn beyond which nobody looks: sleeping is paid for by all of them together.
const FEW: usize = 2;

/// Waits that are slept through after many looks in vain: 20 µs in 255 waits is nothing.
const MISSES: u32 = 255;

/// When to look, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spin {
    /// Sleep at once.
    Never,
    /// Look for this long before every sleep, and wake up so much before a deadline to meet it looking.
    Always(Nanos),
    /// Look for this long while that finds something and few are served: after each look in vain, twice as many waits
    /// are slept through. On an idle ring it looks once; on one that shares its CPU with its peer, next to never.
    Adaptive(Nanos),
}

/// What looking has brought so far.
#[derive(Debug, Default)]
pub(super) struct SpinHistory {
    /// Completions of the last turn.
    last: usize,
    /// Waits to sleep through, and how many it was last time.
    skip: u32,
    misses: u32,
}

impl SpinHistory {
    /// A turn has brought so many completions.
    pub(super) fn turned(&mut self, completions: usize) {
        self.last = completions;
    }

    /// True if it is worth a look.
    pub(super) fn is_worth_it(&mut self) -> bool {
        if self.last > FEW {
            return false;
        }
        let skipped = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        !skipped
    }

    /// A look has found something, or has not.
    pub(super) fn polled(&mut self, found: bool) {
        self.misses = if found { 0 } else { (self.misses * 2 + 1).min(MISSES) };
        self.skip = self.misses;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many waits are polled at, if none of them finds anything.
    fn looks_in_vain(history: &mut SpinHistory, waits: usize) -> usize {
        (0..waits)
            .filter(|_| {
                let looks = history.is_worth_it();
                if looks {
                    history.polled(false);
                }
                looks
            })
            .count()
    }

    #[test]
    fn looking_in_vain_becomes_rare() {
        let mut history = SpinHistory::default();
        assert!(history.is_worth_it());
        history.polled(false);
        let looks = looks_in_vain(&mut history, 100_000);
        assert!((300..500).contains(&looks), "{looks}");
    }

    #[test]
    fn one_find_makes_it_worth_it_again() {
        let mut history = SpinHistory::default();
        looks_in_vain(&mut history, 1000);
        while !history.is_worth_it() {}
        history.polled(true);
        assert!(history.is_worth_it());
    }

    #[test]
    fn where_many_are_served_nobody_looks() {
        let mut history = SpinHistory::default();
        history.turned(FEW + 1);
        assert!(!history.is_worth_it());
        history.turned(FEW);
        assert!(history.is_worth_it());
    }
}
