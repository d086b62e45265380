//! Takes what a request asks for from all of its counters, or from none.
//!
//! The counters are the only thing that concurrent requests share, and adding to one is the only atomic step. So:
//!
//! 1. **Read** both windows of each counter. A request that does not fit is refused here, without a write.
//! 2. **Take**: add the amount to each counter in turn. The sum that comes back holds every amount added before,
//!    so if it fits, no other admitted request was overlooked. If it does not, others were faster: give back what was taken.
//! 3. **Look at the clock again.** A request of the next window has read this one's counter as its previous, at the
//!    earliest when that window began. If it has begun, our amount may have come too late for it: give it back. If not,
//!    our amount was there before anyone could have looked.
//!
//! After giving back it begins again, because what stood in the way may have been in another request's hands only
//! for a moment. Nothing waits for anyone, and the number of attempts is bounded.

use crate::demand::Demand;
use crate::reservation::{Charge, Reservation};
use crate::store::{CounterStore, StoreError};
use crate::window::{Counts, window_of};

/// Each attempt after the first follows a race lost within milliseconds; losing three is rare, and refusing is right then.
const MAX_ATTEMPTS: u32 = 3;

/// What became of a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'c> {
    /// Everything was taken.
    Admitted {
        /// What was taken from where.
        reservation: Reservation,
        /// The limit with the fewest tokens left.
        tightest: Standing<'c>,
    },
    /// Nothing was taken.
    Refused {
        /// The limit that stands in the way, of several the one that does so longest.
        by: Standing<'c>,
        /// Whole seconds until the request would be admitted if nobody else asked, at least 1.
        retry_after_s: u64,
    },
    /// Nothing was taken, and nothing ever will be: the amount is more than the limit itself.
    NeverFits {
        /// The smallest of the limits that are too small.
        limit: &'c str,
        /// Its tokens in 60 seconds.
        limit_tokens: u64,
    },
}

/// How far a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing<'c> {
    /// Name of the limit.
    pub limit: &'c str,
    /// Tokens that it allows in 60 seconds.
    pub limit_tokens: u64,
    /// Tokens that count as used; may exceed the limit by debt.
    pub used_tokens: u64,
    /// Milliseconds until nothing counts as used if nobody asks.
    pub reset_ms: u64,
}

impl Standing<'_> {
    /// Tokens that are left, 0 when the limit is used up or in debt.
    pub fn remaining_tokens(&self) -> u64 {
        self.limit_tokens.saturating_sub(self.used_tokens)
    }
}

/// Takes all of `demands`, or nothing.
///
/// `demands` holds 1 to [`crate::MAX_CHARGES`] entries, each for another counter; `clock` tells milliseconds since the
/// Unix epoch and never goes back by more than the hosts' clocks disagree.
///
/// # Errors
/// The store failed. What was taken has been given back as far as the store allowed; what was not stays charged until
/// its window has passed.
pub async fn reserve<'c, S: CounterStore>(
    store: &S,
    clock: impl Fn() -> u64,
    demands: &[Demand<'c>],
) -> Result<Outcome<'c>, StoreError> {
    let too_small = demands.iter().filter(|demand| demand.amount > demand.limit_tokens);
    if let Some(demand) = too_small.min_by_key(|demand| demand.limit_tokens) {
        return Ok(Outcome::NeverFits { limit: demand.limit, limit_tokens: demand.limit_tokens });
    }
    let mut lost = None;
    for _ in 0..MAX_ATTEMPTS {
        let now_ms = clock();
        let levels = read(store, demands, now_ms).await?;
        if let Some(refused) = refusal(&levels) {
            return Ok(refused);
        }
        match take(store, levels).await? {
            Taken::All(levels) if window_of(clock()) == window_of(now_ms) => return Ok(admitted(&levels)),
            Taken::All(levels) => give_back(store, &levels).await?,
            Taken::Nothing { over } => lost = refusal(&[over]),
        }
    }
    lost.ok_or_else(|| StoreError {
        operation: "reserve within one window",
        reason: format!("the window ended during each of {MAX_ATTEMPTS} attempts"),
    })
}

/// A demand and its counter as last seen, without the demand's own amount.
#[derive(Debug, Clone)]
struct Level<'d, 'c> {
    demand: &'d Demand<'c>,
    counts: Counts,
    now_ms: u64,
}

impl<'c> Level<'_, 'c> {
    fn fits(&self) -> bool {
        self.counts.fits(self.demand.amount, self.demand.limit_tokens, self.now_ms)
    }

    fn retry_after_s(&self) -> Option<u64> {
        self.counts.retry_after_s(self.demand.amount, self.demand.limit_tokens, self.now_ms)
    }

    fn key(&self) -> String {
        self.demand.counter.key(window_of(self.now_ms))
    }

    fn standing(&self, counts: Counts) -> Standing<'c> {
        Standing {
            limit: self.demand.limit,
            limit_tokens: self.demand.limit_tokens,
            used_tokens: counts.used(self.now_ms),
            reset_ms: counts.reset_ms(self.now_ms),
        }
    }

    fn standing_after(&self) -> Standing<'c> {
        let current = self.counts.current.saturating_add(self.demand.amount);
        self.standing(Counts { current, ..self.counts })
    }

    fn charge(&self) -> Charge {
        Charge {
            counter: self.demand.counter.clone(),
            window: window_of(self.now_ms),
            amount: self.demand.amount,
        }
    }
}

async fn read<'d, 'c, S: CounterStore>(
    store: &S,
    demands: &'d [Demand<'c>],
    now_ms: u64,
) -> Result<Vec<Level<'d, 'c>>, StoreError> {
    let window = window_of(now_ms);
    let mut levels = Vec::with_capacity(demands.len());
    for demand in demands {
        let current = store.get(&demand.counter.key(window)).await?;
        let previous = match window.checked_sub(1) {
            Some(before) => store.get(&demand.counter.key(before)).await?,
            None => 0,
        };
        let counts = Counts { current: not_negative(current), previous: not_negative(previous) };
        levels.push(Level { demand, counts, now_ms });
    }
    Ok(levels)
}

/// A counter is below zero only when more was settled than was reserved; nobody gets more than the limit for that.
fn not_negative(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

/// The refusal by the limit that stands in the way longest; `None` when all fit.
fn refusal<'c>(levels: &[Level<'_, 'c>]) -> Option<Outcome<'c>> {
    let over = levels.iter().filter(|level| !level.fits());
    let (retry_after_s, level) = over
        .filter_map(|level| Some((level.retry_after_s()?, level)))
        .max_by_key(|(retry_after_s, _)| *retry_after_s)?;
    Some(Outcome::Refused { by: level.standing(level.counts), retry_after_s })
}

enum Taken<'d, 'c> {
    /// The levels as the store saw them at the moment of taking.
    All(Vec<Level<'d, 'c>>),
    /// Others were faster at this one; what had been taken was given back.
    Nothing { over: Level<'d, 'c> },
}

async fn take<'d, 'c, S: CounterStore>(
    store: &S,
    levels: Vec<Level<'d, 'c>>,
) -> Result<Taken<'d, 'c>, StoreError> {
    let mut taken: Vec<Level<'d, 'c>> = Vec::with_capacity(levels.len());
    for mut level in levels {
        match store.increment(&level.key(), signed(level.demand.amount)).await {
            Ok(sum) => {
                level.counts.current = not_negative(sum).saturating_sub(level.demand.amount);
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

/// One that fails does not keep the others from being given back.
async fn give_back<S: CounterStore>(store: &S, taken: &[Level<'_, '_>]) -> Result<(), StoreError> {
    let mut result = Ok(());
    for level in taken {
        let given = store.increment(&level.key(), signed(level.demand.amount).saturating_neg()).await;
        result = result.and(given.map(|_| ()));
    }
    result
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

fn admitted<'c>(levels: &[Level<'_, 'c>]) -> Outcome<'c> {
    let nothing = Standing { limit: "", limit_tokens: 0, used_tokens: 0, reset_ms: 0 };
    let standings = levels.iter().map(Level::standing_after);
    Outcome::Admitted {
        reservation: Reservation { charges: levels.iter().map(Level::charge).collect() },
        tightest: standings.min_by_key(Standing::remaining_tokens).unwrap_or(nothing),
    }
}
