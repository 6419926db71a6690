//! The ciphertext of the KMS: it names the key and version that open it.

use crate::arn::{KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;

const VERSION: u8 = 1;
const TAG_LEN_BYTES: usize = 16;

/// What [`Kms::encrypt`](crate::Kms::encrypt) gives: bytes that open under one version of one KMS
/// key, with the same encryption context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CiphertextBlob {
    pub(crate) key: KeyId,
    pub(crate) version: KeyVersion,
    pub(crate) nonce: [u8; 12],
    /// The ciphertext and the tag.
    pub(crate) sealed: Vec<u8>,
}

impl CiphertextBlob {
    /// The longest blob that the KMS protocol takes, in bytes.
    pub const LEN_BYTES_MAX: usize = 6_144;

    /// The KMS key it is under.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The version of the KMS key it is under.
    #[must_use]
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .fixed(self.key.as_bytes())
            .u32(self.version.0)
            .fixed(&self.nonce)
            .fixed(&self.sealed)
            .finish()
    }

    /// Reads [`CiphertextBlob::to_bytes`]. Whether it is authentic shows when it is opened.
    ///
    /// # Errors
    /// [`KeyError::NotAuthentic`]: no KMS of this kind gave out such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let read = || {
            let mut fields = Decoder::new(bytes, VERSION)?;
            Some(Self {
                key: KeyId::from_bytes(fields.fixed()?),
                version: KeyVersion(fields.u32()?),
                nonce: fields.fixed()?,
                sealed: fields.rest().to_vec(),
            })
        };
        read()
            .filter(|blob| bytes.len() <= Self::LEN_BYTES_MAX && blob.sealed.len() >= TAG_LEN_BYTES)
            .ok_or(KeyError::NotAuthentic)
    }
}
