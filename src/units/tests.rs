//! Parsing, showing, and the errors for ambiguous and malformed input.

use super::*;
use crate::random::Random;

/// Checks that the value is refused in one line that names what to write instead.
fn assert_refused<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, String>, text: &str, hints: &[&str]) {
    let message = parse(text).expect_err(text);
    assert_eq!(message.lines().count(), 1, "{message}");
    for hint in hints {
        assert!(
            message.contains(hint),
            "`{text}` is refused without naming `{hint}`: {message}"
        );
    }
}

#[test]
fn counts_may_have_a_multiplier_of_thousands_or_millions() {
    for (text, value) in [
        ("0", 0),
        ("10000", 10_000),
        ("10_000", 10_000),
        ("10k", 10_000),
        ("1M", 1_000_000),
        ("1.5k", 1_500),
        ("10,000", 10_000),
        ("1,234,567", 1_234_567),
        ("1,500k", 1_500_000),
        ("1e4", 10_000),
        ("1E4", 10_000),
        ("1e+4", 10_000),
        ("1.5e3", 1_500),
        ("10 k", 10_000),
        (" 500 ", 500),
    ] {
        assert_eq!(count(text), Ok(value), "{text}");
    }
    assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
}

#[test]
fn fractional_and_unknown_counts_are_refused() {
    assert_refused(count, "1.5", &["fraction", "`10k`"]);
    assert_refused(count, "10K", &["unknown unit `K`", "`10k`"]);
    assert_refused(count, "5m", &["unknown unit `m`", "`5M`"]);
    assert_refused(count, "5G", &["unknown unit `G`", "`5000M`"]);
    assert_refused(count, "1.5G", &["unknown unit `G`", "`1M`"]);
    assert_refused(count, "1,5", &["`1.5` for a fraction"]);
    assert_refused(count, "1,0000", &["`10000` for a whole number"]);
    assert_refused(count, "10 000", &["spaces within a number"]);
    assert_refused(count, "1e-4", &["fraction"]);
    assert_refused(count, "1e99", &["too many digits"]);
    assert_refused(count, "1e40", &["too large"]);
    assert_refused(count, "18446744073709551616", &["too many digits"]);
    assert_refused(count, "18446744073709551615k", &["too large"]);
}

#[test]
fn sizes_are_binary_or_decimal() {
    for (text, bytes) in [
        ("0B", 0),
        ("64B", 64),
        ("4KiB", 4_096),
        ("64kB", 64_000),
        ("1MiB", 1_048_576),
        ("1MB", 1_000_000),
        ("1GiB", 1_073_741_824),
        ("1.5KiB", 1_536),
        ("1.1KiB", 1_126),
        ("64 KiB", 65_536),
        ("1,024B", 1_024),
        ("1e3B", 1_000),
    ] {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
}

#[test]
fn an_ambiguous_size_is_refused_with_both_spellings() {
    for text in ["64k", "64K", "64KB", "64kb"] {
        assert_refused(size, text, &["`64kB` (64,000 bytes)", "`64KiB` (65,536 bytes)"]);
    }
    assert_refused(size, "1M", &["`1MB` (1,000,000 bytes)", "`1MiB` (1,048,576 bytes)"]);
    assert_refused(size, "2g", &["`2GB`", "`2GiB`"]);
    assert_refused(size, "18446744073709551615k", &["`18446744073709551615kB`"]);
}

#[test]
fn a_size_without_a_unit_is_refused() {
    assert_refused(size, "64", &["`64B`"]);
    assert_refused(size, "0.5B", &["fraction"]);
    for (typed, meant) in [
        ("4kib", "`4KiB`"),
        ("4Ki", "`4KiB`"),
        ("64b", "`64B`"),
        ("64 bytes", "`64B`"),
        ("1Gi", "`1GiB`"),
    ] {
        assert_refused(size, typed, &[meant]);
    }
}

#[test]
fn durations_have_a_unit_and_may_have_a_fraction() {
    for (text, ns) in [
        ("0s", 0),
        ("800ns", 800),
        ("50us", 50_000),
        ("50\u{b5}s", 50_000),
        ("50\u{3bc}s", 50_000),
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("0.000000001s", 1),
        ("2m", 120_000_000_000),
        ("2min", 120_000_000_000),
        ("1h", 3_600_000_000_000),
        ("1d", 86_400_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1m 30s", 90_000_000_000),
        ("2s500ms", 2_500_000_000),
        ("1d1h1m1s1ms1us1ns", 90_061_001_001_001),
        ("1.5h", 5_400_000_000_000),
        ("10 ms", 10_000_000),
        ("10sec", 10_000_000_000),
        ("2 hours", 7_200_000_000_000),
        ("1e3ms", 1_000_000_000),
        ("3,600 s", 3_600_000_000_000),
    ] {
        assert_eq!(duration(text), Ok(Nanos(ns)), "{text}");
    }
}

#[test]
fn a_duration_without_a_unit_or_out_of_range_is_refused() {
    assert_refused(duration, "10", &["`10s`", "`10ms`"]);
    assert_refused(duration, "0", &["`0s`"]);
    assert_refused(duration, "0.5ns", &["fraction"]);
    assert_refused(duration, "-1s", &["negative", "`250ms`"]);
    assert_refused(duration, "999999999999m", &["too large"]);
    assert_refused(duration, "1h30", &["`30s`"]);
    assert_refused(duration, "30s1m", &["largest to the smallest", "`1m30s`"]);
    assert_refused(duration, "1s1s", &["largest to the smallest"]);
    assert_refused(duration, "1:30", &["`1m30s`"]);
    assert_refused(duration, "1w", &["unknown unit `w`"]);
    assert_refused(duration, "10S", &["`10s`"]);
    assert_refused(duration, "10MS", &["`10ms`"]);
    assert_refused(duration, "5M", &["`5m`"]);
    assert_refused(duration, "1,5s", &["`1.5` for a fraction"]);
    assert_refused(duration, "18446744073s999ms", &["too large"]);
}

#[test]
fn rates_are_per_second_minute_or_hour() {
    for (text, per_second) in [
        ("0/s", 0.0),
        ("500/s", 500.0),
        ("50k/s", 50_000.0),
        ("1.5M/s", 1.5e6),
        ("0.5/s", 0.5),
        ("10/min", 10.0 / 60.0),
        ("10/m", 10.0 / 60.0),
        ("3600/h", 1.0),
        ("60k/min", 1_000.0),
        ("10k / sec", 10_000.0),
        ("10,000/s", 10_000.0),
        ("1e4/s", 10_000.0),
    ] {
        assert_eq!(rate(text), Ok(per_second), "{text}");
    }
    assert_refused(rate, "50k", &["`50k/s`"]);
    assert_refused(rate, "50", &["`50/s`"]);
    assert_refused(rate, "5K/s", &["unknown unit `K/s`", "`5k/s`"]);
    assert_refused(rate, "5K", &["`5k/s`"]);
    assert_refused(rate, "5m/min", &["`5M/min`"]);
    assert_refused(rate, "500/S", &["`500/s`"]);
    assert_refused(rate, "50krps", &["`50k/s`"]);
    assert_refused(rate, "500qps", &["`500/s`"]);
    assert_refused(rate, "500Hz", &["`500/s`"]);
    assert_refused(rate, "1/2s", &["unknown unit", "`500/s`"]);
}

#[test]
fn malformed_input_is_refused_in_one_line_by_every_parser() {
    let long = format!("1{}", "x".repeat(10_000));
    for text in [
        "", " ", "\n", "NaN", "inf", "-", "+5s", "1e", "e9", "1e9e9", "1..5s", ".5s", "5.s", "1,00", ",100", "1,000,",
        "1000,000", "_1", "1_", "1__0",
    ] {
        assert_refused(count, text, &["write"]);
        assert_refused(size, text, &["write"]);
        assert_refused(duration, text, &["write"]);
        assert_refused(rate, text, &["write"]);
    }
    let digits = "0".repeat(10_000);
    for parse in [
        |text: &str| count(text).map(drop),
        |text: &str| size(text).map(drop),
        |text: &str| rate(text).map(drop),
    ] {
        assert!(parse(&digits).is_err_and(|message| message.len() < 300));
    }
    for text in ["１０s", "10🦀", "10\u{202e}s", "10\u{7}", "10\u{0}", long.as_str()] {
        assert_refused(count, text, &["write"]);
        assert_refused(duration, text, &["write"]);
        assert!(duration(text).is_err_and(|message| message.len() < 300 && !message.contains(char::is_control)));
    }
}

#[test]
fn durations_are_shown_with_three_digits() {
    for (ns, shown) in [
        (0, "0 ns"),
        (812, "812 ns"),
        (999, "999 ns"),
        (1_000, "1.00 µs"),
        (12_345, "12.3 µs"),
        (212_400, "212 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (1_250_000, "1.25 ms"),
        (9_995_000, "10.0 ms"),
        (2_000_000_000, "2.00 s"),
        (60_000_000_000, "60.0 s"),
        (3_600_000_000_000, "3,600 s"),
        (u64::MAX, "18,446,744,073 s"),
    ] {
        assert_eq!(show_duration(Nanos(ns)), shown, "{ns} ns");
    }
}

#[test]
fn counts_are_shown_with_separators() {
    for (value, shown) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(show_count(value), shown);
    }
    assert_eq!(show_count(u64::MAX), "18,446,744,073,709,551,615");
}

#[test]
fn sizes_are_shown_in_binary_units() {
    for (bytes, shown) in [
        (0, "0 B"),
        (64, "64 B"),
        (1_023, "1023 B"),
        (4_096, "4 KiB"),
        (64_000, "62.5 KiB"),
        (1_048_575, "1 MiB"),
        (1_572_864, "1.5 MiB"),
        (3 * GIB, "3 GiB"),
        (u64::MAX, "17179869184 GiB"),
    ] {
        assert_eq!(show_size(bytes), shown, "{bytes}");
    }
}

#[test]
fn rates_show_whole_messages_unless_they_are_slow() {
    for (per_second, shown) in [
        (123_456.4, "123,456/s"),
        (0.0, "0/s"),
        (10.0, "10/s"),
        (1.5, "1.50/s"),
        (12.34, "12.3/s"),
        (10.0 / 60.0, "0.17/s"),
        (1.0 / 60.0, "60.0/h"),
        (99.96, "100/s"),
    ] {
        assert_eq!(show_rate(per_second), shown);
    }
    for no_rate in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(show_rate(no_rate), "n/a");
    }
}

#[test]
fn no_input_makes_a_parser_panic_or_a_message_long() {
    const PIECES: [&str; 26] = [
        "0",
        "1",
        "9",
        "64",
        "_",
        ".",
        "-",
        "+",
        "k",
        "K",
        "M",
        "B",
        "KiB",
        "MB",
        "GiB",
        "ns",
        "us",
        "µs",
        "ms",
        "s",
        "min",
        "/s",
        " ",
        "🦀",
        "\u{0}",
        "99999999999999999999",
    ];
    let seed = 20_260_101;
    let mut random = Random::new(seed, 0);
    for round in 0..50_000 {
        let length = random.below(7);
        let text: String = (0..length).map(|_| PIECES[random.below(PIECES.len())]).collect();
        let messages = [
            count(&text).err(),
            size(&text).err(),
            duration(&text).err(),
            rate(&text).err(),
        ];
        for message in messages.into_iter().flatten() {
            assert!(
                message.len() < 1_000 && message.lines().count() == 1,
                "seed {seed}, round {round}: {text:?}"
            );
        }
    }
}

#[test]
fn what_is_shown_can_be_typed_and_comes_back() {
    let seed = 7;
    let mut random = Random::new(seed, 0);
    for round in 0..20_000 {
        let value = random.bits() >> random.below(64);
        let close = |back: f64, error: f64, shown: &str| {
            let value = value as f64;
            assert!(
                (back - value).abs() <= error * value + 1.0,
                "seed {seed}, round {round}: {value} is shown as {shown}"
            );
        };
        assert_eq!(count(&show_count(value)), Ok(value), "seed {seed}, round {round}");
        assert_eq!(
            duration(&format!("{value}ns")),
            Ok(Nanos(value)),
            "seed {seed}, round {round}"
        );
        // Three digits are kept, so what comes back is within half a step of the third: 0.5 %.
        let shown = show_duration(Nanos(value));
        close(duration(&shown).unwrap().0 as f64, 0.005, &shown);
        // A tenth is kept of at least one whole unit: 5 %.
        let shown = show_size(value);
        close(size(&shown).unwrap() as f64, 0.05, &shown);
        let shown = show_rate(value as f64);
        close(rate(&shown).unwrap(), 0.005, &shown);
        let slow = (random.below(1_000_000) + 100) as f64 / 1e6;
        let shown = show_rate(slow);
        let step = if slow < 0.0995 { 0.1 / 3_600.0 } else { 0.01 };
        assert!(
            (rate(&shown).unwrap() - slow).abs() <= 0.501 * step,
            "{slow} is shown as {shown}"
        );
        let share = (random.below(1_000) + 1) as f64 / 1_000.0;
        let back = percent(&show_percent(share, 1)).unwrap();
        assert!((back - share).abs() < 1e-9, "seed {seed}, round {round}: {share}");
    }
}

#[test]
fn a_noun_is_singular_for_one_only() {
    let shown = [
        (0, "thread"),
        (1, "thread"),
        (2, "source address"),
        (10_000, "connection"),
    ];
    assert_eq!(
        shown.map(|(count, noun)| plural(count, noun)),
        ["0 threads", "1 thread", "2 source addresses", "10,000 connections"]
    );
}

#[test]
fn percentages_have_a_given_number_of_decimals() {
    assert_eq!(
        (show_percent(0.25, 0), show_percent(0.0575, 1)),
        ("25 %".into(), "5.8 %".into())
    );
}
