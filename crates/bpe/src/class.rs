//! What a character is, as far as the splitting of texts asks: its Unicode general category, grouped.

/// The group of a character's general category. The numbers are those that `build.rs` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Everything else: punctuation, symbols, controls, unassigned.
    Symbol,
    /// Upper-case and title-case letters (Lu, Lt).
    Upper,
    /// Lower-case letters (Ll).
    Lower,
    /// Letters without case, and modifiers (Lo, Lm).
    Caseless,
    /// Combining marks (M).
    Mark,
    /// Numbers (N).
    Number,
    /// Carriage return and line feed.
    LineEnd,
    /// Other white space.
    Space,
}

static BLOCK_OF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes.block_of"));
static BLOCKS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes.blocks"));

impl Class {
    /// The class of a character.
    pub fn of(c: char) -> Class {
        let code = c as usize;
        let block = BLOCK_OF.get(code >> 8).copied().unwrap_or(0);
        match BLOCKS.get((usize::from(block) << 8) | (code & 0xFF)) {
            Some(1) => Class::Upper,
            Some(2) => Class::Lower,
            Some(3) => Class::Caseless,
            Some(4) => Class::Mark,
            Some(5) => Class::Number,
            Some(6) => Class::LineEnd,
            Some(7) => Class::Space,
            _ => Class::Symbol,
        }
    }

    /// `\p{L}`
    pub fn is_letter(self) -> bool {
        matches!(self, Class::Upper | Class::Lower | Class::Caseless)
    }

    /// `\s`
    pub fn is_space(self) -> bool {
        matches!(self, Class::LineEnd | Class::Space)
    }

    /// `[^\s\p{L}\p{N}]`
    pub fn is_symbol(self) -> bool {
        matches!(self, Class::Symbol | Class::Mark)
    }

    /// `[^\r\n\p{L}\p{N}]`: what may stand before the letters of a word.
    pub fn may_lead(self) -> bool {
        matches!(self, Class::Symbol | Class::Mark | Class::Space)
    }

    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`: the first half of an `o200k_base` word.
    pub fn is_upper_half(self) -> bool {
        matches!(self, Class::Upper | Class::Caseless | Class::Mark)
    }

    /// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`: the second half of an `o200k_base` word.
    pub fn is_lower_half(self) -> bool {
        matches!(self, Class::Lower | Class::Caseless | Class::Mark)
    }
}
