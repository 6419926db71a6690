//! The implementations of AES-256-GCM and HKDF-SHA-512 that do the work.

#[cfg(feature = "assembly")]
mod aws_lc;
#[cfg(feature = "assembly")]
mod ring;
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
/// They are written independently of each other, so that one can vouch for what another sealed.
/// Whoever only wants to seal uses the functions that take none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// AWS-LC, through `aws-lc-rs`: the fastest where the processor has AVX-512, and where it has
    /// no vector AES at all.
    #[cfg(feature = "assembly")]
    AwsLc,
    /// The AES-256-GCM of `ring`, with AWS-LC's HKDF: it has code for vector AES in 256-bit
    /// registers, which AWS-LC lacks, and is twice as fast on processors that stop there.
    #[cfg(feature = "assembly")]
    Ring,
    /// RustCrypto's `aes-gcm`, `hkdf` and `sha2`: Rust only, runs wherever Rust does.
    RustCrypto,
}

impl Engine {
    /// The engine of the functions that take none: the fastest on this processor.
    #[must_use]
    pub fn chosen() -> Self {
        #[cfg(all(feature = "assembly", not(feature = "portable")))]
        return if has_vector_aes_but_no_avx512() {
            Self::Ring
        } else {
            Self::AwsLc
        };
        #[cfg(not(all(feature = "assembly", not(feature = "portable"))))]
        return Self::RustCrypto;
    }

    /// Every engine of this build.
    pub const ALL: &[Self] = &[
        #[cfg(feature = "assembly")]
        Self::AwsLc,
        #[cfg(feature = "assembly")]
        Self::Ring,
        Self::RustCrypto,
    ];

    /// HKDF-Expand with SHA-512 (RFC 5869, section 2.3) of the concatenation of `info`.
    ///
    /// `out` is at most two blocks of SHA-512 long, far below the 255 that HKDF allows.
    pub(crate) fn expand(self, prk: &[u8; KEY_LEN_BYTES], info: &[&[u8]], out: &mut [u8]) {
        match self {
            #[cfg(feature = "assembly")]
            Self::AwsLc | Self::Ring => aws_lc::expand(prk, info, out),
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
            #[cfg(feature = "assembly")]
            Self::AwsLc | Self::Ring => aws_lc::extract_and_expand(secret, salt, info, out),
            Self::RustCrypto => rust_crypto::extract_and_expand(secret, salt, info, out),
        }
    }

    /// AES-256-GCM under `key`.
    pub(crate) fn aead(self, key: &[u8; KEY_LEN_BYTES]) -> Aead {
        match self {
            #[cfg(feature = "assembly")]
            Self::AwsLc => Aead::AwsLc(aws_lc::Aead::new(key)),
            #[cfg(feature = "assembly")]
            Self::Ring => Aead::Ring(Box::new(ring::Aead::new(key))),
            Self::RustCrypto => Aead::RustCrypto(Box::new(rust_crypto::Aead::new(key))),
        }
    }
}

/// Whether the processor has the vector forms of the AES and carry-less multiplication
/// instructions, but not the 512-bit registers. The answer is read once and remembered.
#[cfg(all(feature = "assembly", not(feature = "portable")))]
fn has_vector_aes_but_no_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("vaes")
        && std::is_x86_feature_detected!("vpclmulqdq")
        && std::is_x86_feature_detected!("avx2")
        && !std::is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// The engine did not do it: on opening, the bytes are not authentic; on sealing, too many.
#[derive(Debug)]
pub(crate) struct Refused;

/// AES-256-GCM (NIST SP 800-38D) under one key.
///
/// The key schedule is on the heap and is wiped when this is dropped.
pub(crate) enum Aead {
    #[cfg(feature = "assembly")]
    AwsLc(aws_lc::Aead),
    #[cfg(feature = "assembly")]
    Ring(Box<ring::Aead>),
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
            #[cfg(feature = "assembly")]
            Self::AwsLc(aead) => aead.seal(nonce, aad, text, tag),
            #[cfg(feature = "assembly")]
            Self::Ring(aead) => aead.seal(nonce, aad, text, tag),
            Self::RustCrypto(aead) => aead.seal(nonce, aad, text, tag),
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
            #[cfg(feature = "assembly")]
            Self::AwsLc(aead) => aead.open(nonce, aad, text, tag),
            #[cfg(feature = "assembly")]
            Self::Ring(aead) => aead.open(nonce, aad, text, tag),
            Self::RustCrypto(aead) => aead.open(nonce, aad, text, tag),
        }
    }

    /// Opens the text that stands `gap` bytes into `window` to the start of `window`; the tag is
    /// no part of it. The window is zeros or still sealed when it is refused.
    pub(crate) fn open_to_front(
        &self,
        nonce: Nonce,
        window: &mut [u8],
        gap: usize,
        tag: &Tag,
    ) -> Result<(), Refused> {
        #[cfg(feature = "assembly")]
        if let Self::Ring(aead) = self {
            return aead.open_to_front(nonce, window, gap, tag);
        }
        let text = window.get_mut(gap..).ok_or(Refused)?;
        self.open(nonce, &[], text, tag)?;
        window.copy_within(gap.., 0);
        Ok(())
    }
}

impl fmt::Debug for Aead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead(..)")
    }
}

#[cfg(test)]
mod tests;
