//! Randomness behind one seam.

use std::fmt;

use parking_lot::Mutex;

/// The seam through which the workspace draws random bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `bytes` with random bytes.
    ///
    /// The engine for real use is a cryptographic generator; it does not fail, as the operating
    /// system's generator does not once it is seeded.
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// An array of random bytes. Not for secrets: it is returned by value; `fill` a wiped buffer.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// The cryptographic generator of aws-lc, seeded by the operating system (NIST SP 800-90A).
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the entropy the others take"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        // aws-lc aborts rather than return weak bytes, so the error arm is not reachable; going on
        // with a predictable key would be the one unforgivable answer.
        aws_lc_rs::rand::fill(bytes).expect("the operating system gives entropy");
    }
}

/// A repeatable sequence for simulations and tests. Never a source of keys.
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Mutex::new(seed),
        }
    }

    /// The next number of the sequence (SplitMix64, Steele, Lea and Flood 2014).
    pub fn next_u64(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy")
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_the_system_does_not() {
        fn drawn(entropy: &dyn Entropy) -> [u8; 20] {
            entropy.array()
        }
        assert_eq!(drawn(&SeededEntropy::new(7)), drawn(&SeededEntropy::new(7)));
        assert_ne!(drawn(&SystemEntropy), drawn(&SystemEntropy));
    }

    #[test]
    fn splitmix_gives_its_published_first_number() {
        assert_eq!(SeededEntropy::new(0).next_u64(), 0xE220_A839_7B1D_CDAF);
    }
}
