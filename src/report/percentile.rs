//! A percentile as people write it: `p50`, `p99.95`.

use std::fmt::{self, Display, Formatter};

/// A percentile between p0 and p100, exact to a millionth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percentile(u32);

/// Millionths of a percent in one percent.
const PERCENT: u32 = 1_000_000;
/// As many decimals as that.
const DECIMALS: usize = 6;

impl Percentile {
    /// The median.
    pub const P50: Percentile = Percentile(50 * PERCENT);
    /// The 75th percentile.
    pub const P75: Percentile = Percentile(75 * PERCENT);
    /// The 90th percentile.
    pub const P90: Percentile = Percentile(90 * PERCENT);
    /// The 95th percentile.
    pub const P95: Percentile = Percentile(95 * PERCENT);
    /// The 99th percentile.
    pub const P99: Percentile = Percentile(99 * PERCENT);
    /// The 99.9th percentile.
    pub const P99_9: Percentile = Percentile(99_900_000);
    /// The 99.99th percentile.
    pub const P99_99: Percentile = Percentile(99_990_000);
    /// The 99.999th percentile.
    pub const P99_999: Percentile = Percentile(99_999_000);

    /// Reads `p99.95`. None for anything else, and for p0 and p100.
    pub fn parse(text: &str) -> Option<Percentile> {
        let number = text.strip_prefix('p')?;
        let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most: usize| {
            let fits = !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let decimal = digits(decimals, DECIMALS)? * 10_u32.pow((DECIMALS - decimals.len()) as u32);
        let millionths = digits(whole, 2)? * PERCENT + decimal;
        (millionths > 0).then_some(Percentile(millionths))
    }

    /// The share of samples at or below it: 0.999 for p99.9.
    pub fn share(self) -> f64 {
        f64::from(self.0) / f64::from(100 * PERCENT)
    }
}

impl Display for Percentile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (whole, decimal) = (self.0 / PERCENT, self.0 % PERCENT);
        if decimal == 0 {
            return write!(f, "p{whole}");
        }
        let decimals = format!("{decimal:0DECIMALS$}");
        write!(f, "p{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_read_and_written_back() {
        for (text, share, shown) in [
            ("p50", 0.5, "p50"),
            ("p5", 0.05, "p5"),
            ("p99.95", 0.9995, "p99.95"),
            ("p99.90", 0.999, "p99.9"),
            ("p99.999", 0.99999, "p99.999"),
            ("p0.000001", 1e-8, "p0.000001"),
        ] {
            let percentile = Percentile::parse(text).unwrap();
            assert_eq!((percentile.share(), percentile.to_string().as_str()), (share, shown));
        }
        assert_eq!(Percentile::parse("p99.99"), Some(Percentile::P99_99));
        assert_eq!(Percentile::P99_999.share(), 0.99999);
    }

    #[test]
    fn other_texts_are_not_percentiles() {
        for text in [
            "",
            "p",
            "50",
            "p0",
            "p100",
            "p99.",
            "p.9",
            "p99,9",
            "p-1",
            "p+1",
            "P99",
            "p99.0000001",
            "p9 9",
        ] {
            assert_eq!(Percentile::parse(text), None, "{text}");
        }
    }
}
