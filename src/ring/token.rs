//! The contents of `user_data`: the operation, and the key of its connection.
//!
//! ```text
//!  63      56 55              32 31                             0
//! +----------+------------------+--------------------------------+
//! |    op    |    generation    |              slot              |
//! +----------+------------------+--------------------------------+
//! ```

use crate::slab::{GENERATIONS, Key};

const OP_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 32;
const _: () = assert!(GENERATIONS == 1 << (OP_SHIFT - GENERATION_SHIFT));
const _: () = assert!(Op::ALL.len() < 1 << (64 - OP_SHIFT));

/// The operations of a ring, and the message from another ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    Accept,
    Receive,
    Send,
    Connect,
    Cancel,
    Watch,
    /// A descriptor posted to another ring; the slot is its number. Completes only on failure.
    Post,
    /// A descriptor that another ring has posted to this one.
    Deliver,
    /// A change of the table of direct descriptors. Completes only on failure.
    Table,
    /// A descriptor for an entry of that table.
    Install,
}

impl Op {
    const ALL: [Op; 10] = [
        Op::Accept,
        Op::Receive,
        Op::Send,
        Op::Connect,
        Op::Cancel,
        Op::Watch,
        Op::Post,
        Op::Deliver,
        Op::Table,
        Op::Install,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) op: Op,
    pub(super) key: Key,
}

impl Token {
    pub(super) fn pack(self) -> u64 {
        debug_assert!(self.key.generation < GENERATIONS);
        (self.op as u64) << OP_SHIFT | u64::from(self.key.generation) << GENERATION_SHIFT | u64::from(self.key.slot)
    }

    /// Panics on a number that `pack` did not make: the kernel returns user_data unchanged.
    pub(super) fn unpack(user_data: u64) -> Token {
        let op = Op::ALL[(user_data >> OP_SHIFT) as usize];
        let generation = (user_data >> GENERATION_SHIFT) as u32 % GENERATIONS;
        Token {
            op,
            key: Key {
                slot: user_data as u32,
                generation,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_unpacks_to_itself() {
        for op in Op::ALL {
            for slot in [0, 1, 0xDEAD_BEEF, u32::MAX] {
                for generation in [0, 1, 0xABCDE, GENERATIONS - 1] {
                    let token = Token {
                        op,
                        key: Key { slot, generation },
                    };
                    assert_eq!(Token::unpack(token.pack()), token);
                }
            }
        }
    }

    #[test]
    fn operations_are_listed_in_the_order_of_their_numbers() {
        for (number, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, number);
        }
    }
}
