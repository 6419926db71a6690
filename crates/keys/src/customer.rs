//! Keys that customers hold (SSE-C).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use strongroom_seal::scrub_stack;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::KeyError;

/// The AES-256 key of a customer, for the time of a request.
///
/// It is on the heap, so that moving it leaves no copies, and is wiped when it is dropped.
pub struct CustomerKey(Box<Zeroizing<[u8; CustomerKey::LEN_BYTES]>>);

impl CustomerKey {
    /// The length of a key, in bytes.
    pub const LEN_BYTES: usize = 32;

    /// Reads the key as it stands in a request header: base64 (RFC 4648) of 32 bytes.
    ///
    /// # Errors
    /// [`KeyError::CustomerKeyMalformed`].
    pub fn from_base64(text: &[u8]) -> Result<Self, KeyError> {
        let key = decode(text);
        scrub_stack();
        key
    }

    /// The key of these bytes. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN_BYTES]) -> Self {
        let mut key = Box::new(Zeroizing::new([0; Self::LEN_BYTES]));
        key.copy_from_slice(bytes);
        Self(key)
    }

    /// The base64 of the MD5 of the key, which the protocol wants echoed. It is never stored.
    #[must_use]
    pub fn md5_base64(&self) -> String {
        let md5 = md5_base64(self);
        scrub_stack();
        md5
    }

    /// Whether `text` is the base64 of the MD5 of this key.
    #[must_use]
    pub fn has_md5_base64(&self, text: &[u8]) -> bool {
        self.md5_base64().as_bytes().ct_eq(text).into()
    }

    pub(crate) fn expose(&self) -> &[u8; Self::LEN_BYTES] {
        &self.0
    }
}

#[inline(never)]
fn decode(text: &[u8]) -> Result<CustomerKey, KeyError> {
    // Four characters give three bytes: 44 give 33 at most, of which the padding takes one.
    const ROOM_LEN_BYTES: usize = 36;
    let malformed = |rule| Err(KeyError::CustomerKeyMalformed { rule });
    if text.len() > ROOM_LEN_BYTES / 3 * 4 {
        return malformed("it is base64 of 32 bytes");
    }
    let mut room = Box::new(Zeroizing::new([0; ROOM_LEN_BYTES]));
    let Ok(len_bytes) = STANDARD.decode_slice(text, room.as_mut_slice()) else {
        return malformed("it is base64");
    };
    match room.first_chunk() {
        Some(key) if len_bytes == CustomerKey::LEN_BYTES => Ok(CustomerKey::from_bytes(key)),
        _ => malformed("it is base64 of 32 bytes"),
    }
}

#[inline(never)]
fn md5_base64(key: &CustomerKey) -> String {
    STANDARD.encode(Md5::digest(key.expose()))
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_and_its_md5_is_the_published_one() {
        // 32 zero bytes; the digest is that of `head -c 32 /dev/zero | md5sum`.
        let key = CustomerKey::from_base64(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
            .expect("a key");
        assert_eq!(key.expose(), &[0; 32]);
        assert_eq!(key.md5_base64(), "cLyPS3KoaSFGi/joRB3OUQ==");
        assert!(key.has_md5_base64(b"cLyPS3KoaSFGi/joRB3OUQ=="));
        assert!(!key.has_md5_base64(b"cLyPS3KoaSFGi/joRB3OUg=="));
        assert!(!key.has_md5_base64(b""));
        assert_eq!(format!("{key:?}"), "CustomerKey(..)");
    }

    #[test]
    fn what_is_not_base64_of_32_bytes_is_no_key() {
        for text in [
            String::new(),
            "=".into(),
            "not base64 at all, with spaces and more".into(),
            "A".repeat(44),
            STANDARD.encode([7; 31]),
            STANDARD.encode([7; 33]),
            STANDARD.encode([7; 36]),
            STANDARD.encode([7; 4_096]),
            STANDARD.encode([7; 32]).trim_end_matches('=').into(),
            format!("{}\n", STANDARD.encode([7; 32])),
        ] {
            let error = CustomerKey::from_base64(text.as_bytes()).expect_err(&text);
            assert!(matches!(error, KeyError::CustomerKeyMalformed { .. }));
            assert!(text.is_empty() || !error.to_string().contains(text.as_str()));
        }
    }
}
