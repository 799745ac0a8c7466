//! Verdicts in colour, for a terminal.

/// The words that end a reader's search, and their colours (ECMA-48, SGR): green, yellow, red.
const WORDS: [(&str, u8); 9] = [
    ("VALID", 32),
    ("PASSED", 32),
    ("IMPROVED", 32),
    ("SUSPECT", 33),
    ("INCONCLUSIVE", 33),
    ("INVALID", 31),
    ("REGRESSED", 31),
    ("FAILED", 31),
    ("PARTIAL", 31),
];

/// The text with every verdict in its colour, bold.
pub(super) fn coloured(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_word) {
        result.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        match WORDS.iter().find(|(verdict, _)| *verdict == word) {
            Some((verdict, colour)) => result.push_str(&format!("\x1b[1;{colour}m{verdict}\x1b[0m")),
            None => result.push_str(word),
        }
        rest = &rest[end..];
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_coloured_and_nothing_else_changes() {
        assert_eq!(
            coloured("verdict      VALID\n"),
            "verdict      \x1b[1;32mVALID\x1b[0m\n"
        );
        assert_eq!(coloured("REGRESSED: p50"), "\x1b[1;31mREGRESSED\x1b[0m: p50");
        for plain in [
            "",
            "INVALIDATED",
            "a_VALID",
            "not VALID-ated",
            "µ FAILEDµ",
            "12.3 µs .. ?",
        ] {
            assert_eq!(coloured(plain), plain);
        }
    }
}
