//! Hashes that every instance and every build computes alike: names of shared state, and who is in a share.
//!
//! Not for secrets, and not against someone who looks for collisions: the worst that one brings about is that two
//! deployments share a breaker, or that a caller chooses the arm of an experiment.

/// Hashes parts so that no two lists of parts are run together.
///
/// FNV-1a over the bytes (<http://www.isthe.com/chongo/tech/comp/fnv/>), each part closed by a byte that UTF-8 never
/// has, then MurmurHash3's 64-bit finaliser, because FNV alone spreads the last bytes badly over the high bits.
pub fn stable_hash<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut hash = OFFSET;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    mixed(hash)
}

/// MurmurHash3's 64-bit finaliser: a bijection in which every bit of the input changes half of the output.
pub fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// A hash as a number strictly between 0 and 1, evenly spread.
pub fn unit(hash: u64) -> f64 {
    // 53 bits are what an f64 holds exactly; the half keeps both ends out, so that a logarithm is finite.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let high = (hash >> 11) as f64;
    (high + 0.5) / 9_007_199_254_740_992.0
}

/// Random numbers from one seed, as many as a decision needs: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed that the caller draws anew for each request.
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, each as likely; 0 where the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Multiply and shift (Lemire, <https://arxiv.org/abs/1805.10941>); its bias is below bound ÷ 2⁶⁴.
        let product = u128::from(self.draw()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_not_run_together() {
        let hash = |parts: &[&str]| stable_hash(parts.iter().map(|part| part.as_bytes()));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""]));
        // Pinned: state shared with other builds, and who is in a share, hang on it.
        assert_eq!(hash(&["openai/gpt-4o"]), 932_169_296_369_691_824);
    }

    #[test]
    fn a_hundred_buckets_fill_evenly() {
        let hashes: Vec<f64> =
            (0..100_000).map(|n| unit(stable_hash([format!("user-{n}").as_bytes()]))).collect();
        for bucket in 0..100 {
            let (from, to) = (f64::from(bucket) / 100.0, f64::from(bucket + 1) / 100.0);
            let count = hashes.iter().filter(|hash| (from..to).contains(*hash)).count();
            // 1,000 each, standard deviation 31.5: five of them.
            assert!((840..=1_160).contains(&count), "{count} in bucket {bucket}");
        }
    }

    #[test]
    fn numbers_below_a_bound_are_each_as_likely() {
        let mut chance = Chance::new(7);
        let drawn: Vec<u64> = (0..30_000).map(|_| chance.below(3)).collect();
        for number in 0..3 {
            let count = drawn.iter().filter(|drawn| **drawn == number).count();
            assert!((9_600..=10_400).contains(&count), "{number}: {count}");
        }
        assert_eq!(chance.below(0), 0);
        assert_eq!(chance.below(1), 0);
    }
}
