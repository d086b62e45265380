//! `[regions]`: which regions are near to which.

use crate::fields::Fields;
use crate::names::{NAME_RULE, is_name, shown};
use std::collections::HashMap;

/// Which regions are near to which.
///
/// A region is a name whose part before the first `-` is its *area*: `eu-west` and `eu-central` are in the area `eu`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Regions {
    /// For users in a region or area: regions and areas, nearest first.
    nearest: HashMap<String, Vec<String>>,
}

/// The regions as a user in one of them sees them.
#[derive(Debug, Clone, Copy)]
pub struct Nearness<'r> {
    user: &'r str,
    /// Regions and areas, nearest first.
    listed: &'r [String],
}

impl Regions {
    /// How near everything is to a user, whose region or area may be unknown.
    pub fn seen_from<'r>(&'r self, user: &'r str) -> Nearness<'r> {
        let listed = |place: &str| self.nearest.get(&place.to_ascii_lowercase());
        let listed = listed(user).or_else(|| listed(area(user)));
        Nearness { user, listed: listed.map(Vec::as_slice).unwrap_or_default() }
    }
}

impl Nearness<'_> {
    /// How far a deployment's region is from the user's: 0 is the same; larger is farther; a deployment without a region is
    /// as far as an unknown one.
    ///
    /// The same region comes first; then what `[regions]` lists for the user's region, or else for its area, in that
    /// order; then the rest of the user's own area; then everything else.
    pub fn distance(&self, deployment: Option<&str>) -> u32 {
        const SAME_AREA: u32 = 1_000_000;
        let Some(deployment) = deployment else { return u32::MAX };
        if self.user.eq_ignore_ascii_case(deployment) {
            return 0;
        }
        let is_in = |place: &String| {
            place.eq_ignore_ascii_case(deployment) || place.eq_ignore_ascii_case(area(deployment))
        };
        if let Some(at) = self.listed.iter().position(is_in) {
            return u32::try_from(at).map_or(SAME_AREA, |at| at.saturating_add(1)).min(SAME_AREA);
        }
        if area(self.user).eq_ignore_ascii_case(area(deployment)) { SAME_AREA } else { u32::MAX }
    }
}

/// The part before the first `-`.
fn area(region: &str) -> &str {
    region.split_once('-').map_or(region, |(area, _)| area)
}

/// Reads `[regions]`.
pub(crate) fn read(root: &Fields<'_, '_>) -> Regions {
    let mut nearest = HashMap::new();
    let Some(table) = root.open_table("regions") else { return Regions::default() };
    for user in table.keys() {
        if !is_name(user) {
            table.refuse(user, format!("is no region or area, which {NAME_RULE}"));
        }
        let mut places = Vec::new();
        for (path, place) in table.texts(user).unwrap_or_default() {
            if !is_name(place) {
                table.report().add(path, format!("is {}, {NAME_RULE}", shown(place)));
            } else if places.iter().any(|earlier: &String| earlier.eq_ignore_ascii_case(place)) {
                table.report().add(path, format!("is {} again", shown(place)));
            } else {
                places.push(place.to_owned());
            }
        }
        nearest.insert(user.to_ascii_lowercase(), places);
    }
    Regions { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_the_same_then_the_listed_then_the_area_then_the_rest() {
        let listed = |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect();
        let regions = Regions {
            nearest: [
                ("eu".to_owned(), listed(&["eu-north", "us"])),
                ("ap-south".to_owned(), listed(&["me"])),
            ]
            .into(),
        };
        // From nearest to farthest; those of one group are equally far.
        for (user, groups) in [
            (
                "eu-west",
                &[
                    &["eu-west", "EU-WEST"][..],
                    &["eu-north"],
                    &["us-east", "us"],
                    &["eu-central", "eu"],
                    &["ap-south", ""],
                ][..],
            ),
            ("eu", &[&["eu"], &["eu-north"], &["us-west"], &["eu-west"], &["ap"]]),
            ("ap-south", &[&["ap-south"], &["me-central", "me"], &["ap-north"], &["eu", "us"]]),
            ("ap-north", &[&["ap-north"], &["ap-south"], &["me", "eu"]]),
            ("nowhere", &[&["nowhere"], &["eu", "us", "ap-south"]]),
        ] {
            let far: Vec<Vec<u32>> = (groups.iter())
                .map(|group| {
                    group
                        .iter()
                        .map(|d| regions.seen_from(user).distance(Some(d).filter(|d| !d.is_empty()).copied()))
                        .collect()
                })
                .collect();
            for group in &far {
                assert!(group.iter().all(|distance| *distance == group[0]), "{user}: {far:?}");
            }
            assert!(
                far.iter().zip(far.iter().skip(1)).all(|(near, far)| near[0] < far[0]),
                "{user}: {far:?}"
            );
        }
    }
}
