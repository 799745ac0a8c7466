//! Rust as text: a file without its comments and strings, its modules and its functions.

use std::fs;
use std::path::Path;

/// One file of this repository.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Relative to Cargo.toml: `src/ring/pool.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments, strings and characters blanked; line numbers stay the same.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Source::of(&path.to_string_lossy(), &text)
    }

    pub(crate) fn of(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// The top-level module: `ring` for `src/ring/pool.rs`, `slab` for `src/slab.rs`.
    pub(crate) fn room(&self) -> &str {
        let inner = self.path.split_once('/').map_or("", |(_, inner)| inner);
        inner
            .split_once('/')
            .map_or(inner.trim_end_matches(".rs"), |(room, _)| room)
    }

    /// True for files of tests, by their name: `tests.rs`, `model.rs`.
    pub(crate) fn is_test(&self) -> bool {
        ["tests.rs", "model.rs"]
            .iter()
            .any(|name| self.path.ends_with(&format!("/{name}")))
    }

    /// The code without the items that are compiled for tests only.
    pub(crate) fn code_without_tests(&self) -> String {
        without_tests(&self.code)
    }

    /// `["ring", "pool"]` for `src/ring/pool.rs`, `["ring"]` for `src/ring/mod.rs`.
    pub(crate) fn module_path(&self) -> Vec<&str> {
        let inner = self.path.split_once('/').map_or("", |(_, inner)| inner);
        let parts = inner.trim_end_matches(".rs").split('/');
        parts.filter(|part| !["mod", "lib", "main"].contains(part)).collect()
    }

    /// The names of modules that are files of their own.
    pub(crate) fn declared(&self) -> Vec<String> {
        let lines = self.code.lines().map(str::trim).filter(|line| line.ends_with(';'));
        let names = lines.filter_map(|line| {
            let words: Vec<&str> = words(line).collect();
            let at = words.iter().position(|word| *word == "mod")?;
            let only_visibility = words[..at]
                .iter()
                .all(|word| ["pub", "crate", "super", "in"].contains(word));
            (only_visibility && words.len() == at + 2).then(|| words[at + 1].to_owned())
        });
        names.collect()
    }

    /// The files these modules may be in.
    pub(crate) fn modules(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let below = match file {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            _ => format!("{folder}/{}", file.trim_end_matches(".rs")),
        };
        let files = |name: String| [format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")];
        self.declared().into_iter().flat_map(files).collect()
    }
}

/// Identifiers and keywords, in order.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

pub(crate) fn has_word(code: &str, word: &str) -> bool {
    words(code).any(|other| other == word)
}

/// Functions with a body, and how many lines they take.
pub(crate) fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || c == '_')
        {
            continue;
        }
        let rest = &code[at..];
        let Some(name) = words(&rest[3..]).next() else {
            continue;
        };
        if let Some(end) = end_of_item(rest) {
            found.push((name.to_owned(), rest[..end].lines().count()));
        }
    }
    found
}

/// Where an item ends: behind the brace that closes its first one. None if a semicolon comes first.
fn end_of_item(code: &str) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => others += 1,
            ')' | ']' => others -= 1,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            ';' if braces == 0 && others == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Leaves out the items that are compiled for tests only.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut left = String::new();
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        left.push_str(&rest[..at]);
        let item = &rest[at + MARK.len()..];
        let semicolon = item.find(';').map_or(item.len(), |at| at + 1);
        rest = &item[end_of_item(item).unwrap_or(semicolon)..];
    }
    left + rest
}

/// Blanks comments, strings and characters; line breaks stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let identifier = code
            .chars()
            .next_back()
            .is_some_and(|c: char| c.is_alphanumeric() || c == '_');
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => string(rest),
            'r' if !identifier && is_raw(&rest[1..]) => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if len == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[len..];
        }
    }
    code
}

/// The length of a string from its first quote to its last.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_raw(behind_r: &str) -> bool {
    behind_r.trim_start_matches('#').starts_with('"')
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|&c| c == '#').count();
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// The length of a character literal; zero for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3.min(text.len())..].find('\'').map_or(0, |at| at + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

#[test]
fn comments_strings_and_characters_are_blanked_and_lines_stay() {
    let text = "let a = \"// \\\" unsafe\"; // unsafe\nlet b = r#\"unsafe \" \"#; let c = '\"'; let d: &'a str;\n/* unsafe\n*/ e";
    let code = blank(text);
    assert!(!has_word(&code, "unsafe"), "{code}");
    assert_eq!(
        words(&code).collect::<Vec<_>>(),
        ["let", "a", "let", "b", "let", "c", "let", "d", "a", "str", "e"]
    );
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn functions_end_with_their_brace() {
    let code = "fn a() {\n    b(|| { c });\n}\ntrait T { fn d(x: [u8; 2]); }\nconst fn e() -> fn() { f }";
    assert_eq!(functions(code), [("a".to_owned(), 3), ("e".to_owned(), 1)]);
}
