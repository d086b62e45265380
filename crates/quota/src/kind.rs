//! What a counter counts, and over which kind of time: two letters in its key.
//!
//! The letters are part of the key, so that a rule whose meaning changes begins with new counters instead of reading
//! old figures in a new unit. A rule has at most one check of each kind.

use gateway_config::{Check, Measure, Weights, Window};
use std::fmt;

/// What is counted over which kind of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The kind of time.
    pub span: Span,
    /// What is counted.
    pub unit: Unit,
}

/// A kind of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// Any 60 seconds: `m`.
    Minute,
    /// The calendar's hour … year: `c`.
    Calendar,
    /// From first use: `r`.
    Rolling,
    /// While the request runs: `l`.
    Lease,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Prompt and completion tokens alike: `t`.
    TotalTokens,
    /// Prompt tokens: `p`.
    PromptTokens,
    /// Completion tokens: `g`, those generated.
    CompletionTokens,
    /// Tokens by the rule's weights: `w`.
    WeightedTokens,
    /// Requests: `n`.
    Requests,
    /// Nano-dollars: `d`.
    NanoUsd,
    /// Requests that run: `s`, slots.
    Slots,
}

/// What a client is to make of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Too fast: it passes within two minutes. 429 `rate_limit_exceeded`.
    Rate,
    /// Used up until the window ends. 429 `insufficient_quota`.
    Quota,
    /// Too many at once: nobody knows when one ends. 429 `rate_limit_exceeded`.
    Parallel,
}

const SPANS: [(Span, char); 4] =
    [(Span::Minute, 'm'), (Span::Calendar, 'c'), (Span::Rolling, 'r'), (Span::Lease, 'l')];
const UNITS: [(Unit, char); 7] = [
    (Unit::TotalTokens, 't'),
    (Unit::PromptTokens, 'p'),
    (Unit::CompletionTokens, 'g'),
    (Unit::WeightedTokens, 'w'),
    (Unit::Requests, 'n'),
    (Unit::NanoUsd, 'd'),
    (Unit::Slots, 's'),
];

impl Kind {
    /// The kind of a configured check.
    pub fn of(check: &Check) -> Self {
        let span = match check.window {
            Window::SlidingMinute => Span::Minute,
            Window::Calendar(..) => Span::Calendar,
            Window::Rolling(_) => Span::Rolling,
            Window::Lease { .. } => Span::Lease,
        };
        let unit = match check.measure {
            Measure::Tokens(Weights::TOTAL) => Unit::TotalTokens,
            Measure::Tokens(Weights::PROMPT) => Unit::PromptTokens,
            Measure::Tokens(Weights::COMPLETION) => Unit::CompletionTokens,
            Measure::Tokens(_) => Unit::WeightedTokens,
            Measure::Requests => Unit::Requests,
            Measure::NanoUsd => Unit::NanoUsd,
            Measure::Parallel => Unit::Slots,
        };
        Kind { span, unit }
    }

    /// What a refusal by a check of this kind means.
    pub fn class(self) -> Class {
        match self.span {
            Span::Minute => Class::Rate,
            Span::Calendar | Span::Rolling => Class::Quota,
            Span::Lease => Class::Parallel,
        }
    }

    pub(crate) fn parse(code: &str) -> Option<Self> {
        let mut letters = code.chars();
        let (span, unit) = (letters.next()?, letters.next()?);
        let span = SPANS.iter().find(|(_, letter)| *letter == span)?.0;
        let unit = UNITS.iter().find(|(_, letter)| *letter == unit)?.0;
        letters.next().is_none().then_some(Kind { span, unit })
    }
}

impl fmt::Display for Kind {
    /// The two letters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = SPANS.iter().find(|(span, _)| *span == self.span).map_or('?', |(_, letter)| *letter);
        let unit = UNITS.iter().find(|(unit, _)| *unit == self.unit).map_or('?', |(_, letter)| *letter);
        write!(f, "{span}{unit}")
    }
}

impl Unit {
    /// Whether it is one of the four ways to count tokens.
    pub fn is_tokens(self) -> bool {
        matches!(self, Unit::TotalTokens | Unit::PromptTokens | Unit::CompletionTokens | Unit::WeightedTokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_two_letters_of_its_own() {
        let mut codes = Vec::new();
        for (span, _) in SPANS {
            for (unit, _) in UNITS {
                let kind = Kind { span, unit };
                assert_eq!(Kind::parse(&kind.to_string()), Some(kind));
                codes.push(kind.to_string());
            }
        }
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), 28);
        for code in ["", "m", "mtx", "xt", "mx", "tm"] {
            assert_eq!(Kind::parse(code), None, "{code}");
        }
    }
}
