//! How large messages are. Drawn from seed, connection and number, so that both cursors of a connection agree.

use crate::random::scale;

/// A distribution of message sizes, in bytes. None is empty, so every message has an echo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// All alike.
    Fixed(u64),
    /// Every size from the first to the second, both included, equally often.
    Uniform(u64, u64),
    /// Each size as often as its weight says: (size, sum of the weights up to it).
    Weighted(Vec<(u64, u64)>),
}

impl Sizes {
    /// From (size, weight) pairs. Errors: what is wrong with them.
    pub fn weighted(pairs: &[(u64, u64)]) -> Result<Sizes, String> {
        let mut sum = 0_u64;
        let mut table = Vec::new();
        for &(size, weight) in pairs.iter().filter(|(_, weight)| *weight > 0) {
            sum = sum.checked_add(weight).ok_or("the weights add up to more than 2^64")?;
            table.push((size, sum));
        }
        if table.is_empty() {
            Err("no size has a weight above 0".into())
        } else {
            Ok(Sizes::Weighted(table))
        }
    }

    /// The size that belongs to a draw of 64 random bits.
    pub fn of(&self, draw: u64) -> u64 {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform(least, most) => least + scale(draw, most - least + 1),
            Sizes::Weighted(table) => {
                let sum = table[table.len() - 1].1;
                let drawn = scale(draw, sum);
                table[table.partition_point(|&(_, below)| below <= drawn)].0
            }
        }
    }

    /// The largest.
    pub fn max(&self) -> u64 {
        match self {
            Sizes::Fixed(size) => *size,
            Sizes::Uniform(_, most) => *most,
            Sizes::Weighted(table) => table.iter().map(|&(size, _)| size).max().unwrap_or(0),
        }
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        match self {
            Sizes::Fixed(size) => *size as f64,
            Sizes::Uniform(least, most) => (*least as f64 + *most as f64) / 2.0,
            Sizes::Weighted(table) => {
                let mut before = 0;
                let parts = table.iter().map(|&(size, sum)| {
                    let weight = sum - before;
                    before = sum;
                    size as f64 * weight as f64
                });
                parts.sum::<f64>() / table[table.len() - 1].1 as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    fn share_of(sizes: &Sizes, wanted: u64) -> f64 {
        (0..100_000).filter(|&draw| sizes.of(mix(draw)) == wanted).count() as f64 / 100_000.0
    }

    #[test]
    fn uniform_sizes_reach_both_ends_equally_often() {
        let sizes = Sizes::Uniform(64, 67);
        for size in 64..=67 {
            assert!((share_of(&sizes, size) - 0.25).abs() < 0.01);
        }
        assert_eq!((sizes.max(), sizes.mean()), (67, 65.5));
    }

    #[test]
    fn weights_are_kept() {
        let sizes = Sizes::weighted(&[(64, 9), (1000, 0), (4096, 1)]).unwrap();
        assert!((share_of(&sizes, 64) - 0.9).abs() < 0.01);
        assert!((share_of(&sizes, 4096) - 0.1).abs() < 0.01);
        assert_eq!((sizes.max(), sizes.mean()), (4096, 467.2));
    }

    #[test]
    fn weights_that_say_nothing_are_refused() {
        assert!(Sizes::weighted(&[]).is_err());
        assert!(Sizes::weighted(&[(64, 0)]).is_err());
        assert!(Sizes::weighted(&[(64, u64::MAX), (65, 1)]).is_err());
    }
}
