//! Paths in Rust code (`use` trees and paths in expressions), and the files that they lead to.

use std::collections::BTreeMap;

use crate::support::source::Source;

/// The first segment of every path that stays in this package.
const ROOTS: [&str; 4] = ["crate", "super", "self", "urecho"];

/// The files of the library, by module path: `["ring", "pool"]` for `src/ring/pool.rs`.
pub(super) struct Modules<'a> {
    files: BTreeMap<Vec<&'a str>, File<'a>>,
}

struct File<'a> {
    source: &'a Source,
    /// Names that it brings into scope, and the modules and items that they stand for.
    imports: BTreeMap<String, Vec<String>>,
}

impl<'a> Modules<'a> {
    pub(super) fn of(sources: &'a [Source]) -> Modules<'a> {
        let file = |source: &'a Source| {
            let imports = imports(source);
            (source.module_path(), File { source, imports })
        };
        Modules {
            files: sources.iter().map(file).collect(),
        }
    }

    /// The paths of the files that this one uses outside of its tests, each once. Re-exports are followed to their
    /// origin.
    pub(super) fn used_by(&self, source: &Source) -> Vec<&'a Source> {
        let used = absolute_paths(source).into_iter();
        let mut files: Vec<&Source> = used.filter_map(|path| self.resolve(&path, 0)).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        files.retain(|file| file.path != source.path);
        files
    }

    /// The file that defines what an absolute path names.
    fn resolve(&self, path: &[String], depth: usize) -> Option<&'a Source> {
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        let longest = (1..=segments.len()).rev().find_map(|len| {
            let file = self.files.get(&segments[..len])?;
            Some((len, file))
        });
        let (len, file) = longest?;
        let import = segments.get(len).and_then(|name| file.imports.get(*name));
        match import {
            // A re-export of a re-export ends somewhere; the limit is for circles.
            Some(origin) if depth < 8 => self.resolve(origin, depth + 1).or(Some(file.source)),
            _ => Some(file.source),
        }
    }
}

/// Paths of a file outside of its tests that stay in this package, from the root of the package: `["ring", "Chunk"]`.
pub(super) fn absolute_paths(source: &Source) -> Vec<Vec<String>> {
    if source.is_test() {
        return Vec::new();
    }
    let code = source.code_without_tests();
    let declared = source.declared();
    let module: Vec<String> = source.module_path().iter().map(|name| name.to_string()).collect();
    paths(&code, &declared)
        .into_iter()
        .map(|path| absolute(&module, &path))
        .collect()
}

/// Names that `use` brings into scope. `as` names and globs are not followed: this code has none between its files.
fn imports(source: &Source) -> BTreeMap<String, Vec<String>> {
    let named = absolute_paths(source).into_iter();
    named
        .filter_map(|path| Some((path.last()?.clone(), path)))
        .filter(|(name, path)| path.len() > 1 && name != "*")
        .collect()
}

fn absolute(module: &[String], path: &[String]) -> Vec<String> {
    let mut at: Vec<String> = module.to_vec();
    for segment in path {
        match segment.as_str() {
            "crate" | "urecho" => at.clear(),
            "super" => drop(at.pop()),
            "self" => {}
            name => at.push(name.to_owned()),
        }
    }
    at
}

/// All paths that begin with one of [`ROOTS`], or with one of `modules` in a `use`; groups in braces are taken apart.
fn paths(code: &str, modules: &[String]) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map(|before| tokens[before]);
        let child = before == Some("use") && modules.iter().any(|module| module == tokens[at]);
        let root = ROOTS.contains(&tokens[at]) && before != Some("::");
        if (child || root) && tokens.get(at + 1) == Some(&"::") {
            at = tree(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path or use tree behind `prefix`. Returns where it ends.
fn tree(tokens: &[&str], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        if *token == "{" {
            at += 1;
            while tokens.get(at).is_some_and(|token| *token != "}") {
                at = match tokens[at] {
                    "," => at + 1,
                    _ => tree(tokens, at, &path, found).max(at + 1),
                };
            }
            return at + 1;
        }
        if !(is_word(token) || *token == "*") {
            break;
        }
        path.push(token.to_string());
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if path.last().is_some_and(|name| name == "self") {
        path.pop();
    }
    found.push(path);
    // `as NAME`
    if tokens.get(at) == Some(&"as") { at + 2 } else { at }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Words, `::`, and every other character but white space.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if is_word(rest) {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        found.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    found
}

#[test]
fn paths_are_absolute_and_groups_are_taken_apart() {
    let text = "use crate::{a, b::{self, c::D as E}};\nuse super::f::{\n    G,\n    *,\n};\nuse k::L;\nmod k;\n\
        fn x(y: &super::super::H) -> self::I { crate::j::z::<J>(std::crate_::n) }\nuse other::M;";
    let source = Source::of("src/ring/pool.rs", text);
    let joined: Vec<String> = absolute_paths(&source).iter().map(|path| path.join("::")).collect();
    let expected = [
        "a",
        "b",
        "b::c::D",
        "ring::f::G",
        "ring::f::*",
        "ring::pool::k::L",
        "H",
        "ring::pool::I",
        "j::z",
    ];
    assert_eq!(joined, expected);
}

#[test]
fn re_exports_lead_to_the_file_that_defines_the_name() {
    let sources = [
        Source::of("src/a/mod.rs", "pub mod b;\npub use b::Thing;\nmod c;"),
        Source::of("src/a/b.rs", ""),
        Source::of(
            "src/a/c.rs",
            "use super::Thing;\n#[cfg(test)]\nmod tests { use crate::d::E; }",
        ),
        Source::of("src/d.rs", ""),
    ];
    let used = Modules::of(&sources).used_by(&sources[2]);
    assert_eq!(used.iter().map(|file| &file.path).collect::<Vec<_>>(), ["src/a/b.rs"]);
}
