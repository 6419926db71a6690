//! The decoding of RSAES-OAEP (RFC 8017, section 7.1.2), for tokens that do the RSA operation and
//! not the decoding with SHA-256.
//!
//! Whether and where an encoding is wrong shows in nothing, also not in how long it takes.

use aws_lc_rs::digest::{SHA256, digest};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

const HASH_LEN_BYTES: usize = 32;

/// The message in an encoding with SHA-256, MGF1 by SHA-256 and no label. `None` if it is none.
pub(super) fn decode_sha256(encoded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (first, rest) = encoded.split_first()?;
    if rest.len() < 2 * HASH_LEN_BYTES + 1 {
        return None;
    }
    let (masked_seed, masked_block) = rest.split_at(HASH_LEN_BYTES);
    let mut seed = Zeroizing::new(masked_seed.to_vec());
    mask(&mut seed, masked_block);
    let mut block = Zeroizing::new(masked_block.to_vec());
    mask(&mut block, &seed);

    let of_no_label = digest(&SHA256, b"");
    let (label_hash, padded) = block.split_at(HASH_LEN_BYTES);
    let mut is_sound = first.ct_eq(&0) & label_hash.ct_eq(of_no_label.as_ref());
    // After zeros comes a one, and after it the message.
    let mut is_looking = Choice::from(1);
    let mut start = 0_u32;
    for (at, byte) in (1_u32..).zip(padded) {
        let (is_zero, is_one) = (byte.ct_eq(&0), byte.ct_eq(&1));
        start.conditional_assign(&at, is_looking & is_one);
        is_sound &= !is_looking | is_zero | is_one;
        is_looking &= !is_one;
    }
    is_sound &= !is_looking;
    if !bool::from(is_sound) {
        return None;
    }
    let start = usize::try_from(start).ok()?;
    padded
        .get(start..)
        .map(|message| Zeroizing::new(message.to_vec()))
}

/// Takes the mask off `bytes` that MGF1 (RFC 8017, appendix B.2.1) makes of `seed`.
fn mask(bytes: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0_u32..).zip(bytes.chunks_mut(HASH_LEN_BYTES)) {
        let input = Zeroizing::new([seed, &counter.to_be_bytes()].concat());
        for (byte, masked) in chunk.iter_mut().zip(digest(&SHA256, &input).as_ref()) {
            *byte ^= masked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8017, section 7.1.1.
    fn encode(message: &[u8], seed: &[u8; HASH_LEN_BYTES], len_bytes: usize) -> Vec<u8> {
        let zeros = len_bytes - message.len() - 2 * HASH_LEN_BYTES - 2;
        let mut block = [
            digest(&SHA256, b"").as_ref(),
            &vec![0; zeros],
            &[1],
            message,
        ]
        .concat();
        mask(&mut block, seed);
        let mut seed = seed.to_vec();
        mask(&mut seed, &block);
        [&[0], &seed[..], &block].concat()
    }

    #[test]
    fn an_encoding_gives_its_message_and_any_other_nothing() {
        for len_bytes in [0, 1, 32, 190] {
            let message = vec![0x42; len_bytes];
            let encoded = encode(&message, &[7; HASH_LEN_BYTES], 256);
            assert_eq!(decode_sha256(&encoded).as_deref(), Some(&message));
            for at in [0, 1, 32, 33, 64, 65, 100] {
                let mut changed = encoded.clone();
                changed[at] ^= 0x10;
                assert_eq!(decode_sha256(&changed), None, "{at}");
            }
        }
        for short in [0, 1, 33, 65] {
            assert_eq!(decode_sha256(&vec![0; short]), None);
        }
        // Nothing but zeros after the hash of the label.
        let mut block = [digest(&SHA256, b"").as_ref(), &[0; 191][..]].concat();
        mask(&mut block, &[7; HASH_LEN_BYTES]);
        let mut seed = vec![7; HASH_LEN_BYTES];
        mask(&mut seed, &block);
        assert_eq!(decode_sha256(&[&[0], &seed[..], &block].concat()), None);
    }
}
