//! A 64-bit hash that is the same in every run, build and release, for ids and digests.
//!
//! Not for secrets or hash tables: nothing here resists an attacker.

/// Offset basis and prime of 64-bit FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>).
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Hashes `bytes`: FNV-1a over 64-bit words rather than bytes, since bodies reach megabytes, then murmur3's finaliser.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = BASIS ^ bytes.len() as u64;
    for word in words {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        // A multiplication only carries upwards: bring the high bits back for the next word.
        hash ^= hash >> 32;
    }
    for byte in rest {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_pinned_so_that_golden_files_survive_releases() {
        assert_eq!(stable_hash(b""), 0xefd0_1f60_ba99_2926);
        assert_eq!(stable_hash(b"Hello, world"), 0xf706_f843_ed01_0e55);
    }

    #[test]
    fn any_changed_byte_changes_it() {
        let text = *b"a message of some forty bytes, more or less";
        for position in 0..text.len() {
            let mut other = text;
            other[position] ^= 1;
            assert_ne!(stable_hash(&text), stable_hash(&other), "position {position}");
        }
    }
}
