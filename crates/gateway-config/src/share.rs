//! Shares: decimal numbers from 0 to 1, kept exactly.

use crate::fields::Fields;

/// Decimals that a share may have.
const DECIMALS: usize = 6;

/// A share of something, in millionths: 1 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const ALL: Share = Share(1_000_000);
    /// Half of it.
    pub(crate) const HALF: Share = Share(500_000);

    /// Millionths, 1 to 1,000,000.
    pub fn millionths(self) -> u32 {
        self.0
    }
}

/// Reads a share: above 0, at most 1.
pub(crate) fn read(fields: &Fields<'_, '_>, key: &str) -> Option<Share> {
    let text = fields.decimal(key)?;
    let share = parse(text);
    if share.is_none() {
        fields.refuse(
            key,
            format!("is {text}, must be above 0 and at most 1, with at most {DECIMALS} decimals"),
        );
    }
    share
}

fn parse(text: &str) -> Option<Share> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) || decimals.len() > DECIMALS {
        return None;
    }
    let millionths: u32 = format!("{whole}{decimals:0<DECIMALS$}").parse().ok()?;
    (1..=1_000_000).contains(&millionths).then_some(Share(millionths))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly_or_refused() {
        for (text, expected) in [
            ("1", Some(1_000_000)),
            ("1.0", Some(1_000_000)),
            ("0.5", Some(500_000)),
            ("0.000001", Some(1)),
            ("0.1", Some(100_000)),
            ("0", None),
            ("0.0000001", None),
            ("1.000001", None),
            ("2", None),
            ("-0.5", None),
            ("5e-1", None),
            ("inf", None),
            (".5", None),
        ] {
            assert_eq!(parse(text).map(Share::millionths), expected, "{text:?}");
        }
    }
}
