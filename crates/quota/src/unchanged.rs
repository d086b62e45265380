//! Counters that settlements leave as they are: nothing is written, but what was reserved is now known to be used, and may
//! have reached a threshold of `alert_at`.

use crate::alerts::is_known_beforehand;
use crate::corrections::Corrections;
use crate::counter::Slot;
use crate::reservation::Reservation;
use gateway_config::LimiterConfig;
use std::collections::BTreeSet;

/// The counters of these reservations that are not corrected, whose rule has thresholds that were not told beforehand.
pub fn unchanged<'r>(
    config: &LimiterConfig,
    reservations: impl IntoIterator<Item = &'r str>,
    corrections: &Corrections,
) -> BTreeSet<Slot> {
    if config.limits.iter().all(|limit| limit.alert_at_permille.is_empty()) {
        return BTreeSet::new();
    }
    let reservations = reservations.into_iter().filter_map(|text| text.parse::<Reservation>().ok());
    let slots = reservations.flat_map(|reservation| reservation.charges).map(|charge| charge.slot);
    let has_thresholds = |slot: &Slot| {
        config.limit(slot.counter.limit()).is_some_and(|limit| !limit.alert_at_permille.is_empty())
    };
    let is_open = |slot: &Slot| !is_known_beforehand(slot.counter.kind()) && has_thresholds(slot);
    let mut slots: BTreeSet<Slot> = slots.filter(is_open).collect();
    for (_, corrected, _) in corrections.iter() {
        slots.remove(corrected);
    }
    slots
}
