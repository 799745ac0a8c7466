//! The one grammar of units: how people write counts, sizes, durations and rates, and how we write them back.
//!
//! A number is digits, with `_` between them and a decimal fraction if wanted; its unit follows without a space.
//! Numbers that could mean two things are refused with both spellings (`64k`: 64,000 or 65,536?), and so are bare
//! durations and rates. Arithmetic is exact, in integers: what cannot be met exactly is refused, not rounded.
//! The parsers are for clap, which prints the value itself: their errors are one line that says what is wrong and
//! what to write. Bounds (at least one connection, at most an hour) are the caller's affair.

use crate::clock::Nanos;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A count: `10000`, `10_000`, `10k`, `1.5M`. Zero is a count.
pub fn count(text: &str) -> Result<u64, String> {
    const FORMS: &str = "write a count like `500`, `10k` (10,000) or `1M` (1,000,000)";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let factor = multiplier(unit).ok_or_else(|| format!("{}: {FORMS}", unknown(unit)))?;
    number.times(factor).map_err(|why| format!("{why}: {FORMS}"))
}

/// A size in bytes: `64B`, `4KiB` = 4,096, `64kB` = 64,000; also MiB, MB, GiB, GB.
pub fn size(text: &str) -> Result<u64, String> {
    const FORMS: &str = "write a size like `64B`, `4KiB` (4,096 bytes) or `64kB` (64,000 bytes)";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let factor = match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        "" => {
            return Err(format!("a size needs its unit: write `{}B` for bytes", number.text));
        }
        _ => {
            return Err(ambiguous_size(&number, unit).unwrap_or_else(|| format!("{}: {FORMS}", unknown(unit))));
        }
    };
    number.times(factor).map_err(|why| format!("{why}: {FORMS}"))
}

/// A duration: `50us` (or `50µs`), `250ms`, `1.5s`, `2m` (or `2min`), `800ns`. Zero is a duration.
pub fn duration(text: &str) -> Result<Nanos, String> {
    const FORMS: &str = "write a duration like `50us`, `250ms`, `1.5s` or `2m`";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let factor = match unit {
        "ns" => 1,
        // Two characters look the same here: the micro sign (U+00B5) and the Greek mu (U+03BC).
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "" => {
            return Err(format!(
                "a duration needs its unit: write `{0}s` or `{0}ms`",
                number.text
            ));
        }
        _ => return Err(format!("{}: {FORMS}", unknown(unit))),
    };
    number.times(factor).map(Nanos).map_err(|why| format!("{why}: {FORMS}"))
}

/// A rate in messages per second over the whole run: `500/s`, `50k/s`, `1.5M/s`. Finite; zero is a rate.
pub fn rate(text: &str) -> Result<f64, String> {
    const FORMS: &str = "write a rate like `500/s`, `50k/s` or `1M/s`";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let Some(prefix) = unit.strip_suffix("/s") else {
        return Err(match multiplier(unit) {
            Some(_) => format!("a rate needs its `/s`: write `{}{unit}/s`", number.text),
            None => format!("{}: {FORMS}", unknown(unit)),
        });
    };
    let factor = multiplier(prefix).ok_or_else(|| format!("{}: {FORMS}", unknown(unit)))?;
    Ok(number.digits as f64 * factor as f64 / number.divisor as f64)
}

/// Three significant digits and the unit that reads best: `812 ns`, `12.3 µs`, `1.25 ms`, `2.00 s`, `3,600 s`.
pub fn show_duration(span: Nanos) -> String {
    if span.0 < 1_000 {
        return format!("{} ns", span.0);
    }
    for (name, unit) in [("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)] {
        for decimals in [2, 1, 0] {
            let steps = divide_rounding(span.0, unit / 10_u64.pow(decimals));
            if steps < 1_000 {
                let decimals = decimals as usize;
                return format!("{:.decimals$} {name}", steps as f64 / 10_f64.powi(decimals as i32));
            }
        }
    }
    format!("{} s", show_count(divide_rounding(span.0, 1_000_000_000)))
}

/// Thousands apart: `1,234,567`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Binary units, at most one decimal, which is left out when it is zero: `64 B`, `4 KiB`, `1.5 MiB`.
pub fn show_size(bytes: u64) -> String {
    if bytes < KIB {
        return format!("{bytes} B");
    }
    let rounded = |unit: u64| (u128::from(bytes) * 10 + u128::from(unit / 2)) / u128::from(unit);
    let units = [("KiB", KIB), ("MiB", MIB), ("GiB", GIB)];
    // Judged after rounding, so that one byte less than a mebibyte is `1 MiB`, not `1024 KiB`.
    let (name, unit) = units
        .into_iter()
        .find(|&(_, unit)| rounded(unit) < 10_240)
        .unwrap_or(("GiB", GIB));
    match (rounded(unit) / 10, rounded(unit) % 10) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}

/// Whole messages per second, `123,456/s`; three digits below a hundred, `1.50/s`; `n/a` for what is no rate.
pub fn show_rate(rate: f64) -> String {
    if !rate.is_finite() || rate < 0.0 {
        return "n/a".to_owned();
    }
    // The casts saturate: a rate beyond 2^64 per second is shown as that.
    if rate.fract() == 0.0 || rate >= 99.95 {
        return format!("{}/s", show_count(rate.round() as u64));
    }
    if rate < 9.995 {
        format!("{rate:.2}/s")
    } else {
        format!("{rate:.1}/s")
    }
}

/// A number as it was written: its value is exactly `digits / divisor`.
struct Number<'a> {
    text: &'a str,
    digits: u64,
    divisor: u128,
}

impl Number<'_> {
    /// The value in a unit's base, if it is whole and fits.
    fn times(&self, factor: u64) -> Result<u64, &'static str> {
        // 64 bits by 64 bits: 128 cannot overflow.
        let product = u128::from(self.digits) * u128::from(factor);
        if !product.is_multiple_of(self.divisor) {
            return Err("the fraction goes below the smallest unit");
        }
        u64::try_from(product / self.divisor).map_err(|_| "too large")
    }
}

/// Splits what was typed into its number and its unit, which may be empty. Errors say why it is no number.
fn split(text: &str) -> Result<(Number<'_>, &str), &'static str> {
    if text.is_empty() {
        return Err("nothing given");
    }
    if text.contains(char::is_whitespace) {
        return Err("spaces are not allowed");
    }
    if text.starts_with('-') {
        return Err("a negative number makes no sense here");
    }
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Ok((parse(number)?, unit))
}

/// Reads digits with `_` between them and at most one point, which has digits on both sides.
fn parse(text: &str) -> Result<Number<'_>, &'static str> {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    if ![Some(whole), fraction].into_iter().flatten().all(is_digit_groups) {
        return Err("not a number");
    }
    let mut digits = 0_u64;
    for digit in text.bytes().filter(u8::is_ascii_digit) {
        let shifted = digits
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
        digits = shifted.ok_or("too many digits")?;
    }
    let places = fraction.map_or(0, |fraction| fraction.bytes().filter(u8::is_ascii_digit).count());
    let divisor = u32::try_from(places)
        .ok()
        .and_then(|places| 10_u128.checked_pow(places))
        .ok_or("too many digits")?;
    Ok(Number { text, digits, divisor })
}

/// True for `7`, `10000` and `10_000`; false for nothing, `_1`, `1_`, `1__0`, `1.0`.
fn is_digit_groups(text: &str) -> bool {
    text.split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The decimal multipliers of counts and rates. Only these cases: `m` would be milli, `K` kelvin or 1,024.
fn multiplier(unit: &str) -> Option<u64> {
    match unit {
        "" => Some(1),
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        _ => None,
    }
}

/// For `64k`, `64K`, `64KB`, `1M`, `1g`: both sizes it could mean, to choose from.
fn ambiguous_size(number: &Number<'_>, unit: &str) -> Option<String> {
    let (decimal, thousands, binary, kibis) = match unit.to_ascii_lowercase().as_str() {
        "k" | "kb" => ("kB", 1_000, "KiB", KIB),
        "m" | "mb" => ("MB", 1_000_000, "MiB", MIB),
        "g" | "gb" => ("GB", 1_000_000_000, "GiB", GIB),
        _ => return None,
    };
    let choice = |name: &str, factor: u64| match number.times(factor) {
        Ok(bytes) => format!("`{}{name}` ({} bytes)", number.text, show_count(bytes)),
        Err(_) => format!("`{}{name}`", number.text),
    };
    Some(format!(
        "`{unit}` could mean two sizes: write {} or {}",
        choice(decimal, thousands),
        choice(binary, kibis)
    ))
}

/// Names a unit nobody knows, escaped and cut, so that garbage cannot disturb the terminal.
fn unknown(unit: &str) -> String {
    let shown: String = unit.chars().take(16).flat_map(char::escape_debug).collect();
    format!("unknown unit `{shown}`")
}

/// Rounds half up; near the top of `u64` it saturates instead of wrapping.
fn divide_rounding(value: u64, by: u64) -> u64 {
    value.saturating_add(by / 2) / by
}

#[cfg(test)]
mod tests;
