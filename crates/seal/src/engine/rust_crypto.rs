//! The primitives by RustCrypto.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use hkdf::Hkdf;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::{KEY_LEN_BYTES, Nonce, Refused, Tag};

/// The length of a SHA-512 digest in bytes.
const DIGEST_LEN_BYTES: usize = 64;

#[inline(never)]
pub(super) fn expand(prk: &[u8; KEY_LEN_BYTES], info: &[&[u8]], out: &mut [u8]) {
    // The crate takes no PRK shorter than a digest. HMAC pads a key with zeros to the length of a
    // block (RFC 2104), so doing the first half of that here changes no bit of the result.
    let mut padded = Zeroizing::new([0; DIGEST_LEN_BYTES]);
    padded[..KEY_LEN_BYTES].copy_from_slice(prk);
    let hkdf =
        Hkdf::<Sha512>::from_prk(padded.as_slice()).expect("a PRK as long as a digest is taken");
    fill(&hkdf, info, out);
}

#[inline(never)]
pub(super) fn extract_and_expand(
    secret: &[u8; KEY_LEN_BYTES],
    salt: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) {
    fill(&Hkdf::<Sha512>::new(Some(salt), secret), info, out);
}

fn fill(hkdf: &Hkdf<Sha512>, info: &[&[u8]], out: &mut [u8]) {
    hkdf.expand_multi_info(info, out)
        .expect("HKDF gives up to 255 blocks");
}

/// AES-256-GCM by RustCrypto, whose feature `zeroize` wipes the key schedule when it is dropped.
pub(crate) struct Aead(Aes256Gcm);

impl Aead {
    #[inline(never)]
    pub(super) fn new(key: &[u8; KEY_LEN_BYTES]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    pub(super) fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &mut Tag,
    ) -> Result<(), Refused> {
        let made = self
            .0
            .encrypt_inout_detached(&nonce.into(), aad, text.into())
            .map_err(|_| Refused)?;
        tag.copy_from_slice(&made);
        Ok(())
    }

    pub(super) fn open(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Refused> {
        self.0
            .decrypt_inout_detached(&nonce.into(), aad, text.into(), tag.into())
            .map_err(|_| Refused)
    }
}
