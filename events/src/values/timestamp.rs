//! A moment, as the log stores it and as clients read it.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The first moment that RFC 3339 can write: the year 0.
const FIRST: i64 = -62_167_219_200_000;

/// The last one: the end of the year 9999.
const LAST: i64 = 253_402_300_799_999;

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970 in UTC; written as RFC 3339 with milliseconds and `Z`. RFC 3339 has only the years 0 to 9999:
/// a moment outside of them becomes their first or their last, so that everything that was written can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many milliseconds after 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        // `Ord::clamp` is not const.
        match millis {
            ..FIRST => Self(FIRST),
            FIRST..=LAST => Self(millis),
            _ => Self(LAST),
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment at which a day starts, in days since 1970.
    #[must_use]
    pub fn of_day(day: u32) -> Self {
        Self::from_millis(i64::from(day) * DAY_MS)
    }

    /// The day in days since 1970, or 0 for an earlier one.
    #[must_use]
    pub fn day(self) -> u32 {
        u32::try_from(self.0.div_euclid(DAY_MS)).unwrap_or_default()
    }

    /// The moment `millis` later.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// How long after another moment this is; nothing when it is before.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// Reads an RFC 3339 text of any precision and offset, and a year of more digits after a `+`: the first
    /// release wrote such ones.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let time = match text.strip_prefix('+') {
            Some(_) => text.parse::<DateTime<Utc>>().ok()?.timestamp_millis(),
            None => DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis(),
        };
        Some(Self::from_millis(time))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        self.plus_millis(millis(later))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        self.plus_millis(-millis(earlier))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.0))
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::from_millis)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_millis(self.0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Mostly a moment that can be written.
    fn near() -> impl Strategy<Value = i64> {
        prop_oneof![3 => FIRST - 9..=LAST + 9, 1 => any::<i64>()]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in near(), later in near()) {
            for time in [Timestamp::from_millis(millis), Timestamp::from_millis(millis).plus_millis(later)] {
                prop_assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
            }
        }
    }

    #[test]
    fn what_is_after_the_year_9999_is_its_end_and_what_is_before_the_year_0_its_beginning() {
        let (first, last) = ("0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z");
        let read = |text| Timestamp::parse(text).unwrap();
        for time in
            [Timestamp::from_millis(i64::MAX), read(last).plus_millis(1), read("9999-12-31T23:59:59-01:00")]
        {
            assert_eq!((time, time.to_string().as_str()), (read(last), last));
        }
        for time in
            [Timestamp::from_millis(i64::MIN), read(first).plus_millis(-1), read("0000-01-01T00:00:00+01:00")]
        {
            assert_eq!((time, time.to_string().as_str()), (read(first), first));
        }
        assert_eq!(read(last).plus_millis(-1).to_string(), "9999-12-31T23:59:59.998Z");
    }

    #[test]
    fn a_day_starts_at_midnight_and_ends_before_the_next_one() {
        for day in [0, 1, 20_787] {
            let start = Timestamp::of_day(day);
            assert_eq!((start.day(), start.plus_millis(DAY_MS - 1).day()), (day, day));
        }
        assert_eq!(Timestamp::from_millis(-1).day(), 0);
    }

    #[test]
    fn a_year_of_five_digits_is_read_as_the_end_of_time() {
        let last = Some(Timestamp::from_millis(LAST));
        assert_eq!(Timestamp::parse("+13434-11-04T10:30:00.000Z"), last);
        for text in ["13434-11-04T10:30:00.000Z", "+", "+1", "+13434", "+13434-11-04T10:30:00.000"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn time_is_added_taken_away_and_measured() {
        let (time, hour) = (Timestamp::from_millis(1_705_314_600_000), Duration::from_hours(1));
        assert_eq!((time + hour).as_millis() - time.as_millis(), 3_600_000);
        assert_eq!((time + hour) - hour, time);
        assert_eq!((time + hour).saturating_since(time), hour);
        assert_eq!(time.saturating_since(time + hour), Duration::ZERO);
        let (first, last) = (Timestamp::from_millis(FIRST), Timestamp::from_millis(LAST));
        assert_eq!((time + Duration::MAX, time - Duration::MAX), (last, first));
    }

    #[test]
    fn a_timestamp_is_shown_in_utc_with_milliseconds() {
        let time = Timestamp::from_millis(1_705_314_600_000);
        assert_eq!(time.to_string(), "2024-01-15T10:30:00.000Z");
        assert_eq!(Timestamp::parse("2024-01-15T11:30:00+01:00"), Some(time));
    }
}
