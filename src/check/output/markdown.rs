//! A check as Markdown: a heading, a table, and what to do next.

use super::Summary;
use super::row::{TITLES, row};
use crate::output::{markdown, untrusted};

/// Bytes of `$GITHUB_STEP_SUMMARY` that one check may use. All steps of a job share 1 MiB, and the stderr of a crashing
/// server must not take it.
const STEP_SUMMARY_MAX: usize = 60_000;

impl Summary {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let paragraph = |text: &str| markdown::escape(text).replace('<', "&lt;");
        let mut parts = vec![format!("### {}", paragraph(&self.headline()))];
        let reasons = self.judgement.reasons.iter();
        let reasons: Vec<String> = reasons
            .map(|reason| format!("- {}", untrusted::markdown(reason)))
            .collect();
        if !reasons.is_empty() {
            parts.push(reasons.join("\n"));
        }
        if self.has_figures() {
            let rows = self.judgement.metrics.iter().map(row);
            let rows = rows.map(|row| row.map(|cell| cell.replace('<', "&lt;")));
            parts.push(markdown::table(&TITLES, rows).trim_end().to_owned());
            parts.push("Verdicts in capitals gate the build; those in parentheses are informational.".into());
        }
        parts.push(paragraph(&self.method));
        let advice = self.advice.iter();
        parts.extend(advice.map(|advice| format!("**Next:** {}", paragraph(advice))));
        parts.join("\n\n") + "\n"
    }

    /// As Markdown for `$GITHUB_STEP_SUMMARY`, cut to 60 kB.
    pub fn step_summary(&self) -> String {
        const CUT: &str = "\n…\n";
        let mut text = self.markdown();
        if text.len() > STEP_SUMMARY_MAX {
            let end = (0..=STEP_SUMMARY_MAX - CUT.len())
                .rev()
                .find(|&end| text.is_char_boundary(end));
            text.truncate(end.unwrap_or(0));
            text.push_str(CUT);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::fixtures::{UNCHANGED, record};
    use crate::check::output::Check;
    use crate::check::record::Failure;

    fn with_stderr(what: &str) -> Summary {
        let mut record = record(12, &UNCHANGED);
        record.head.failure = Some(Failure {
            restart: 1,
            what: what.into(),
            exit_code: 5,
        });
        Check::of(record).summary()
    }

    #[test]
    fn a_step_summary_has_at_most_sixty_kilobytes() {
        let summary = with_stderr(&"\u{e4}".repeat(STEP_SUMMARY_MAX));
        assert!(summary.markdown().len() > 2 * STEP_SUMMARY_MAX);
        let text = summary.step_summary();
        assert!(text.len() <= STEP_SUMMARY_MAX && text.ends_with("…\n"));
    }

    #[test]
    fn a_check_that_passed_has_no_next_step() {
        let summary = Check::of(record(12, &UNCHANGED)).summary();
        assert!(summary.to_string().starts_with("PASSED"));
        assert!(![summary.to_string(), summary.markdown()].concat().contains("Next:"));
    }

    #[test]
    fn stderr_of_a_server_is_not_markup() {
        let text = with_stderr("a|b\n<script>").markdown();
        assert!(text.contains("a&#124;b \u{23ce} &#60;script&#62;"), "{text}");
    }
}
