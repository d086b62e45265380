//! How a vocabulary lies in memory; what `build.rs` writes and [`Vocabulary`](crate::vocabulary::Vocabulary) reads.
//!
//! A slot of the hash table is a little-endian `u32`: the rank in the low bits, some bits of the hash above them, so that
//! a probe seldom has to look at the token itself. Linear probing, no deletions. The table never changes, so nobody
//! can make its chains longer than they were built.

/// Bits of a slot that hold the rank.
pub const RANK_BITS: u32 = 18;
/// A slot without a token; no rank is as large.
pub const EMPTY: u32 = u32::MAX;

/// Where a token's chain starts in a table of so many slots (a power of two, at most 2¹⁹), and what its slot holds
/// above the rank.
pub fn place(token: &[u8], slots: usize) -> (usize, u32) {
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = token.len() as u64;
    for chunk in token.chunks(8) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
    }
    let hash = hash.wrapping_mul(MULTIPLIER);
    let slot = (hash >> 45) as usize & (slots - 1);
    let tag = ((hash >> 20) & 0x3FFF) as u32;
    (slot, tag << RANK_BITS)
}
