//! Slots for connections, and keys that detect when their slot has been reused.
//!
//! A slot is freed only when nothing of its connection is left in the kernel; its owner counts the operations. The
//! generation in the key checks that count, it does not replace it.

/// Names one value of one slot: what a completion carries back through the kernel.
///
/// Generations have 24 bits, so that a key and an operation fit in the 64 bits of `user_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Index of the slot.
    pub slot: u32,
    /// How many values the slot held before, modulo 2^24.
    pub generation: u32,
}

impl Key {
    /// A key for something other than a connection, such as a listener. Slabs count slots from zero and never get as
    /// far.
    pub const fn reserved(number: u32) -> Key {
        Key {
            slot: u32::MAX - number,
            generation: 0,
        }
    }
}

/// Generations count modulo this.
pub const GENERATIONS: u32 = 1 << 24;

/// Slots for `T`. The slot freed last is reused first, which keeps the working set small.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// An empty slab that holds `capacity` values before it grows.
    pub fn with_capacity(capacity: usize) -> Slab<T> {
        Slab {
            slots: Vec::with_capacity(capacity),
            free: Vec::new(),
        }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True if there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value into a free slot.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Key {
                slot: index,
                generation: slot.generation,
            };
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 connections fit into memory");
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Key { slot, generation: 0 }
    }

    /// The value that the key was returned for; `None` once it has been removed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation {
            slot.value.as_mut()
        } else {
            None
        }
    }

    /// Removes the key's value and frees its slot; every copy of the key is stale from now on.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = (slot.generation + 1) % GENERATIONS;
        self.free.push(key.slot);
        Some(value)
    }

    /// All keys, in the order of their slots.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let occupied = |(index, slot): (usize, &Slot<T>)| slot.value.as_ref().map(|_| slot.key(index));
        self.slots.iter().enumerate().filter_map(occupied)
    }

    /// All keys with their values, in the order of their slots.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(index, slot)| {
            let key = slot.key(index);
            slot.value.as_mut().map(|value| (key, value))
        })
    }

    /// All values, in the order of their slots.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.value.as_mut())
    }
}

impl<T> Slot<T> {
    fn key(&self, index: usize) -> Key {
        Key {
            slot: index as u32,
            generation: self.generation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stale_once_its_value_is_removed() {
        let mut slab = Slab::with_capacity(1);
        let old = slab.insert('a');
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b');
        assert_eq!(old.slot, new.slot, "the slot is reused");
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get_mut(new), Some(&mut 'b'));
    }

    #[test]
    fn generations_wrap_within_24_bits() {
        let mut slab = Slab::with_capacity(1);
        let key = slab.insert(());
        slab.slots[0].generation = GENERATIONS - 1;
        let last = Key {
            generation: GENERATIONS - 1,
            ..key
        };
        assert_eq!(slab.remove(last), Some(()));
        assert_eq!(slab.insert(()).generation, 0);
    }

    #[test]
    fn only_occupied_slots_are_listed() {
        let mut slab = Slab::with_capacity(0);
        let keys: Vec<Key> = (0..5).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        assert_eq!(slab.keys().map(|key| key.slot).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(
            slab.iter_mut().map(|(key, _)| key).collect::<Vec<_>>(),
            [keys[0], keys[2], keys[4]]
        );
        assert_eq!(slab.values_mut().map(|value| *value).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(slab.len(), 3);
    }

    #[test]
    fn a_key_of_no_slot_finds_nothing() {
        let mut slab: Slab<u8> = Slab::with_capacity(0);
        assert_eq!(slab.get_mut(Key { slot: 9, generation: 0 }), None);
        assert_eq!(slab.get_mut(Key::reserved(0)), None);
        assert!(slab.is_empty());
    }
}
