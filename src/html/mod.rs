//! Self-contained pages: one file of HTML without scripts, whose charts are SVG within it. It loads nothing, follows
//! the theme of its reader, fits a phone and can be printed.
//!
//! A document of any command is a [`Section`]; `chart` draws what is in it, on the scales of `axis`. Everything that is
//! not markup is escaped by the macro of maud; what others wrote goes through `output::untrusted` first.

mod axis;
mod chart;

pub use axis::{Axis, Scale, extent};
pub use chart::{Chart, Color, LABEL_WIDTH, Layer, Rectangle};
use maud::{DOCTYPE, PreEscaped};
pub use maud::{Markup, html};

/// How pages look.
const STYLE: &str = include_str!("style.css");

/// One document on a page.
pub struct Section {
    /// Its heading, and the title of the page if it is alone.
    pub title: String,
    /// What follows below the heading.
    pub body: Markup,
}

/// A page of these sections. Links to each come first if there are several.
pub fn page(sections: &[Section]) -> String {
    let title = match sections {
        [one] => one.title.clone(),
        several => format!("urecho: {} reports", several.len()),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(concat!("urecho ", env!("CARGO_PKG_VERSION")));
                // No icon: a browser would ask the server that has the file for one.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                @if sections.len() > 1 {
                    nav { ol {
                        @for (number, section) in sections.iter().enumerate() {
                            li { a href=(format!("#report-{number}")) { (section.title) } }
                        }
                    } }
                }
                @for (number, section) in sections.iter().enumerate() {
                    article id=(format!("report-{number}")) {
                        h1 { (section.title) }
                        (section.body)
                    }
                }
            }
        }
    };
    page.into_string() + "\n"
}

/// A table: heads, then rows. The first column is text, the others are figures.
pub fn table<R: AsRef<[String]>>(heads: &[&str], rows: impl IntoIterator<Item = R>) -> Markup {
    html! {
        div.wide { table {
            thead { tr { @for head in heads { th scope="col" { (head) } } } }
            tbody { @for row in rows {
                tr { @for (column, cell) in row.as_ref().iter().enumerate() {
                    @if column == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                } }
            } }
        } }
    }
}

/// Names with their values.
pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> Markup {
    html! {
        dl { @for (name, value) in facts { dt { (name) } dd { (value) } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_markup_is_escaped() {
        let body = table(&["<a>"], [["<script>".to_owned()]]);
        let title = "p99 < 1 ms & more".to_owned();
        let text = page(&[Section { title, body }]);
        assert!(text.contains("<title>p99 &lt; 1 ms &amp; more</title>"), "{text}");
        assert!(!text.contains("<script>") && text.contains("&lt;script&gt;"), "{text}");
    }

    #[test]
    fn a_page_of_several_reports_links_to_each() {
        let section = |title: &str| Section {
            title: title.into(),
            body: html! { p { (title) } },
        };
        let text = page(&[section("first"), section("second")]);
        assert!(text.contains("<title>urecho: 2 reports</title>"), "{text}");
        for number in [0, 1] {
            assert!(text.contains(&format!("href=\"#report-{number}\"")), "{text}");
            assert!(text.contains(&format!("id=\"report-{number}\"")), "{text}");
        }
        assert!(!page(&[section("alone")]).contains("<nav>"));
    }
}
