//! Joins a second stream to a first, so that the client reads one.
//!
//! Invariants:
//! - What the client has got, followed by what comes out here, says every character of the answer once; where that cannot
//!   be, it is a [`Disagrees`]. Of [`Joint::AppendUnlessEchoed`] that is a judgement, see there.
//! - `id`, `created` and `model` stay those of the first stream, a choice's role comes once, and so does its finish.
//! - Everything else in a chunk stays as its provider wrote it. Chunks in which nothing is left are left out.

use crate::Joint;
use crate::spoken::{Spoken, SpokenChoice};
use openai_types::{Lane, RawObject};
use std::collections::BTreeMap;

/// The second stream says something else than the first did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disagrees;

/// Rewrites the chunks of a second stream.
#[derive(Debug)]
pub(crate) struct Splice {
    joint: Joint,
    identity: Vec<(&'static str, String)>,
    begun: BTreeMap<u32, Begun>,
}

/// A choice of which something has been said.
#[derive(Debug)]
struct Begun {
    has_finished: bool,
    /// Texts that are said again, or may be, and how many bytes of each have been heard.
    texts: BTreeMap<Lane, (String, usize)>,
    /// Whether they only may be.
    may_go_on: bool,
}

impl Splice {
    pub(crate) fn new(joint: Joint, spoken: &Spoken) -> Self {
        let begun =
            spoken.choices.iter().map(|(&index, choice)| (index, Begun::new(choice, joint))).collect();
        Splice { joint, identity: spoken.identity.clone().unwrap_or_default(), begun }
    }

    /// The chunk as the client shall get it: its JSON, or `None` when nothing is left of it.
    pub(crate) fn rewrite(&mut self, data: &[u8]) -> Result<Option<String>, Disagrees> {
        let chunk = std::str::from_utf8(data).ok().and_then(RawObject::parse);
        let Some(mut chunk) = chunk else { return Err(Disagrees) };
        for (name, value) in &self.identity {
            if chunk.get(name).is_some() {
                chunk.set(name, value.as_str());
            }
        }
        let choices: Vec<RawObject<'_>> = match chunk.get("choices") {
            Some(json) => serde_json::from_str(json).map_err(|_| Disagrees)?,
            None => return Ok(Some(chunk.to_json())),
        };
        let had_choices = !choices.is_empty();
        let mut left = Vec::with_capacity(choices.len());
        for choice in choices {
            left.extend(self.rewrite_choice(choice)?);
        }
        if left.is_empty() && had_choices {
            return Ok(None);
        }
        let choices = format!("[{}]", left.join(","));
        chunk.set("choices", choices);
        Ok(Some(chunk.to_json()))
    }

    fn rewrite_choice(&mut self, mut choice: RawObject<'_>) -> Result<Option<String>, Disagrees> {
        let index = choice.get("index").and_then(|json| json.parse().ok()).unwrap_or(0);
        let Some(begun) = self.begun.get_mut(&index) else {
            // With the whole answer said again, a choice may come first now that had not begun then; when going on
            // there is only the one.
            return if self.joint == Joint::Cut { Ok(Some(choice.to_json())) } else { Err(Disagrees) };
        };
        let delta = choice.get("delta").unwrap_or("{}").to_owned();
        let mut delta = RawObject::parse(&delta).unwrap_or_default();
        delta.remove("role");
        let mut was_cut = false;
        for lane in Lane::ALL {
            // Whatever is no text is none to the client either.
            let Some(raw) = delta.get(lane.field()).filter(|raw| raw.starts_with('"')) else { continue };
            if self.joint != Joint::Cut && lane.is_reasoning() {
                // The answer had begun: a second thinking before its second half would be read as part of the first.
                delta.remove(lane.field());
                continue;
            }
            let (len, rest) = begun.hear(lane, raw)?;
            if begun.has_finished && !rest.is_empty() {
                return Err(Disagrees);
            }
            if rest.len() != len {
                was_cut = true;
                delta.set(lane.field(), serde_json::Value::from(rest).to_string());
            }
        }
        let finishes = choice.get("finish_reason").is_some_and(|json| json != "null");
        if finishes || calls_tools(&delta) {
            // It ends here, and so was no echo.
            if let Some((lane, text)) = begun.take_held() {
                delta.set(lane.field(), serde_json::Value::from(text).to_string());
            }
            if begun.owes_anything() {
                return Err(Disagrees);
            }
        }
        if begun.has_finished {
            return if calls_tools(&delta) { Err(Disagrees) } else { Ok(None) };
        }
        begun.has_finished |= finishes;
        if !finishes && delta.values().all(is_nothing) {
            return Ok(None);
        }
        if was_cut && choice.get("logprobs").is_some_and(|json| json != "null") {
            // They are of the tokens of the whole text.
            choice.set("logprobs", "null");
        }
        choice.set("delta", delta.to_json());
        Ok(Some(choice.to_json()))
    }

    /// Whether all that the client has got was heard again.
    pub(crate) fn is_settled(&self) -> bool {
        !self.begun.values().any(Begun::lacks_anything)
    }
}

impl Begun {
    fn new(spoken: &SpokenChoice, joint: Joint) -> Self {
        let texts = spoken.texts.iter().filter(|(lane, text)| match joint {
            Joint::Cut => true,
            Joint::Append => false,
            Joint::AppendUnlessEchoed => **lane == Lane::Content && would_be_an_echo(text),
        });
        Begun {
            has_finished: spoken.has_finished,
            texts: texts.map(|(&lane, text)| (lane, (text.clone(), 0))).collect(),
            may_go_on: joint == Joint::AppendUnlessEchoed,
        }
    }

    /// What was kept back as the beginning of an echo.
    fn take_held(&mut self) -> Option<(Lane, String)> {
        if !self.may_go_on || !self.owes_anything() {
            return None;
        }
        let (lane, (text, heard)) = self.texts.pop_first()?;
        Some((lane, text.get(..heard)?.to_owned())).filter(|(_, held)| !held.is_empty())
    }

    /// Takes in a text of the second stream (a JSON string): its length, and what of it is new.
    fn hear(&mut self, lane: Lane, raw: &str) -> Result<(usize, String), Disagrees> {
        let unheard = self.texts.get_mut(&lane).and_then(|(text, heard)| Some((text.get(*heard..)?, heard)));
        let text = match serde_json::from_str::<String>(raw) {
            Ok(text) => text,
            // Half a surrogate pair can be handed on, but it agrees with nothing.
            Err(_) if unheard.is_none_or(|(unheard, _)| unheard.is_empty()) => return Ok((0, String::new())),
            Err(_) => return Err(Disagrees),
        };
        let Some((unheard, heard)) = unheard else { return Ok((text.len(), text)) };
        if let Some(rest) = text.strip_prefix(unheard) {
            *heard += unheard.len();
            return Ok((text.len(), rest.to_owned()));
        }
        if !unheard.starts_with(&text) {
            return match self.take_held() {
                Some((_, held)) => Ok((text.len(), held + &text)),
                None if self.may_go_on => Ok((text.len(), text)),
                None => Err(Disagrees),
            };
        }
        *heard += text.len();
        Ok((text.len(), String::new()))
    }

    /// Whether an end now would leave characters out: of an echo, those that were kept back.
    fn lacks_anything(&self) -> bool {
        self.owes_anything() && (!self.may_go_on || self.texts.values().any(|(_, heard)| *heard > 0))
    }

    fn owes_anything(&self) -> bool {
        self.texts.values().any(|(text, heard)| *heard < text.len())
    }
}

/// Whether a text that begins with this one says it again, rather than goes on like this.
fn would_be_an_echo(said: &str) -> bool {
    said.len() >= MIN_ECHO_BYTES && period(said.as_bytes()) > said.len() / 2
}

/// A continuation repeats so much by chance never, and less perhaps.
const MIN_ECHO_BYTES: usize = 8;

/// The least number of bytes after which a text repeats itself to its end (Knuth, Morris and Pratt's failure function).
fn period(text: &[u8]) -> usize {
    let mut borders: Vec<usize> = Vec::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        let mut border = at.checked_sub(1).and_then(|before| borders.get(before)).copied().unwrap_or(0);
        while at > 0 && border > 0 && text.get(border) != Some(byte) {
            border = borders.get(border - 1).copied().unwrap_or(0);
        }
        borders.push(if at > 0 && text.get(border) == Some(byte) { border + 1 } else { 0 });
    }
    text.len() - borders.last().copied().unwrap_or(0)
}

fn calls_tools(delta: &RawObject<'_>) -> bool {
    ["tool_calls", "function_call"]
        .into_iter()
        .any(|name| delta.get(name).is_some_and(|json| !is_nothing(json)))
}

fn is_nothing(json: &str) -> bool {
    matches!(json, "null" | "\"\"" | "[]" | "{}")
}
