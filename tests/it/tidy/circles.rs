//! Files of a room do not import each other in a circle: one can be read, and tested, before the other.
//!
//! A `mod.rs` and the files below it may use each other: it is their front, and holds what they share.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::Modules;
use super::{assert_none, sources};
use crate::support::source::Source;

/// Circles that are still there, by their files. May only get shorter.
const REMAINING: &[&[&str]] = &[];

#[test]
fn no_files_of_a_room_import_each_other_in_a_circle() {
    assert_none(complaints(&circles(&sources("src")), REMAINING));
}

fn complaints(circles: &[Vec<String>], remaining: &[&[&str]]) -> Vec<String> {
    let known = |circle: &[String]| remaining.iter().any(|known| circle.iter().eq(known.iter()));
    let new = circles
        .iter()
        .filter(|circle| !known(circle))
        .map(|circle| format!("import each other in a circle: {}", circle.join(", ")));
    let stale = remaining
        .iter()
        .filter(|known| !circles.iter().any(|circle| circle.iter().eq(known.iter())))
        .map(|known| format!("not a circle any more, take it off the list: {}", known.join(", ")));
    new.chain(stale).collect()
}

/// Sets of files of which each reaches each, in order of their names.
fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let modules = Modules::of(sources);
    let uses: BTreeMap<&str, BTreeSet<&str>> = sources
        .iter()
        .map(|source| {
            let used = modules.used_by(source).into_iter();
            let used = used.filter(|other| other.room() == source.room() && !is_front(source, other));
            (source.path.as_str(), used.map(|other| other.path.as_str()).collect())
        })
        .collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = uses.keys().map(|&file| (file, reach(&uses, file))).collect();
    let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, others) in &reached {
        if others.contains(file) {
            let members = others.iter().filter(|other| reached[*other].contains(file));
            circles.insert(members.map(|member| member.to_string()).collect());
        }
    }
    circles.into_iter().collect()
}

/// True if one of the two is the `mod.rs` above the other.
fn is_front(a: &Source, b: &Source) -> bool {
    let (a, b) = (a.module_path(), b.module_path());
    a.starts_with(&b) || b.starts_with(&a)
}

fn reach<'a>(uses: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = uses[from].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(uses.get(file).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn a_circle_is_found_through_its_re_exports_and_a_front_is_none() {
    let sources = [
        Source::of("src/a/mod.rs", "mod b;\nmod c;\nmod d;\npub use d::D;"),
        Source::of("src/a/b.rs", "use super::c;\nuse super::Shared;"),
        Source::of("src/a/c.rs", "fn f(d: &crate::a::D) {}"),
        Source::of("src/a/d.rs", "use super::b::B;"),
        Source::of("src/e.rs", "use crate::a::D;"),
    ];
    let circles = circles(&sources);
    assert_eq!(circles, [["src/a/b.rs", "src/a/c.rs", "src/a/d.rs"]]);
    let known: &[&str] = &["src/a/b.rs", "src/a/c.rs", "src/a/d.rs"];
    assert_eq!(complaints(&circles, &[]).len(), 1);
    assert!(complaints(&circles, &[known]).is_empty());
    assert_eq!(complaints(&[], &[known]).len(), 1);
}

#[test]
fn a_chain_is_no_circle() {
    let sources = [
        Source::of("src/a/mod.rs", "mod b;\nmod c;"),
        Source::of("src/a/b.rs", "use super::c::C;"),
        Source::of("src/a/c.rs", "#[cfg(test)]\nuse super::b::B;"),
    ];
    assert!(circles(&sources).is_empty());
}
