//! Whether a peer sends messages or a stream, judged by how full its buffers come.

use crate::ring::SizeClass;

/// Full small buffers in a row that make a stream. The switch costs a cancel, and so does the way back.
const FULL: u8 = 4;

/// Large buffers in a row that would have fitted into half a small one, until a stream is none any more. Half, so that
/// messages of just one small buffer do not go back and forth.
const EMPTY: u8 = 8;

/// Large buffers that a stream may hold before its peer must read: they are few.
const HOLD: usize = 4;

/// What one connection's peer has been doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamDetector {
    streams: bool,
    streak: u8,
}

impl StreamDetector {
    /// From which buffers it should be given.
    pub(super) fn class(self) -> SizeClass {
        if self.streams {
            SizeClass::Large
        } else {
            SizeClass::Small
        }
    }

    /// How many buffers it may hold, if `cap` small ones are its share.
    pub(super) fn cap(self, cap: usize) -> usize {
        if self.streams { HOLD.min(cap) } else { cap }
    }

    /// A buffer has come with `len` bytes; `small` of them fit into a small one. True if that changes what the peer should
    /// be given; nobody begins to stream without `room` for it.
    pub(super) fn saw(&mut self, len: usize, class: SizeClass, small: usize, room: bool) -> bool {
        let unusual = match class {
            SizeClass::Small => len == small,
            SizeClass::Large => len <= small / 2,
        };
        if class != self.class() {
            return false; // On its way before the last switch.
        }
        self.streak = if unusual { self.streak.saturating_add(1) } else { 0 };
        match class {
            SizeClass::Small if self.streak >= FULL && room => {
                *self = StreamDetector {
                    streams: true,
                    streak: 0,
                }
            }
            SizeClass::Large if self.streak >= EMPTY => *self = StreamDetector::default(),
            _ => return false,
        }
        true
    }

    /// It streams no more: there is no room for it, or it has ended. True if it did.
    pub(super) fn shrink(&mut self) -> bool {
        std::mem::take(self).streams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 4096;

    fn after(lens: &[(usize, SizeClass)]) -> StreamDetector {
        let mut flow = StreamDetector::default();
        for &(len, class) in lens {
            flow.saw(len, class, SMALL, true);
        }
        flow
    }

    #[test]
    fn full_buffers_in_a_row_make_a_stream_and_others_do_not() {
        let full = (SMALL, SizeClass::Small);
        assert_eq!(after(&[full; 4]).class(), SizeClass::Large);
        assert_eq!(after(&[full; 3]).class(), SizeClass::Small);
        let broken = [full, full, full, (SMALL - 1, SizeClass::Small), full];
        assert_eq!(after(&broken).class(), SizeClass::Small);
    }

    #[test]
    fn a_stream_ends_with_many_short_buffers() {
        let mut lens = vec![(SMALL, SizeClass::Small); 4];
        lens.extend([(SMALL / 2, SizeClass::Large); 7]);
        assert_eq!(after(&lens).class(), SizeClass::Large);
        lens.push((1, SizeClass::Large));
        assert_eq!(after(&lens).class(), SizeClass::Small);
    }

    #[test]
    fn messages_of_one_small_buffer_stay_where_they_are() {
        let mut lens = vec![(SMALL, SizeClass::Small); 4];
        lens.extend([(SMALL, SizeClass::Large); 100]);
        assert_eq!(after(&lens).class(), SizeClass::Large);
    }

    #[test]
    fn without_room_nobody_streams() {
        let mut flow = StreamDetector::default();
        for _ in 0..100 {
            assert!(!flow.saw(SMALL, SizeClass::Small, SMALL, false));
        }
        assert!(
            flow.saw(SMALL, SizeClass::Small, SMALL, true),
            "as soon as there is room"
        );
    }

    #[test]
    fn a_stream_holds_few_buffers() {
        let mut flow = after(&[(SMALL, SizeClass::Small); 4]);
        assert_eq!((flow.cap(64), flow.cap(1)), (HOLD, 1));
        flow.shrink();
        assert_eq!(flow.cap(64), 64);
    }
}
