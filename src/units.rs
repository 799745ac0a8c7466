//! The one grammar of counts, sizes, durations and rates, for reading and for writing.
//!
//! A number is digits, optionally with `_` between them and with a decimal fraction; its unit follows without a space.
//! Ambiguous numbers are refused with both spellings (`64k`: 64,000 or 65,536?), and so are durations and rates without a
//! unit. Arithmetic is exact, in integers: a value without an exact representation is refused, not rounded. The parsers are
//! for clap, which prints the value itself: an error is one line that says what is wrong and what to write. Callers check
//! bounds (at least one connection, at most an hour). By hand, because no crate reads `µs` and rates and refuses `64k`.

use crate::clock::Nanos;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Parses a count: `10000`, `10_000`, `10k`, `1.5M`. Zero is valid.
pub fn count(text: &str) -> Result<u64, String> {
    const FORMS: &str = "write a count like `500`, `10k` (10,000) or `1M` (1,000,000)";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let factor = multiplier(unit).ok_or_else(|| format!("{}: {FORMS}", unknown(unit)))?;
    number.times(factor).map_err(|why| format!("{why}: {FORMS}"))
}

/// Parses a size in bytes: `64B`, `4KiB` = 4,096, `64kB` = 64,000; also MiB, MB, GiB, GB.
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
            return Err(format!("a size needs a unit: write `{}B` for bytes", number.text));
        }
        _ => {
            return Err(ambiguous_size(&number, unit).unwrap_or_else(|| format!("{}: {FORMS}", unknown(unit))));
        }
    };
    number.times(factor).map_err(|why| format!("{why}: {FORMS}"))
}

/// Parses a duration: `50us` (or `50µs`), `250ms`, `1.5s`, `2m` (or `2min`), `800ns`. Zero is valid.
pub fn duration(text: &str) -> Result<Nanos, String> {
    const FORMS: &str = "write a duration like `50us`, `250ms`, `1.5s` or `2m`";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let factor = match unit {
        "ns" => 1,
        // The micro sign (U+00B5) and the Greek mu (U+03BC) look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "" => {
            return Err(format!("a duration needs a unit: write `{0}s` or `{0}ms`", number.text));
        }
        _ => return Err(format!("{}: {FORMS}", unknown(unit))),
    };
    number.times(factor).map(Nanos).map_err(|why| format!("{why}: {FORMS}"))
}

/// Parses a rate per second: `500/s`, `50k/s`, `1.5M/s`. Finite; zero is valid.
pub fn rate(text: &str) -> Result<f64, String> {
    const FORMS: &str = "write a rate like `500/s`, `50k/s` or `1M/s`";
    let (number, unit) = split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let Some(prefix) = unit.strip_suffix("/s") else {
        return Err(match multiplier(unit) {
            Some(_) => format!("a rate is per second: write `{}{unit}/s`", number.text),
            None => format!("{}: {FORMS}", unknown(unit)),
        });
    };
    let factor = multiplier(prefix).ok_or_else(|| format!("{}: {FORMS}", unknown(unit)))?;
    Ok(number.digits as f64 * factor as f64 / number.divisor as f64)
}

/// Parses a percentage above zero: `3%` is 0.03.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(str::trim_end);
    let number = number.and_then(|number| number.parse::<f64>().ok());
    match number {
        Some(number) if number > 0.0 && number <= 100.0 => Ok(number / 100.0),
        _ => Err("write a percentage above 0% and up to 100%, as in `3%`".into()),
    }
}

/// Three significant digits in the unit that fits: `812 ns`, `12.3 µs`, `1.25 ms`, `2.00 s`, `3,600 s`.
pub fn show_duration(duration: Nanos) -> String {
    if duration.0 < 1_000 {
        return format!("{} ns", duration.0);
    }
    for (name, unit) in [("µs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)] {
        for decimals in [2, 1, 0] {
            let steps = divide_rounding(duration.0, unit / 10_u64.pow(decimals));
            if steps < 1_000 {
                let decimals = decimals as usize;
                return format!("{:.decimals$} {name}", steps as f64 / 10_f64.powi(decimals as i32));
            }
        }
    }
    format!("{} s", show_count(divide_rounding(duration.0, 1_000_000_000)))
}

/// With separators of thousands: `1,234,567`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A count with its noun: `1 thread`, `2 source addresses`, `10,000 connections`.
pub fn plural(count: u64, noun: &str) -> String {
    let ending = match noun {
        _ if count == 1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", show_count(count))
}

/// A share in percent with this many decimals: `25 %`, `25.0 %`.
pub fn show_percent(share: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", share * 100.0)
}

/// Binary units with one decimal unless that is zero: `64 B`, `4 KiB`, `1.5 MiB`.
pub fn show_size(bytes: u64) -> String {
    if bytes < KIB {
        return format!("{bytes} B");
    }
    let rounded = |unit: u64| (u128::from(bytes) * 10 + u128::from(unit / 2)) / u128::from(unit);
    let units = [("KiB", KIB), ("MiB", MIB), ("GiB", GIB)];
    // Chosen after rounding, so that one byte less than a mebibyte is `1 MiB`, not `1024 KiB`.
    let (name, unit) = units
        .into_iter()
        .find(|&(_, unit)| rounded(unit) < 10_240)
        .unwrap_or(("GiB", GIB));
    match (rounded(unit) / 10, rounded(unit) % 10) {
        (whole, 0) => format!("{whole} {name}"),
        (whole, tenth) => format!("{whole}.{tenth} {name}"),
    }
}

/// A rate per second: whole from a hundred on, `123,456/s`; three digits below, `1.50/s`; `n/a` if it is negative or not finite.
pub fn show_rate(rate: f64) -> String {
    if !rate.is_finite() || rate < 0.0 {
        return "n/a".to_owned();
    }
    // The casts saturate: a rate beyond 2^64 per second is shown as 2^64.
    if rate.fract() == 0.0 || rate >= 99.95 {
        return format!("{}/s", show_count(rate.round() as u64));
    }
    if rate < 9.995 {
        format!("{rate:.2}/s")
    } else {
        format!("{rate:.1}/s")
    }
}

/// A number as written. Its value is exactly `digits / divisor`.
struct Number<'a> {
    text: &'a str,
    digits: u64,
    divisor: u128,
}

impl Number<'_> {
    /// The value times the factor of its unit, if that is an integer and fits.
    fn times(&self, factor: u64) -> Result<u64, &'static str> {
        // The product of two 64-bit numbers fits into 128 bits.
        let product = u128::from(self.digits) * u128::from(factor);
        if !product.is_multiple_of(self.divisor) {
            return Err("the fraction is smaller than the smallest unit");
        }
        u64::try_from(product / self.divisor).map_err(|_| "too large")
    }
}

/// Splits the text into its number and its unit, which may be empty. Errors say why it is not a number.
fn split(text: &str) -> Result<(Number<'_>, &str), &'static str> {
    if text.is_empty() {
        return Err("the value is empty");
    }
    if text.contains(char::is_whitespace) {
        return Err("spaces are not allowed");
    }
    if text.starts_with('-') {
        return Err("negative numbers are not allowed");
    }
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '_' || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Ok((parse(number)?, unit))
}

/// Parses digits with `_` between them and at most one point, which has digits on both sides.
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
    let decimals = fraction.map_or(0, |fraction| fraction.bytes().filter(u8::is_ascii_digit).count());
    let divisor = u32::try_from(decimals)
        .ok()
        .and_then(|decimals| 10_u128.checked_pow(decimals))
        .ok_or("too many digits")?;
    Ok(Number { text, digits, divisor })
}

/// True for `7`, `10000` and `10_000`; false for an empty text, `_1`, `1_`, `1__0`, `1.0`.
fn is_digit_groups(text: &str) -> bool {
    text.split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The decimal multipliers of counts and rates. In this case only: `m` would be milli, `K` kelvin or 1,024.
fn multiplier(unit: &str) -> Option<u64> {
    match unit {
        "" => Some(1),
        "k" => Some(1_000),
        "M" => Some(1_000_000),
        _ => None,
    }
}

/// For `64k`, `64K`, `64KB`, `1M`, `1g`: the two sizes that it could mean.
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
        "`{unit}` is ambiguous: write {} or {}",
        choice(decimal, thousands),
        choice(binary, kibis)
    ))
}

/// Quotes an unknown unit, escaped and truncated, so that arbitrary input cannot disturb the terminal.
fn unknown(unit: &str) -> String {
    let shown: String = unit.chars().take(16).flat_map(char::escape_debug).collect();
    format!("unknown unit `{shown}`")
}

/// Divides and rounds half up; saturates near the maximum of `u64`.
fn divide_rounding(value: u64, by: u64) -> u64 {
    value.saturating_add(by / 2) / by
}

#[cfg(test)]
mod tests;
