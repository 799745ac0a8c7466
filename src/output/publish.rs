//! The end of a command: documents in files, and its text on stdout unless one of them goes there.

use std::fmt::Display;

use super::console;
use super::place::Place;
use super::written::Written;

/// Writes the documents that have a place, and prints the text unless one of them is on stdout. An output that fails is
/// reported and takes no other with it. A document is only made if it has a place.
pub fn publish<const N: usize>(text: &dyn Display, documents: [(Option<&Place>, &dyn Fn() -> String); N]) -> Written {
    let places = documents.iter().filter_map(|(place, _)| *place);
    let is_stdout_taken = places.clone().any(Place::is_stdout);
    // Files first: a reader of stdout may take its time, and be interrupted.
    let mut written = Written::All;
    for (place, document) in &documents {
        if let Some(place) = place {
            written = written.and(place.write_document(&document()));
        }
    }
    match is_stdout_taken {
        true => written,
        false => written.and(console::print_report(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_document_that_cannot_be_written_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let [full, whole] = [Path::new("/dev/full"), &file].map(|path| Place::open(path).unwrap());
        let made = Cell::new(0);
        let document = || {
            made.set(made.get() + 1);
            "document".to_owned()
        };
        let written = publish(
            &"",
            [(Some(&full), &document), (None, &document), (Some(&whole), &document)],
        );
        assert_eq!((written, made.get()), (Written::NotAll, 2));
        assert_eq!(fs::read_to_string(file).unwrap(), "document");
    }
}
