//! Numbered places for connections, and keys that notice when their place has a new value.
//!
//! A place is freed only when nothing of it is left in the kernel (its owner counts); the generation in the
//! key is the check on that count, not the mechanism.

/// Which value of which place: what a completion carries back through the kernel.
///
/// Generations have 24 bits, so that a key and an operation fit in the 64 bits of `user_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Index of the place.
    pub slot: u32,
    /// How many values the place had before, modulo 2^24.
    pub generation: u32,
}

/// Generations count modulo this.
pub const GENERATIONS: u32 = 1 << 24;

/// Places for `T`, reused last-out first-in so that the working set stays small.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    /// Room for `capacity` values before the first growth.
    pub fn with_capacity(capacity: usize) -> Slab<T> {
        Slab {
            places: Vec::with_capacity(capacity),
            free: Vec::new(),
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// True when nobody lives here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves a value in.
    pub fn insert(&mut self, value: T) -> Key {
        if let Some(slot) = self.free.pop() {
            let place = &mut self.places[slot as usize];
            place.value = Some(value);
            return Key {
                slot,
                generation: place.generation,
            };
        }
        let slot = u32::try_from(self.places.len()).expect("fewer than 2^32 connections: descriptors are 31 bits");
        self.places.push(Place {
            generation: 0,
            value: Some(value),
        });
        Key { slot, generation: 0 }
    }

    /// The value the key was made for; none if it has moved out since.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.slot as usize)?;
        if place.generation == key.generation {
            place.value.as_mut()
        } else {
            None
        }
    }

    /// Moves the key's value out, and makes every copy of the key stale.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.slot as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = (place.generation + 1) % GENERATIONS;
        self.free.push(key.slot);
        Some(value)
    }

    /// The keys of all values, by place.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.value.is_some())
            .map(|(slot, place)| Key {
                slot: slot as u32,
                generation: place.generation,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_stale_once_its_tenant_has_left() {
        let mut slab = Slab::with_capacity(1);
        let old = slab.insert('a');
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b');
        assert_eq!(old.slot, new.slot, "the place is reused");
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get_mut(new), Some(&mut 'b'));
    }

    #[test]
    fn generations_wrap_without_leaving_their_24_bits() {
        let mut slab = Slab::with_capacity(1);
        let key = slab.insert(());
        slab.places[0].generation = GENERATIONS - 1;
        let last = Key {
            generation: GENERATIONS - 1,
            ..key
        };
        assert_eq!(slab.remove(last), Some(()));
        assert_eq!(slab.insert(()).generation, 0);
    }

    #[test]
    fn keys_lists_exactly_the_tenants() {
        let mut slab = Slab::with_capacity(0);
        let keys: Vec<Key> = (0..5).map(|n| slab.insert(n)).collect();
        slab.remove(keys[1]);
        slab.remove(keys[3]);
        assert_eq!(slab.keys().map(|key| key.slot).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(slab.len(), 3);
    }

    #[test]
    fn a_key_of_a_place_that_never_was_finds_nobody() {
        let mut slab: Slab<u8> = Slab::with_capacity(0);
        assert_eq!(slab.get_mut(Key { slot: 9, generation: 0 }), None);
        assert!(slab.is_empty());
    }
}
