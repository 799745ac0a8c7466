//! The one pseudorandom generator of the program: seeded, and the same on every machine and in every version.
//!
//! SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014). By hand because seeds are
//! printed in reports and must reproduce a run years later: the `rand` crate does not promise stable streams.

#[cfg(any(test, fuzzing))]
mod choices;

#[cfg(any(test, fuzzing))]
pub(crate) use choices::Choices;

/// 2^64 divided by the golden ratio, made odd: the step of a Weyl sequence (Knuth, TAOCP vol. 2, 3.3.4).
pub(crate) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The largest seed of a command: every integer up to it is exact as a number of JavaScript and jq, which read reports.
pub const SEED_MAX: u64 = (1 << 53) - 1;

/// A bijection of 64 bits in which every output bit depends on every input bit: SplitMix64's finaliser.
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of pseudorandom numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random(u64);

impl Random {
    /// The stream number `stream` of a seed: streams of one seed do not meet in any run's lifetime.
    pub fn new(seed: u64, stream: u64) -> Random {
        Random(mix(mix(seed).wrapping_add(stream)))
    }

    /// A seed from the operating system, different in every process. Print it, so that a run can be repeated.
    pub fn seed_from_os() -> u64 {
        use std::hash::BuildHasher;
        std::hash::RandomState::new().hash_one(0) >> 32 // Short enough to be typed.
    }

    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        drawn
    }

    /// Uniform in `0..bound`; zero for a bound of zero. Biased by less than bound / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        scale(self.bits(), bound as u64) as usize
    }

    /// True with probability one half.
    pub fn coin(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    /// Puts the values into random order, every order equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }

    /// Exponential with mean 1: the gap between arrivals of a Poisson process of rate 1.
    pub fn exponential(&mut self) -> f64 {
        // 53 bits make a number in [0, 1); one minus it is never zero, so the logarithm is finite.
        let unit = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - unit).ln()
    }
}

/// Distributions that simulations in tests draw from.
#[cfg(test)]
impl Random {
    /// Uniform between 0 and 1, neither included.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and standard deviation 1 (Box & Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Cauchy: tails so heavy that it has no mean.
    pub(crate) fn cauchy(&mut self) -> f64 {
        (std::f64::consts::PI * (self.uniform() - 0.5)).tan()
    }
}

/// A 64-bit draw scaled to `0..bound` (Lemire 2019, without the rejection).
pub(crate) fn scale(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_stream_draw_the_same() {
        let draw = |seed, stream| {
            (0..8)
                .map(|_| 0)
                .fold(
                    (Random::new(seed, stream), Vec::new()),
                    |(mut random, mut all), _: i32| {
                        all.push(random.below(1000));
                        (random, all)
                    },
                )
                .1
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn exponential_gaps_have_mean_and_deviation_one() {
        let mut random = Random::new(42, 0);
        let gaps: Vec<f64> = (0..100_000).map(|_| random.exponential()).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Five standard errors of the mean and of the variance.
        assert!((mean - 1.0).abs() < 0.016, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let mut random = Random::new(7, 7);
        let mut seen = [0; 10];
        (0..10_000).for_each(|_| seen[random.below(10)] += 1);
        assert!(seen.iter().all(|&count| count > 800), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn every_order_of_four_is_as_likely_as_any_other() {
        let mut random = Random::new(1, 0);
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..24_000 {
            let mut values = [0, 1, 2, 3];
            random.shuffle(&mut values);
            *seen.entry(values).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 24);
        // Five standard deviations of about 31.
        assert!(
            seen.values().all(|&count: &i32| count.abs_diff(1_000) < 155),
            "{seen:?}"
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let drawn = |seed| {
            let mut random = Random::new(seed, 0);
            [(); 4].map(|()| random.bits())
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn normal_draws_have_mean_zero_and_deviation_one() {
        let mut random = Random::new(42, 0);
        let drawn: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = drawn.iter().sum::<f64>() / 1e5;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.016 && (variance - 1.0).abs() < 0.025);
    }
}
