//! How large messages are. A size is drawn from seed, connection and message number, so that both cursors of a
//! connection agree on it.

use crate::random::scale;

/// A distribution of message sizes in bytes. Every size is at least 1, so that every message has an echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// One size.
    Fixed(u64),
    /// Every size from `least` to `most`, both included, equally often.
    Uniform {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// Some sizes, each as often as its weight says.
    Weighted(Weights),
}

/// One size of a weighted distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Bytes.
    pub size: u64,
    /// How often, relative to the sum of all weights.
    pub weight: u64,
}

/// A table of weighted sizes; made by [`Sizes::weighted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// Sizes with a weight above zero.
    table: Vec<Weight>,
    /// The sum of the weights up to each size, itself included.
    sums: Vec<u64>,
}

impl Sizes {
    /// Errors: what is wrong with the weights.
    pub fn weighted(weights: &[Weight]) -> Result<Sizes, String> {
        let table: Vec<Weight> = weights.iter().copied().filter(|entry| entry.weight > 0).collect();
        let mut sums = Vec::with_capacity(table.len());
        let mut sum = 0_u64;
        for entry in &table {
            sum = sum
                .checked_add(entry.weight)
                .ok_or("the weights add up to more than 2^64")?;
            sums.push(sum);
        }
        if table.is_empty() {
            Err("no size has a weight above 0".into())
        } else {
            Ok(Sizes::Weighted(Weights { table, sums }))
        }
    }

    /// The size that belongs to a draw of 64 random bits.
    pub fn of(&self, draw: u64) -> u64 {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { least, most } => least + scale(draw, most - least + 1),
            Sizes::Weighted(Weights { table, sums }) => {
                let drawn = scale(draw, sums[sums.len() - 1]);
                table[sums.partition_point(|&sum| sum <= drawn)].size
            }
        }
    }

    /// The largest.
    pub fn max(&self) -> u64 {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform { most, .. } => *most,
            Sizes::Weighted(weights) => weights.table.iter().map(|entry| entry.size).max().unwrap_or(0),
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        match self {
            Sizes::Fixed(size) => *size as f64,
            Sizes::Uniform { least, most } => (*least as f64 + *most as f64) / 2.0,
            Sizes::Weighted(Weights { table, sums }) => {
                let parts = table.iter().map(|entry| entry.size as f64 * entry.weight as f64);
                parts.sum::<f64>() / sums[sums.len() - 1] as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    fn weighted(pairs: &[(u64, u64)]) -> Result<Sizes, String> {
        let weights: Vec<Weight> = pairs.iter().map(|&(size, weight)| Weight { size, weight }).collect();
        Sizes::weighted(&weights)
    }

    fn share_of(sizes: &Sizes, wanted: u64) -> f64 {
        (0..100_000).filter(|&draw| sizes.of(mix(draw)) == wanted).count() as f64 / 100_000.0
    }

    #[test]
    fn uniform_sizes_reach_both_ends_equally_often() {
        let sizes = Sizes::Uniform { least: 64, most: 67 };
        for size in 64..=67 {
            assert!((share_of(&sizes, size) - 0.25).abs() < 0.01);
        }
        assert_eq!((sizes.max(), sizes.mean()), (67, 65.5));
    }

    #[test]
    fn weights_are_observed() {
        let sizes = weighted(&[(64, 9), (1000, 0), (4096, 1)]).unwrap();
        assert!((share_of(&sizes, 64) - 0.9).abs() < 0.01);
        assert!((share_of(&sizes, 4096) - 0.1).abs() < 0.01);
        assert_eq!((sizes.max(), sizes.mean()), (4096, 467.2));
    }

    #[test]
    fn weights_without_a_distribution_are_refused() {
        assert!(weighted(&[]).is_err());
        assert!(weighted(&[(64, 0)]).is_err());
        assert!(weighted(&[(64, u64::MAX), (65, 1)]).is_err());
    }
}
