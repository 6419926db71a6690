//! The rows of HMAC keys and key pairs, besides those that every KMS key has.

use strongroom_pkcs11::WrappedKey;

use super::{RowFormat, VERSION};
use crate::arn::{KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::kms::KeySpec;

/// The public key of a key pair.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PublicKeyRow {
    /// `SubjectPublicKeyInfo` (RFC 5280) in DER.
    pub(crate) der: Vec<u8>,
}

impl RowFormat for PublicKeyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION).counted(&self.der).finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            der: fields.counted()?.to_vec(),
        };
        fields.finish(row)
    }
}

/// What the token's MAC key vouches for in the row of the version of an HMAC key or a key pair:
/// also what kind it is, so that it is never used as another, and the public key.
pub(crate) fn wrapped_mac_message(
    key: KeyId,
    version: KeyVersion,
    spec: KeySpec,
    wrapped: &WrappedKey,
    public: &[u8],
) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/key-version/v2\0";
    [
        DOMAIN,
        &Encoder::new(VERSION)
            .fixed(key.as_bytes())
            .u32(version.0)
            .u8(spec.code())
            .counted(wrapped.kek.0.as_bytes())
            .counted(&wrapped.bytes)
            .counted(public)
            .finish(),
    ]
    .concat()
}
