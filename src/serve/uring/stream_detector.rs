//! Detects whether a peer sends messages or a stream, from how full its buffers arrive.

use crate::ring::Store;

/// Consecutive full buffers that make a stream. Switching costs a cancel, and so does switching back.
const FULL: u8 = 4;

/// Consecutive pipes whose bytes would have fitted into half a buffer that end a stream. Half, so that messages of
/// exactly one buffer do not switch back and forth.
const NEARLY_EMPTY: u8 = 8;

/// Pipes that a stream may hold before its peer must read: there are few of them.
pub(super) const PIPES_HELD: usize = 4;

/// State of the detection for one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StreamDetector {
    is_stream: bool,
    /// Consecutive buffers that spoke against the present state.
    streak: u8,
}

impl StreamDetector {
    /// Where the connection should receive into.
    pub(super) fn store(self) -> Store {
        if self.is_stream { Store::Pipe } else { Store::Buffer }
    }

    /// How many buffers or pipes the connection may hold, if its share is `cap` buffers.
    pub(super) fn cap(self, cap: usize) -> usize {
        if self.is_stream { PIPES_HELD.min(cap) } else { cap }
    }

    /// `len` bytes arrived in `store`; a buffer holds `buffer_size`. No stream begins unless
    /// `pipe_free`.
    pub(super) fn observe(&mut self, len: usize, store: Store, buffer_size: usize, pipe_free: bool) {
        if store != self.store() {
            return; // It was received before the last switch took effect.
        }
        let against = match store {
            Store::Buffer => len == buffer_size,
            Store::Pipe => len <= buffer_size / 2,
        };
        self.streak = if against { self.streak.saturating_add(1) } else { 0 };
        let switches = match store {
            Store::Buffer => self.streak >= FULL && pipe_free,
            Store::Pipe => self.streak >= NEARLY_EMPTY,
        };
        if switches {
            *self = StreamDetector {
                is_stream: !self.is_stream,
                streak: 0,
            };
        }
    }

    /// Back to messages: pipes do not serve the connection, or it has ended.
    pub(super) fn reset(&mut self) {
        *self = StreamDetector::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFER_SIZE: usize = 4096;

    fn after(buffers: &[(usize, Store)]) -> StreamDetector {
        let mut detector = StreamDetector::default();
        for &(len, store) in buffers {
            detector.observe(len, store, BUFFER_SIZE, true);
        }
        detector
    }

    #[test]
    fn full_buffers_in_a_row_make_a_stream() {
        let full = (BUFFER_SIZE, Store::Buffer);
        assert_eq!(after(&[full; 4]).store(), Store::Pipe);
        assert_eq!(after(&[full; 3]).store(), Store::Buffer);
        let interrupted = [full, full, full, (BUFFER_SIZE - 1, Store::Buffer), full];
        assert_eq!(after(&interrupted).store(), Store::Buffer);
    }

    #[test]
    fn nearly_empty_pipes_in_a_row_end_a_stream() {
        let mut buffers = vec![(BUFFER_SIZE, Store::Buffer); 4];
        buffers.extend([(BUFFER_SIZE / 2, Store::Pipe); 7]);
        assert_eq!(after(&buffers).store(), Store::Pipe);
        buffers.push((1, Store::Pipe));
        assert_eq!(after(&buffers).store(), Store::Buffer);
    }

    #[test]
    fn messages_of_exactly_one_buffer_do_not_switch_back() {
        let mut buffers = vec![(BUFFER_SIZE, Store::Buffer); 4];
        buffers.extend([(BUFFER_SIZE, Store::Pipe); 100]);
        assert_eq!(after(&buffers).store(), Store::Pipe);
    }

    #[test]
    fn a_stream_begins_only_when_a_pipe_is_free() {
        let mut detector = StreamDetector::default();
        for _ in 0..100 {
            detector.observe(BUFFER_SIZE, Store::Buffer, BUFFER_SIZE, false);
        }
        assert_eq!(detector.store(), Store::Buffer);
        detector.observe(BUFFER_SIZE, Store::Buffer, BUFFER_SIZE, true);
        assert_eq!(detector.store(), Store::Pipe);
    }

    #[test]
    fn a_stream_holds_few_pipes() {
        let mut detector = after(&[(BUFFER_SIZE, Store::Buffer); 4]);
        assert_eq!((detector.cap(64), detector.cap(1)), (PIPES_HELD, 1));
        detector.reset();
        assert_eq!(detector.cap(64), 64);
    }
}
