//! Windows that begin with the first use, in a store of counters and texts.
//!
//! Time is cut into slots as long as the window. Two windows cannot begin in one slot, so a window is called by the slot
//! in which it began, and what is in use at an instant began in its slot or in the one before. A text for each slot says
//! when its window began; one that nobody has used does not begin. Texts and counters are of no use two slots on, and
//! their keys say so: nothing stays.
//!
//! Two first requests of one slot write the same text's key and so share a counter, whoever wins; only the start may move
//! by the length of their race. Across the end of a slot they would not, so whoever takes an amount looks again after it:
//!
//! - at the clock, as with minutes: if its own slot has ended meanwhile, it gives back and asks anew;
//! - at the other slot's text, by which a window of that slot, overlooked by it or begun since, is found. If there is one,
//!   it gives back and asks anew.
//!
//! A text that came late, from someone who then gave back, can so make two windows that run at once: the newer one is
//! in use, and what the older one holds counts beside it until that one has ended.

use crate::counter::{Counter, Slot, number};
use crate::store::{CounterStore, StoreError};
use crate::window::{Frame, MINUTE_MS};

/// How the window of one counter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// It began in the slot of now. `with_before`: the one before has not ended.
    New { start_ms: u64, with_before: bool },
    /// It began in the slot before.
    Old { start_ms: u64 },
    /// Whoever takes first begins one.
    None,
}

/// Which window is in use at `now_ms`: the frame, and whether it has not begun. Two reads.
pub(crate) async fn frame<S: CounterStore>(
    store: &S,
    counter: &Counter,
    length_ms: u64,
    now_ms: u64,
) -> Result<(Frame, bool), StoreError> {
    let slot = slot_at(now_ms, length_ms);
    // The newer first: one that is begun meanwhile must not be overlooked together with what made it unnecessary.
    let new_ms = start_ms(store, counter, length_ms, slot).await?;
    let old_ms = match slot.checked_sub(1) {
        Some(before) => start_ms(store, counter, length_ms, before).await?,
        None => None,
    };
    let old_ms = old_ms.filter(|start_ms| now_ms < start_ms.saturating_add(length_ms));
    let in_use = match (new_ms, old_ms) {
        (Some(start_ms), old_ms) => Use::New { start_ms, with_before: old_ms.is_some() },
        (None, Some(start_ms)) => Use::Old { start_ms },
        (None, None) => Use::None,
    };
    Ok((framed(in_use, slot, length_ms, now_ms), in_use == Use::None))
}

/// Begins a window in the slot of `now_ms`, or finds that another request has. One write, one read.
pub(crate) async fn begin<S: CounterStore>(
    store: &S,
    counter: &Counter,
    length_ms: u64,
    now_ms: u64,
) -> Result<Frame, StoreError> {
    let slot = slot_at(now_ms, length_ms);
    let key = slot_of(counter, length_ms, slot).start_key();
    store.set_text(&key, &now_ms.to_string()).await?;
    let start_ms = start_ms(store, counter, length_ms, slot).await?.unwrap_or(now_ms);
    Ok(framed(Use::New { start_ms, with_before: false }, slot, length_ms, now_ms))
}

/// Whether the other slot still has no window that counts at `now_ms`, after an amount was taken from the frame's: `begins`
/// says whether its window began with that. One read; none for a window that began earlier in this slot, because its
/// text was there before the other slot's was read.
pub(crate) async fn is_alone<S: CounterStore>(
    store: &S,
    counter: &Counter,
    frame: &Frame,
    begins: bool,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let Frame::Rolling { window, slot, length_ms, .. } = *frame else { return Ok(true) };
    if window < slot {
        return Ok(start_ms(store, counter, length_ms, slot).await?.is_none());
    }
    let Some(before) = slot.checked_sub(1).filter(|_| begins) else { return Ok(true) };
    let start_ms = start_ms(store, counter, length_ms, before).await?;
    Ok(start_ms.is_none_or(|start_ms| now_ms >= start_ms.saturating_add(length_ms)))
}

/// When the window of `slot` began; `None` when it has not.
pub(crate) async fn start_ms<S: CounterStore>(
    store: &S,
    counter: &Counter,
    length_ms: u64,
    slot: u64,
) -> Result<Option<u64>, StoreError> {
    let key = slot_of(counter, length_ms, slot).start_key();
    let Some(text) = store.get_text(&key).await? else { return Ok(None) };
    let start_ms = Some(&text).filter(|text| !text.is_empty()).and_then(|text| number(text));
    start_ms.map(Some).ok_or_else(|| StoreError {
        operation: "read when a window began",
        reason: format!("{key} holds something else"),
    })
}

/// The key of a window's counter, and of what goes with it.
pub(crate) fn slot_of(counter: &Counter, length_ms: u64, slot: u64) -> Slot {
    // One that began at the last moment of its slot ends with the next.
    let ends_ms = slot.saturating_add(2).saturating_mul(length_ms);
    Slot { counter: counter.clone(), window: slot, expires: Some(ends_ms.div_ceil(MINUTE_MS)) }
}

fn slot_at(now_ms: u64, length_ms: u64) -> u64 {
    now_ms / length_ms.max(1)
}

fn framed(in_use: Use, slot: u64, length_ms: u64, now_ms: u64) -> Frame {
    let (window, start_ms, with_before) = match in_use {
        Use::New { start_ms, with_before } => (slot, start_ms, with_before),
        Use::Old { start_ms } => (slot.saturating_sub(1), start_ms, false),
        Use::None => (slot, now_ms, false),
    };
    Frame::Rolling { window, slot, start_ms, length_ms, with_before }
}
