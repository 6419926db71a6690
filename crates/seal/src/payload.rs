//! The header of a payload, and the keys that belong to it.

use std::fmt;

use strongroom_environment::Entropy;
use zeroize::Zeroizing;

use crate::engine::{Aead, Engine, KEY_LEN_BYTES, NONCE_LEN_BYTES, Nonce};
use crate::{DataKey, SEALS, scrub_stack};

/// The length of a payload's salt in bytes.
const SALT_LEN_BYTES: usize = 24;

/// The length of a payload's key commitment in bytes.
pub(crate) const COMMITMENT_LEN_BYTES: usize = 32;

/// The length of the header before the first chunk, in bytes: salt, then commitment.
pub const HEADER_LEN_BYTES: usize = SALT_LEN_BYTES + COMMITMENT_LEN_BYTES;

/// What tells this use of HKDF-Expand from every other (C2SP chunked-encryption, "Key
/// derivation"), up to the salt: the scheme, and the AEAD by its name in the IANA registry.
const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0";

/// The random bytes that make the keys of a payload its own.
///
/// It must never be used twice under one data key. At 24 random bytes, 2^80 payloads may be
/// sealed under a key before two share a salt with probability 2^-32.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; Salt::LEN_BYTES]);

impl Salt {
    /// The length of a salt in bytes.
    pub const LEN_BYTES: usize = SALT_LEN_BYTES;

    /// A new random salt.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; Self::LEN_BYTES];
        entropy.fill(&mut bytes);
        Self(bytes)
    }

    /// The salt of these bytes, for test vectors and for tools that seal again what they opened.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the salt. They are public.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN_BYTES] {
        &self.0
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// The context under which Strongroom seals a payload: which payload it is, and which part of it.
///
/// It is bound into the keys, so the sealed bytes of one payload or part don't open in the place
/// of another. It names neither bucket nor object key nor version: copies share a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadContext([u8; PayloadContext::LEN_BYTES]);

impl PayloadContext {
    /// The length of a context in bytes.
    pub const LEN_BYTES: usize = Self::LABEL.len() + 2 * Self::ID_LEN_BYTES;

    /// The length of each of the two ids in bytes.
    pub const ID_LEN_BYTES: usize = 16;

    const LABEL: &[u8] = b"strongroom/payload/v1";

    /// The context of the part `part_id` of the payload `payload_id`.
    #[must_use]
    pub fn new(payload_id: &[u8; Self::ID_LEN_BYTES], part_id: &[u8; Self::ID_LEN_BYTES]) -> Self {
        let mut bytes = [0; Self::LEN_BYTES];
        let (label, ids) = bytes.split_at_mut(Self::LABEL.len());
        let (payload, part) = ids.split_at_mut(Self::ID_LEN_BYTES);
        label.copy_from_slice(Self::LABEL);
        payload.copy_from_slice(payload_id);
        part.copy_from_slice(part_id);
        Self(bytes)
    }

    /// The bytes that [`Sealer::new`](crate::Sealer::new) and [`Opener::new`](crate::Opener::new)
    /// take as context.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN_BYTES] {
        &self.0
    }
}

/// The cipher of one payload and the nonce of its first chunk.
#[derive(Debug)]
pub(crate) struct PayloadCipher {
    pub(crate) aead: Aead,
    base_nonce: Nonce,
}

impl PayloadCipher {
    /// Derives the cipher and the commitment of a payload, and leaves no copy of a key behind.
    pub(crate) fn derive(
        engine: Engine,
        key: &DataKey,
        salt: &Salt,
        context: &[u8],
    ) -> (Self, [u8; COMMITMENT_LEN_BYTES]) {
        let derived = derive(engine, key, salt, context);
        scrub_stack();
        derived
    }

    /// The nonce of chunk `index`: the base nonce XOR the index as a big-endian integer.
    pub(crate) fn nonce(&self, index: u64) -> Nonce {
        let mut nonce = self.base_nonce;
        let low = &mut nonce[NONCE_LEN_BYTES - size_of::<u64>()..];
        for (byte, counter) in low.iter_mut().zip(index.to_be_bytes()) {
            *byte ^= counter;
        }
        nonce
    }
}

#[inline(never)]
fn derive(
    engine: Engine,
    key: &DataKey,
    salt: &Salt,
    context: &[u8],
) -> (PayloadCipher, [u8; COMMITMENT_LEN_BYTES]) {
    const OUTPUT_LEN_BYTES: usize = KEY_LEN_BYTES + NONCE_LEN_BYTES + COMMITMENT_LEN_BYTES;

    let mut output = Box::new(Zeroizing::new([0; OUTPUT_LEN_BYTES]));
    if SEALS {
        engine.expand(
            key.expose(),
            &[LABEL, salt.as_bytes(), context],
            output.as_mut_slice(),
        );
    }
    let (chunk_key, rest) = output
        .split_first_chunk::<KEY_LEN_BYTES>()
        .expect("the output starts with a key");
    let (base_nonce, rest) = rest
        .split_first_chunk::<NONCE_LEN_BYTES>()
        .expect("a nonce follows");
    let commitment = rest
        .first_chunk::<COMMITMENT_LEN_BYTES>()
        .expect("the commitment is the rest");
    let cipher = PayloadCipher {
        aead: engine.aead(chunk_key),
        base_nonce: *base_nonce,
    };
    (cipher, *commitment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_big_endian_and_goes_into_the_last_bytes_of_the_nonce() {
        let cipher = PayloadCipher {
            aead: Engine::chosen().aead(&[0; 32]),
            base_nonce: [0xFF; 12],
        };
        assert_eq!(cipher.nonce(0), [0xFF; 12]);
        let mut expected = [0xFF; 12];
        expected[7..].copy_from_slice(&[0xC0, 0xFF, 0xFF, 0xFE, 0xFE]);
        assert_eq!(cipher.nonce((0x3F << 32) | 0x0101), expected);
    }

    #[test]
    fn a_context_is_its_label_and_both_ids_in_order() {
        let context = PayloadContext::new(&[1; 16], &[2; 16]);
        let expected = [b"strongroom/payload/v1".as_slice(), &[1; 16], &[2; 16]].concat();
        assert_eq!(context.as_bytes().as_slice(), expected);
    }
}
