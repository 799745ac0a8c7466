//! The one grammar of counts, sizes, durations and rates, for reading and for writing.
//!
//! A number is digits, optionally in groups (`10_000`, `10,000`), with a decimal fraction or an exponent (`1e4`); its
//! unit follows, with or without a space. Ambiguous numbers are refused with both spellings (`64k`: 64,000 or 65,536?),
//! durations and rates without a unit as well, and a unit in another spelling (`10K`, `5M` for minutes, `64b`) with the
//! one that works. Whatever is shown here is read here. Arithmetic is exact, in integers: a value without an exact
//! representation is refused, not rounded, except that sizes are rounded to whole bytes. The parsers are for clap,
//! which prints the value itself: an error is one line that says what is wrong and what to write. Callers check bounds
//! (at least one connection, at most an hour). By hand, because no crate reads `µs` and rates and refuses `64k`.

use crate::clock::Nanos;
use number::Number;

mod number;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Units of time and their names, the shortest first. As systemd.time(7) has them, without months.
const TIMES: [(u64, &[&str]); 7] = [
    (86_400_000_000_000, &["d", "day", "days"]),
    (3_600_000_000_000, &["h", "hr", "hour", "hours"]),
    (60_000_000_000, &["m", "min", "mins", "minute", "minutes"]),
    (1_000_000_000, &["s", "sec", "secs", "second", "seconds"]),
    (1_000_000, &["ms", "msec"]),
    // The micro sign (U+00B5) and the Greek mu (U+03BC) look the same.
    (1_000, &["us", "\u{b5}s", "\u{3bc}s", "usec"]),
    (1, &["ns", "nsec"]),
];

/// Units of size, the name that is read first, then names that are refused with it.
const SIZES: [(u64, &str, &[&str]); 7] = [
    (1, "B", &["b", "byte", "bytes", "Byte", "Bytes"]),
    (1_000, "kB", &[]),
    (1_000_000, "MB", &[]),
    (1_000_000_000, "GB", &[]),
    (KIB, "KiB", &["kib", "kiB", "KIB", "Kib", "Ki", "ki"]),
    (MIB, "MiB", &["mib", "miB", "MIB", "Mib", "Mi", "mi"]),
    (GIB, "GiB", &["gib", "giB", "GIB", "Gib", "Gi", "gi"]),
];

/// Parses a count: `10000`, `10_000`, `10,000`, `1e4`, `10k`, `1.5M`. Zero is valid.
pub fn count(text: &str) -> Result<u64, String> {
    const FORMS: &str = "write a count like `500`, `10k` (10,000) or `1M` (1,000,000)";
    let (number, unit) = number::split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let factor =
        multiplier(unit).ok_or_else(|| format!("{}: {}", unknown(unit), count_like(&number, unit, "", FORMS)))?;
    number.times(factor).map_err(|why| format!("{why}: {FORMS}"))
}

/// Parses a size in bytes: `64B`, `4KiB` = 4,096, `64kB` = 64,000; also MiB, MB, GiB, GB. A fraction of a byte is
/// rounded.
pub fn size(text: &str) -> Result<u64, String> {
    const FORMS: &str = "write a size like `64B`, `4KiB` (4,096 bytes) or `64kB` (64,000 bytes)";
    let (number, unit) = number::split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    if unit.is_empty() {
        return Err(format!("a size needs a unit: write `{}B` for bytes", number.text));
    }
    let Some((factor, ..)) = SIZES.into_iter().find(|&(_, name, _)| name == unit) else {
        let meant = SIZES.into_iter().find(|(_, _, others)| others.contains(&unit));
        return Err(match (meant, ambiguous_size(&number, unit)) {
            (Some((_, name, _)), _) => format!("{}: write `{}{name}`", unknown(unit), number.text),
            (None, Some(ambiguous)) => ambiguous,
            (None, None) => format!("{}: {FORMS}", unknown(unit)),
        });
    };
    let bytes = if factor == 1 {
        number.times(1)
    } else {
        number.times_rounded(factor)
    };
    bytes.map_err(|why| format!("{why}: {FORMS}"))
}

/// Parses a duration: `50us` (or `50µs`), `250ms`, `1.5s`, `2m` (or `2min`), `1h`, `1d`, `800ns`, and sums from the
/// largest unit to the smallest: `1h30m`, `2s500ms`. Zero is valid.
pub fn duration(text: &str) -> Result<Nanos, String> {
    const FORMS: &str = "write a duration like `50us`, `250ms`, `1.5s`, `1m30s` or `2h`";
    let wrong = |why: &str| format!("{why}: {FORMS}");
    let (mut rest, mut sum, mut before) = (text, 0_u64, u64::MAX);
    loop {
        let (number, units) = number::split(rest).map_err(|why| wrong(&why))?;
        let end = units.find(|c: char| c.is_ascii_digit()).unwrap_or(units.len());
        let unit = units[..end].trim_end();
        if unit.is_empty() {
            return Err(format!("a duration needs a unit: write `{0}s` or `{0}ms`", number.text));
        }
        let factor = time_unit(unit).ok_or_else(|| {
            let lower = unit.to_lowercase();
            match time_unit(&lower) {
                Some(_) => format!("{}: write `{}{lower}`", unknown(unit), number.text),
                None => wrong(&unknown(unit)),
            }
        })?;
        if factor >= before {
            return Err(wrong("the units of a sum go from the largest to the smallest"));
        }
        let part = number.times(factor).map_err(wrong)?;
        sum = sum.checked_add(part).ok_or_else(|| wrong("too large"))?;
        (rest, before) = (&units[end..], factor);
        if rest.is_empty() {
            return Ok(Nanos(sum));
        }
    }
}

/// Parses a rate in messages per second: `500/s`, `50k/s`, `1.5M/s`, `10/min`, `3600/h`. Finite; zero is valid.
pub fn rate(text: &str) -> Result<f64, String> {
    const FORMS: &str = "write a rate like `500/s`, `50k/s`, `1M/s` or `10/min`";
    let (number, unit) = number::split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    let Some((prefix, per)) = unit.split_once('/').map(|(prefix, per)| (prefix.trim(), per.trim())) else {
        let lower = unit.to_lowercase();
        let suffixes = ["rps", "qps", "hz", "ps", "/sec"];
        let prefix = suffixes
            .into_iter()
            .find_map(|suffix| lower.strip_suffix(suffix))
            .unwrap_or(unit);
        return Err(match multiplier(prefix) {
            Some(_) => format!("a rate is per second: write `{}{prefix}/s`", number.text),
            None => format!("{}: {}", unknown(unit), count_like(&number, prefix, "/s", FORMS)),
        });
    };
    let factor = multiplier(prefix).ok_or_else(|| {
        format!(
            "{}: {}",
            unknown(unit),
            count_like(&number, prefix, &format!("/{per}"), FORMS)
        )
    })?;
    let period = time_unit(per).ok_or_else(|| match time_unit(&per.to_lowercase()) {
        Some(_) => format!(
            "{}: write `{}{prefix}/{}`",
            unknown(unit),
            number.text,
            per.to_lowercase()
        ),
        None => format!("{}: {FORMS}", unknown(unit)),
    })?;
    let rate = number.times_float(factor as f64);
    let rate = if period == Nanos::SECOND.0 {
        rate
    } else {
        rate / Nanos(period).as_secs()
    };
    if rate.is_finite() {
        Ok(rate)
    } else {
        Err(format!("too large: {FORMS}"))
    }
}

/// Parses a percentage above zero: `3%` is 0.03.
pub fn percent(text: &str) -> Result<f64, String> {
    const FORMS: &str = "write a percentage above 0% and up to 100%, as in `3%`";
    let (number, unit) = number::split(text).map_err(|why| format!("{why}: {FORMS}"))?;
    match (number.times_float(1.0), unit) {
        (number, "%") if number > 0.0 && number <= 100.0 => Ok(number / 100.0),
        (value, "") if value >= 1.0 => Err(format!("a percentage needs its sign: write `{}%`", number.text)),
        _ => Err(FORMS.into()),
    }
}

/// Nanoseconds in a unit of time.
fn time_unit(name: &str) -> Option<u64> {
    TIMES
        .into_iter()
        .find_map(|(factor, names)| names.contains(&name).then_some(factor))
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

/// A change in percent with its sign and one decimal: `+2.5 %`.
pub fn show_change(share: f64) -> String {
    format!("{:+.1} %", share * 100.0)
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

/// A rate per second: whole from a hundred on, `123,456/s`; three digits below, `1.50/s`; per hour below a tenth,
/// `60.0/h`; `n/a` if it is negative or not finite.
pub fn show_rate(rate: f64) -> String {
    if !rate.is_finite() || rate < 0.0 {
        return "n/a".to_owned();
    }
    // The casts saturate: a rate beyond 2^64 per second is shown as 2^64.
    if rate.fract() == 0.0 || rate >= 99.95 {
        return format!("{}/s", show_count(rate.round() as u64));
    }
    if rate < 0.0995 {
        format!("{:.1}/h", rate * 3_600.0)
    } else if rate < 9.995 {
        format!("{rate:.2}/s")
    } else {
        format!("{rate:.1}/s")
    }
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

/// What to write instead of this unit of a count or a rate, which `ending` follows.
fn count_like(number: &Number<'_>, unit: &str, ending: &str, forms: &str) -> String {
    let meant = match unit {
        "K" => format!("{}k", number.text),
        "m" | "mio" | "mn" => format!("{}M", number.text),
        "G" | "g" => format!("{}000M", number.text),
        _ => return forms.to_owned(),
    };
    if number.text.contains(['.', ',', 'e', 'E']) && meant.ends_with("000M") {
        return forms.to_owned();
    }
    format!("write `{meant}{ending}`")
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
