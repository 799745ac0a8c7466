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
    ] {
        assert_eq!(count(text), Ok(value), "{text}");
    }
    assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
}

#[test]
fn fractional_and_unknown_counts_are_refused() {
    assert_refused(count, "1.5", &["fraction", "`10k`"]);
    assert_refused(count, "10K", &["unknown unit `K`", "`10k`"]);
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
    assert_refused(size, "64 KiB", &["spaces", "`4KiB`"]);
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
    assert_refused(duration, "1h", &["unknown unit `h`"]);
}

#[test]
fn rates_are_per_second() {
    for (text, per_second) in [
        ("0/s", 0.0),
        ("500/s", 500.0),
        ("50k/s", 50_000.0),
        ("1.5M/s", 1.5e6),
        ("0.5/s", 0.5),
    ] {
        assert_eq!(rate(text), Ok(per_second), "{text}");
    }
    assert_refused(rate, "50k", &["`50k/s`"]);
    assert_refused(rate, "50", &["`50/s`"]);
    assert_refused(rate, "50k/m", &["unknown unit `k/m`", "`50k/s`"]);
    assert_refused(rate, "5K/s", &["unknown unit `K/s`"]);
}

#[test]
fn malformed_input_is_refused_in_one_line_by_every_parser() {
    let long = format!("1{}", "x".repeat(10_000));
    for text in [
        "", " ", "\n", "NaN", "inf", "-", "+5s", "1e9", "1..5s", ".5s", "5.s", "1,000", "_1", "1_", "1__0",
    ] {
        assert_refused(count, text, &["write"]);
        assert_refused(size, text, &["write"]);
        assert_refused(duration, text, &["write"]);
        assert_refused(rate, text, &["write"]);
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
        let typed = |shown: String| shown.replace(',', "_").replace(' ', "");
        assert_eq!(
            count(&typed(show_count(value))),
            Ok(value),
            "seed {seed}, round {round}"
        );
        assert_eq!(
            duration(&format!("{value}ns")),
            Ok(Nanos(value)),
            "seed {seed}, round {round}"
        );
        // Three digits are kept, so what comes back is within half a step of the third: 0.5 %.
        let back = duration(&typed(show_duration(Nanos(value)))).unwrap();
        assert!(
            back.0.abs_diff(value) as f64 <= 0.005 * value as f64 + 1.0,
            "seed {seed}, round {round}: {value}"
        );
        // A tenth is kept of at least one whole unit: 5 %. The tenth of a binary unit need not be whole bytes.
        if let Ok(back) = size(&typed(show_size(value))) {
            assert!(
                back.abs_diff(value) as f64 <= 0.05 * value as f64,
                "seed {seed}, round {round}: {value}"
            );
        }
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
