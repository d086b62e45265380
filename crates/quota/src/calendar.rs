//! Where the calendar's hour, day, week, month and year begin and end in a time zone.
//!
//! Every boundary comes from the zone's rules, never from adding 86,400 s: a day in spring has 23 hours. Windows of one
//! period follow each other without gap or overlap, so each instant lies in exactly one.

use gateway_config::{Period, Zone};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// A stretch of time, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first millisecond.
    pub start_ms: u64,
    /// The first millisecond after it.
    pub end_ms: u64,
}

const HOUR_S: i64 = 3_600;

/// The period's window that `now_ms` lies in; `None` only beyond the year 9999.
pub fn stretch(period: Period, zone: &Zone, now_ms: u64) -> Option<Stretch> {
    let rules = zone.rules();
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let (start, end) = match period {
        Period::Hour => hour(rules, now)?,
        Period::Day | Period::Week | Period::Month | Period::Year => {
            let (first, next) = dates(period, &Zoned::new(now, rules.clone()))?;
            (start_of(first, rules)?, start_of(next, rules)?)
        }
    };
    let ms = |timestamp: Timestamp| u64::try_from(timestamp.as_millisecond().max(0)).ok();
    Some(Stretch { start_ms: ms(start)?, end_ms: ms(end)? })
}

/// From full hour to full hour of the local clock; a change of the clock within an hour ends it as well.
fn hour(rules: &TimeZone, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let offset_s = i64::from(rules.to_offset(now).seconds());
    let now_s = now.as_millisecond().div_euclid(1_000);
    let start_s = (now_s + offset_s).div_euclid(HOUR_S) * HOUR_S - offset_s;
    let mut start = Timestamp::from_second(start_s).ok()?;
    let mut end = Timestamp::from_second(start_s + HOUR_S).ok()?;
    if let Some(change) = rules.following(now).next() {
        end = end.min(change.timestamp());
    }
    // `preceding` is exclusive, and a change at this very instant has happened.
    let until = now.checked_add(Span::new().milliseconds(1)).ok()?;
    if let Some(change) = rules.preceding(until).next() {
        start = start.max(change.timestamp());
    }
    Some((start, end))
}

/// The first date of the window, and of the next.
fn dates(period: Period, now: &Zoned) -> Option<(Date, Date)> {
    let today = now.date();
    let (first, length) = match period {
        Period::Hour | Period::Day => (today, Span::new().days(1)),
        Period::Week => {
            let since_monday = i64::from(today.weekday().to_monday_zero_offset());
            (today.checked_sub(Span::new().days(since_monday)).ok()?, Span::new().days(7))
        }
        Period::Month => (today.first_of_month(), Span::new().months(1)),
        Period::Year => (today.first_of_year(), Span::new().years(1)),
    };
    Some((first, first.checked_add(length).ok()?))
}

/// The first instant of a date: midnight, or what follows it where the clock skips midnight.
fn start_of(date: Date, rules: &TimeZone) -> Option<Timestamp> {
    Some(date.to_zoned(rules.clone()).ok()?.start_of_day().ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap()
    }

    #[test]
    fn windows_begin_and_end_where_the_local_calendar_says() {
        for (period, name, now, start, end) in [
            (Period::Hour, "UTC", "2026-03-29T00:59:59.999Z", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
            (Period::Day, "UTC", "2026-03-29T00:00:00Z", "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"),
            // Berlin, spring: 23 hours.
            (
                Period::Day,
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            // Berlin, autumn: 25 hours, and each of the two hours from 2 to 3 is one of its own.
            (
                Period::Day,
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                Period::Hour,
                "Europe/Berlin",
                "2026-10-25T00:30:00Z",
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
            ),
            (
                Period::Hour,
                "Europe/Berlin",
                "2026-10-25T01:30:00Z",
                "2026-10-25T01:00:00Z",
                "2026-10-25T02:00:00Z",
            ),
            // 45 minutes off the full hour.
            (
                Period::Hour,
                "Asia/Kathmandu",
                "2026-06-01T12:00:00Z",
                "2026-06-01T11:15:00Z",
                "2026-06-01T12:15:00Z",
            ),
            // The clock moves by half an hour: the hour from 2 has but 30 minutes.
            (
                Period::Hour,
                "Australia/Lord_Howe",
                "2026-10-03T15:45:00Z",
                "2026-10-03T15:30:00Z",
                "2026-10-03T16:00:00Z",
            ),
            // Midnight does not exist there on that day.
            (
                Period::Day,
                "America/Santiago",
                "2026-09-06T12:00:00Z",
                "2026-09-06T04:00:00Z",
                "2026-09-07T03:00:00Z",
            ),
            (
                Period::Week,
                "America/New_York",
                "2026-11-01T12:00:00Z",
                "2026-10-26T04:00:00Z",
                "2026-11-02T05:00:00Z",
            ),
            (Period::Week, "UTC", "2026-01-01T00:00:00Z", "2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"),
            (
                Period::Month,
                "Asia/Tokyo",
                "2028-02-10T00:00:00Z",
                "2028-01-31T15:00:00Z",
                "2028-02-29T15:00:00Z",
            ),
            (
                Period::Year,
                "Pacific/Auckland",
                "2026-06-01T00:00:00Z",
                "2025-12-31T11:00:00Z",
                "2026-12-31T11:00:00Z",
            ),
            // A whole day that was skipped: 30 December 2011 in Samoa.
            (
                Period::Day,
                "Pacific/Apia",
                "2011-12-30T09:00:00Z",
                "2011-12-29T10:00:00Z",
                "2011-12-30T10:00:00Z",
            ),
        ] {
            let expected = Some(Stretch { start_ms: ms(start), end_ms: ms(end) });
            assert_eq!(stretch(period, &zone(name), ms(now)), expected, "{period:?} {name} {now}");
        }
    }

    #[test]
    fn an_impossible_instant_has_no_window() {
        assert_eq!(stretch(Period::Day, &Zone::UTC, u64::MAX), None);
        assert_eq!(stretch(Period::Year, &Zone::UTC, 253_402_300_799_000), None);
    }

    const PERIODS: [Period; 5] = [Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year];
    const ZONES: [&str; 10] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "Pacific/Chatham",
        "Africa/Cairo",
        "America/St_Johns",
        "Antarctica/Troll",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn each_instant_lies_in_one_window_and_the_next_follows_at_once(
            // From 2015 to 2045.
            now_ms in 1_420_000_000_000_u64..2_366_000_000_000, period in 0..5_usize, name in 0..10_usize,
            within in any::<u64>(),
        ) {
            let (period, zone) = (PERIODS[period], zone(ZONES[name]));
            let window = stretch(period, &zone, now_ms).unwrap();
            prop_assert!(window.start_ms <= now_ms && now_ms < window.end_ms, "{window:?}");
            let length = window.end_ms - window.start_ms;
            let other_ms = window.start_ms + within % length;
            prop_assert_eq!(stretch(period, &zone, other_ms), Some(window), "the same all through");
            prop_assert_eq!(stretch(period, &zone, window.end_ms).unwrap().start_ms, window.end_ms);
            prop_assert_eq!(stretch(period, &zone, window.start_ms - 1).unwrap().end_ms, window.start_ms);
        }
    }
}
