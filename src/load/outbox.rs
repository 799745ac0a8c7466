//! What an observer gets, on its way to a thread of its own: a reader that is slow, or stops reading, stops neither the
//! workers nor the thread that watches them.
//!
//! Intervals that do not fit any more are merged into one that is longer, and counted. Progress that does not fit is
//! dropped.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::clock::WallTime;
use crate::load::interval::Interval;
use crate::load::observer::{Observer, Progress};

/// What the observer may be behind by.
const CAPACITY: usize = 4;

/// Something to observe.
pub(super) enum Event {
    Progress(Progress),
    /// With the time when measuring began, if it did.
    Interval(Box<Interval>, Option<WallTime>),
}

/// The sending end.
pub(super) struct Outbox {
    events: SyncSender<Event>,
    began: Option<WallTime>,
    /// Intervals that did not fit, merged.
    held: Option<Box<Interval>>,
    merged: u64,
}

impl Outbox {
    /// An outbox, and what [`deliver`] gets.
    pub(super) fn new() -> (Outbox, Receiver<Event>) {
        let (events, receiver) = sync_channel(CAPACITY);
        let outbox = Outbox {
            events,
            began: None,
            held: None,
            merged: 0,
        };
        (outbox, receiver)
    }

    /// Measuring has begun: the observer learns it with the first interval.
    pub(super) fn measuring(&mut self, began: WallTime) {
        self.began = Some(began);
    }

    /// Passes progress on, unless the observer is behind.
    pub(super) fn progress(&self, progress: Progress) {
        let _ = self.events.try_send(Event::Progress(progress)); // There will be newer progress.
    }

    /// Passes an interval on, together with those that are held back.
    pub(super) fn interval(&mut self, interval: Interval) {
        let next = match self.held.take() {
            Some(mut held) => {
                held.merge(&interval);
                self.merged += 1;
                held
            }
            None => Box::new(interval),
        };
        let event = Event::Interval(next, self.began);
        if let Err(TrySendError::Full(Event::Interval(next, _))) = self.events.try_send(event) {
            self.held = Some(next);
        }
    }

    /// Passes on what is left, and waits for room if there is none. Returns how many intervals were merged with others.
    pub(super) fn close(self) -> u64 {
        if let Some(held) = self.held {
            let _ = self.events.send(Event::Interval(held, self.began)); // The observer has panicked: its thread says so.
        }
        self.merged
    }
}

/// Passes events to an observer until the outbox is closed.
pub(super) fn deliver(events: Receiver<Event>, observer: &mut dyn Observer) {
    let mut has_begun = false;
    for event in events {
        match event {
            Event::Progress(progress) => observer.progress(progress),
            Event::Interval(interval, began) => {
                if let Some(began) = began.filter(|_| !has_begun) {
                    observer.measuring(began);
                    has_begun = true;
                }
                observer.interval(&interval);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::load::result::Span;

    struct Seen(Vec<(Span, u64)>);

    impl Observer for Seen {
        fn interval(&mut self, interval: &Interval) {
            self.0.push((interval.span, interval.messages.completed));
        }
    }

    fn interval(index: u64) -> Interval {
        let mut interval = Interval {
            index,
            span: Span {
                begin: Nanos(index),
                end: Nanos(index + 1),
            },
            ..Interval::default()
        };
        interval.messages.completed = 1;
        interval
    }

    #[test]
    fn what_a_slow_observer_cannot_take_is_merged_and_nothing_waits_for_it() {
        let (mut outbox, events) = Outbox::new();
        (0..100).for_each(|index| outbox.interval(interval(index)));
        (0..100).for_each(|_| {
            outbox.progress(Progress {
                opened: 1,
                completed: 1,
                elapsed: Nanos(1),
            });
        });
        let mut seen = Seen(Vec::new());
        let merged = std::thread::scope(|scope| {
            scope.spawn(|| deliver(events, &mut seen));
            outbox.close()
        });
        assert_eq!((seen.0.len(), merged), (CAPACITY + 1, 100 - CAPACITY as u64 - 1));
        assert_eq!(seen.0.iter().map(|(_, completed)| completed).sum::<u64>(), 100);
        assert!(
            seen.0.windows(2).all(|pair| pair[0].0.end == pair[1].0.begin),
            "{:?}",
            seen.0
        );
        assert_eq!(seen.0.last().unwrap().0.end, Nanos(100));
    }
}
