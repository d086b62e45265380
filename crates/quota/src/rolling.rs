//! Windows that begin with the first use.
//!
//! A text beside the counters says which window is in use: `<number>,<start in ms>`. Whoever finds it absent or over
//! writes the next number with its own start, and then uses what it reads back. Two first requests at once both write
//! the same next number, so they share its counter whoever wins; only the start may move by the length of their race. A
//! window that nobody has used yet does not begin.
//!
//! One case is not covered: a request that takes longer than a whole period, an hour at least, between reading the text
//! and writing it could bring back a number that is two behind.

use crate::counter::number;
use crate::store::{CounterStore, StoreError};
use crate::window::Frame;

/// Which window is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Begun {
    window: u64,
    start_ms: u64,
}

/// The frame at `now_ms`, and the window's number if it has not begun.
pub(crate) async fn frame<S: CounterStore>(
    store: &S,
    from_key: &str,
    length_ms: u64,
    now_ms: u64,
) -> Result<(Frame, Option<u64>), StoreError> {
    let begun = read(store, from_key).await?;
    match begun {
        Some(begun) if is_in_use(begun, length_ms, now_ms) => Ok((until(begun, length_ms), None)),
        before => {
            let window = before.map_or(0, |before| before.window).saturating_add(1);
            let begun = Begun { window, start_ms: now_ms };
            Ok((until(begun, length_ms), Some(window)))
        }
    }
}

/// Begins a window, or finds that another request has. `None` when what stands there then is over already.
pub(crate) async fn begin<S: CounterStore>(
    store: &S,
    from_key: &str,
    window: u64,
    length_ms: u64,
    now_ms: u64,
) -> Result<Option<Frame>, StoreError> {
    store.set_text(from_key, &format!("{window},{now_ms}")).await?;
    let begun = read(store, from_key).await?;
    Ok(begun.filter(|begun| is_in_use(*begun, length_ms, now_ms)).map(|begun| until(begun, length_ms)))
}

/// When `window` began; `None` when it is not the one in use.
pub(crate) async fn start_ms<S: CounterStore>(
    store: &S,
    from_key: &str,
    window: u64,
) -> Result<Option<u64>, StoreError> {
    let begun = read(store, from_key).await?;
    Ok(begun.filter(|begun| begun.window == window).map(|begun| begun.start_ms))
}

async fn read<S: CounterStore>(store: &S, from_key: &str) -> Result<Option<Begun>, StoreError> {
    let Some(text) = store.get_text(from_key).await? else { return Ok(None) };
    match parse(&text) {
        Some(begun) => Ok(Some(begun)),
        None => Err(StoreError {
            operation: "read which window is in use",
            reason: format!("{from_key} holds something else"),
        }),
    }
}

fn parse(text: &str) -> Option<Begun> {
    let (window, start_ms) = text.split_once(',')?;
    let is_number = |text: &str| !text.is_empty();
    (is_number(window) && is_number(start_ms))
        .then(|| Some(Begun { window: number(window)?, start_ms: number(start_ms)? }))
        .flatten()
}

fn is_in_use(begun: Begun, length_ms: u64, now_ms: u64) -> bool {
    now_ms < begun.start_ms.saturating_add(length_ms)
}

fn until(begun: Begun, length_ms: u64) -> Frame {
    Frame::Until { window: begun.window, ends_ms: begun.start_ms.saturating_add(length_ms), expires: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_numbers_say_which_window_is_in_use() {
        assert_eq!(parse("3,1700000000000"), Some(Begun { window: 3, start_ms: 1_700_000_000_000 }));
        for text in ["", "3", "3,", ",3", "3,4,5", "-3,4", "3,+4", "three,4", "3,99999999999999999999"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
