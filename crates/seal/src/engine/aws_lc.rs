//! The primitives by aws-lc-rs.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as AwsNonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA512, KeyType, Prk, Salt};

use super::{KEY_LEN_BYTES, Nonce, Refused, Tag};

/// The length of what HKDF is to give, in bytes.
struct OutputLenBytes(usize);

impl KeyType for OutputLenBytes {
    fn len(&self) -> usize {
        self.0
    }
}

#[inline(never)]
pub(super) fn expand(prk: &[u8; KEY_LEN_BYTES], info: &[&[u8]], out: &mut [u8]) {
    fill(&Prk::new_less_safe(HKDF_SHA512, prk), info, out);
}

#[inline(never)]
pub(super) fn extract_and_expand(
    secret: &[u8; KEY_LEN_BYTES],
    salt: &[u8],
    info: &[&[u8]],
    out: &mut [u8],
) {
    fill(&Salt::new(HKDF_SHA512, salt).extract(secret), info, out);
}

fn fill(prk: &Prk, info: &[&[u8]], out: &mut [u8]) {
    prk.expand(info, OutputLenBytes(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("HKDF gives up to 255 blocks");
}

/// AES-256-GCM by AWS-LC, which keeps the context on its own heap and wipes it when it frees it.
pub(crate) struct Aead(LessSafeKey);

impl Aead {
    #[inline(never)]
    pub(super) fn new(key: &[u8; KEY_LEN_BYTES]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key is 32 bytes long");
        Self(LessSafeKey::new(key))
    }

    pub(super) fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &mut Tag,
    ) -> Result<(), Refused> {
        let nonce = AwsNonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_scatter(nonce, Aad::from(aad), text, &[], tag)
            .map_err(|_| Refused)
    }

    pub(super) fn open(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Refused> {
        let nonce = AwsNonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag, text)
            .map(|_| ())
            .map_err(|_| Refused)
    }
}
