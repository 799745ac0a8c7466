//! Payloads: bytes that depend on seed, connection, message and position, generated and checked in place.
//!
//! A message is a sequence of 64-bit words, `first + index × STEP`, little endian. The first word is a hash of
//! (seed, connection, message), so messages of a run differ; the odd step (a Weyl sequence) makes all words of a
//! message differ. Reordered, repeated or foreign bytes are therefore detected. Generating and checking take one
//! addition per word, which compilers turn into vector code.

use crate::random::{STEP, mix};

/// Words generated at a time: a cache line.
const WORDS: usize = 8;
const BLOCK: usize = WORDS * size_of::<u64>();

/// The payload of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadStream(u64);

/// The first byte that differs from what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Where in the message, from 0.
    pub offset: u64,
    /// What was sent there.
    pub expected: u8,
    /// What came back.
    pub found: u8,
}

impl PayloadStream {
    /// The payload of connection `connection` in a run with this seed.
    pub fn new(seed: u64, connection: u64) -> PayloadStream {
        PayloadStream(mix(mix(seed) ^ connection))
    }

    /// 64 random bits of message `number`, independent of its bytes.
    pub fn draw(self, number: u64) -> u64 {
        mix(!self.0 ^ number)
    }

    /// Writes the bytes of message `number` from `offset` on, until `out` is full.
    pub fn fill(self, number: u64, offset: u64, out: &mut [u8]) {
        self.blocks(number, offset, out.len(), |range, block| {
            out[range].copy_from_slice(block)
        });
    }

    /// Compares the bytes that came back as message `number` from `offset` on. Errors: the first that differs.
    pub fn check(self, number: u64, offset: u64, found: &[u8]) -> Result<(), Mismatch> {
        let mut equal = true;
        self.blocks(number, offset, found.len(), |range, block| {
            equal &= found[range] == *block
        });
        if equal {
            Ok(())
        } else {
            Err(self.mismatch(number, offset, found))
        }
    }

    #[cold]
    fn mismatch(self, number: u64, offset: u64, found: &[u8]) -> Mismatch {
        let mut expected = vec![0; found.len()];
        self.fill(number, offset, &mut expected);
        let at = (0..found.len())
            .find(|&at| expected[at] != found[at])
            .expect("called because some byte differs");
        Mismatch {
            offset: offset + at as u64,
            expected: expected[at],
            found: found[at],
        }
    }

    /// Generates `len` bytes from `offset` on, block by block; `each` gets a block and its range.
    fn blocks(self, number: u64, offset: u64, len: usize, mut each: impl FnMut(std::ops::Range<usize>, &[u8])) {
        let first = mix(self.0 ^ number);
        let (mut done, mut skip) = (0, offset as usize % 8);
        let mut word = first.wrapping_add((offset / 8).wrapping_mul(STEP));
        while done < len {
            let mut block = [0; BLOCK];
            for (index, bytes) in block.chunks_exact_mut(8).enumerate() {
                let value = word.wrapping_add((index as u64).wrapping_mul(STEP));
                bytes.copy_from_slice(&value.to_le_bytes());
            }
            let end = len.min(done + BLOCK - skip);
            each(done..end, &block[skip..skip + end - done]);
            word = word.wrapping_add((WORDS as u64).wrapping_mul(STEP));
            (done, skip) = (end, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: PayloadStream, number: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        payload.fill(number, 0, &mut bytes);
        bytes
    }

    #[test]
    fn a_message_generated_in_pieces_is_the_message_generated_at_once() {
        let payload = PayloadStream::new(1, 2);
        let whole = message(payload, 3, 300);
        for cut in 0..=300 {
            let mut pieces = vec![0; 300];
            let (head, tail) = pieces.split_at_mut(cut);
            payload.fill(3, 0, head);
            payload.fill(3, cut as u64, tail);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn every_single_flipped_bit_is_detected_where_it_is() {
        let payload = PayloadStream::new(1, 2);
        let mut bytes = message(payload, 3, 100);
        for at in 0..100 {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let mismatch = payload.check(3, 0, &bytes).unwrap_err();
                assert_eq!((mismatch.offset, mismatch.found), (at as u64, bytes[at]));
                bytes[at] ^= 1 << bit;
            }
        }
        assert_eq!(payload.check(3, 0, &bytes), Ok(()));
    }

    #[test]
    fn bytes_of_another_message_connection_seed_or_position_are_detected() {
        let payload = PayloadStream::new(1, 2);
        let bytes = message(payload, 3, 64);
        for foreign in [
            message(payload, 4, 64),
            message(PayloadStream::new(1, 3), 3, 64),
            message(PayloadStream::new(2, 2), 3, 64),
        ] {
            assert!(payload.check(3, 0, &foreign).is_err());
        }
        for shift in 1..64 {
            let mut rotated = bytes.clone();
            rotated.rotate_left(shift);
            assert!(payload.check(3, 0, &rotated).is_err(), "rotated by {shift}");
        }
    }

    #[test]
    fn a_piece_far_into_a_large_message_is_checked_at_its_offset() {
        let payload = PayloadStream::new(9, 9);
        let whole = message(payload, 1, 1 << 16);
        assert_eq!(payload.check(1, 65_001, &whole[65_001..65_100]), Ok(()));
        assert_eq!(payload.check(1, 0, &[]), Ok(()));
    }
}
