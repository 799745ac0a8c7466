//! Instants as people and other programs write them: RFC 3339 in UTC, and nanoseconds since 1970.
//!
//! Only for labels: durations come from the monotonic clock, which no one sets.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::Error as _;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::Nanos;

/// An instant of the wall clock, in nanoseconds since 1970 without leap seconds; zero for a clock that is set before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime(u64);

impl WallTime {
    /// The wall-clock time of an instant of the monotonic clock, by how long ago that was.
    pub fn at(instant: Nanos) -> WallTime {
        let (wall, now) = (SystemTime::now(), super::now());
        let since_epoch = Nanos::from(wall.duration_since(UNIX_EPOCH).unwrap_or_default());
        WallTime((since_epoch + instant - now).0)
    }

    /// This long after 1970 began.
    pub fn from_unix_ns(unix_ns: u64) -> WallTime {
        WallTime(unix_ns)
    }

    /// `later` after this instant.
    pub fn plus(self, later: Nanos) -> WallTime {
        WallTime(self.0.saturating_add(later.0))
    }

    /// Nanoseconds since 1970.
    pub fn unix_ns(self) -> u64 {
        self.0
    }
}

impl From<WallTime> for SystemTime {
    fn from(time: WallTime) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(time.0)
    }
}

/// RFC 3339 in UTC with nanoseconds: `2026-11-25T09:48:52.123456789Z`.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ns) = (self.0 / Nanos::SECOND.0, self.0 % Nanos::SECOND.0);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ns:09}Z"
        )
    }
}

/// Year, month and day of a number of days since 1970-01-01: Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", civil_from_days. Its years begin in March, so that the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // Since 0000-03-01.
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_based = (5 * day + 2) / 153;
    let month = if march_based < 10 {
        march_based + 3
    } else {
        march_based - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day - (153 * march_based + 2) / 5 + 1)
}

/// Both forms. The number is a string, as in OTLP: it is above 2^53, which JavaScript and jq would round.
impl Serialize for WallTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_struct("WallTime", 2)?;
        both.serialize_field("time", &self.to_string())?;
        both.serialize_field("unix_ns", &self.0.to_string())?;
        both.end()
    }
}

impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<WallTime, D::Error> {
        #[derive(Deserialize)]
        struct Number {
            unix_ns: String,
        }
        let Number { unix_ns } = Number::deserialize(deserializer)?;
        unix_ns.parse().map(WallTime).map_err(D::Error::custom)
    }
}

#[cfg(test)]
impl schemars::JsonSchema for WallTime {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "WallTime".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An instant of the wall clock.",
            "type": "object",
            "properties": {
                "time": {
                    "description": "RFC 3339, UTC, with nanoseconds.",
                    "type": "string",
                    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{9}Z$"
                },
                "unix_ns": {
                    "description": "Nanoseconds since 1970; a string, because it is above 2^53.",
                    "type": "string",
                    "pattern": "^[0-9]+$"
                }
            },
            "required": ["time", "unix_ns"],
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_rfc_3339() {
        // From `date -u -d @N`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000000007Z"),
            (951_782_399, "2000-02-28T23:59:59.000000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000000007Z"),
            (951_868_800, "2000-03-01T00:00:00.000000007Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000000007Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000007Z"),
        ] {
            assert_eq!(WallTime(seconds * Nanos::SECOND.0 + 7).to_string(), text);
        }
    }

    #[test]
    fn an_instant_of_the_monotonic_clock_has_its_wall_clock_time() {
        let before = SystemTime::now();
        let now = WallTime::at(crate::clock::now());
        let later = WallTime::at(crate::clock::now() + Nanos::SECOND);
        let slack = Duration::from_secs(20); // Of a machine that stands still between two reads.
        assert!(SystemTime::from(now) + Duration::from_millis(1) >= before);
        assert!(SystemTime::from(now) < before + slack);
        assert!(later.unix_ns() - now.unix_ns() >= Nanos::SECOND.0 - 1_000_000);
    }

    #[test]
    fn json_has_both_forms_and_no_number_that_readers_round() {
        let json = serde_json::to_string(&WallTime(1_764_064_132_123_456_789)).unwrap();
        let expected = r#"{"time":"2025-11-25T09:48:52.123456789Z","unix_ns":"1764064132123456789"}"#;
        assert_eq!(json, expected);
    }
}
