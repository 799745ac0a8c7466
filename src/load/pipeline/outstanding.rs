//! The messages of a connection that were issued and are not complete, oldest first.
//!
//! Of a million connections most have one or none: that one is in place, and a queue is allocated for more only.

use std::collections::VecDeque;

use super::Message;

/// A queue of messages.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    first: Option<Message>,
    #[expect(clippy::box_collection, reason = "a pointer instead of 32 bytes in every connection")]
    others: Option<Box<VecDeque<Message>>>,
}

impl Outstanding {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    pub(super) fn push_back(&mut self, message: Message) {
        match self.first {
            None => self.first = Some(message),
            Some(_) => self.others.get_or_insert_default().push_back(message),
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Message> {
        let next = self.others.as_mut().and_then(|others| others.pop_front());
        std::mem::replace(&mut self.first, next)
    }

    /// The message that has `index` older ones.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Message> {
        match index {
            0 => self.first.as_mut(),
            index => self.others.as_mut()?.get_mut(index - 1),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.first
            .iter()
            .chain(self.others.iter().flat_map(|others| others.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::random::Random;

    #[test]
    fn it_is_a_queue() {
        for seed in 0..50 {
            let (mut random, mut queue, mut expected) = (Random::new(seed, 0), Outstanding::default(), VecDeque::new());
            for number in 0..100 {
                if random.below(2) == 0 {
                    let message = Message {
                        planned: Nanos(number),
                        submitted: Nanos::NEVER,
                        measured: true,
                    };
                    queue.push_back(message);
                    expected.push_back(message);
                } else {
                    assert_eq!(queue.pop_front(), expected.pop_front(), "seed {seed}");
                }
                assert_eq!(queue.len(), expected.len());
                assert!(queue.iter().eq(&expected), "seed {seed}");
                let index = random.below(4);
                assert_eq!(queue.get_mut(index), expected.get_mut(index), "seed {seed}");
            }
        }
    }
}
