//! The README's table of outputs names every output of every command, and no other.

use std::collections::BTreeSet;
use std::fs;

/// The first column of the table below a heading.
fn first_column(readme: &str, heading: &str) -> Vec<String> {
    let (_, section) = readme.split_once(heading).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('|').nth(1).unwrap().trim().to_owned())
        .collect()
}

/// Flags that take a file and write it, in the help of all commands.
fn flags_in_help() -> BTreeSet<String> {
    let snapshots = fs::read_dir("tests/it/snapshots").unwrap().flatten();
    let texts = snapshots.map(|entry| fs::read_to_string(entry.path()).unwrap());
    let flag = |line: &str| {
        let flag = line
            .trim()
            .strip_suffix("<FILE>")
            .or_else(|| line.trim().split_once(" <FILE> ").map(|(flag, _)| flag));
        flag.filter(|flag| flag.starts_with("--"))
            .map(|flag| flag.trim().to_owned())
    };
    texts
        .flat_map(|text| text.lines().filter_map(flag).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_readme_has_every_output_of_every_command() {
    let readme = fs::read_to_string("README.md").unwrap();
    let rows = first_column(&readme, "## Outputs\n").join(", ");
    let named = rows.split('`').skip(1).step_by(2);
    let flags: BTreeSet<String> = named.filter(|name| name.starts_with("--")).map(str::to_owned).collect();
    assert_eq!(flags, flags_in_help());
    for stream in ["stdout", "stderr", "`check baseline save`"] {
        assert!(rows.contains(stream), "{stream} in {rows}");
    }
}
