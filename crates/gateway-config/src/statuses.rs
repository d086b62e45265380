//! Sets of HTTP statuses as a document writes them: `"429"`, `"500-599"`, `"5xx"`.

use crate::fields::Fields;
use crate::names::shown;

/// Statuses that an upstream can answer with.
const STATUS_MIN: u16 = 100;
const STATUS_MAX: u16 = 599;

/// A set of HTTP statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<(u16, u16)>);

impl StatusSet {
    /// The set of these ranges, both ends included.
    pub(crate) fn of(ranges: &[(u16, u16)]) -> Self {
        StatusSet(ranges.to_vec())
    }

    /// Whether the status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }
}

/// Reads a list of statuses. An empty list is the empty set.
pub(crate) fn read(fields: &Fields<'_, '_>, key: &str) -> Option<StatusSet> {
    let mut ranges = Vec::new();
    for (path, text) in fields.texts(key)? {
        match parse(text) {
            Some(range) => ranges.push(range),
            None => {
                let allowed =
                    "must be a status (\"429\"), a range (\"500-599\") or a class (\"5xx\"), 100 to 599";
                fields.report().add(path, format!("is {}, {allowed}", shown(text)));
            }
        }
    }
    Some(StatusSet(ranges))
}

fn parse(text: &str) -> Option<(u16, u16)> {
    let status = |text: &str| {
        let is_plain = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        let status = text.parse().ok().filter(|_| is_plain);
        status.filter(|status| (STATUS_MIN..=STATUS_MAX).contains(status))
    };
    if let Some(class) = text.strip_suffix("xx") {
        let first = status(&format!("{class}00"))?;
        return Some((first, first + 99));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first.trim())?, status(last.trim())?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_ranges_and_classes_are_read_and_nothing_else_is() {
        for (text, expected) in [
            ("429", Some((429, 429))),
            ("500-599", Some((500, 599))),
            ("500 - 503", Some((500, 503))),
            ("5xx", Some((500, 599))),
            ("1xx", Some((100, 199))),
            ("503-500", None),
            ("6xx", None),
            ("600", None),
            ("99", None),
            ("0429", None),
            ("+29", None),
            ("xx", None),
            ("", None),
            ("-", None),
            ("4-5", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn both_ends_of_a_range_are_in_it() {
        let set = StatusSet::of(&[(429, 429), (500, 599)]);
        for (status, expected) in
            [(428, false), (429, true), (430, false), (500, true), (599, true), (600, false)]
        {
            assert_eq!(set.contains(status), expected, "{status}");
        }
    }
}
