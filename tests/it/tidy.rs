//! The guide, executed: floors, unsafe rooms, dead files, sizes, and the map in `src/lib.rs`.
//!
//! Every rule is a function over text, and has a test that shows it fires. The rules read Rust as words, not as a
//! compiler does: enough for code that `cargo fmt` has laid out.

use std::fs;
use std::path::Path;

use crate::support::source::{Source, functions, has_word, words};

/// Rooms from the ground up. Two rooms on one floor may use each other, but for the two roles.
const FLOORS: [&[&str]; 7] = [
    &["error", "units", "clock", "slab", "random", "stats"],
    &["ring", "sys", "histogram"],
    &["serve", "load"],
    &["report"],
    &["compare", "find_max"],
    &["check"],
    &["cli", "main", "lib"],
];

/// The floor whose rooms do not know each other.
const SIBLINGS: usize = 2;

/// Words that have their rooms. Everything kernel-shaped stays behind two doors, the command line behind one, and
/// what the other engines are made of in the room of the engines.
const PLACES: [(&str, &[&str]); 9] = [
    ("unsafe", &["ring", "sys"]),
    ("io_uring", &["ring"]),
    ("libc", &["ring", "sys"]),
    ("nix", &["ring", "sys"]),
    ("socket2", &["ring", "sys"]),
    ("mio", &["serve"]),
    ("tokio", &["serve"]),
    ("hdrhistogram", &["histogram"]),
    ("clap", &["cli"]),
];

/// What a reader holds in the head.
const FILE_LINES: usize = 450;
const FUNCTION_LINES: usize = 60;

/// Files that are longer than they should be, and may not grow. Take off what has become short enough.
const LONG_FILES: &[(&str, usize)] = &[];

/// The same for functions.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Words that mean that something is not done.
const UNDONE: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("db", "g!"),
];

#[test]
fn every_file_uses_its_own_room_and_the_floors_below() {
    assert_none(sources("src").iter().flat_map(climbs));
}

#[test]
fn kernel_and_command_line_stay_in_their_rooms() {
    assert_none(sources("src").iter().flat_map(strays));
}

#[test]
fn every_file_is_somebodys_module() {
    let src = sources("src");
    assert_none(orphans(&src, &["src/lib.rs", "src/main.rs"]).into_iter());
    assert_none(orphans(&sources("tests/it"), &["tests/it/main.rs"]).into_iter());
}

#[test]
fn files_and_functions_fit_in_the_head() {
    let all = [sources("src"), sources("tests/it")].concat();
    assert_none(all.iter().flat_map(|source| long(source, LONG_FILES)));
}

#[test]
fn nothing_is_left_undone() {
    let all = [sources("src"), sources("tests/it")].concat();
    assert_none(all.iter().flat_map(undone));
}

#[test]
fn every_exception_from_a_lint_has_a_reason() {
    let all = [sources("src"), sources("tests/it")].concat();
    assert_none(all.iter().flat_map(unreasoned));
}

#[test]
fn the_map_names_every_room_and_no_other() {
    let lib = Source::read(Path::new("src/lib.rs"));
    assert_none(map_errors(&lib).into_iter());
}

/// Uses of a floor above, or of a sibling.
fn climbs(source: &Source) -> Vec<String> {
    let home = source.room();
    let Some(floor) = floor(home) else {
        return vec![format!("{}: the room {home} has no floor", source.path)];
    };
    let allowed = |room: &str| match self::floor(room) {
        Some(SIBLINGS) if floor == SIBLINGS => room == home,
        Some(other) => other <= floor,
        None => false,
    };
    let wrong = source
        .rooms_used()
        .into_iter()
        .filter(|room| room != home && !allowed(room));
    wrong
        .map(|room| format!("{} ({home}) uses {room}", source.path))
        .collect()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Words outside their rooms.
fn strays(source: &Source) -> Vec<String> {
    let strays = PLACES
        .iter()
        .filter(|(word, rooms)| !rooms.contains(&source.room()) && has_word(&source.code, word));
    strays
        .map(|(word, rooms)| format!("{}: {word} belongs in {}", source.path, rooms.join(" and ")))
        .collect()
}

/// Files that no `mod` leads to.
fn orphans(sources: &[Source], roots: &[&str]) -> Vec<String> {
    let mut reached: Vec<String> = roots.iter().map(|root| root.to_string()).collect();
    let mut next = 0;
    while let Some(path) = reached.get(next).cloned() {
        next += 1;
        let found = sources.iter().find(|source| source.path == path);
        let modules = found.map(Source::modules).unwrap_or_default();
        reached.extend(
            modules
                .into_iter()
                .filter(|path| sources.iter().any(|source| source.path == *path)),
        );
    }
    let lost = sources.iter().filter(|source| !reached.contains(&source.path));
    lost.map(|source| format!("{}: no mod leads here", source.path))
        .collect()
}

/// Files and functions that are too long; exceptions that are none any more.
fn long(source: &Source, exceptions: &[(&str, usize)]) -> Vec<String> {
    let lines = source.text.lines().count();
    let exception = exceptions.iter().find(|(path, _)| *path == source.path);
    let most = exception.map_or(FILE_LINES, |(_, lines)| *lines);
    let mut wrong = Vec::new();
    if lines > most {
        wrong.push(format!("{}: {lines} lines, at most {most}", source.path));
    }
    if exception.is_some() && lines <= FILE_LINES {
        wrong.push(format!("{}: take it off the list of long files", source.path));
    }
    for (name, lines) in functions(&source.code) {
        let place = format!("{}: fn {name}", source.path);
        let exception = LONG_FUNCTIONS.iter().find(|(function, _)| *function == place);
        let most = exception.map_or(FUNCTION_LINES, |(_, lines)| *lines);
        if lines > most {
            wrong.push(format!("{place}: {lines} lines, at most {most}"));
        }
    }
    wrong
}

fn undone(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let found = lines.filter(|(_, line)| UNDONE.iter().any(|word| line.contains(word)));
    found
        .map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim()))
        .collect()
}

/// `allow` and `expect` attributes without a comment on their line or the one above.
fn unreasoned(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    let exception = |index: usize| {
        let line = code[index].trim();
        line.starts_with('#') && (has_word(line, "allow") || has_word(line, "expect"))
    };
    let reason = |index: usize| {
        let above = index > 0 && lines[index - 1].trim().starts_with("//");
        above || lines[index].contains("// ") || lines[index].contains("reason = ")
    };
    let wrong = (0..code.len()).filter(|&index| exception(index) && !reason(index));
    wrong
        .map(|index| format!("{}:{}: why?", source.path, index + 1))
        .collect()
}

/// Rooms that the map leaves out, and words on its left side that are no rooms.
fn map_errors(lib: &Source) -> Vec<String> {
    let modules = lib.declared();
    let (_, map) = lib.text.split_once("//! ```text").unwrap_or_default();
    let (map, _) = map.split_once("//! ```").unwrap_or_default();
    // A line is `2  serve    what it is`; the floor is left out where it is that of the line above, and a line that
    // goes on starts further to the right.
    let named = map.lines().filter_map(|line| {
        let name = line.strip_prefix("//! ")?.get(3..)?;
        name.split(' ').next().filter(|name| !name.is_empty())
    });
    let named: Vec<&str> = named.map(|word| word.trim_end_matches('/')).collect();
    let left_out = modules.iter().filter(|module| !named.contains(&module.as_str()));
    let invented = named
        .iter()
        .filter(|word| **word != "main" && !modules.iter().any(|module| module == *word));
    let left_out = left_out.map(|module| format!("{} is not on the map", module));
    left_out
        .chain(invented.map(|word| format!("{word} is on the map, and nowhere else")))
        .collect()
}

/// All Rust files below a folder.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(folder).to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source::read(&path));
            }
        }
    }
    assert!(!found.is_empty(), "tests run in the folder of Cargo.toml");
    found
}

fn assert_none(complaints: impl Iterator<Item = String>) {
    let complaints: Vec<String> = complaints.collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Each rule, shown to fire.
mod planted {
    use super::*;

    fn at(path: &str, text: &str) -> Source {
        Source::of(path, text)
    }

    #[test]
    fn a_use_of_a_floor_above_is_found_in_all_its_forms() {
        for text in [
            "use crate::cli::Flags;",
            "use crate::{clock, report::Report};",
            "fn f() { crate::load::run(); }",
            "use super::super::report::Report;",
            "use crate::{\n    clock::{self, Nanos},\n    arena,\n};",
        ] {
            assert_eq!(climbs(&at("src/ring/pool.rs", text)).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_use_of_a_sibling_on_the_floor_of_roles_is_found_and_elsewhere_it_is_none() {
        assert_eq!(
            climbs(&at("src/serve/mod.rs", "use crate::load::Plan;")),
            ["src/serve/mod.rs (serve) uses load"]
        );
        assert!(climbs(&at("src/ring/mod.rs", "use crate::sys::limits;")).is_empty());
        assert!(climbs(&at("src/load/mod.rs", "use crate::load::{a, b};\nuse super::pinger;")).len() == 1);
    }

    #[test]
    fn tests_comments_and_texts_may_name_what_they_like() {
        let text =
            "//! As crate::cli does.\nconst A: &str = \"crate::cli\";\n#[cfg(test)]\nmod tests {\n use crate::cli;\n}";
        assert!(climbs(&at("src/slab.rs", text)).is_empty());
    }

    #[test]
    fn a_room_without_a_floor_is_found() {
        assert_eq!(climbs(&at("src/attic/mod.rs", "")).len(), 1);
    }

    #[test]
    fn a_word_outside_its_room_is_found() {
        for text in [
            "fn f() { unsafe { g() } }",
            "use libc::c_int;",
            "use io_uring::opcode;",
            "use ::clap::Parser;",
        ] {
            assert_eq!(strays(&at("src/load/worker.rs", text)).len(), 1, "{text}");
        }
        let innocent = "#![deny(unsafe_code)] // unsafe\n/// libc\nconst A: &str = \"nix\"; /* clap */ let c = 'u';";
        assert!(strays(&at("src/load/worker.rs", innocent)).is_empty());
        assert!(strays(&at("src/ring/mod.rs", "unsafe { libc::close(1) }")).is_empty());
    }

    #[test]
    fn a_file_that_nobody_declares_is_found() {
        let files = [
            "src/a.rs",
            "src/a/b.rs",
            "src/c/mod.rs",
            "src/c/d.rs",
            "src/lost.rs",
            "src/c/lost.rs",
        ];
        let text = |path: &str| match path {
            "src/a.rs" => "mod b;",
            "src/c/mod.rs" => "#[cfg(test)]\npub(crate) mod d;\n// mod lost;",
            _ => "",
        };
        let mut sources: Vec<Source> = files.iter().map(|path| at(path, text(path))).collect();
        sources.push(at("src/lib.rs", "pub mod a;\nmod c;\nmod inline { }"));
        let lost = orphans(&sources, &["src/lib.rs"]);
        assert_eq!(
            lost,
            ["src/lost.rs: no mod leads here", "src/c/lost.rs: no mod leads here"]
        );
    }

    #[test]
    fn a_long_file_and_a_long_function_are_found() {
        let lines = |count: usize| at("src/a.rs", &"\n".repeat(count));
        assert!(long(&lines(FILE_LINES), &[]).is_empty());
        assert_eq!(long(&lines(FILE_LINES + 1), &[]).len(), 1);
        assert!(long(&lines(FILE_LINES + 1), &[("src/a.rs", 500)]).is_empty());
        assert_eq!(
            long(&lines(FILE_LINES), &[("src/a.rs", 500)]).len(),
            1,
            "no longer needed"
        );
        let function = |count: usize| at("src/a.rs", &format!("fn f() {{\n{}}}\n", "g();\n".repeat(count - 2)));
        assert!(long(&function(FUNCTION_LINES), &[]).is_empty());
        assert_eq!(
            long(&function(FUNCTION_LINES + 1), &[]),
            ["src/a.rs: fn f: 61 lines, at most 60"]
        );
    }

    #[test]
    fn what_is_undone_is_found() {
        for word in UNDONE {
            assert_eq!(
                undone(&at("src/a.rs", &format!("fn f() {{}}\n// {word} later\n"))).len(),
                1
            );
        }
    }

    #[test]
    fn an_exception_without_a_reason_is_found() {
        assert_eq!(
            unreasoned(&at("src/a.rs", "#[allow(dead_code)]\nfn f() {}")),
            ["src/a.rs:1: why?"]
        );
        assert_eq!(
            unreasoned(&at("src/a.rs", "fn f() {}\n#![cfg_attr(test, allow(lint))]")).len(),
            1
        );
        for text in [
            "// Because.\n#[allow(lint)]",
            "#[allow(lint)] // because",
            "#[expect(lint, reason = \"because\")]",
        ] {
            assert!(unreasoned(&at("src/a.rs", text)).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_map_that_is_out_of_date_is_found() {
        let map = |lines: &str| {
            at(
                "src/lib.rs",
                &format!("//! ```text\n{lines}//! ```\npub mod ring;\nmod sys;"),
            )
        };
        assert!(
            map_errors(&map(
                "//! 6  main     a\n//! 1  ring/    b,\n//!             and more\n//!    sys      c\n"
            ))
            .is_empty()
        );
        assert_eq!(map_errors(&map("//! 1  ring     b\n")), ["sys is not on the map"]);
        let invented = map_errors(&map("//! 1  ring     b\n//!    sys      c\n//!    attic    d\n"));
        assert_eq!(invented, ["attic is on the map, and nowhere else"]);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(words("a_b c::d").collect::<Vec<_>>(), ["a_b", "c", "d"]);
    }
}
