//! The rows of data keys that the service keeps: bucket keys, and those of its own.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::arn::{KeyId, KeyVersion};
use crate::encoding::{Decoder, Encoder};
use crate::kms::CiphertextBlob;
use crate::names::BucketKeyId;

/// A bucket key, sealed under a KMS key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BucketKeyRow {
    pub(crate) created: Timestamp,
    pub(crate) bucket: String,
    pub(crate) blob: CiphertextBlob,
}

impl RowFormat for BucketKeyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.created.micros())
            .counted(self.bucket.as_bytes())
            .counted(&self.blob.to_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            created: Timestamp::from_micros(fields.i64()?),
            bucket: fields.text()?,
            blob: CiphertextBlob::from_bytes(fields.counted()?).ok()?,
        };
        fields.finish(row)
    }
}

/// A bucket key that is not sealed any more under the version of the KMS key it was made under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MovedBucketKeyRow {
    /// The version that envelopes and the ledger name.
    pub(crate) made_under: KeyVersion,
    pub(crate) now_under: KeyVersion,
}

impl RowFormat for MovedBucketKeyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .u32(self.made_under.0)
            .u32(self.now_under.0)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            made_under: KeyVersion(fields.u32()?),
            now_under: KeyVersion(fields.u32()?),
        };
        fields.finish(row)
    }
}

/// The key of a row in [`BUCKET_KEYS_MOVED`](super::BUCKET_KEYS_MOVED).
pub(crate) fn moved_key(key: KeyId, id: BucketKeyId) -> Vec<u8> {
    [key.as_bytes().as_slice(), id.as_bytes()].concat()
}

/// A data key of the service's own, sealed under its system key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServiceKeyRow {
    pub(crate) created: Timestamp,
    pub(crate) blob: CiphertextBlob,
}

impl RowFormat for ServiceKeyRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.created.micros())
            .counted(&self.blob.to_bytes())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            created: Timestamp::from_micros(fields.i64()?),
            blob: CiphertextBlob::from_bytes(fields.counted()?).ok()?,
        };
        fields.finish(row)
    }
}
