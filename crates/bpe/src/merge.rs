//! Byte-pair encoding of one piece: of all neighbouring pairs the one with the lowest rank is merged, of equal ones the
//! first, until none is a token. Only the number of tokens is kept.
//!
//! Two ways to the same result: looking at all pairs each time, which is fastest while they are few, and a heap,
//! whose work grows with `n log n` and can be done in portions.

use crate::vocabulary::{Rank, Vocabulary};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No token.
const NONE: Rank = Rank::MAX;

/// Where a part starts, and the rank that it and the next part would merge into.
pub type Pair = (usize, Rank);

/// Tokens of a short piece. `pairs` is scratch space.
pub fn tokens_of_short(vocabulary: &Vocabulary, piece: &[u8], pairs: &mut Vec<Pair>) -> u64 {
    let rank = |from: usize, to: usize| piece.get(from..to).and_then(|t| vocabulary.rank(t)).unwrap_or(NONE);
    pairs.clear();
    pairs.extend((0..piece.len()).map(|at| (at, if at + 2 > piece.len() { NONE } else { rank(at, at + 2) })));
    let start_of = |pairs: &[Pair], at: usize| pairs.get(at).map_or(piece.len(), |(start, _)| *start);
    while let Some(first) = lowest(pairs) {
        pairs.remove(first + 1);
        for at in [first.checked_sub(1), Some(first)].into_iter().flatten() {
            let merged =
                if at + 1 < pairs.len() { rank(start_of(pairs, at), start_of(pairs, at + 2)) } else { NONE };
            if let Some((_, rank)) = pairs.get_mut(at) {
                *rank = merged;
            }
        }
    }
    pairs.len() as u64
}

/// The first of the pairs with the lowest rank, if any is a token.
fn lowest(pairs: &[Pair]) -> Option<usize> {
    let mut found = None;
    let mut lowest = NONE;
    for (at, (_, rank)) in pairs.iter().enumerate() {
        if *rank < lowest {
            lowest = *rank;
            found = Some(at);
        }
    }
    found
}

/// A long piece on its way to its tokens. The piece itself is given at each step, and must be the same.
#[derive(Debug)]
pub struct LongMerge {
    /// The part that starts at each byte, if one does.
    parts: Vec<Part>,
    /// Candidates, outdated ones among them: one counts if its part still has that rank.
    candidates: BinaryHeap<Reverse<(Rank, u32)>>,
    tokens: u64,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    previous: u32,
    end: u32,
    /// The rank that this part and the next would merge into.
    rank: Rank,
}

impl LongMerge {
    /// Every byte a token.
    pub fn new(vocabulary: &Vocabulary, piece: &[u8]) -> Self {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        let rank = |at: u32| piece.get(at as usize..at as usize + 2).and_then(|pair| vocabulary.rank(pair));
        let parts: Vec<Part> = (0..length)
            .map(|at| Part { previous: at.saturating_sub(1), end: at + 1, rank: rank(at).unwrap_or(NONE) })
            .collect();
        let candidates = parts.iter().zip(0..).filter(|(part, _)| part.rank != NONE);
        let candidates = candidates.map(|(part, at)| Reverse((part.rank, at))).collect();
        LongMerge { parts, candidates, tokens: u64::from(length) }
    }

    /// Looks at up to `steps` candidates. The number of tokens once there are no more.
    pub fn advance(&mut self, vocabulary: &Vocabulary, piece: &[u8], steps: usize) -> Option<u64> {
        for _ in 0..steps {
            let Some(Reverse((rank, at))) = self.candidates.pop() else { return Some(self.tokens) };
            if self.part(at).is_some_and(|part| part.rank == rank) {
                self.merge(vocabulary, piece, at);
            }
        }
        None
    }

    /// Merges the part at `left` with the next.
    fn merge(&mut self, vocabulary: &Vocabulary, piece: &[u8], left: u32) {
        let Some((previous, middle)) = self.part(left).map(|part| (part.previous, part.end)) else { return };
        let Some(right) = self.part_mut(middle) else { return };
        right.rank = NONE;
        let end = right.end;
        if let Some(next) = self.part_mut(end) {
            next.previous = left;
        }
        if let Some(part) = self.part_mut(left) {
            part.end = end;
        }
        self.tokens -= 1;
        self.consider(vocabulary, piece, left);
        if left > 0 {
            self.consider(vocabulary, piece, previous);
        }
    }

    /// Finds the rank of the part at `at` and the next.
    fn consider(&mut self, vocabulary: &Vocabulary, piece: &[u8], at: u32) {
        let next = self.part(at).and_then(|part| self.part(part.end));
        let rank = next
            .and_then(|next| piece.get(at as usize..next.end as usize))
            .and_then(|pair| vocabulary.rank(pair));
        if let Some(part) = self.part_mut(at) {
            part.rank = rank.unwrap_or(NONE);
        }
        self.candidates.extend(rank.map(|rank| Reverse((rank, at))));
    }

    fn part(&self, at: u32) -> Option<&Part> {
        self.parts.get(at as usize)
    }

    fn part_mut(&mut self, at: u32) -> Option<&mut Part> {
        self.parts.get_mut(at as usize)
    }
}
