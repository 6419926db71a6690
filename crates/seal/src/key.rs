//! The key of one payload.

use std::convert::Infallible;
use std::fmt;

use strongroom_environment::Entropy;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A random 256-bit key that seals payloads, or that wraps those that do.
///
/// Its bytes are on the heap, so that moving it copies no secret, and are wiped when it is
/// dropped. It is not `Clone`; share it behind an `Arc`.
pub struct DataKey(Box<Zeroizing<[u8; DataKey::LEN_BYTES]>>);

impl DataKey {
    /// The length of a data key in bytes.
    pub const LEN_BYTES: usize = 32;

    /// A new random key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let Ok(key) = Self::write(|bytes| {
            entropy.fill(bytes);
            Ok::<(), Infallible>(())
        });
        key
    }

    /// The key of these bytes. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN_BYTES]) -> Self {
        let Ok(key) = Self::write(|own| {
            own.copy_from_slice(bytes);
            Ok::<(), Infallible>(())
        });
        key
    }

    /// A key whose bytes `fill` writes where they will stay, so that no copy is left elsewhere.
    ///
    /// # Errors
    /// What `fill` gives.
    pub fn write<E>(
        fill: impl FnOnce(&mut [u8; Self::LEN_BYTES]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut bytes = Box::new(Zeroizing::new([0; Self::LEN_BYTES]));
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The bytes of the key. Who copies them wipes the copy.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::LEN_BYTES] {
        &self.0
    }
}

impl ConstantTimeEq for DataKey {
    fn ct_eq(&self, other: &Self) -> subtle::Choice {
        self.expose().ct_eq(other.expose())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use strongroom_environment::SeededEntropy;

    use super::*;

    #[test]
    fn keys_differ_compare_and_do_not_print() {
        let entropy = SeededEntropy::new(1);
        let (first, second) = (DataKey::generate(&entropy), DataKey::generate(&entropy));
        assert!(!bool::from(first.ct_eq(&second)));
        assert!(bool::from(
            first.ct_eq(&DataKey::from_bytes(first.expose()))
        ));
        assert_eq!(format!("{first:?}"), "DataKey(..)");
    }

    #[test]
    fn a_key_that_could_not_be_written_is_no_key() {
        assert_eq!(DataKey::write(|_| Err("no token")).err(), Some("no token"));
    }
}
