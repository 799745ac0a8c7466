//! One vocabulary: words and constructions that are not used here, in names, documentation, messages and help.
//!
//! The standard term is in the glossary of `src/lib.rs`. The lists hold what used to stand in its place, and what a
//! native reader stumbles over. They leave out words that have an honest use (`beside`, `quiet`, `look up`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{assert_none, files};
use crate::support::source::Source;

/// Words that are not used at all, in names (split at `_` and at capitals) or in prose. Old metaphors by family: paper,
/// court, theatre, burial, food, gambling, housing, employment, feelings; then words that leave out who or how many.
const WORDS: &str = "
    sheet sheets desk desks ledger ledgers pile piles
    witness witnesses testify testifies convict convicts convicted
    bout bouts contest contests seat seats standings baton batons
    bury buries buried farewell farewells goodbye goodbyes
    hungry meal meals ration rations
    luck lucky dice
    bell bells tenant tenants
    hire hires hired disband disbands
    suffer suffers suffered truce glance patience impatience breather restless mood moods moody liar liars
    nobody somebody anybody everybody whoever whomever
    afresh anew alike told";

/// Parts of names that have a standard term. In prose these words are fine.
const NAMES: &str = "
    attend adopt adopted door doors hands look looked looks manner matters mute speak speakers standing subject subjects
    team unsettle voice";

/// Constructions, in lower case.
const PHRASES: &[&str] = &[
    "a look",
    "are none",
    "as much as matters",
    "asked for",
    "beyond doubt",
    "by lot",
    "fall silent",
    "falls silent",
    "for good",
    "has no way to",
    "it is none",
    "last wish",
    "last words",
    "makes no sense",
    "none of our",
    "of ours",
    "on order",
    "ours alone",
    "so many",
    "so much",
    "tell of",
    "tell that",
    "tells of",
    "tells that",
    "that are no",
    "that is none",
    "this is no",
    "to speak of",
    "what there is",
    "who can only",
    "who cannot",
];

/// Rooms that still use some of these. May only get shorter.
const REMAINING: &[&str] = &[];

/// Records of what was measured, and what other tools made.
const EXCLUDED: &[&str] = &["bench/runs/", "tests/fuzz/seeds/", "tests/it/tidy/vocabulary.rs"];

/// Kinds of text files, by their endings.
const KINDS: &[&str] = &["rs", "md", "txt", "json", "toml", "yml", "py", "mjs"];

#[test]
fn everything_is_in_the_vocabulary_of_the_field() {
    let folders = [
        "src",
        "tests/it",
        "tests/fuzz",
        "bench",
        "flamegraphs",
        ".github",
        ".gitlab",
    ]
    .iter()
    .flat_map(|folder| files(folder));
    let single = ["README.md", "Cargo.toml", "action.yml", ".ci/run"]
        .iter()
        .map(|path| Path::new(path).to_path_buf());
    let mut complaints = Vec::new();
    let mut clean = REMAINING.to_vec();
    for path in folders.chain(single) {
        let name = path.to_string_lossy();
        if EXCLUDED.iter().any(|prefix| name.starts_with(prefix)) || !is_text(&path) {
            continue;
        }
        let found = banned(&name, &fs::read_to_string(&path).unwrap());
        let remaining = REMAINING.iter().find(|room| name.starts_with(**room));
        match remaining {
            Some(room) if !found.is_empty() => clean.retain(|other| other != room),
            Some(_) => {}
            None => complaints.extend(found),
        }
    }
    let stale = clean
        .iter()
        .map(|room| format!("{room} has none any more: take it off the list"));
    assert_none(complaints.into_iter().chain(stale));
}

fn is_text(path: &Path) -> bool {
    // Scripts have no ending.
    path.extension()
        .is_none_or(|ending| KINDS.iter().any(|kind| ending == *kind))
}

/// Every use of a banned word, part of a name, or phrase, with its line.
fn banned(path: &str, text: &str) -> Vec<String> {
    let code = if path.ends_with(".rs") {
        Source::of(path, text).code
    } else {
        String::new()
    };
    let mut found = words(path, text, WORDS);
    found.extend(words(path, &code, NAMES));
    found.extend(phrases(path, text));
    found
}

fn words(path: &str, text: &str, banned: &str) -> Vec<String> {
    let banned: BTreeSet<&str> = banned.split_whitespace().collect();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in identifiers(line) {
            for word in parts(name).iter().filter(|word| banned.contains(&word.as_str())) {
                found.push(format!("{path}:{}: {word}, in {name}", index + 1));
            }
        }
    }
    found
}

/// Phrases may go on in the next line.
fn phrases(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut last = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = prose(line);
        let both = format!("{last} {line}");
        let contains = |text: &str, phrase: &str| format!(" {text} ").contains(&format!(" {phrase} "));
        let here = PHRASES
            .iter()
            .filter(|phrase| contains(&both, phrase) && !contains(&last, phrase));
        found.extend(here.map(|phrase| format!("{path}:{}: {phrase}", index + 1)));
        last = line;
    }
    found
}

/// Words of a line in lower case, without punctuation and comment marks.
fn prose(line: &str) -> String {
    let words = line.split(|c: char| !(c.is_alphanumeric() || c == '\''));
    let words: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.join(" ")
}

fn identifiers(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|name| !name.is_empty())
}

/// `["serve", "process"]` for `serve_process` and for `ServeProcess`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut lower = false;
    for c in name.chars() {
        if (c == '_' || (c.is_uppercase() && lower)) && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        lower = c.is_lowercase();
        if c != '_' {
            part.extend(c.to_lowercase());
        }
    }
    parts.push(part);
    parts
}

#[test]
fn banned_words_are_found_in_names_strings_comments_and_help() {
    for text in [
        "struct Witness;",
        "let last_bout = 1;",
        "fn sayGoodbye() {}",
        "const PATIENCE: Nanos = 1;",
        "/// Nobody reads it.",
        "error(\"the server was told\");",
        "//! Alike.",
    ] {
        assert_eq!(banned("src/a.rs", text).len(), 1, "{text}");
    }
    assert_eq!(
        banned("tests/it/snapshots/help.txt", "  Starts all servers afresh"),
        ["tests/it/snapshots/help.txt:1: afresh, in afresh"]
    );
    assert_eq!(banned("README.md", "whoever"), ["README.md:1: whoever, in whoever"]);
}

#[test]
fn parts_of_names_are_found_in_code_only() {
    assert_eq!(banned("src/a.rs", "let subject = door.look();").len(), 3);
    assert!(banned("src/a.rs", "// The look-up: the subject of the door matters.").is_empty());
    assert!(banned("src/a.rs", "error(\"no matter how it looks\");").is_empty());
    assert!(banned("README.md", "The subject matters.").is_empty());
}

#[test]
fn phrases_are_found_over_the_end_of_a_line() {
    assert_eq!(
        banned("src/a.rs", "/// There are so\n    /// many of them."),
        ["src/a.rs:2: so many"]
    );
    assert_eq!(
        banned("src/a.rs", "// A line that tells that it listens."),
        ["src/a.rs:1: tells that"]
    );
    assert_eq!(banned("src/a.rs", "// So much.\n// And then."), ["src/a.rs:1: so much"]);
}

#[test]
fn words_with_an_honest_use_are_left_alone() {
    let text =
        "// Compile the sheetless ledgerx beside else; a spreadsheet, quiet, not as much.\nlet compile = look_ahead;";
    let found = banned("src/a.rs", text);
    assert_eq!(found, ["src/a.rs:2: look, in look_ahead"]);
}
