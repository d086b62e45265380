//! Takes what a request asks for from all of its counters, or from none.
//!
//! The counters are the only thing that concurrent requests share, and adding to one is the only atomic step. So:
//!
//! 1. **Read** what came before: the previous minute, the older buckets of a lease, which rolling window is in use. The
//!    current window is read only where it was near its limit lately; elsewhere adding to it is the first look.
//! 2. **Take**: add the amount to each counter in turn. The sum that comes back holds every amount added before,
//!    so if it fits, no other admitted request was overlooked. If it does not, give back what was taken.
//! 3. **Look at the clock again**, where what came before counts. A request of the next window has read this one's counter
//!    as older, at the earliest when that window began. If it has begun, our amount may have come too late for it: give
//!    it back. If not, our amount was there before anyone could have looked. A calendar's window needs no such look:
//!    nobody counts it as older, and it is the one in which the request came. A window from first use needs one look
//!    more, at the text of another one: see [`rolling`].
//!
//! What stands in the way may be in another request's hands for a moment only, to be given back. So nothing is refused at
//! the first look: after a pause, longer than such a moment, it is asked again, reading first. How long that is, the
//! store's own operations and other requests' checks say ([`Pace`]). The pauses grow and the attempts are bounded. A refusal is thus wrong only if it
//! met holds of others at two looks, such a pause apart, or on a store whose operations take longer than they lately did.

use crate::demand::Demand;
use crate::level::{Level, never_fits, refusal};
use crate::outcome::{Admission, Outcome};
use crate::pace::{Pace, Timed};
use crate::reservation::Reservation;
use crate::rolling;
use crate::store::{CounterStore, StoreError, change};
use crate::window::{Counts, Frame};
use gateway_config::Window;

/// The first, and five after lost races.
const MAX_ATTEMPTS: u32 = 6;

/// Before the second attempt; each later pause is twice as long. Enough where an operation of the store takes far less.
const FIRST_PAUSE_MS: u64 = 2;

/// However slow the store, no pause is longer: the client waits.
const LONGEST_PAUSE_MS: u64 = 250;

/// After so long nobody is asked a third time who has been refused: whoever waits for the answer gives up in the end.
const ENOUGH_MS: u64 = 1_500;

/// Takes all of `demands`, or nothing.
///
/// Each of the at most [`crate::MAX_CHARGES`] demands is for another counter. `clock` tells milliseconds since the
/// Unix epoch and never goes back by more than the hosts' clocks disagree. Rules that only observe are charged once the
/// others have admitted, and decide nothing. `pace` learns from the store's operations, and may be shared.
///
/// # Errors
/// The store failed. What was taken has been given back as far as the store allowed; what was not stays charged until
/// its window has passed.
pub async fn reserve<'c, S: CounterStore>(
    store: &S,
    pace: &Pace,
    clock: impl Fn() -> u64,
    demands: &[Demand<'c>],
) -> Result<Outcome<'c>, StoreError> {
    pace.note_checks(demands.len());
    let store = &Timed { store, pace, clock: &clock };
    let (enforced, observed): (Vec<_>, Vec<_>) = demands.iter().partition(|demand| demand.is_enforced());
    if let Some(never) = never_fits(&enforced) {
        return Ok(never);
    }
    let mut refused = None;
    let began_ms = clock();
    for attempt in 0..MAX_ATTEMPTS {
        if refused.is_some() && attempt > 1 && clock().saturating_sub(began_ms) > ENOUGH_MS {
            break;
        }
        if let Some(doublings) = attempt.checked_sub(1) {
            let pause_ms = pace.hold_ms(clock()).max(FIRST_PAUSE_MS << doublings);
            store.pause(pause_ms.min(LONGEST_PAUSE_MS)).await;
        }
        let now_ms = clock();
        let levels = read(store, &enforced, now_ms, attempt > 0).await?;
        if let Some(seen) = refusal(&levels) {
            if refused.is_some() {
                return Ok(Outcome::Refused(seen));
            }
            refused = Some(seen);
            continue;
        }
        match take(store, levels).await? {
            Taken::All(levels) => match is_in_place(store, &clock, &levels).await {
                Ok(true) => return Ok(Outcome::Admitted(admit(store, &levels, &observed, now_ms).await)),
                Ok(false) => give_back(store, &levels).await?,
                Err(error) => {
                    let _also_failed = give_back(store, &levels).await;
                    return Err(error);
                }
            },
            Taken::Nothing { over } => refused = refusal(&[over]).or(refused),
        }
    }
    refused.map(Outcome::Refused).ok_or_else(|| StoreError {
        operation: "reserve within one window",
        reason: format!("the window ended during each of {MAX_ATTEMPTS} attempts"),
    })
}

/// Which counters matter, and what they hold where that is read.
async fn read<'d, 'c, S: CounterStore>(
    store: &S,
    demands: &[&'d Demand<'c>],
    now_ms: u64,
    all: bool,
) -> Result<Vec<Level<'d, 'c>>, StoreError> {
    let mut levels = Vec::with_capacity(demands.len());
    for &demand in demands {
        levels.push(look(store, demand, now_ms, all).await?);
    }
    // A window that has not begun is taken last: if another check refuses, it need not have begun.
    levels.sort_by_key(|level| level.begins);
    Ok(levels)
}

/// One counter at `now_ms`.
pub(crate) async fn look<'d, 'c, S: CounterStore>(
    store: &S,
    demand: &'d Demand<'c>,
    now_ms: u64,
    with_current: bool,
) -> Result<Level<'d, 'c>, StoreError> {
    let (frame, begins) = match (Frame::by_the_clock(demand.check, now_ms), &demand.check.window) {
        (Some(frame), _) => (frame, false),
        (None, Window::Rolling(period)) => {
            rolling::frame(store, &demand.counter, period.rolling_ms(), now_ms).await?
        }
        // Every other window is the clock's.
        (None, _) => (Frame::Minute { index: 0 }, false),
    };
    let mut counts = Counts::default();
    for slot in frame.older(&demand.counter) {
        counts.older = counts.older.saturating_add(not_negative(store.get(&slot.key()).await?));
    }
    let is_read = with_current || demand.read_first;
    if is_read {
        counts.current = not_negative(store.get(&frame.current(&demand.counter).key()).await?);
    }
    Ok(Level { demand, frame, counts, is_read, now_ms, begins })
}

/// A counter is below zero only for as long as somebody puts right what was given back after an operator's reset: see
/// [`change`].
pub(crate) fn not_negative(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

enum Taken<'d, 'c> {
    /// The levels as the store saw them at the moment of taking.
    All(Vec<Level<'d, 'c>>),
    /// This one is used up, or others were faster; what had been taken was given back.
    Nothing { over: Level<'d, 'c> },
}

async fn take<'d, 'c, S: CounterStore>(
    store: &S,
    levels: Vec<Level<'d, 'c>>,
) -> Result<Taken<'d, 'c>, StoreError> {
    let mut taken: Vec<Level<'d, 'c>> = Vec::with_capacity(levels.len());
    for mut level in levels {
        match add(store, &mut level).await {
            Ok(()) => {
                let fits = level.fits();
                taken.push(level.clone());
                if !fits {
                    give_back(store, &taken).await?;
                    return Ok(Taken::Nothing { over: level });
                }
            }
            Err(error) => {
                // Not from the failed counter: if its amount was not added, taking it off would let others exceed.
                let _also_failed = give_back(store, &taken).await;
                return Err(error);
            }
        }
    }
    Ok(Taken::All(taken))
}

/// Adds the demand's amount, and notes what was there before.
async fn add<S: CounterStore>(store: &S, level: &mut Level<'_, '_>) -> Result<(), StoreError> {
    if let (true, Window::Rolling(period)) = (level.begins, &level.demand.check.window) {
        let counter = &level.demand.counter;
        level.frame = rolling::begin(store, counter, period.rolling_ms(), level.now_ms).await?;
    }
    let key = level.frame.current(&level.demand.counter).key();
    let amount = level.demand.amount;
    let sum = match amount {
        0 if level.is_read => return Ok(()),
        0 => store.get(&key).await?,
        _ => store.take(&key, signed(amount)).await?,
    };
    level.counts.current = not_negative(sum.saturating_sub(signed(amount)));
    Ok(())
}

/// Whether what was taken is where everybody else sees it: in windows that are still the ones of now.
async fn is_in_place<S: CounterStore>(
    store: &S,
    clock: impl Fn() -> u64,
    taken: &[Level<'_, '_>],
) -> Result<bool, StoreError> {
    for level in taken {
        let Level { demand, frame, begins, now_ms, .. } = level;
        if !rolling::is_alone(store, &demand.counter, frame, *begins, *now_ms).await? {
            return Ok(false);
        }
    }
    let checked_ms = clock();
    Ok(taken.iter().all(|level| level.frame.is_current(checked_ms)))
}

/// One that fails does not keep the others from being given back.
async fn give_back<S: CounterStore>(store: &S, taken: &[Level<'_, '_>]) -> Result<(), StoreError> {
    let mut result = Ok(());
    for level in taken.iter().filter(|level| level.demand.amount > 0) {
        let key = level.frame.current(&level.demand.counter).key();
        let given = change(store, &key, signed(level.demand.amount).saturating_neg()).await;
        result = result.and(given.map(|_| ()));
    }
    result
}

pub(crate) fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

async fn admit<'c, S: CounterStore>(
    store: &S,
    levels: &[Level<'_, 'c>],
    observed: &[&Demand<'c>],
    now_ms: u64,
) -> Admission<'c> {
    let standings: Vec<_> = levels.iter().map(Level::standing_after).collect();
    let charges = levels.iter().map(Level::charge).collect();
    let alerts = levels.iter().flat_map(Level::alerts).collect();
    let mut admission = Admission::new(Reservation { charges }, &standings, alerts);
    for demand in observed {
        match observe(store, demand, now_ms).await {
            Ok(level) => {
                if !level.fits() {
                    admission.would_refuse.push(level.standing());
                }
                admission.reservation.charges.push(level.charge());
                admission.alerts.extend(level.alerts());
            }
            Err(error) => admission.unobserved = admission.unobserved.or(Some(error)),
        }
    }
    admission
}

async fn observe<'d, 'c, S: CounterStore>(
    store: &S,
    demand: &'d Demand<'c>,
    now_ms: u64,
) -> Result<Level<'d, 'c>, StoreError> {
    let mut level = look(store, demand, now_ms, false).await?;
    add(store, &mut level).await?;
    Ok(level)
}
