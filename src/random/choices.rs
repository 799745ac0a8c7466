//! Choices of a model test: drawn from a seed, or read from the input of a fuzzer, which can then change one at a time.

use std::collections::VecDeque;

use super::Random;

/// Choices behind this many bytes of an input are drawn: an input may hold a world up, but not forever.
const INPUT_MAX: usize = 4096;

/// A stream of choices.
#[derive(Debug)]
pub(crate) struct Choices {
    input: VecDeque<u8>,
    drawn: Random,
}

impl Choices {
    /// The stream number `stream` of a seed, as of [`Random::new`].
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64, stream: u64) -> Choices {
        Choices {
            input: VecDeque::new(),
            drawn: Random::new(seed, stream),
        }
    }

    /// One byte for each choice of up to 256. When the input is used up, choices are drawn: every world ends.
    pub(crate) fn of(input: &[u8]) -> Choices {
        let input = &input[..input.len().min(INPUT_MAX)];
        Choices {
            input: input.to_vec().into(),
            drawn: Random::new(0, 0),
        }
    }

    /// In `0..bound`; zero for a bound of zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let Some(first) = self.input.pop_front() else {
            return self.drawn.below(bound);
        };
        let mut choice = usize::from(first);
        let mut range = 256;
        while range < bound {
            choice = (choice << 8) | usize::from(self.input.pop_front().unwrap_or(0));
            range <<= 8;
        }
        choice.checked_rem(bound).unwrap_or(0)
    }

    /// One of two.
    pub(crate) fn coin(&mut self) -> bool {
        match self.input.pop_front() {
            Some(byte) => byte & 1 == 1,
            None => self.drawn.coin(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_choices_until_they_are_used_up() {
        let mut choices = Choices::of(&[7, 3, 1, 2, 9]);
        let made = (choices.below(5), choices.coin(), choices.below(1_000), choices.below(0));
        assert_eq!(made, (2, true, 258, 0));
        let (drawn, mut random) = ([0; 8].map(|_| choices.below(1_000)), Random::new(0, 0));
        assert_eq!(drawn, [0; 8].map(|_| random.below(1_000)));
    }

    #[test]
    fn seeded_choices_are_those_of_the_generator() {
        let (mut choices, mut random) = (Choices::seeded(3, 1), Random::new(3, 1));
        for bound in [1, 2, 100, 1_000_000] {
            assert_eq!(choices.below(bound), random.below(bound));
            assert_eq!(choices.coin(), random.coin());
        }
    }
}
