//! Tables in plain text: columns of fixed width, two spaces apart. By hand, because the widths are part of a report's
//! look.

/// A column: how its cells are aligned, and their width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Text.
    Left(usize),
    /// Figures.
    Right(usize),
}

/// One row, without trailing spaces. A cell wider than its column moves the rest of the row to the right.
pub fn row(columns: &[Column], cells: &[impl AsRef<str>]) -> String {
    let pad = |(column, cell): (&Column, &_)| {
        let cell: &str = AsRef::as_ref(cell);
        match column {
            Column::Left(width) => format!("{cell:<width$}"),
            Column::Right(width) => format!("{cell:>width$}"),
        }
    };
    let cells: Vec<String> = columns.iter().zip(cells).map(pad).collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Column::{Left, Right};
    use super::*;

    #[test]
    fn cells_are_aligned_and_never_touch() {
        let columns = [Left(4), Right(3), Left(2)];
        assert_eq!(row(&columns, &["p50", "1", "a"]), "p50     1  a");
        assert_eq!(row(&columns, &["p99.99", "1,000", ""]), "p99.99  1,000");
        assert_eq!(
            row(&columns, &["µs", "µ", "b"]),
            "µs      µ  b",
            "width is in characters"
        );
    }
}
