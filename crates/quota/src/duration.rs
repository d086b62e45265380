//! Durations as OpenAI's `x-ratelimit-reset-*` headers write them: `250ms`, `1s`, `6m0s`, `1m26.4s`.
//!
//! The form is Go's `time.Duration.String`, <https://pkg.go.dev/time#Duration.String>, from milliseconds up.

use std::fmt;

/// A duration in milliseconds that prints in OpenAI's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetDuration(
    /// Milliseconds.
    pub u64,
);

impl fmt::Display for ResetDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.0 / 1000, self.0 % 1000);
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        match (seconds, ms) {
            (0, 0) => return f.write_str("0s"),
            (0, ms) => return write!(f, "{ms}ms"),
            _ => {}
        }
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{}m", minutes % 60)?;
        }
        write!(f, "{}", seconds % 60)?;
        if ms > 0 {
            let fraction = format!("{ms:03}");
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_openai_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1_000, "1s"),
            (7_660, "7.66s"),
            (13_512, "13.512s"),
            (60_000, "1m0s"),
            (86_400, "1m26.4s"),
            (119_001, "1m59.001s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (u64::MAX, "5124095576030h25m51.615s"),
        ] {
            assert_eq!(ResetDuration(ms).to_string(), text);
        }
    }
}
