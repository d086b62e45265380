//! Days and instants of the proleptic Gregorian calendar in UTC, years 0 to 9999.
//!
//! The two conversions are Howard Hinnant's `days_from_civil` and `civil_from_days`
//! (<https://howardhinnant.github.io/date_algorithms.html>); the tests compare them with SQLite's own calendar.

use std::fmt;

/// Milliseconds in a day; Unix time has no leap seconds.
const DAY_MS: u64 = 86_400_000;
/// Same, signed.
const DAY_MS_SIGNED: i64 = 86_400_000;
/// 10000-01-01T00:00:00Z: the first instant that the four-digit form cannot write.
const END_MS: u64 = 253_402_300_800_000;

/// A UTC day, written `2026-11-30` (RFC 3339 `full-date`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// Since 1970-01-01; 0000-01-01 is -719,528, 9999-12-31 is 2,932,896.
    days_since_epoch: i64,
}

impl Day {
    /// 0000-01-01.
    const FIRST: Day = Day { days_since_epoch: -719_528 };
    /// 9999-12-31.
    pub const LAST: Day = Day { days_since_epoch: 2_932_896 };

    /// The day of an instant in milliseconds since the Unix epoch; `None` from the year 10000 on.
    pub fn of_ms(at_ms: u64) -> Option<Self> {
        if at_ms >= END_MS {
            return None;
        }
        Some(Day { days_since_epoch: i64::try_from(at_ms / DAY_MS).ok()? })
    }

    /// Reads `YYYY-MM-DD`; `None` for anything else, days that do not exist included.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let year = digits(fields.next()?, 4)?;
        let month = digits(fields.next()?, 2)?;
        let day = digits(fields.next()?, 2)?;
        if fields.next().is_some() || !(1..=12).contains(&month) || day == 0 {
            return None;
        }
        let parsed = Day { days_since_epoch: days_from_civil(year, month, day) };
        // A day past the end of its month lands in the next one.
        (parsed.civil() == (year, month, day)).then_some(parsed)
    }

    /// `count` days earlier, not before the year 0.
    pub fn minus_days(self, count: u32) -> Self {
        let days_since_epoch = self.days_since_epoch.saturating_sub(i64::from(count));
        Day { days_since_epoch }.max(Day::FIRST)
    }

    /// Its first millisecond since the Unix epoch; negative before 1970.
    pub fn start_ms(self) -> i64 {
        self.days_since_epoch.saturating_mul(DAY_MS_SIGNED)
    }

    /// The first millisecond of the next day.
    pub fn end_ms(self) -> i64 {
        self.start_ms().saturating_add(DAY_MS_SIGNED)
    }

    /// Year, month from 1, day from 1.
    fn civil(self) -> (i64, i64, i64) {
        let z = self.days_since_epoch + 719_468; // days since 0000-03-01
        let era = z.div_euclid(146_097); // 400 years
        let day_of_era = z.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// An instant as RFC 3339 with milliseconds: `2026-11-30T23:59:59.999Z`; `None` from the year 10000 on.
pub(crate) fn rfc3339(at_ms: u64) -> Option<String> {
    let day = Day::of_ms(at_ms)?;
    let ms = at_ms % DAY_MS;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    Some(format!("{day}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000))
}

/// Reads an instant in UTC as [`rfc3339`] writes it, with or without milliseconds, as milliseconds since the Unix epoch.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (seconds, ms) = time.split_once('.').unwrap_or((time, "000"));
    let mut fields = seconds.split(':');
    let mut field = |end: i64| digits(fields.next()?, 2).filter(|value| *value < end);
    let (hour, minute, second) = (field(24)?, field(60)?, field(60)?);
    if fields.next().is_some() {
        return None;
    }
    Some(Day::parse(day)?.start_ms() + ((hour * 60 + minute) * 60 + second) * 1_000 + digits(ms, 3)?)
}

/// Exactly `count` ASCII digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    if text.len() != count || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_ten_thousand_years_is_the_one_that_sqlite_counts() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let mut statement = database.prepare("SELECT date(?1 * 86400, 'unixepoch')").unwrap();
        // Every day for some centuries around now, then one in 97 (prime to weeks, months and leap cycles).
        let near = -50_000..100_000;
        let far = (Day::FIRST.days_since_epoch..=2_932_896).step_by(97);
        for days_since_epoch in near.chain(far).chain([2_932_896]) {
            let expected: String = statement.query_row([days_since_epoch], |row| row.get(0)).unwrap();
            let day = Day { days_since_epoch };
            assert_eq!(day.to_string(), expected);
            assert_eq!(Day::parse(&expected), Some(day), "{expected}");
        }
    }

    #[test]
    fn what_is_not_a_day_is_refused() {
        let wrong = [
            "",
            "2026",
            "2026-11",
            "2026-11-31",
            "2026-02-29",
            "2100-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-1-1",
            "26-01-01",
            "2026-01-01T00:00:00Z",
            " 2026-01-01",
            "2026-01-01-",
            "-026-01-01",
            "+026-01-01",
            "2026/01/01",
            "٢٠٢٦-01-01",
            "12026-01-01",
        ];
        for text in wrong {
            assert_eq!(Day::parse(text), None, "{text:?}");
        }
        assert_eq!(Day::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
    }

    #[test]
    fn a_day_runs_from_its_first_millisecond_to_the_next_days() {
        let day = Day::parse("2026-11-30").unwrap();
        assert_eq!(day.start_ms(), 1_795_996_800_000);
        for (at_ms, expected) in [
            (1_795_996_799_999, "2026-11-29"),
            (1_795_996_800_000, "2026-11-30"),
            (1_796_083_199_999, "2026-11-30"),
        ] {
            assert_eq!(Day::of_ms(at_ms).unwrap().to_string(), expected, "{at_ms}");
        }
        assert_eq!(day.end_ms(), 1_796_083_200_000);
    }

    #[test]
    fn the_calendar_ends_with_the_year_9999() {
        assert_eq!(rfc3339(END_MS - 1).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Day::of_ms(END_MS), None);
        assert_eq!(rfc3339(u64::MAX), None);
        assert_eq!(Day::parse("0000-01-02").unwrap().minus_days(400).to_string(), "0000-01-01");
    }

    #[test]
    fn instants_are_written_with_milliseconds() {
        assert_eq!(rfc3339(0).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_796_083_199_007).unwrap(), "2026-11-30T23:59:59.007Z");
    }

    #[test]
    fn an_instant_is_read_as_it_is_written() {
        for at_ms in [0, 1_796_083_199_007, 1_795_996_800_000, END_MS - 1] {
            assert_eq!(parse_instant(&rfc3339(at_ms).unwrap()), i64::try_from(at_ms).ok(), "{at_ms}");
        }
        assert_eq!(parse_instant("2026-11-30T23:59:59Z"), Some(1_796_083_199_000));
        for text in [
            "2026-11-30T23:59:59",
            "2026-11-30T24:00:00Z",
            "2026-11-30T23:60:00Z",
            "2026-11-30T23:59:60Z",
            "2026-11-30T23:59Z",
            "2026-11-30T23:59:59:00Z",
            "2026-11-30T23:59:59.Z",
            "2026-11-30T23:59:59.0007Z",
            "2026-11-31T00:00:00Z",
            "2026-11-30 23:59:59Z",
            "2026-11-30T23:59:59+00:00",
            "T00:00:00Z",
            "Z",
        ] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
