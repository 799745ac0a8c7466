//! The connections that take messages, to pick one at random from.

use crate::random::Random;
use crate::slab::Key;

/// Where a slot is that has no active connection.
const NONE: u32 = u32::MAX;

/// Keys of active connections, in no particular order. Adding, removing and picking take constant time.
#[derive(Debug, Default)]
pub(super) struct ActiveSet {
    keys: Vec<Key>,
    /// Where the connection of each slot is in `keys`.
    positions: Vec<u32>,
}

impl ActiveSet {
    /// Adds a connection, once.
    pub(super) fn add(&mut self, key: Key) {
        let slot = key.slot as usize;
        if slot >= self.positions.len() {
            self.positions.resize(slot + 1, NONE);
        }
        debug_assert_eq!(self.positions[slot], NONE, "a connection is added once");
        self.positions[slot] = self.keys.len() as u32;
        self.keys.push(key);
    }

    /// Removes a connection, if it is there.
    pub(super) fn remove(&mut self, key: Key) {
        let position = self.positions.get(key.slot as usize).map_or(NONE, |&position| position);
        if self.keys.get(position as usize) != Some(&key) {
            return;
        }
        self.positions[key.slot as usize] = NONE;
        self.keys.swap_remove(position as usize);
        if let Some(moved) = self.keys.get(position as usize) {
            self.positions[moved.slot as usize] = position;
        }
    }

    /// A connection, each as likely as the others; `None` if there is none.
    pub(super) fn pick(&self, random: &mut Random) -> Option<Key> {
        self.keys.get(random.below(self.keys.len())).copied()
    }

    /// All of them.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(slot: u32) -> Key {
        Key { slot, generation: 0 }
    }

    #[test]
    fn it_holds_what_was_added_and_not_removed() {
        for seed in 0..if cfg!(miri) { 1 } else { 300 } {
            let (mut random, mut set) = (Random::new(seed, 0), ActiveSet::default());
            let mut expected = Vec::new();
            for _ in 0..if cfg!(miri) { 40 } else { 200 } {
                let key = key(random.below(20) as u32);
                if expected.contains(&key) {
                    set.remove(key);
                    expected.retain(|&other| other != key);
                } else {
                    set.remove(key); // It is not there: nothing happens.
                    set.add(key);
                    expected.push(key);
                }
                let mut found = set.keys().to_vec();
                found.sort_by_key(|key| key.slot);
                expected.sort_by_key(|key| key.slot);
                assert_eq!(found, expected, "seed {seed}");
                assert_eq!(set.pick(&mut random).is_some(), !expected.is_empty(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_stale_key_does_not_remove_the_connection_that_has_its_slot_now() {
        let mut set = ActiveSet::default();
        let old = key(3);
        let new = Key { generation: 1, ..old };
        set.add(old);
        set.remove(old);
        set.add(new);
        set.remove(old);
        assert_eq!(set.keys(), [new]);
    }
}
