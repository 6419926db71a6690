//! A data key sealed under another key.

use std::fmt;

use zeroize::Zeroize;

use crate::engine::{Aead, Engine, KEY_LEN_BYTES, NONCE_LEN_BYTES, Nonce};
use crate::layout::TAG_LEN_BYTES;
use crate::{DataKey, scrub_stack};

/// The length of a wrapped data key in bytes: version, nonce, sealed key, tag.
pub const WRAPPED_LEN_BYTES: usize = 1 + NONCE_LEN_BYTES + KEY_LEN_BYTES + TAG_LEN_BYTES;

/// The version of the form of a wrapped data key, its first byte.
const VERSION: u8 = 1;

/// A data key sealed by a [`KeyWrap`]. It may be stored anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedDataKey([u8; WRAPPED_LEN_BYTES]);

impl WrappedDataKey {
    /// The wrapped key that stands in `bytes`. Whether it is authentic shows when it is unwrapped.
    ///
    /// # Errors
    /// [`UnwrapError::Length`], [`UnwrapError::Version`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, UnwrapError> {
        let Ok(wrapped) = <[u8; WRAPPED_LEN_BYTES]>::try_from(bytes) else {
            return Err(UnwrapError::Length {
                len_bytes: bytes.len(),
            });
        };
        match wrapped[0] {
            VERSION => Ok(Self(wrapped)),
            version => Err(UnwrapError::Version { version }),
        }
    }

    /// The bytes to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; WRAPPED_LEN_BYTES] {
        &self.0
    }
}

impl fmt::Debug for WrappedDataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedDataKey(..)")
    }
}

/// Why a wrapped data key did not come out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// The stored bytes are not as long as a wrapped data key.
    #[error("a wrapped data key is {WRAPPED_LEN_BYTES} bytes long, not {len_bytes}")]
    Length {
        /// The length of what was given, in bytes.
        len_bytes: usize,
    },
    /// The stored bytes are of a later release, or damaged.
    #[error("version {version} of a wrapped data key is not known")]
    Version {
        /// The first byte.
        version: u8,
    },
    /// Another key wrapped it, or for another purpose, or the bytes are damaged.
    #[error("the wrapped data key is not authentic under this key and for this purpose")]
    NotAuthentic,
}

/// Wraps and unwraps data keys under one key, by AES-256-GCM (NIST SP 800-38D).
///
/// The nonces are random, so one wrapping key is good for at most 2^32 wraps (SP 800-38D, section
/// 8.3). The key schedule is on the heap and is wiped when this is dropped.
#[derive(Debug)]
pub struct KeyWrap {
    aead: Aead,
}

impl KeyWrap {
    /// The wrap under `key`, a bucket key.
    #[must_use]
    pub fn new(key: &[u8; KEY_LEN_BYTES]) -> Self {
        Self::with_engine(Engine::chosen(), key)
    }

    /// As [`Self::new`], by the given engine.
    #[must_use]
    pub fn with_engine(engine: Engine, key: &[u8; KEY_LEN_BYTES]) -> Self {
        let wrap = Self {
            aead: engine.aead(key),
        };
        scrub_stack();
        wrap
    }

    /// Wraps `key` for the purpose `aad`, which whoever unwraps it must name too.
    ///
    /// `nonce` is random and fresh for each wrap.
    #[must_use]
    pub fn wrap(&self, nonce: [u8; NONCE_LEN_BYTES], aad: &[u8], key: &DataKey) -> WrappedDataKey {
        let wrapped = self.seal(nonce, aad, key);
        scrub_stack();
        wrapped
    }

    /// Unwraps a data key that was wrapped for the purpose `aad`.
    ///
    /// # Errors
    /// [`UnwrapError::NotAuthentic`].
    pub fn unwrap(&self, aad: &[u8], wrapped: &WrappedDataKey) -> Result<DataKey, UnwrapError> {
        let key = self.open(aad, wrapped);
        scrub_stack();
        key
    }

    #[inline(never)]
    fn seal(&self, nonce: Nonce, aad: &[u8], key: &DataKey) -> WrappedDataKey {
        let mut bytes = [0; WRAPPED_LEN_BYTES];
        let (version_and_nonce, sealed) = bytes.split_at_mut(1 + NONCE_LEN_BYTES);
        version_and_nonce[0] = VERSION;
        version_and_nonce[1..].copy_from_slice(&nonce);
        let (sealed, tag) = sealed
            .split_last_chunk_mut::<TAG_LEN_BYTES>()
            .expect("the tag is the end of a wrapped key");
        sealed.copy_from_slice(key.expose());
        self.aead
            .seal(nonce, aad, sealed, tag)
            .expect("AES-GCM seals 32 bytes");
        WrappedDataKey(bytes)
    }

    #[inline(never)]
    fn open(&self, aad: &[u8], wrapped: &WrappedDataKey) -> Result<DataKey, UnwrapError> {
        let (nonce, sealed) = wrapped.0[1..]
            .split_first_chunk::<NONCE_LEN_BYTES>()
            .expect("the nonce follows the version");
        let (sealed, tag) = sealed
            .split_last_chunk::<TAG_LEN_BYTES>()
            .expect("the tag is the end of a wrapped key");
        DataKey::write(|key| {
            key.copy_from_slice(sealed);
            self.aead.open(*nonce, aad, key, tag).map_err(|_| {
                key.zeroize();
                UnwrapError::NotAuthentic
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CheckValue, customer_kek, customer_kek_with_engine};

    const KEK: [u8; 32] = [3; 32];
    const NONCE: [u8; 12] = [4; 12];

    fn key() -> DataKey {
        DataKey::from_bytes(&[5; 32])
    }

    #[test]
    fn either_engine_unwraps_what_the_other_wrapped() {
        for wrapping in Engine::ALL {
            let wrapped = KeyWrap::with_engine(*wrapping, &KEK).wrap(NONCE, b"purpose", &key());
            for unwrapping in Engine::ALL {
                let wrap = KeyWrap::with_engine(*unwrapping, &KEK);
                let key = wrap.unwrap(b"purpose", &wrapped).expect("authentic");
                assert_eq!(key.expose(), &[5; 32]);
            }
        }
    }

    #[test]
    fn every_flipped_bit_another_key_and_another_purpose_are_refused() {
        for engine in Engine::ALL {
            let wrap = KeyWrap::with_engine(*engine, &KEK);
            let wrapped = wrap.wrap(NONCE, b"purpose", &key());
            for bit in 0..8 * WRAPPED_LEN_BYTES {
                let mut bytes = *wrapped.as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let result = WrappedDataKey::from_bytes(&bytes)
                    .and_then(|wrapped| wrap.unwrap(b"purpose", &wrapped));
                let expected = if bit < 8 {
                    UnwrapError::Version { version: bytes[0] }
                } else {
                    UnwrapError::NotAuthentic
                };
                assert_eq!(result.err(), Some(expected), "bit {bit}");
            }
            let refused = Some(UnwrapError::NotAuthentic);
            assert_eq!(wrap.unwrap(b"purpos", &wrapped).err(), refused);
            assert_eq!(wrap.unwrap(b"", &wrapped).err(), refused);
            let another = KeyWrap::with_engine(*engine, &[6; 32]);
            assert_eq!(another.unwrap(b"purpose", &wrapped).err(), refused);
        }
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        for len_bytes in [0, 1, 60, 62] {
            assert_eq!(
                WrappedDataKey::from_bytes(&vec![1; len_bytes]),
                Err(UnwrapError::Length { len_bytes })
            );
        }
    }

    #[test]
    fn a_customer_key_derives_the_same_with_either_engine_and_another_from_any_other_input() {
        let check = |key, salt, purpose: &[u8]| customer_kek(key, salt, purpose).1;
        let expected = check(&[1; 32], &[2; 32], b"purpose");
        for engine in Engine::ALL {
            let (_, same) = customer_kek_with_engine(*engine, &[1; 32], &[2; 32], b"purpose");
            assert_eq!(same, expected);
        }
        assert_ne!(check(&[9; 32], &[2; 32], b"purpose"), expected);
        assert_ne!(check(&[1; 32], &[9; 32], b"purpose"), expected);
        assert_ne!(check(&[1; 32], &[2; 32], b"purposE"), expected);
        assert_eq!(CheckValue::from_bytes(*expected.as_bytes()), expected);
    }

    #[test]
    fn a_wrap_under_a_customer_key_opens_with_that_key_only() {
        let (wrap, _) = customer_kek(&[1; 32], &[2; 32], b"purpose");
        let wrapped = wrap.wrap(NONCE, b"purpose", &key());
        let (again, _) = customer_kek(&[1; 32], &[2; 32], b"purpose");
        assert!(again.unwrap(b"purpose", &wrapped).is_ok());
        for (another, _) in [
            customer_kek(&[9; 32], &[2; 32], b"purpose"),
            customer_kek(&[1; 32], &[9; 32], b"purpose"),
            customer_kek(&[1; 32], &[2; 32], b"another"),
        ] {
            assert_eq!(
                another.unwrap(b"purpose", &wrapped).err(),
                Some(UnwrapError::NotAuthentic)
            );
        }
    }

    #[test]
    fn nothing_that_holds_a_key_prints_it() {
        let wrap = KeyWrap::new(&KEK);
        assert_eq!(format!("{wrap:?}"), "KeyWrap { aead: Aead(..) }");
        let wrapped = wrap.wrap(NONCE, b"purpose", &key());
        assert_eq!(format!("{wrapped:?}"), "WrappedDataKey(..)");
    }
}
