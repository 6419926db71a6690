//! What rows hold.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strongroom_blobs::BlobRef;
use strongroom_environment::Timestamp;
use strongroom_keys::KeyEnvelope;
use strongroom_meta::Table;

use crate::{
    Checksum, ChecksumAlgorithm, ChecksumType, ColdCopy, DefaultEncryption, ETag, ObjectChecksum,
    ObjectMetadata, PartId, PayloadId, RestoreState, StorageClass, StoreError, VersionId,
    Versioning,
};

/// The version of the format of all rows of the store.
const FORMAT_VERSION: u8 = 1;

/// Nearly every row is within so many bytes, and is written without its buffer growing.
const USUAL_LEN_BYTES_MAX: usize = 512;

/// Writes a row.
pub(crate) fn encode<R: Serialize>(row: &R) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_LEN_BYTES_MAX);
    bytes.push(FORMAT_VERSION);
    postcard::to_extend(row, bytes)
        .expect("a row has no part that postcard cannot write, and a vector takes all")
}

/// Reads a row.
pub(crate) fn decode<R: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<R, StoreError> {
    let (version, value) = bytes
        .split_first()
        .ok_or_else(|| StoreError::damaged(format!("a row of {table} is empty")))?;
    if *version != FORMAT_VERSION {
        return Err(StoreError::damaged(format!(
            "a row of {table} has format version {version}, not {FORMAT_VERSION}"
        )));
    }
    match postcard::take_from_bytes(value) {
        Ok((row, [])) => Ok(row),
        Ok(_) => Err(StoreError::damaged(format!("a row of {table} is too long"))),
        Err(_) => Err(StoreError::damaged(format!(
            "a row of {table} cannot be read"
        ))),
    }
}

/// A bucket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct BucketRow {
    #[serde(with = "crate::moment")]
    pub(crate) created: Timestamp,
    pub(crate) owner: String,
    pub(crate) region: String,
    pub(crate) versioning: Versioning,
    pub(crate) default_encryption: Option<DefaultEncryption>,
    pub(crate) customer_keys_blocked: bool,
    pub(crate) configs: BTreeMap<String, Vec<u8>>,
    /// A deletion is looking whether the bucket is empty. Whoever writes into the bucket takes the
    /// mark away in the same batch, so that the deletion fails.
    pub(crate) being_deleted: bool,
}

/// The current version of an object, and what must be known of the others.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct ObjectRow {
    pub(crate) current: VersionRow,
    /// The version shown as `null`, when it is not the current one.
    pub(crate) noncurrent_null: Option<VersionId>,
}

/// A version of an object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct VersionRow {
    pub(crate) version: VersionId,
    /// Whether it was written while its bucket did not keep versions, and is shown as `null`.
    pub(crate) is_null: bool,
    #[serde(with = "crate::moment")]
    pub(crate) created: Timestamp,
    /// When it stopped being the current version, in microseconds since the Unix epoch.
    pub(crate) noncurrent_since_micros: Option<i64>,
    /// What it holds; nothing makes it a delete marker. By far the largest part, so that it is
    /// moved about as a pointer.
    pub(crate) content: Option<Box<Content>>,
}

/// What a version holds that is not a delete marker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) etag: ETag,
    pub(crate) class: StorageClass,
    /// It was written as archived, and its bytes have not reached the cold tier: it holds the warm
    /// copy, although it cannot be read.
    pub(crate) archive_pending: bool,
    pub(crate) metadata: ObjectMetadata,
    pub(crate) checksum: Option<ObjectChecksum>,
    /// How many parts it was uploaded in, unless it was uploaded whole.
    pub(crate) part_count: Option<u16>,
    pub(crate) envelope: KeyEnvelope,
    pub(crate) payload: PayloadId,
    /// The only part of its payload, while the version holds a warm copy: it saves a reader the
    /// payload's row.
    pub(crate) whole: Option<WholePart>,
    pub(crate) restore: Option<RestoreState>,
}

impl Content {
    /// Whether the version holds the warm copy of its payload.
    pub(crate) fn holds_warm(&self) -> bool {
        !self.class.is_archived()
            || self.archive_pending
            || matches!(self.restore, Some(RestoreState::Restored { .. }))
    }

    /// Whether the version holds the cold copy of its payload.
    pub(crate) fn holds_cold(&self) -> bool {
        self.class.is_archived() && !self.archive_pending
    }

    /// Whether its bytes can be read at `now`.
    pub(crate) fn is_readable(&self, now: Timestamp) -> bool {
        !self.class.is_archived()
            || matches!(self.restore, Some(RestoreState::Restored { until }) if now < until)
    }
}

/// The only part of a payload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct WholePart {
    pub(crate) part: PartId,
    pub(crate) blob: Vec<u8>,
}

/// A payload: the sealed bytes of an upload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PayloadRow {
    pub(crate) parts: Parts,
    /// Whether there is a warm copy. Where there is none, the blobs of the parts are stale.
    pub(crate) is_warm: bool,
    /// Which copy the segments of the parts belong to; each restore makes a new one.
    pub(crate) copy: u32,
    pub(crate) cold: Option<ColdCopy>,
    /// How many versions hold the warm copy.
    pub(crate) holds_warm: u32,
    /// How many versions hold the cold copy.
    pub(crate) holds_cold: u32,
}

impl PayloadRow {
    /// The length of the plaintext. One that no payload can have stands for all that are longer.
    pub(crate) fn plain_len_bytes(&self) -> u64 {
        match &self.parts {
            Parts::One(part) => part.plain_len_bytes,
            Parts::Segments(indexes) => indexes
                .iter()
                .fold(0, |len, index| len.saturating_add(index.plain_len_bytes)),
        }
    }
}

/// The parts of a payload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Parts {
    /// One part.
    One(Part),
    /// Several, in segments in rows of their own.
    Segments(Vec<SegmentIndex>),
}

/// What must be known of a segment to tell whether it is to be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SegmentIndex {
    pub(crate) part_count: u16,
    pub(crate) plain_len_bytes: u64,
}

/// A part of a payload. Without a warm copy its blob is empty or stale.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) id: PartId,
    pub(crate) plain_len_bytes: u64,
    pub(crate) checksum: Option<Checksum>,
    pub(crate) blob: Vec<u8>,
}

impl Part {
    pub(crate) fn blob_ref(&self) -> BlobRef {
        BlobRef::from_bytes(&self.blob)
    }
}

/// A run of the parts of a copy of a payload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SegmentRow {
    pub(crate) parts: Vec<Part>,
}

impl SegmentRow {
    /// The most parts of a segment.
    pub(crate) const PARTS_MAX: usize = 256;
}

/// An upload under way.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct UploadRow {
    pub(crate) payload: PayloadId,
    pub(crate) envelope: KeyEnvelope,
    pub(crate) metadata: ObjectMetadata,
    pub(crate) class: StorageClass,
    pub(crate) checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    pub(crate) initiator: String,
    /// A completion or an abort is gathering the parts. Whoever writes a part takes the mark away in
    /// the same batch, so that they are gathered again.
    pub(crate) being_closed: bool,
}

/// A part of an upload under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct UploadedPartRow {
    pub(crate) part: Part,
    pub(crate) etag: ETag,
    #[serde(with = "crate::moment")]
    pub(crate) modified: Timestamp,
}

/// Blobs that are to be deleted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct GarbageRow {
    pub(crate) payload: PayloadId,
    pub(crate) blobs: GarbageBlobs,
}

/// Which blobs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum GarbageBlobs {
    /// These.
    Listed(Vec<Vec<u8>>),
    /// Those of the segments of a copy. The segments are deleted with them, unless the payload still
    /// tells its parts by them.
    Copy { copy: u32, segments: u16 },
}

/// A cold copy that nothing refers to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ColdGarbageRow {
    pub(crate) cold: ColdCopy,
}

/// A version that is waiting for work, in a table that says which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct PendingRow;
