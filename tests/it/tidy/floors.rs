//! Floors and places: a file uses its own room and the floors below; some words stay in their rooms.
//!
//! The floors are read from the map in `src/lib.rs`, so that the map cannot be wrong.

use std::path::Path;

use super::paths::absolute_paths;
use super::{assert_none, sources};
use crate::support::source::{Source, has_word};

/// Floors whose rooms do not use each other: the two roles, and the two experiments on servers.
const SEPARATE: [usize; 2] = [2, 4];

/// Words and the rooms in which they may be used: the kernel behind two rooms, the command line in one.
const PLACES: [(&str, &[&str]); 11] = [
    ("unsafe", &["ring", "sys"]),
    ("io_uring", &["ring"]),
    ("libc", &["ring", "sys"]),
    ("nix", &["ring", "sys"]),
    ("socket2", &["ring", "sys"]),
    ("mio", &["serve"]),
    ("tokio", &["serve"]),
    ("hdrhistogram", &["histogram"]),
    ("plotters", &["html"]),
    ("maud", &["html"]),
    ("clap", &["cli"]),
];

/// Rooms with their floors, in the order of the map.
struct Map(Vec<(usize, String)>);

impl Map {
    /// Reads the map of `src/lib.rs`: a line is `2  serve    what it is`. The floor is left out where it is that of the
    /// line above; a continued line starts further to the right.
    fn of(lib: &Source) -> Map {
        let (_, map) = lib.text.split_once("//! ```text").unwrap_or_default();
        let (map, _) = map.split_once("//! ```").unwrap_or_default();
        let mut floor = 0;
        let mut rooms = Vec::new();
        for line in map.lines().filter_map(|line| line.strip_prefix("//! ")) {
            floor = line
                .split(' ')
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or(floor);
            let room = line.get(3..).and_then(|rest| rest.split(' ').next());
            if let Some(room) = room.filter(|room| !room.is_empty()) {
                rooms.push((floor, room.to_owned()));
            }
        }
        Map(rooms)
    }

    fn floor(&self, room: &str) -> Option<usize> {
        let found = self.0.iter().find(|(_, name)| name == room);
        found.map(|(floor, _)| *floor)
    }

    /// Rooms that are not on the map, rooms on the map that do not exist, and floors out of order.
    fn complaints(&self, lib: &Source) -> Vec<String> {
        let modules = lib.declared();
        let missing = modules
            .iter()
            .filter(|module| self.floor(module).is_none())
            .map(|module| format!("{module} is not on the map"));
        let invented = self
            .0
            .iter()
            .filter(|(_, room)| room != "main" && !modules.contains(room))
            .map(|(_, room)| format!("{room} is on the map, but not a module"));
        let floors: Vec<usize> = self.0.iter().map(|(floor, _)| *floor).collect();
        let disorder = floors.windows(2).any(|pair| pair[0] < pair[1] || pair[0] > pair[1] + 1);
        let disorder = disorder.then(|| format!("floors are not from top to bottom: {floors:?}"));
        missing.chain(invented).chain(disorder).collect()
    }

    /// Uses of a room on a floor above, or on the same floor if that is one of [`SEPARATE`].
    fn upward(&self, source: &Source) -> Vec<String> {
        let home = source.room();
        if source.path == "src/lib.rs" {
            return Vec::new(); // It declares the rooms.
        }
        let Some(floor) = self.floor(home) else {
            return vec![format!("{}: the room {home} has no floor", source.path)];
        };
        let allowed = |room: &str| match self.floor(room) {
            Some(other) if other == floor => !SEPARATE.contains(&floor),
            Some(other) => other < floor,
            None => false,
        };
        let mut rooms: Vec<String> = absolute_paths(source)
            .into_iter()
            .filter_map(|path| path.into_iter().next())
            .collect();
        rooms.sort();
        rooms.dedup();
        rooms
            .iter()
            .filter(|room| *room != home && !allowed(room))
            .map(|room| format!("{} ({home}) uses {room}", source.path))
            .collect()
    }
}

fn map() -> (Map, Source) {
    let lib = Source::read(Path::new("src/lib.rs"));
    (Map::of(&lib), lib)
}

#[test]
fn every_file_uses_its_own_room_and_the_floors_below() {
    let (map, _) = map();
    assert_none(sources("src").iter().flat_map(|source| map.upward(source)));
}

#[test]
fn kernel_and_command_line_stay_in_their_rooms() {
    assert_none(sources("src").iter().flat_map(misplaced));
}

#[test]
fn the_map_names_every_room_and_no_other() {
    let (map, lib) = map();
    assert_none(map.complaints(&lib));
}

/// Words outside their rooms.
fn misplaced(source: &Source) -> Vec<String> {
    let found = PLACES
        .iter()
        .filter(|(word, rooms)| !rooms.contains(&source.room()) && has_word(&source.code, word));
    found
        .map(|(word, rooms)| format!("{}: {word} belongs in {}", source.path, rooms.join(" and ")))
        .collect()
}

/// Each rule, shown to fire.
mod planted {
    use super::*;

    fn house() -> Map {
        let lines = "//! 6  cli      a\n//!    main     b\n//! 4  compare  c\n//!    find_max d\n//! 3  report   e\n\
            //! 2  serve    f\n//!    load     g,\n//!             and more\n//! 1  ring     h\n//!    sys      i\n\
            //! 0  clock    j\n//!    slab     k\n";
        Map::of(&lib(lines, ""))
    }

    fn lib(lines: &str, modules: &str) -> Source {
        Source::of("src/lib.rs", &format!("//! ```text\n{lines}//! ```\n{modules}"))
    }

    fn upward(path: &str, text: &str) -> Vec<String> {
        house().upward(&Source::of(path, text))
    }

    #[test]
    fn a_use_of_a_floor_above_is_found_in_all_its_forms() {
        for text in [
            "use crate::cli::Flags;",
            "use crate::{clock, report::Report};",
            "fn f() { crate::load::run(); }",
            "use super::super::report::Report;",
            "use urecho::serve;",
            "use crate::{\n    clock::{self, Nanos},\n    attic,\n};",
        ] {
            assert_eq!(upward("src/ring/pool.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_use_of_a_sibling_is_found_on_the_separate_floors_only() {
        assert_eq!(
            upward("src/serve/mod.rs", "use crate::load::Plan;"),
            ["src/serve/mod.rs (serve) uses load"]
        );
        assert_eq!(upward("src/find_max/mod.rs", "use crate::compare::round;").len(), 1);
        assert!(upward("src/ring/mod.rs", "use crate::sys::limits;").is_empty());
        assert!(upward("src/load/mod.rs", "use crate::load::{a, b};\nuse self::c::D;").is_empty());
    }

    #[test]
    fn tests_comments_and_strings_may_name_any_room() {
        let text =
            "//! As crate::cli does.\nconst A: &str = \"crate::cli\";\n#[cfg(test)]\nmod tests {\n use crate::cli;\n}";
        assert!(upward("src/slab.rs", text).is_empty());
    }

    #[test]
    fn a_room_without_a_floor_is_found() {
        assert_eq!(upward("src/attic/mod.rs", "").len(), 1);
    }

    #[test]
    fn a_map_that_is_out_of_date_is_found() {
        let modules = "pub mod ring;\nmod sys;";
        let complaints = |lines: &str| {
            let lib = lib(lines, modules);
            Map::of(&lib).complaints(&lib)
        };
        assert!(
            complaints("//! 2  main     a\n//! 1  ring     b,\n//!             and more\n//!    sys      c\n")
                .is_empty()
        );
        assert_eq!(complaints("//! 1  ring     b\n"), ["sys is not on the map"]);
        let invented = complaints("//! 1  ring     b\n//!    sys      c\n//!    attic    d\n");
        assert_eq!(invented, ["attic is on the map, but not a module"]);
        let disorder = complaints("//! 1  ring     b\n//! 2  sys      c\n");
        assert_eq!(disorder, ["floors are not from top to bottom: [1, 2]"]);
    }

    #[test]
    fn a_word_outside_its_room_is_found() {
        for text in [
            "fn f() { unsafe { g() } }",
            "use libc::c_int;",
            "use io_uring::opcode;",
            "use ::clap::Parser;",
        ] {
            assert_eq!(misplaced(&Source::of("src/load/worker.rs", text)).len(), 1, "{text}");
        }
        let innocent = "#![deny(unsafe_code)] // unsafe\n/// libc\nconst A: &str = \"nix\"; /* clap */ let c = 'u';";
        assert!(misplaced(&Source::of("src/load/worker.rs", innocent)).is_empty());
        assert!(misplaced(&Source::of("src/ring/mod.rs", "unsafe { libc::close(1) }")).is_empty());
    }
}
