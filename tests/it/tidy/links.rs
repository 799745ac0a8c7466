//! Pages: what they link to exists, and the commands that they show are commands.

use std::fs;
use std::path::Path;

use super::{assert_none, files};

#[test]
fn every_link_of_a_page_leads_to_a_file() {
    assert_none(pages().iter().flat_map(|(path, text)| broken(path, text)));
}

#[test]
fn every_command_of_a_page_is_parsed() {
    let commands: Vec<(String, String)> = pages().iter().flat_map(|(path, text)| commands(path, text)).collect();
    assert!(commands.len() > 20, "{commands:#?}");
    let refused = commands.iter().filter_map(|(path, command)| {
        let words = shell_words::split(command).unwrap();
        let error = urecho::cli::parse(words.iter().map(String::as_str)).err()?;
        Some(format!("{path}: {command}: {error}"))
    });
    assert_none(refused);
}

/// All pages with their text.
fn pages() -> Vec<(String, String)> {
    let folders = ["src", "bench", "flamegraphs", ".github", ".gitlab"];
    let paths = folders
        .iter()
        .flat_map(|folder| files(folder))
        .chain(["README.md".into()]);
    let pages = paths.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    pages
        .map(|path| (path.to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Links to files that do not exist. The web is not asked.
fn broken(path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap();
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', '#', ' ']).next());
    let files = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    let lost = files.filter(|target| !folder.join(target).exists());
    lost.map(|target| format!("{path}: {target} does not exist")).collect()
}

/// The commands of the blocks of shell code that begin with `urecho`. Where others follow in a pipeline, or a comment,
/// they end there. Those with variables are left out: a shell has to expand them.
fn commands(path: &str, text: &str) -> Vec<(String, String)> {
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let lines = blocks
        .flat_map(str::lines)
        .filter(|line| line.starts_with("urecho ") && !line.contains('$'));
    let commands = lines.map(|line| {
        let end = [" #", " | ", " > ", " &"]
            .iter()
            .filter_map(|mark| line.find(mark))
            .min();
        line[..end.unwrap_or(line.len())].trim().to_owned()
    });
    commands.map(|command| (path.to_owned(), command)).collect()
}

#[test]
fn a_broken_link_and_a_wrong_command_are_found() {
    let page = "[map](../src/lib.rs), [gone](gone.md#part), [web](https://example.org), [here](#here)";
    assert_eq!(broken("bench/page.md", page), ["bench/page.md: gone.md does not exist"]);
    let page = "```sh\nurecho load --bogus   # wrong\n```\n```text\nurecho load\n```\n";
    assert_eq!(
        commands("page.md", page),
        [("page.md".to_owned(), "urecho load --bogus".to_owned())]
    );
    assert!(urecho::cli::parse(["urecho", "load", "--bogus"]).is_err());
}
