//! A number as people type it: `10000`, `10_000`, `10,000`, `1.5`, `1e4`. Its value is exact.

/// Most decimal places that an exponent may move the point by: more is beyond every unit here.
const EXPONENT_MAX: i32 = 40;

/// Longest number: messages quote it.
const LENGTH_MAX: usize = 64;

/// A number, and how it was typed. Its value is exactly `digits × 10^exponent`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    pub(super) text: &'a str,
    digits: u64,
    exponent: i32,
}

impl Number<'_> {
    /// The value times the factor of its unit, if that is an integer and fits.
    pub(super) fn times(&self, factor: u64) -> Result<u64, &'static str> {
        match self.divide(factor)? {
            (value, 0, _) => Ok(value),
            _ => Err("the fraction is smaller than the smallest unit"),
        }
    }

    /// The same, rounded to the nearest integer.
    pub(super) fn times_rounded(&self, factor: u64) -> Result<u64, &'static str> {
        let (value, rest, divisor) = self.divide(factor)?;
        Ok(value.saturating_add(u64::from(rest >= divisor - rest)))
    }

    /// The value as a float, times `factor`.
    pub(super) fn times_float(&self, factor: f64) -> f64 {
        let power = 10_f64.powi(self.exponent.abs());
        let product = self.digits as f64 * factor;
        if self.exponent < 0 {
            product / power
        } else {
            product * power
        }
    }

    /// The whole part of the product, and what is left over of which divisor.
    fn divide(&self, factor: u64) -> Result<(u64, u128, u128), &'static str> {
        // The product of two 64-bit numbers fits into 128 bits.
        let product = u128::from(self.digits) * u128::from(factor);
        let power = 10_u128.checked_pow(self.exponent.unsigned_abs()); // None: larger than any product.
        let fits = |value: u128| u64::try_from(value).map_err(|_| "too large");
        match (self.exponent < 0, power) {
            _ if product == 0 => Ok((0, 0, 1)),
            (false, power) => {
                let value = power.and_then(|power| product.checked_mul(power));
                Ok((fits(value.ok_or("too large")?)?, 0, 1))
            }
            (true, Some(divisor)) => Ok((fits(product / divisor)?, product % divisor, divisor)),
            (true, None) => Ok((0, 1, u128::MAX)),
        }
    }
}

/// Splits the text into the number that it begins with and the rest, spaces between them left out. Errors say why it is
/// not a number.
pub(super) fn split(text: &str) -> Result<(Number<'_>, &str), String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("the value is empty".into());
    }
    if text.starts_with('-') {
        return Err("negative numbers are not allowed".into());
    }
    let end = mantissa_length(text) + exponent_length(&text[mantissa_length(text)..]);
    let (number, rest) = text.split_at(end);
    if number.len() > LENGTH_MAX {
        return Err("too many digits".into());
    }
    let rest_after_space = rest.trim_start();
    if rest_after_space.len() < rest.len() && rest_after_space.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("spaces within a number are not allowed".into());
    }
    Ok((parse(number)?, rest_after_space))
}

fn mantissa_length(text: &str) -> usize {
    text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '_' | '.' | ',')))
        .unwrap_or(text.len())
}

/// The length of `e4`, `E+4` or `e-4`; zero if the text begins with anything else.
fn exponent_length(text: &str) -> usize {
    let Some(rest) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        0
    } else {
        text.len() - digits.len() + length
    }
}

fn parse(text: &str) -> Result<Number<'_>, String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa
        .split_once('.')
        .map_or((mantissa, None), |(whole, fraction)| (whole, Some(fraction)));
    if !(is_digit_groups(whole) || is_thousands(whole)) || !fraction.is_none_or(is_digit_groups) {
        return Err(not_a_number(mantissa));
    }
    let mut digits = 0_u64;
    for digit in mantissa.bytes().filter(u8::is_ascii_digit) {
        let shifted = digits
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
        digits = shifted.ok_or("too many digits")?;
    }
    let decimals = fraction.map_or(0, |fraction| fraction.bytes().filter(u8::is_ascii_digit).count());
    let exponent = exponent
        .parse::<i32>()
        .ok()
        .filter(|exponent| exponent.abs() <= EXPONENT_MAX)
        .ok_or("too many digits")?;
    let exponent = exponent - i32::try_from(decimals).map_err(|_| "too many digits")?;
    Ok(Number { text, digits, exponent })
}

/// For a decimal comma, as in `1,5`, the point that works.
fn not_a_number(mantissa: &str) -> String {
    match mantissa.split_once(',') {
        Some((whole, fraction)) if is_digits(whole) && is_digits(fraction) => {
            format!(
                "`,` separates groups of three digits: write `{whole}.{fraction}` for a fraction, `{whole}{fraction}` for a whole number"
            )
        }
        _ => "not a number".into(),
    }
}

/// True for `7`, `10000` and `10_000`; false for an empty text, `_1`, `1_`, `1__0`, `1.0`.
fn is_digit_groups(text: &str) -> bool {
    text.split('_').all(is_digits)
}

/// True for `1,000` and `10,000,000`; false for `1,5`, `1,0000` and `1000,000`.
fn is_thousands(text: &str) -> bool {
    let mut groups = text.split(',');
    let first = groups.next().unwrap_or_default();
    is_digits(first) && first.len() <= 3 && groups.all(|group| is_digits(group) && group.len() == 3)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
