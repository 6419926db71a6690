//! The implementations of AES-256-GCM and HKDF-SHA-512 that do the work.

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod rust_crypto;

use std::fmt;

use crate::layout::TAG_LEN_BYTES;

/// The length of an AES-256-GCM nonce in bytes (NIST SP 800-38D, section 8.2).
pub(crate) const NONCE_LEN_BYTES: usize = 12;

/// The length of an AES-256 key in bytes.
pub(crate) const KEY_LEN_BYTES: usize = 32;

pub(crate) type Nonce = [u8; NONCE_LEN_BYTES];
pub(crate) type Tag = [u8; TAG_LEN_BYTES];

/// An implementation of the primitives.
///
/// There are two, written independently of each other, so that one can vouch for what the other
/// sealed. Whoever only wants to seal uses the functions that take none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// AWS-LC, through `aws-lc-rs`: hand-written assembly, the fast one.
    #[cfg(feature = "aws-lc")]
    AwsLc,
    /// RustCrypto's `aes-gcm`, `hkdf` and `sha2`: Rust only, runs wherever Rust does.
    RustCrypto,
}

impl Engine {
    /// The engine of the functions that take none.
    #[cfg(all(feature = "aws-lc", not(feature = "portable")))]
    pub const CHOSEN: Self = Self::AwsLc;

    /// The engine of the functions that take none.
    #[cfg(any(not(feature = "aws-lc"), feature = "portable"))]
    pub const CHOSEN: Self = Self::RustCrypto;

    /// Every engine of this build.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "aws-lc")]
        Self::AwsLc,
        Self::RustCrypto,
    ];

    /// HKDF-Expand with SHA-512 (RFC 5869, section 2.3) of the concatenation of `info`.
    ///
    /// `out` is at most two blocks of SHA-512 long, far below the 255 that HKDF allows.
    pub(crate) fn expand(self, prk: &[u8; KEY_LEN_BYTES], info: &[&[u8]], out: &mut [u8]) {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => aws_lc::expand(prk, info, out),
            Self::RustCrypto => rust_crypto::expand(prk, info, out),
        }
    }

    /// HKDF with SHA-512 (RFC 5869): extract with `salt`, then expand as [`Self::expand`].
    pub(crate) fn extract_and_expand(
        self,
        secret: &[u8; KEY_LEN_BYTES],
        salt: &[u8],
        info: &[&[u8]],
        out: &mut [u8],
    ) {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => aws_lc::extract_and_expand(secret, salt, info, out),
            Self::RustCrypto => rust_crypto::extract_and_expand(secret, salt, info, out),
        }
    }

    /// AES-256-GCM under `key`.
    pub(crate) fn aead(self, key: &[u8; KEY_LEN_BYTES]) -> Aead {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => Aead::AwsLc(aws_lc::Aead::new(key)),
            Self::RustCrypto => Aead::RustCrypto(Box::new(rust_crypto::Aead::new(key))),
        }
    }
}

/// The engine did not do it: on opening, the bytes are not authentic; on sealing, too many.
#[derive(Debug)]
pub(crate) struct Refused;

/// AES-256-GCM (NIST SP 800-38D) under one key.
///
/// The key schedule is on the heap and is wiped when this is dropped.
pub(crate) enum Aead {
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc::Aead),
    RustCrypto(Box<rust_crypto::Aead>),
}

impl Aead {
    /// Seals `text` in place.
    pub(crate) fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &mut Tag,
    ) -> Result<(), Refused> {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(aead) => aead.seal(nonce, aad, text, tag),
            Self::RustCrypto(aead) => aead.seal(nonce, aad, text, tag),
        }
    }

    /// Seals `plain` into `sealed`, which is as long.
    pub(crate) fn seal_into(
        &self,
        nonce: Nonce,
        aad: &[u8],
        plain: &[u8],
        sealed: &mut [u8],
        tag: &mut Tag,
    ) -> Result<(), Refused> {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(aead) => aead.seal_into(nonce, aad, plain, sealed, tag),
            Self::RustCrypto(aead) => aead.seal_into(nonce, aad, plain, sealed, tag),
        }
    }

    /// Opens `text` in place; `text` is zeros or still sealed when it is refused.
    pub(crate) fn open(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Refused> {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(aead) => aead.open(nonce, aad, text, tag),
            Self::RustCrypto(aead) => aead.open(nonce, aad, text, tag),
        }
    }

    /// Opens `sealed` into `plain`, which is as long, and holds nothing new when it is refused.
    pub(crate) fn open_into(
        &self,
        nonce: Nonce,
        aad: &[u8],
        sealed: &[u8],
        tag: &Tag,
        plain: &mut [u8],
    ) -> Result<(), Refused> {
        match self {
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(aead) => aead.open_into(nonce, aad, sealed, tag, plain),
            Self::RustCrypto(aead) => aead.open_into(nonce, aad, sealed, tag, plain),
        }
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead(..)")
    }
}

#[cfg(test)]
mod tests;
