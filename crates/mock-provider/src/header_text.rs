//! The value of a header that a model name asks for: verbatim, or a moment so many seconds from now in one of the
//! formats that providers use for `retry-after` and `x-ratelimit-reset-*`.
//!
//! A moment is written when the answer is, so that a test can name a time that has not come yet.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// A header value before it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderText {
    /// As it stands.
    Verbatim(HeaderValue),
    /// A moment, so long from now.
    Moment(Duration, Format),
}

/// How a moment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110 section 5.6.7.
    HttpDate,
    /// `1994-11-06T08:49:37Z`, RFC 3339.
    Rfc3339,
    /// Seconds since the Unix epoch.
    Epoch,
    /// Milliseconds since the Unix epoch.
    EpochMs,
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl HeaderText {
    /// `@http-date(3)`, `@rfc3339(3)`, `@epoch(3)` or `@epoch-ms(3)`, in seconds from now; anything else is verbatim.
    /// `None` for what no header can hold, and for an unknown `@word`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(moment) = text.strip_prefix('@') else {
            return HeaderValue::from_str(text).ok().filter(|value| !value.is_empty()).map(Self::Verbatim);
        };
        let (format, seconds) = moment.strip_suffix(')')?.split_once('(')?;
        let format = match format {
            "http-date" => Format::HttpDate,
            "rfc3339" => Format::Rfc3339,
            "epoch" => Format::Epoch,
            "epoch-ms" => Format::EpochMs,
            _ => return None,
        };
        Some(Self::Moment(Duration::from_secs(u64::from(seconds.parse::<u32>().ok()?)), format))
    }

    /// The value to send at `now`.
    pub fn at(&self, now: SystemTime) -> HeaderValue {
        match self {
            Self::Verbatim(value) => value.clone(),
            Self::Moment(ahead, format) => {
                let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default() + *ahead;
                // Digits, letters and punctuation only.
                HeaderValue::from_str(&write(since_epoch, *format))
                    .unwrap_or_else(|_| HeaderValue::from_static("0"))
            }
        }
    }
}

fn write(since_epoch: Duration, format: Format) -> String {
    let seconds = since_epoch.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
    };
    match format {
        Format::HttpDate => format!(
            "{}, {day:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT",
            name(&DAYS, days % 7),
            name(&MONTHS, month - 1)
        ),
        Format::Rfc3339 => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        Format::Epoch => seconds.to_string(),
        Format::EpochMs => since_epoch.as_millis().to_string(),
    }
}

/// Year, month and day of a day since 1970-01-01, by Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_every_format() {
        // The date of RFC 9110's own example, a leap day, and the epoch itself.
        for (text, seconds, expected) in [
            ("@http-date(0)", 784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("@http-date(7)", 784_111_770, "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("@rfc3339(0)", 784_111_777, "1994-11-06T08:49:37Z"),
            ("@rfc3339(0)", 1_709_164_800, "2024-02-29T00:00:00Z"),
            ("@rfc3339(0)", 1_709_251_199, "2024-02-29T23:59:59Z"),
            ("@rfc3339(1)", 1_709_251_199, "2024-03-01T00:00:00Z"),
            ("@http-date(0)", 0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("@epoch(3)", 1000, "1003"),
            ("@epoch-ms(3)", 1000, "1003000"),
            ("2m30s", 5, "2m30s"),
        ] {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(HeaderText::parse(text).unwrap().at(now), expected, "{text} at {seconds}");
        }
        for text in ["@", "@now", "@epoch", "@epoch(", "@epoch()", "@epoch(-1)", "@date(3)", "a\nb", ""] {
            assert_eq!(HeaderText::parse(text), None, "{text}");
        }
    }
}
