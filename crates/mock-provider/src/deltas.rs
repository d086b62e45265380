//! In which order the content of an answer is streamed: one token of every choice in turn.
//!
//! A text goes piece by piece; a tool call is announced by its head, then its arguments follow piece by piece.

use crate::answer::{Choice, Payload};
use crate::text::{piece, token_count};
use crate::tools::ToolCall;

/// The content of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delta<'a> {
    /// A token of text.
    Text(&'a str),
    /// A call begins: its index within the choice, its id and name.
    CallHead(usize, &'a ToolCall),
    /// A token of the arguments of the call with this index.
    Arguments(usize, &'a str),
}

/// One content chunk of one choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index of the choice.
    pub choice: usize,
    /// How many content chunks of that choice come before.
    pub round: usize,
}

impl Place {
    /// The content at this place, or `None` past the end of its choice.
    pub fn delta(self, choices: &[Choice]) -> Option<Delta<'_>> {
        match &choices.get(self.choice)?.payload {
            Payload::Text(text) => piece(text, self.round).map(Delta::Text),
            Payload::ToolCalls(calls) => call_delta(calls, self.round),
        }
    }
}

fn call_delta(calls: &[ToolCall], round: usize) -> Option<Delta<'_>> {
    let mut left = round;
    for (index, call) in calls.iter().enumerate() {
        let Some(position) = left.checked_sub(1) else { return Some(Delta::CallHead(index, call)) };
        if let Some(fragment) = piece(&call.arguments, position) {
            return Some(Delta::Arguments(index, fragment));
        }
        left = position - usize::try_from(token_count(call.arguments.len())).unwrap_or(position);
    }
    None
}

/// Walks over all places that have content.
#[derive(Debug, Default)]
pub struct Cursor {
    choice: usize,
    round: usize,
    has_found_any: bool,
}

impl Cursor {
    /// The next place, or `None` once every choice is at its end.
    pub fn next_place(&mut self, choices: &[Choice]) -> Option<Place> {
        loop {
            if self.choice == choices.len() {
                if !self.has_found_any {
                    return None;
                }
                *self = Self { choice: 0, round: self.round + 1, has_found_any: false };
            }
            let place = Place { choice: self.choice, round: self.round };
            self.choice += 1;
            if place.delta(choices).is_some() {
                self.has_found_any = true;
                return Some(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Choice {
        Choice { payload: Payload::Text(text.into()), finish_reason: "stop" }
    }

    fn walk(choices: &[Choice]) -> Vec<(usize, Delta<'_>)> {
        let mut cursor = Cursor::default();
        std::iter::from_fn(|| cursor.next_place(choices))
            .map(|place| (place.choice, place.delta(choices).unwrap()))
            .collect()
    }

    #[test]
    fn choices_of_different_length_take_turns_until_each_is_at_its_end() {
        let choices = [text("aaaabb"), text("cccc"), text(""), text("ddddeeeef")];
        let pieces = ["aaaa", "cccc", "dddd", "bb", "eeee", "f"].map(Delta::Text);
        let order = [0, 1, 3, 0, 3, 3];
        assert_eq!(walk(&choices), order.into_iter().zip(pieces).collect::<Vec<_>>());
        assert_eq!(walk(&[]), []);
        assert_eq!(walk(&[text("")]), []);
    }

    #[test]
    fn calls_follow_each_other_head_first() {
        let call = |arguments: &str| ToolCall { name: "f".into(), arguments: arguments.into() };
        let calls = vec![call("123456"), call(""), call("78")];
        let choices = [Choice { payload: Payload::ToolCalls(calls.clone()), finish_reason: "tool_calls" }];
        let deltas: Vec<Delta<'_>> = walk(&choices).into_iter().map(|(_, delta)| delta).collect();
        assert_eq!(
            deltas,
            [
                Delta::CallHead(0, &calls[0]),
                Delta::Arguments(0, "1234"),
                Delta::Arguments(0, "56"),
                Delta::CallHead(1, &calls[1]),
                Delta::CallHead(2, &calls[2]),
                Delta::Arguments(2, "78"),
            ]
        );
    }
}
