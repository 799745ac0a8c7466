//! Markdown tables (GitHub Flavored Markdown, section 4.10), with cells that cannot break out of them. By hand: a crate
//! would be larger than this file, and would not escape.

/// A table: a head, and rows of as many cells. Ends with a newline.
pub fn table<R>(head: &[&str], rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item: AsRef<str>>,
{
    let mut text = row(head);
    text += &("|".to_owned() + &"---|".repeat(head.len()) + "\n");
    rows.into_iter().for_each(|cells| text += &row(cells));
    text
}

fn row(cells: impl IntoIterator<Item: AsRef<str>>) -> String {
    let cells = cells.into_iter().map(|cell| format!(" {} |", escape(cell.as_ref())));
    format!("|{}\n", cells.collect::<String>())
}

/// Text that cannot end a cell: line breaks become spaces, and `|` is escaped. HTML stays: what others wrote needs
/// [`untrusted::markdown`](super::untrusted::markdown) first.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '|' => escaped.push_str("\\|"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_head_a_rule_and_rows() {
        let text = table(&["a", "b"], [["1", "2"], ["3", "4"]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n");
    }

    #[test]
    fn no_cell_ends_its_row_or_column() {
        let text = table(&["a"], [["x|y\nz\r\t\u{1b}[0m "]]);
        assert_eq!(text.lines().last(), Some("| x\\|y z   [0m |"));
    }
}
