//! The tokens of an encoding and their ranks, found by their bytes.

use crate::layout::{EMPTY, RANK_BITS, place};

const RANK_MASK: u32 = (1 << RANK_BITS) - 1;

/// A token's rank: of two neighbouring pairs, the one that merges into the lower rank is merged first.
pub type Rank = u32;

/// A vocabulary, laid out by `build.rs`. Every single byte is a token of it.
#[derive(Debug)]
pub struct Vocabulary {
    /// All tokens, by rank.
    bytes: &'static [u8],
    /// Where each ends, `u32` each.
    ends: &'static [u8],
    /// The hash table, `u32` each.
    slots: &'static [u8],
}

macro_rules! vocabulary {
    ($name:literal) => {
        Vocabulary {
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".bytes")),
            ends: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".ends")),
            slots: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".slots")),
        }
    };
}

/// The vocabulary of `o200k_base`: 199,998 tokens.
pub static O200K_BASE: Vocabulary = vocabulary!("o200k_base");
/// The vocabulary of `cl100k_base`: 100,256 tokens.
pub static CL100K_BASE: Vocabulary = vocabulary!("cl100k_base");

impl Vocabulary {
    /// The rank of a token; `None` if these bytes are not one.
    pub fn rank(&self, token: &[u8]) -> Option<Rank> {
        let slots = self.slots.len() / 4;
        let (start, tag) = place(token, slots);
        for probe in 0..slots {
            let slot = word(self.slots, (start + probe) & (slots - 1))?;
            if slot == EMPTY {
                return None;
            }
            if slot >> RANK_BITS == tag >> RANK_BITS && self.token(slot & RANK_MASK) == Some(token) {
                return Some(slot & RANK_MASK);
            }
        }
        None
    }

    fn token(&self, rank: Rank) -> Option<&'static [u8]> {
        let rank = rank as usize;
        let start = if rank == 0 { 0 } else { word(self.ends, rank - 1)? as usize };
        self.bytes.get(start..word(self.ends, rank)? as usize)
    }
}

fn word(words: &[u8], at: usize) -> Option<u32> {
    let bytes = words.get(4 * at..4 * at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
