//! What is asked of the store for one object, and what it answers.

use std::ops::Range;

use strongroom_environment::Timestamp;
use strongroom_keys::{CustomerKey, EncryptionMode, Protection};

use crate::{
    Body, BodyError, BucketName, Checksum, ChecksumAlgorithm, ETag, Md5Digest, ObjectChecksum,
    ObjectInfo, ObjectKey, ObjectMetadata, ObjectStream, PartNumber, ShownVersion, StorageClass,
    VersionSelector,
};

/// A version of an object, as a request names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectRef {
    /// The bucket.
    pub bucket: BucketName,
    /// The object.
    pub key: ObjectKey,
    /// Which of its versions.
    pub version: VersionSelector,
}

/// Which entity tags satisfy a condition (RFC 9110, section 13.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ETagCondition {
    /// `*`: that of any object there is.
    Any,
    /// Any of these. Tags that do not parse match nothing and are left out.
    OneOf(Vec<ETag>),
}

impl ETagCondition {
    pub(crate) fn matches(&self, etag: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(tags) => tags.contains(etag),
        }
    }
}

/// Conditions on the object that is read, or on the source of a copy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadConditions {
    /// `If-Match`.
    pub if_match: Option<ETagCondition>,
    /// `If-None-Match`.
    pub if_none_match: Option<ETagCondition>,
    /// `If-Modified-Since`, a whole second.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`, a whole second.
    pub if_unmodified_since: Option<Timestamp>,
}

/// Conditions on the current version that a write replaces, checked in the commit itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteConditions {
    /// `If-Match`.
    pub if_match: Option<ETagCondition>,
    /// `If-None-Match`: with [`ETagCondition::Any`], there must be no object.
    pub if_none_match: Option<ETagCondition>,
}

/// Reads the checksum that an `aws-chunked` body carries in its trailer; called once the body has
/// ended.
pub type ChecksumTrailer = Box<dyn FnOnce() -> Result<Option<Checksum>, BodyError> + Send>;

/// What the client wants checked of a body.
#[derive(Default)]
pub struct BodyChecks {
    /// `Content-MD5`.
    pub content_md5: Option<Md5Digest>,
    /// The algorithm of the checksum that is sent or asked for; `None` computes CRC-64/NVME.
    pub algorithm: Option<ChecksumAlgorithm>,
    /// The checksum, when it came before the body.
    pub checksum: Option<Checksum>,
    /// The checksum, when it comes after the body.
    pub trailer: Option<ChecksumTrailer>,
}

impl std::fmt::Debug for BodyChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyChecks")
            .field("content_md5", &self.content_md5)
            .field("algorithm", &self.algorithm)
            .field("checksum", &self.checksum)
            .field("trailer", &self.trailer.is_some())
            .finish()
    }
}

/// PUT of an object.
#[derive(Debug)]
pub struct PutRequest {
    /// The bucket.
    pub bucket: BucketName,
    /// The object.
    pub key: ObjectKey,
    /// Its bytes.
    pub body: Body,
    /// What to check of them.
    pub checks: BodyChecks,
    /// What the client says about the object.
    pub metadata: ObjectMetadata,
    /// Its storage class.
    pub class: StorageClass,
    /// How to protect it; `None` is the bucket's default.
    pub protection: Option<Protection>,
    /// Under which conditions.
    pub conditions: WriteConditions,
}

/// What became of a PUT, a COPY or a completed upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The new version; `None` in a bucket that never kept versions.
    pub version: Option<ShownVersion>,
    /// Its entity tag.
    pub etag: ETag,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written; for a multipart upload, when that was begun.
    pub modified: Timestamp,
    /// Its checksum.
    pub checksum: Option<ObjectChecksum>,
    /// How it is encrypted.
    pub encryption: EncryptionMode,
}

/// One range of bytes (RFC 9110, section 14.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteRange {
    /// `bytes=first-`.
    From {
        /// The first byte.
        first: u64,
    },
    /// `bytes=first-last`, both included.
    FromTo {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
    /// `bytes=-len`.
    Suffix {
        /// How many bytes from the end.
        len_bytes: u64,
    },
}

impl ByteRange {
    /// The bytes of an object of `size_bytes` that are meant; `None` when there is none.
    #[must_use]
    pub fn within(self, size_bytes: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first } => first..size_bytes,
            Self::FromTo { first, last } if first <= last => {
                first..last.saturating_add(1).min(size_bytes)
            }
            Self::FromTo { .. } => return None,
            Self::Suffix { len_bytes } => size_bytes.saturating_sub(len_bytes)..size_bytes,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Which bytes of an object are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Span {
    /// All.
    #[default]
    Whole,
    /// One range.
    Range(ByteRange),
    /// Those of one part, as it was uploaded.
    Part(PartNumber),
}

/// GET or HEAD of an object.
#[derive(Debug)]
pub struct ReadRequest {
    /// Which object.
    pub object: ObjectRef,
    /// Which bytes.
    pub span: Span,
    /// Under which conditions.
    pub conditions: ReadConditions,
    /// The customer key, for an object under one.
    pub customer_key: Option<CustomerKey>,
}

/// What HEAD answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadAnswer {
    /// The object.
    pub object: ObjectInfo,
    /// The bytes that GET would give.
    pub range: Range<u64>,
}

/// What GET answers.
#[derive(Debug)]
pub struct GetAnswer {
    /// The object.
    pub object: ObjectInfo,
    /// The bytes that are given.
    pub range: Range<u64>,
    /// Those bytes. The first of them are verified already.
    pub body: ObjectStream,
}

/// What becomes of the metadata in a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetadataDirective {
    /// `COPY`: it is that of the source.
    Copy,
    /// `REPLACE`: it is this.
    Replace(ObjectMetadata),
}

/// The source of a copy.
#[derive(Debug)]
pub struct CopySource {
    /// Which object.
    pub object: ObjectRef,
    /// Under which conditions.
    pub conditions: ReadConditions,
    /// The customer key, for a source under one.
    pub customer_key: Option<CustomerKey>,
}

/// COPY of an object.
#[derive(Debug)]
pub struct CopyRequest {
    /// The source.
    pub source: CopySource,
    /// The bucket of the new version.
    pub bucket: BucketName,
    /// The object of the new version.
    pub key: ObjectKey,
    /// What becomes of the metadata.
    pub metadata: MetadataDirective,
    /// The storage class of the new version.
    pub class: StorageClass,
    /// Whether the request named the storage class; a copy of an object onto itself must change
    /// something.
    pub class_named: bool,
    /// How to protect the new version; `None` is the bucket's default.
    pub protection: Option<Protection>,
    /// The checksum that the new version is to have; `None` keeps that of the source. Another one
    /// than the source has makes the copy read, but never write, the payload.
    pub checksum: Option<ChecksumAlgorithm>,
    /// Under which conditions.
    pub conditions: WriteConditions,
}

/// What became of a COPY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copied {
    /// The new version.
    pub written: Written,
    /// The version that was copied; `None` in a bucket that never kept versions.
    pub source: Option<ShownVersion>,
}

/// DELETE of an object or of one of its versions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteRequest {
    /// Which object; [`VersionSelector::Current`] deletes the object and, in a bucket that keeps
    /// versions, leaves a delete marker in its place.
    pub object: ObjectRef,
    /// `If-Match`.
    pub if_match: Option<ETagCondition>,
}

/// What became of a DELETE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deleted {
    /// The version that was deleted, or the delete marker that was made; `None` in a bucket that
    /// never kept versions.
    pub version: Option<ShownVersion>,
    /// Whether that is a delete marker.
    pub delete_marker: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_object_or_refused() {
        let from = |first| ByteRange::From { first };
        let from_to = |first, last| ByteRange::FromTo { first, last };
        let suffix = |len_bytes| ByteRange::Suffix { len_bytes };
        for (range, size_bytes, expected) in [
            (from(0), 10, Some(0..10)),
            (from(9), 10, Some(9..10)),
            (from(10), 10, None),
            (from_to(2, 3), 10, Some(2..4)),
            (from_to(2, u64::MAX), 10, Some(2..10)),
            (from_to(3, 2), 10, None),
            (suffix(3), 10, Some(7..10)),
            (suffix(30), 10, Some(0..10)),
            (suffix(0), 10, None),
            (suffix(1), 0, None),
        ] {
            assert_eq!(range.within(size_bytes), expected, "{range:?}");
        }
    }
}
