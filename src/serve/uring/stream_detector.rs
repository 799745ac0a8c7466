//! Detects whether a peer sends messages or a stream, from how full its buffers arrive.

use crate::ring::SizeClass;

/// Consecutive full small buffers that make a stream. Switching costs a cancel, and so does switching back.
const FULL: u8 = 4;

/// Consecutive large buffers whose bytes would have fitted into half a small one that end a stream. Half, so that
/// messages of exactly one small buffer do not switch back and forth.
const NEARLY_EMPTY: u8 = 8;

/// Large buffers that a stream may hold before its peer must read: there are few of them.
pub(super) const LARGE_HELD: usize = 4;

/// State of the detection for one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamDetector {
    is_stream: bool,
    /// Consecutive buffers that spoke against the present state.
    streak: u8,
}

impl StreamDetector {
    /// The class of buffers that the connection should receive into.
    pub(super) fn class(self) -> SizeClass {
        if self.is_stream {
            SizeClass::Large
        } else {
            SizeClass::Small
        }
    }

    /// How many buffers the connection may hold, if its share is `cap` small ones.
    pub(super) fn cap(self, cap: usize) -> usize {
        if self.is_stream { LARGE_HELD.min(cap) } else { cap }
    }

    /// A buffer of `class` arrived with `len` bytes in it; a small buffer holds `small`. No stream begins unless
    /// `large_free`.
    pub(super) fn observe(&mut self, len: usize, class: SizeClass, small: usize, large_free: bool) {
        if class != self.class() {
            return; // It was received before the last switch took effect.
        }
        let against = match class {
            SizeClass::Small => len == small,
            SizeClass::Large => len <= small / 2,
        };
        self.streak = if against { self.streak.saturating_add(1) } else { 0 };
        let switches = match class {
            SizeClass::Small => self.streak >= FULL && large_free,
            SizeClass::Large => self.streak >= NEARLY_EMPTY,
        };
        if switches {
            *self = StreamDetector {
                is_stream: !self.is_stream,
                streak: 0,
            };
        }
    }

    /// Back to messages: large buffers are missing, or the connection has ended.
    pub(super) fn reset(&mut self) {
        *self = StreamDetector::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 4096;

    fn after(buffers: &[(usize, SizeClass)]) -> StreamDetector {
        let mut detector = StreamDetector::default();
        for &(len, class) in buffers {
            detector.observe(len, class, SMALL, true);
        }
        detector
    }

    #[test]
    fn full_buffers_in_a_row_make_a_stream() {
        let full = (SMALL, SizeClass::Small);
        assert_eq!(after(&[full; 4]).class(), SizeClass::Large);
        assert_eq!(after(&[full; 3]).class(), SizeClass::Small);
        let interrupted = [full, full, full, (SMALL - 1, SizeClass::Small), full];
        assert_eq!(after(&interrupted).class(), SizeClass::Small);
    }

    #[test]
    fn nearly_empty_buffers_in_a_row_end_a_stream() {
        let mut buffers = vec![(SMALL, SizeClass::Small); 4];
        buffers.extend([(SMALL / 2, SizeClass::Large); 7]);
        assert_eq!(after(&buffers).class(), SizeClass::Large);
        buffers.push((1, SizeClass::Large));
        assert_eq!(after(&buffers).class(), SizeClass::Small);
    }

    #[test]
    fn messages_of_exactly_one_small_buffer_do_not_switch_back() {
        let mut buffers = vec![(SMALL, SizeClass::Small); 4];
        buffers.extend([(SMALL, SizeClass::Large); 100]);
        assert_eq!(after(&buffers).class(), SizeClass::Large);
    }

    #[test]
    fn a_stream_begins_only_when_a_large_buffer_is_free() {
        let mut detector = StreamDetector::default();
        for _ in 0..100 {
            detector.observe(SMALL, SizeClass::Small, SMALL, false);
        }
        assert_eq!(detector.class(), SizeClass::Small);
        detector.observe(SMALL, SizeClass::Small, SMALL, true);
        assert_eq!(detector.class(), SizeClass::Large);
    }

    #[test]
    fn a_stream_holds_few_buffers() {
        let mut detector = after(&[(SMALL, SizeClass::Small); 4]);
        assert_eq!((detector.cap(64), detector.cap(1)), (LARGE_HELD, 1));
        detector.reset();
        assert_eq!(detector.cap(64), 64);
    }
}
