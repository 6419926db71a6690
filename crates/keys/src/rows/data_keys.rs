//! The rows of data keys that the service keeps: bucket keys, and those of its own.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};
use crate::kms::CiphertextBlob;

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
