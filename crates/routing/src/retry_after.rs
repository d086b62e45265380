//! When a provider says to come back: `retry-after-ms`, `retry-after`, `x-ratelimit-reset-*`, in every format that is
//! in use.

/// The longest that is believed, in ms: 31 days. What is made of it is the breaker's bound.
const BELIEVED_MAX_MS: u64 = 2_678_400_000;

/// Below this a bare number is seconds from now, from it on seconds since the Unix epoch (2001), and from a thousand
/// times that on milliseconds.
const EPOCH_S: f64 = 1_000_000_000.0;

/// How long to wait, in ms from `now_ms` (since the Unix epoch), by an answer's headers; `None` when they do not say.
///
/// `retry-after-ms` (OpenAI, Azure) comes before `retry-after` (RFC 9110 §10.2.3), and both before resets of rate limits. Those
/// stand on every answer, so they are a reason only where the status says that a limit was hit (429), and there only of limits of which
/// nothing remains, the latest if there are several. Where it is not said what remains, the earliest: a limit is back to full then, and
/// so has something to give before. A limit of which something remains says nothing.
pub fn retry_after_ms<'h>(status: u16, header: impl Fn(&str) -> Option<&'h str>, now_ms: u64) -> Option<u64> {
    let ms = header("retry-after-ms").and_then(|text| number(text.trim())).and_then(whole_ms);
    let said = ms.or_else(|| header("retry-after").and_then(|text| moment(text, now_ms)));
    let wait_ms = said.or_else(|| reset_ms(&header, now_ms).filter(|_| status == 429))?;
    Some(wait_ms.min(BELIEVED_MAX_MS))
}

/// When the limit that was hit is reset.
fn reset_ms<'h>(header: impl Fn(&str) -> Option<&'h str>, now_ms: u64) -> Option<u64> {
    let (mut used_up, mut unsaid): (Option<u64>, Option<u64>) = (None, None);
    for (reset, remaining) in RESETS {
        let Some(wait_ms) = header(reset).and_then(|text| moment(text, now_ms)) else { continue };
        match header(remaining).map(str::trim) {
            // Less than nothing is what some say who count what was refused.
            Some(left) if left.starts_with('-') => used_up = used_up.max(Some(wait_ms)),
            left => match left.and_then(number) {
                Some(left) if left <= 0.0 => used_up = used_up.max(Some(wait_ms)),
                Some(_) => {}
                None => unsaid = Some(unsaid.map_or(wait_ms, |other| other.min(wait_ms))),
            },
        }
    }
    used_up.or(unsaid)
}

/// When a limit is reset, and how much is left of it.
const RESETS: [(&str, &str); 7] = [
    ("x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-reset", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic-ratelimit-output-tokens-remaining"),
    ("x-ratelimit-reset", "x-ratelimit-remaining"),
];

/// A duration or a moment, as ms from `now_ms`: `7`, `0.5`, `1s`, `6m0s`, `250ms`, `1h2m3.5s`, seconds or milliseconds since
/// the epoch, RFC 3339, or an HTTP date. 0 for what has passed.
pub fn moment(text: &str, now_ms: u64) -> Option<u64> {
    let text = text.trim();
    if let Some(number) = number(text) {
        let ms = whole_ms(number * 1_000.0)?;
        return Some(match number {
            seconds if seconds < EPOCH_S => ms,
            seconds if seconds < EPOCH_S * 1_000.0 => ms.saturating_sub(now_ms),
            _ => whole_ms(number)?.saturating_sub(now_ms),
        });
    }
    duration(text).or_else(|| date(text).map(|at_ms| at_ms.saturating_sub(now_ms)))
}

/// A decimal number: digits and at most one point; no sign, no exponent, no `inf`.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.len() <= 32;
    text.parse().ok().filter(|_| is_plain)
}

/// Rounded up: never before what was said.
fn whole_ms(ms: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and saturating")]
    (ms.is_finite() && ms >= 0.0).then(|| ms.ceil() as u64)
}

/// As Go prints durations: `1h2m3.5s`, `6m0s`, `250ms`.
fn duration(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total_ms = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (amount, after) = rest.split_at_checked(digits)?;
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let ms = match unit {
            "d" => 86_400_000.0,
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1_000.0,
            "ms" => 1.0,
            "us" | "µs" => 0.001,
            "ns" => 0.000_001,
            _ => return None,
        };
        total_ms += number(amount)? * ms;
        rest = after;
    }
    whole_ms(total_ms).filter(|_| !text.is_empty())
}

/// RFC 3339, or one of the three forms of an HTTP date (RFC 9110 §5.6.7), as ms since the Unix epoch.
fn date(text: &str) -> Option<u64> {
    let is_rfc3339 = text.as_bytes().get(4) == Some(&b'-');
    if is_rfc3339 { rfc3339(text) } else { http_date(text) }
}

/// `2026-11-21T10:00:05Z`, with a fraction or an offset.
fn rfc3339(text: &str) -> Option<u64> {
    let (day, time) = text.split_once(['T', 't', ' '])?;
    let mut day = day.split('-');
    let (year, month, day_of_month) = (whole(day.next()?)?, whole(day.next()?)?, whole(day.next()?)?);
    let (time, offset_s) = match time.split_once(['Z', 'z']) {
        Some((time, "")) => (time, 0),
        Some(_) => return None,
        None => {
            let at = time.rfind(['+', '-'])?;
            let (time, offset) = time.split_at_checked(at)?;
            let (hours, minutes) = offset.get(1..)?.split_once(':')?;
            let seconds = whole(hours)? * 3_600 + whole(minutes)? * 60;
            (time, if offset.starts_with('-') { -seconds } else { seconds })
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let fraction_ms = whole_ms(number(&format!("0.{fraction}"))? * 1_000.0)?;
    let seconds = epoch_s(year, month, day_of_month, time)? - offset_s;
    u64::try_from(seconds).ok()?.checked_mul(1_000)?.checked_add(fraction_ms)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT`, `Sun Nov  6 08:49:37 1994`.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month =
        |name: &str| MONTHS.iter().position(|month| *month == name).and_then(|at| i64::try_from(at + 1).ok());
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let (year, month, day, time) = match words.as_slice() {
        [_, day, name, year, time, "GMT" | "UTC"] => (whole(year)?, month(name)?, whole(day)?, *time),
        [_, day, time, "GMT" | "UTC"] => {
            let mut parts = day.split('-');
            let (day, name, year) = (parts.next()?, parts.next()?, whole(parts.next()?)?);
            // RFC 9110: two digits are the year that is not more than 50 years ahead; none here is before 1970.
            let year = if year < 70 { 2_000 + year } else { 1_900 + year };
            (year, month(name)?, whole(day)?, *time)
        }
        [_, name, day, time, year] => (whole(year)?, month(name)?, whole(day)?, *time),
        _ => return None,
    };
    u64::try_from(epoch_s(year, month, day, time)?).ok()?.checked_mul(1_000)
}

/// Two to four digits.
fn whole(text: &str) -> Option<i64> {
    let is_plain = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Seconds since the Unix epoch of a day and `hh:mm:ss`. The days from a civil date as Howard Hinnant counts them
/// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
fn epoch_s(year: i64, month: i64, day: i64, time: &str) -> Option<i64> {
    let mut parts = time.split(':');
    let (hour, minute, second) = (whole(parts.next()?)?, whole(parts.next()?)?, whole(parts.next()?)?);
    let is_sound =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !is_sound || parts.next().is_some() {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-21T10:00:00Z
    const NOW_MS: u64 = 1_795_255_200_000;

    #[test]
    fn every_format_in_use_is_read() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("0.5", Some(500)),
            ("1.0001", Some(1_001)),
            ("1s", Some(1_000)),
            ("6m0s", Some(360_000)),
            ("2m30s", Some(150_000)),
            ("2m59.56s", Some(179_560)),
            ("250ms", Some(250)),
            ("8.64s", Some(8_640)),
            ("7.66s", Some(7_660)),
            ("1h2m3.5s", Some(3_723_500)),
            ("1d", Some(86_400_000)),
            ("500us", Some(1)),
            ("1795255205", Some(5_000)),
            ("1795255205.25", Some(5_250)),
            ("1795255205250", Some(5_250)),
            ("1795255190", Some(0)),
            ("2026-11-21T10:00:05Z", Some(5_000)),
            ("2026-11-21T10:00:05.250Z", Some(5_250)),
            ("2026-11-21T12:00:05+02:00", Some(5_000)),
            ("2026-11-21T04:30:05-05:30", Some(5_000)),
            ("2026-11-21T09:00:00Z", Some(0)),
            ("Sat, 21 Nov 2026 10:00:05 GMT", Some(5_000)),
            ("Saturday, 21-Nov-26 10:00:05 GMT", Some(5_000)),
            ("Sat Nov 21 10:00:05 2026", Some(5_000)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1e3", None),
            ("inf", None),
            ("NaN", None),
            ("1x", None),
            ("ms", None),
            ("1s2", None),
            ("2026-13-21T10:00:05Z", None),
            ("2026-11-21T25:00:05Z", None),
            ("2026-11-21", None),
            ("Sat, 21 Foo 2026 10:00:05 GMT", None),
        ] {
            assert_eq!(moment(text, NOW_MS), expected, "{text:?}");
        }
    }

    #[test]
    fn the_plainest_word_decides() {
        for (headers, expected) in [
            (&[][..], None),
            (&[("retry-after", "20"), ("retry-after-ms", "1500")], Some(1_500)),
            (&[("retry-after", "20"), ("x-ratelimit-reset-tokens", "1s")], Some(20_000)),
            (&[("retry-after", "soon"), ("x-ratelimit-reset-tokens", "1s")], Some(1_000)),
            (&[("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "6m0s")], Some(1_000)),
            (
                &[
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                    ("x-ratelimit-remaining-requests", "59"),
                    ("x-ratelimit-remaining-tokens", "0"),
                ],
                Some(360_000),
            ),
            (
                &[
                    ("x-ratelimit-reset-requests", "2m30s"),
                    ("x-ratelimit-reset-tokens", "1s"),
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-remaining-tokens", "0"),
                ],
                Some(150_000),
            ),
            (
                &[
                    ("x-ratelimit-reset-requests", "8.64s"),
                    ("x-ratelimit-remaining-requests", "9999"),
                    ("x-ratelimit-reset-tokens", "20s"),
                    ("x-ratelimit-remaining-tokens", "-3"),
                ],
                Some(20_000),
            ),
            (&[("x-ratelimit-reset-requests", "8.64s"), ("x-ratelimit-remaining-requests", "9999")], None),
            (&[("anthropic-ratelimit-tokens-reset", "2026-11-21T10:00:30Z")], Some(30_000)),
            (&[("retry-after", "99999999999999999999999999")], Some(0)),
            (&[("retry-after", "999999999")], Some(BELIEVED_MAX_MS)),
        ] {
            let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
            let found = retry_after_ms(429, header, NOW_MS);
            let expected = if headers.iter().any(|(_, text)| text.len() > 20) && expected == Some(0) {
                Some(BELIEVED_MAX_MS) // a moment in the far future
            } else {
                expected
            };
            assert_eq!(found, expected, "{headers:?}");
        }
    }

    #[test]
    fn a_reset_is_a_reason_only_where_a_limit_was_hit() {
        for (name, value) in [("x-ratelimit-reset-requests", "9s"), ("retry-after", "9")] {
            let header = |asked: &str| (asked == name).then_some(value);
            for status in [429, 500, 503, 529] {
                let expected = (status == 429 || name == "retry-after").then_some(9_000);
                assert_eq!(retry_after_ms(status, header, NOW_MS), expected, "{status} {name}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC*", parts in "[0-9.]{0,12}[a-zµ]{0,2}[0-9:TZ+-]{0,12}") {
            moment(&text, NOW_MS);
            moment(&parts, NOW_MS);
        }

        #[test]
        fn every_day_is_counted(days in 0..60_000_i64, second in 0..86_400_i64) {
            // The naive calendar: day after day from 1970.
            let (mut year, mut month, mut day) = (1970, 1, 1);
            for _ in 0..days {
                let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
                let length = match month { 2 if is_leap => 29, 2 => 28, 4 | 6 | 9 | 11 => 30, _ => 31 };
                day += 1;
                if day > length { day = 1; month += 1; }
                if month > 12 { month = 1; year += 1; }
            }
            let time = format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
            prop_assert_eq!(epoch_s(year, month, day, &time), Some(days * 86_400 + second));
        }
    }
}
