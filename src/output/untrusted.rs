//! Text that others wrote, made harmless for each medium it is shown in: what a server under test prints is data.
//!
//! In no medium does a control character arrive (escape sequences of terminals, BEL, CR, and Unicode's invisible and
//! bidirectional controls, which reorder what is read: CVE-2021-42574), nor anything that the medium takes for markup
//! or for a command. Such characters are shown in the notation of Rust strings: `\x1b`, `\u{202e}`.
//!
//! Build servers read logs: GitHub takes a line that begins with `::`, after spaces, for a command, and `##[` anywhere
//! in a line; Azure DevOps takes `##vso[`, TeamCity `##teamcity[`.

use std::fmt::Write;

/// Begins the second and any further line of a text within another.
const CONTINUED: &str = "\n  | ";

/// Stands for the end of a line where there is only one.
const LINE_END: &str = " \u{23ce} ";

/// For a terminal or a log: lines stay lines.
pub fn terminal(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line = broken_hashes(&visible(line.strip_suffix('\r').unwrap_or(line)));
        let indent = line.len() - line.trim_start().len();
        match line[indent..].starts_with("::") {
            true => format!("{}| {}", &line[..indent], &line[indent..]),
            false => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// As a part of a text for a terminal or a log: what has several lines cannot be taken for lines of that text.
pub fn note(text: &str) -> String {
    terminal(text.trim_end()).replace('\n', CONTINUED)
}

/// In one line of a text for a terminal or a log.
pub fn line(text: &str) -> String {
    broken_hashes(&one_line(text))
}

/// For a page whose markup is escaped by what makes it: in one line.
pub fn text(text: &str) -> String {
    one_line(text)
}

/// The same with its lines.
pub fn text_lines(text: &str) -> String {
    let lines = text.split('\n').map(visible);
    lines.collect::<Vec<_>>().join("\n")
}

/// For Markdown, in a paragraph or a cell of a table: HTML, with all punctuation that could be markup as character
/// references, which cannot be structure (CommonMark, section 2.5). In `code`, where GitHub expands no mentions or
/// references.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::from("<code>");
    let text = one_line(text);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_markup = match c {
            // In addresses, and in `::`; otherwise it is common and harmless.
            ':' => matches!(chars.peek(), Some(':' | '/')),
            c => "\\`*_{}[]<>#+!|~$@^&\"".contains(c),
        };
        if is_markup {
            let _ = write!(escaped, "&#{};", u32::from(c)); // Into a string: cannot fail.
        } else {
            escaped.push(c);
        }
    }
    escaped + "</code>"
}

/// For the value of an attribute in XML 1.0.
pub fn xml_attribute(text: &str) -> String {
    let text = text.trim_end().split('\n').map(|line| broken_hashes(&visible(line)));
    let text = text.collect::<Vec<_>>().join("\n");
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\n' => escaped.push_str("&#10;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For the message of a workflow command of GitHub.
pub fn annotation(text: &str) -> String {
    line(text).replace('%', "%25")
}

/// For a property of a workflow command of GitHub.
pub fn annotation_property(text: &str) -> String {
    annotation(text).replace(':', "%3A").replace(',', "%2C")
}

/// For JSON that a serializer wrote, which has such characters in strings only: the document keeps its meaning.
pub(super) fn json(serialized: &str) -> String {
    let mut escaped = String::with_capacity(serialized.len());
    let mut last = '\0';
    for c in serialized.chars() {
        // `##` begins commands of build servers, which read what a program prints.
        if (is_invisible(c) && c != '\n') || (c == '#' && last == '#') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}"); // Into a string: cannot fail.
            }
        } else {
            escaped.push(c);
        }
        last = c;
    }
    escaped
}

fn one_line(text: &str) -> String {
    let lines = text.trim().split('\n');
    let lines = lines.map(|line| visible(line.strip_suffix('\r').unwrap_or(line)));
    lines.collect::<Vec<_>>().join(LINE_END)
}

fn broken_hashes(text: &str) -> String {
    text.replace("##", "# #").replace("##", "# #") // Twice: an odd number of them leaves pairs.
}

/// A line with a notation in place of every invisible character. Tabs become spaces.
fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\t' => shown.push(' '),
            c if c.is_ascii() && is_invisible(c) => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c)); // Into a string: cannot fail.
            }
            c if is_invisible(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// True for control characters, and for those of Unicode's categories Cf, Zl and Zp that text of servers has no use
/// for.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' // soft hyphen, marks of direction and order
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' // interlinear annotation, and no characters
            | '\u{e0000}'..='\u{e007f}') // tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::json::line as json_line;

    /// Text as servers might print it.
    const HOSTILE: &[&str] = &[
        "\x1b[2J\x1b[31mboom\x1b[0m",
        "\x1b]0;title\x07\x1b]8;;http://a.example\x1b\\link",
        "\u{9b}2J\u{9d}0;title\u{9c}",
        "beep\x07 back\x08 delete\x7f null\0",
        "first\r::error::second",
        "first\r\n::error::second\n  ::set-output name=x::y\n\t::stop-commands::z",
        "::error::at the start",
        "##[error]boom ###[group] ####[warning] a##[b ##vso[task.complete] ##teamcity[x]",
        "a|b\\|c `d` **e** _f_ [g](http://h.example) <img src=x onerror=y> # i\n# j\n- k\n> l ~m~ $n$ @o &lt;",
        "\u{202e}txt.exe \u{2066}a\u{2069} \u{200f} \u{61c} \u{2028}b\u{2029}c \u{feff} \u{e0041}",
        "\"/></testcase><testcase name='x'>]]><!-- & -->\u{fffe}",
        "100 % %0A::error::x, y: z\n",
    ];

    fn assert_harmless(medium: &str, text: &str) {
        let invisible = text.chars().find(|&c| c != '\n' && is_invisible(c));
        assert_eq!(invisible, None, "{medium}: {text:?}");
        for line in text.lines() {
            assert!(!line.trim_start().starts_with("::"), "{medium}: {text:?}");
            assert!(!line.contains("##"), "{medium}: {text:?}");
        }
    }

    #[test]
    fn no_medium_gets_a_control_character_or_a_command() {
        for text in HOSTILE {
            assert_harmless("terminal", &terminal(text));
            assert_harmless("note", &note(text));
            assert_harmless("line", &format!("- {}", line(text)));
            assert_harmless("Markdown", &markdown(text));
            assert_harmless("XML", &format!("<a b=\"{}\"/>", xml_attribute(text)));
            assert_harmless("annotation", &format!("message: {}", annotation(text)));
            assert_harmless("property", &annotation_property(text));
            assert_harmless("JSON", &json_line(text));
            for one_line in [line(text), markdown(text), xml_attribute(text), annotation(text)] {
                assert!(!one_line.contains('\n'), "{one_line:?}");
            }
        }
    }

    #[test]
    fn no_markup_arrives_as_markup() {
        for text in HOSTILE {
            let inner = markdown(text);
            let inner = inner.strip_prefix("<code>").unwrap().strip_suffix("</code>").unwrap();
            assert!(
                !inner.contains(['<', '>', '|', '`', '*', '_', '[', ']', '\\', '@', '$', '~']),
                "{inner}"
            );
            assert!(!inner.contains("://"), "{inner}");
            assert!(!xml_attribute(text).contains(['<', '>', '"', '\'']), "{text}");
            let title = annotation_property(text)
                .replace("%25", "")
                .replace("%3A", "")
                .replace("%2C", "");
            assert!(!title.contains(['%', ':', ',']), "{title}");
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        for text in HOSTILE {
            let read: String = serde_json::from_str(&json_line(text)).unwrap();
            assert_eq!(read, *text);
        }
    }

    #[test]
    fn readable_text_stays_as_it_is() {
        let text = "p99 is 81.2 µs (日本語, é): `perf record`, 100 % — see #12";
        assert_eq!(
            (terminal(text), note(text), line(text)),
            (text.into(), text.into(), text.into())
        );
        assert_eq!(terminal("a\n  b\n"), "a\n  b\n");
        assert_eq!(note("a\nb\n"), "a\n  | b");
        assert_eq!(line("a\r\nb"), "a \u{23ce} b");
        assert_eq!(terminal("\x1b[0m\u{202e}"), "\\x1b[0m\\u{202e}");
        assert_eq!(markdown("a: <b>"), "<code>a: &#60;b&#62;</code>");
    }
}
