//! AES-256-GCM by ring.

use std::hint::black_box;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce as RingNonce, Tag as RingTag, UnboundKey};

use super::{KEY_LEN_BYTES, Nonce, Refused, Tag};

/// AES-256-GCM by ring. The key schedule lies in this value, so it belongs in a box.
pub(crate) struct Aead(LessSafeKey);

impl Aead {
    #[inline(never)]
    pub(super) fn new(key: &[u8; KEY_LEN_BYTES]) -> Self {
        Self(expanded(key))
    }

    pub(super) fn seal(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &mut Tag,
    ) -> Result<(), Refused> {
        let nonce = RingNonce::assume_unique_for_key(nonce);
        let made = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
            .map_err(|_| Refused)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    pub(super) fn open(
        &self,
        nonce: Nonce,
        aad: &[u8],
        text: &mut [u8],
        tag: &Tag,
    ) -> Result<(), Refused> {
        self.open_shifted(nonce, aad, text, 0, tag)
    }

    pub(super) fn open_to_front(
        &self,
        nonce: Nonce,
        window: &mut [u8],
        gap: usize,
        tag: &Tag,
    ) -> Result<(), Refused> {
        self.open_shifted(nonce, &[], window, gap, tag)
    }

    fn open_shifted(
        &self,
        nonce: Nonce,
        aad: &[u8],
        window: &mut [u8],
        gap: usize,
        tag: &Tag,
    ) -> Result<(), Refused> {
        let nonce = RingNonce::assume_unique_for_key(nonce);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), RingTag::from(*tag), window, gap..)
            .map(|_| ())
            .map_err(|_| Refused)
    }
}

fn expanded(key: &[u8; KEY_LEN_BYTES]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key is 32 bytes long"))
}

impl Drop for Aead {
    /// ring does not wipe its keys, so the schedule of another one is written over this one's.
    fn drop(&mut self) {
        self.0 = expanded(&[0; KEY_LEN_BYTES]);
        // Without it the writes would be removed as stores to memory that is about to be freed.
        black_box(self);
    }
}
