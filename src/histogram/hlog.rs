//! Interval logs (`.hlog`): one histogram per second of a run, for tools that plot a run over time.
//!
//! Format version 1.3, as Java's HistogramLogWriter writes it: one line per interval and tag, with the histogram in V2,
//! deflated and in base64. Values are integer nanoseconds; `Interval_Max` is in milliseconds, as the format has it.
//! The crate writes the lines of intervals. The header is written here, because the crate writes neither version nor
//! legend and borrows its writer for as long as it writes. `tests/it/readers.rs` reads the files back with Python and
//! JavaScript.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use super::{CEILING, Recorder};
use crate::clock::Nanos;

/// Nanoseconds in the unit of `Interval_Max`, a millisecond.
const MAX_DIVISOR: f64 = 1e6;

/// An interval log that is being written.
pub struct Hlog<W: Write> {
    out: W,
    serializer: V2DeflateSerializer,
    /// The interval as the crate writes it, before the divisor is removed.
    scratch: Vec<u8>,
}

impl<W: Write> Hlog<W> {
    /// Writes the header: every line of `about` as a comment, the version, and the time that intervals count from.
    ///
    /// `start` is both StartTime and BaseTime, so that every reader adds it to the times of intervals and none has to
    /// guess.
    pub fn begin(mut out: W, start: SystemTime, about: &str) -> io::Result<Hlog<W>> {
        // A clock before 1970 is not set; readers do not expect a minus sign.
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        // Some readers end a line at a carriage return.
        for line in about.split(['\n', '\r']).filter(|line| !line.is_empty()) {
            writeln!(out, "#[{line}]")?;
        }
        writeln!(out, "#[Values in ns, Interval_Max in ms]")?;
        writeln!(out, "#[Histogram log format version 1.3]")?;
        for name in ["StartTime", "BaseTime"] {
            let seconds = start.as_secs_f64();
            writeln!(out, "#[{name}: {seconds:.3} (seconds since epoch)]")?;
        }
        writeln!(
            out,
            r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#
        )?;
        Ok(Hlog {
            out,
            serializer: V2DeflateSerializer::new(),
            scratch: Vec::new(),
        })
    }

    /// Writes one interval; its times count from the start and are rounded to milliseconds.
    ///
    /// Some readers stop at the first interval outside of the range they were given: write them in order of `from`. A
    /// histogram cannot express missing replies, so a comment above it does. Panics if the tag contains a comma, a
    /// space or a line end: tags are constants in this program.
    pub fn interval(&mut self, tag: &str, from: Nanos, to: Nanos, recorder: &Recorder) -> io::Result<()> {
        let missing = recorder.censored();
        if missing > 0 {
            writeln!(
                self.out,
                "#[{tag}: {missing} missing replies in the next interval count with the age they had reached]"
            )?;
        }
        let saturated = recorder.saturated();
        if saturated > 0 {
            writeln!(
                self.out,
                "#[{tag}: {saturated} replies in the next interval took longer than {:.0} ms and count as that]",
                CEILING.0 as f64 / MAX_DIVISOR
            )?;
        }
        let tag = Tag::new(tag).expect("a tag is a name without comma, space or line end");
        self.scratch.clear();
        IntervalLogWriterBuilder::new()
            .with_max_value_divisor(MAX_DIVISOR)
            .begin_log_with(&mut self.scratch, &mut self.serializer)?
            .write_histogram(&recorder.histogram, from.into(), (to - from).into(), Some(tag))
            .map_err(as_io)?;
        // The crate writes the divisor above each log it begins; the header has it once.
        let divisor = self.scratch.iter().position(|&byte| byte == b'\n');
        let interval = &self.scratch[divisor.map_or(0, |end| end + 1)..];
        self.out.write_all(interval)
    }

    /// Flushes what is written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Flushes, and returns the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The crate's error as an I/O error. Serialising itself fails only for a bucket of more than 2^63 samples.
fn as_io<E: std::error::Error + Send + Sync + 'static>(error: IntervalLogWriterError<E>) -> io::Error {
    match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn log(recorders: &[(&str, &Recorder)]) -> String {
        let start = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        let mut log = Hlog::begin(Vec::new(), start, "urecho load\nc = 10").unwrap();
        for (second, (tag, recorder)) in recorders.iter().enumerate() {
            let from = Nanos(second as u64 * Nanos::SECOND.0);
            log.interval(tag, from, from + Nanos::SECOND, recorder).unwrap();
        }
        String::from_utf8(log.finish().unwrap()).unwrap()
    }

    #[test]
    fn the_header_is_that_of_the_java_writer() {
        let head = [
            "#[urecho load]",
            "#[c = 10]",
            "#[Values in ns, Interval_Max in ms]",
            "#[Histogram log format version 1.3]",
            "#[StartTime: 1700000000.250 (seconds since epoch)]",
            "#[BaseTime: 1700000000.250 (seconds since epoch)]",
            r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#,
        ];
        assert_eq!(log(&[]).lines().collect::<Vec<_>>(), head);
    }

    #[test]
    fn no_line_end_of_any_reader_ends_a_comment() {
        let log = Hlog::begin(Vec::new(), UNIX_EPOCH, "a\rb\r\nc").unwrap();
        let text = String::from_utf8(log.finish().unwrap()).unwrap();
        assert!(text.starts_with("#[a]\n#[b]\n#[c]\n#[Values"), "{text}");
    }

    #[test]
    fn an_interval_is_one_line_with_its_tag_times_and_largest_value() {
        let mut recorder = Recorder::new();
        recorder.record(Nanos(2_000_000));
        let log = log(&[("service", &Recorder::new()), ("response", &recorder)]);
        let lines: Vec<&str> = log.lines().skip(7).collect();
        assert!(lines[0].starts_with("Tag=service,0.000,1.000,0.000,HISTFAAAA"));
        // 2 ms and the width of its bucket, 1,024 ns.
        assert!(lines[1].starts_with("Tag=response,1.000,1.000,2.001,HISTFAAAA"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn missing_replies_are_reported_in_a_comment() {
        let mut recorder = Recorder::new();
        recorder.record_censored(Nanos(5_000));
        assert!(log(&[("service", &recorder)]).contains("\n#[service: 1 missing replies"));
    }

    #[test]
    fn replies_beyond_the_ceiling_are_reported_in_a_comment() {
        let mut recorder = Recorder::new();
        recorder.record(Nanos(61_000_000_000));
        let text = log(&[("service", &recorder)]);
        assert!(
            text.contains("\n#[service: 1 replies in the next interval took longer than 60000 ms"),
            "{text}"
        );
    }

    #[test]
    #[should_panic(expected = "a tag is a name")]
    fn a_tag_that_would_break_the_line_panics() {
        log(&[("a,b", &Recorder::new())]);
    }

    #[test]
    fn a_full_disk_is_an_error_not_a_panic() {
        let mut small = [0_u8; 400];
        let mut log = Hlog::begin(&mut small[..], SystemTime::now(), "about").unwrap();
        let recorder = Recorder::new();
        let written = (0..20).try_for_each(|_| log.interval("service", Nanos(0), Nanos::SECOND, &recorder));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
