//! A check for build servers: Markdown for a page, JUnit XML for a list of tests, commands for annotations.

use crate::check::record::Inconclusive;
use crate::check::summary::Summary;
use crate::check::text::{HEADS, change, row};
use crate::check::verdict::{Judged, Verdict};

/// What GitHub's summary of a step may hold at most is 1 MiB, of all steps together; some words of a dying server must
/// not take it.
const SUMMARY: usize = 60_000;

impl Summary {
    /// A heading, a table, and what to do next.
    pub fn markdown(&self) -> String {
        let mut lines = vec![format!("### {}", escaped(&self.headline())), String::new()];
        lines.extend(
            self.judgement
                .reasons
                .iter()
                .map(|reason| format!("- {}", escaped(reason))),
        );
        if self.has_figures() {
            lines.push(String::new());
            lines.push(format!("| {} |", HEADS.join(" | ")));
            lines.push("|---|---:|---:|---:|---:|---:|---|".into());
            let rows = self.judgement.metrics.iter().map(row);
            lines.extend(rows.map(|row| format!("| {} |", row.map(|cell| escaped(&cell)).join(" | "))));
            lines.push(String::new());
            lines.push("A verdict in capitals decides; one in brackets is for information.".into());
        }
        lines.push(String::new());
        lines.push(escaped(&self.method));
        lines.push(String::new());
        lines.push(format!("**Next:** {}", escaped(&self.advice)));
        lines.join("\n") + "\n"
    }

    /// The same for `$GITHUB_STEP_SUMMARY`: 60 KB at most.
    pub fn summary(&self) -> String {
        const CUT: &str = "\n…\n";
        let mut text = self.markdown();
        if text.len() > SUMMARY {
            let end = (0..=SUMMARY - CUT.len()).rev().find(|&end| text.is_char_boundary(end));
            text.truncate(end.unwrap_or(0));
            text.push_str(CUT);
        }
        text
    }

    /// One test case for each metric that decides, and one for the servers.
    pub fn junit(&self) -> String {
        let mut cases = vec![self.servers_case()];
        cases.extend(self.deciding().map(|judged| self.case(judged)));
        let count = |of: &str| cases.iter().filter(|case| case.contains(of)).count();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"urecho check\" tests=\"{}\" \
             failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">\n{}  </testsuite>\n</testsuites>\n",
            cases.len(),
            count("<failure"),
            count("<error"),
            count("<skipped"),
            self.elapsed.as_secs(),
            cases.concat(),
        )
    }

    fn servers_case(&self) -> String {
        let kind = match self.judgement.verdict {
            Verdict::Failed => Some("error"),
            Verdict::Inconclusive if self.judgement.metrics.is_empty() => Some("skipped"),
            _ => None,
        };
        case("servers", kind.map(|kind| (kind, self.judgement.reasons.join("; "))))
    }

    fn case(&self, judged: &Judged) -> String {
        let told = || format!("{}: {}", judged.verdict.name(), told(judged));
        let outcome = match judged.verdict {
            Verdict::Regressed => Some(("failure", told())),
            Verdict::Inconclusive if self.inconclusive == Inconclusive::Fail => Some(("failure", told())),
            Verdict::Inconclusive | Verdict::Failed => Some(("skipped", told())),
            Verdict::Improved | Verdict::Passed => None,
        };
        case(judged.metric.name(), outcome)
    }

    /// Commands for GitHub's log: one for each metric that fails the build, one for servers that failed, and a warning
    /// where nothing is known.
    pub fn annotations(&self) -> Vec<String> {
        if self.judgement.verdict == Verdict::Failed {
            let reasons = self.judgement.reasons.join("; ");
            return vec![annotation("error", "a server failed", &reasons)];
        }
        if self.judgement.verdict == Verdict::Inconclusive && self.inconclusive != Inconclusive::Fail {
            return vec![annotation("warning", "INCONCLUSIVE", &self.headline())];
        }
        let fails = |judged: &&Judged| match judged.verdict {
            Verdict::Regressed => true,
            Verdict::Inconclusive => self.inconclusive == Inconclusive::Fail,
            _ => false,
        };
        let failing = self.deciding().filter(fails);
        let told = |judged: &Judged| {
            let title = format!("{} {}", judged.metric, judged.verdict.name());
            annotation("error", &title, &told(judged))
        };
        failing.map(told).collect()
    }
}

/// The change, and its interval.
fn told(judged: &Judged) -> String {
    let [_, _, _, _, interval, matters, _] = row(judged);
    let why = judged.why.as_ref().map_or(String::new(), |why| format!("; {why}"));
    format!("{}, interval {interval}, {matters} matters{why}", change(judged))
}

fn case(name: &str, outcome: Option<(&str, String)>) -> String {
    let open = format!("    <testcase classname=\"urecho.check\" name=\"{name}\"");
    match outcome {
        None => format!("{open}/>\n"),
        Some((kind, message)) => format!("{open}><{kind} message=\"{}\"/></testcase>\n", xml(&message)),
    }
}

/// Characters that XML 1.0 knows, in an attribute.
fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('?'),
            c if c.is_control() => escaped.push('?'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text of a table's cell or a paragraph: nothing in it is markup.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

/// As the log's commands want it: a line break would end the command, and begin another.
fn annotation(level: &str, title: &str, text: &str) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{level} title=urecho check%3A {title}::{}", data(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{ALIKE, Head, record};
    use crate::check::record::{Failure, Record};
    use crate::check::report::Check;

    fn story(record: Record) -> Summary {
        Check::of(record).story()
    }

    fn slower() -> Summary {
        story(record(12, &Head { p50: 1.1, ..ALIKE }))
    }

    #[test]
    fn each_metric_that_fails_the_build_is_annotated_once() {
        let annotations = slower().annotations();
        assert_eq!(annotations.len(), 1);
        assert!(annotations[0].starts_with("::error title=urecho check%3A p50 REGRESSED::p50 +"));
        assert!(story(record(12, &ALIKE)).annotations().is_empty());
    }

    #[test]
    fn what_is_not_known_is_one_warning() {
        let mut record = record(4, &ALIKE);
        let annotations = story(record.clone()).annotations();
        assert_eq!(annotations.len(), 1);
        assert!(annotations[0].starts_with("::warning title=urecho check%3A INCONCLUSIVE::"));
        record.terms.inconclusive = Inconclusive::Fail;
        let annotations = story(record).annotations();
        assert_eq!(annotations.len(), 3, "one for each metric: {annotations:?}");
    }

    #[test]
    fn an_annotation_is_one_line_whatever_a_server_says() {
        let text = annotation("error", "a: b, c", "100 %\n::error::");
        assert_eq!(text, "::error title=urecho check%3A a%3A b%2C c::100 %25%0A::error::");
    }

    #[test]
    fn a_test_case_fails_for_what_got_worse() {
        let xml = slower().junit();
        assert!(
            xml.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"0\""),
            "{xml}"
        );
        assert!(
            xml.contains("name=\"p50\"><failure message=\"REGRESSED: p50 +"),
            "{xml}"
        );
    }

    #[test]
    fn what_a_server_says_is_no_markup() {
        assert_eq!(xml("<a b=\"c\">&\u{1}"), "&lt;a b=&quot;c&quot;&gt;&amp;?");
        assert_eq!(escaped("a|b\n<script>"), "a\\|b &lt;script>");
    }

    #[test]
    fn a_summary_has_sixty_kilobytes_at_most() {
        let mut record = record(12, &ALIKE);
        let what = "\u{e4}".repeat(SUMMARY);
        record.head.failure = Some(Failure {
            restart: 1,
            what,
            exit_code: 5,
        });
        let story = story(record);
        assert!(story.markdown().len() > 2 * SUMMARY);
        let summary = story.summary();
        assert!(summary.len() <= SUMMARY && summary.ends_with("…\n"));
    }
}
