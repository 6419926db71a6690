//! What is asked of a multipart upload, and what it answers.

use strongroom_environment::Timestamp;
use strongroom_keys::{CustomerKey, EncryptionMode, Protection};

use crate::{
    Body, BodyChecks, BucketName, ByteRange, Checksum, ChecksumAlgorithm, ChecksumType, CopySource,
    ETag, ObjectKey, ObjectMetadata, PartNumber, ShownVersion, StorageClass, UploadId,
    WriteConditions,
};

/// Begins a multipart upload.
#[derive(Debug)]
pub struct CreateUpload {
    /// The bucket.
    pub bucket: BucketName,
    /// The object.
    pub key: ObjectKey,
    /// What the client says about the object.
    pub metadata: ObjectMetadata,
    /// Its storage class.
    pub class: StorageClass,
    /// How to protect it; `None` is the bucket's default.
    pub protection: Option<Protection>,
    /// The checksum of its parts, when the client names one.
    pub checksum_algorithm: Option<ChecksumAlgorithm>,
    /// How the checksum of the object is made of those; `None` is the algorithm's own way.
    pub checksum_type: Option<ChecksumType>,
}

/// What became of [`CreateUpload`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreatedUpload {
    /// The upload.
    pub upload: UploadId,
    /// How its parts are encrypted.
    pub encryption: EncryptionMode,
    /// Which checksum it will have, when the client named one.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// A multipart upload, as a request names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadRef {
    /// The bucket.
    pub bucket: BucketName,
    /// The object.
    pub key: ObjectKey,
    /// Which upload.
    pub upload: UploadId,
}

/// Uploads a part.
#[derive(Debug)]
pub struct UploadPart {
    /// Of which upload.
    pub upload: UploadRef,
    /// Which part.
    pub number: PartNumber,
    /// Its bytes.
    pub body: Body,
    /// What to check of them.
    pub checks: BodyChecks,
    /// The customer key, for an upload under one.
    pub customer_key: Option<CustomerKey>,
}

/// Makes a part of bytes of another object.
#[derive(Debug)]
pub struct UploadPartCopy {
    /// Of which upload.
    pub upload: UploadRef,
    /// Which part.
    pub number: PartNumber,
    /// The other object.
    pub source: CopySource,
    /// Which of its bytes; `None` is all. A range must lie within the source.
    pub range: Option<ByteRange>,
    /// The customer key, for an upload under one.
    pub customer_key: Option<CustomerKey>,
}

/// What became of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadedPart {
    /// Its entity tag.
    pub etag: ETag,
    /// Its checksum.
    pub checksum: Checksum,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// How it is encrypted.
    pub encryption: EncryptionMode,
    /// The version that was copied, for a copied part of a bucket that keeps versions.
    pub source: Option<ShownVersion>,
}

/// A part that a completion names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompletedPart {
    /// Which part.
    pub number: PartNumber,
    /// Its entity tag; `None` when the client gave one that does not parse.
    pub etag: Option<ETag>,
    /// Its checksum, when the client gives it.
    pub checksum: Option<Checksum>,
}

/// Makes an object of the parts of an upload. It takes no key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompleteUpload {
    /// Which upload.
    pub upload: UploadRef,
    /// The parts, in order.
    pub parts: Vec<CompletedPart>,
    /// The checksum of the object, when the client states it.
    pub checksum: Option<Checksum>,
    /// How that is made, when the client states it.
    pub checksum_type: Option<ChecksumType>,
    /// The length of the object in bytes, when the client states it.
    pub size_bytes: Option<u64>,
    /// Under which conditions.
    pub conditions: WriteConditions,
}

/// Lists the parts of an upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListParts {
    /// Which upload.
    pub upload: UploadRef,
    /// Only parts after this number.
    pub after: u16,
    /// The most parts; more than [`crate::PAGE_ENTRIES_MAX`] is that many.
    pub entries_max: usize,
}

/// A part in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedPart {
    /// Which part.
    pub number: PartNumber,
    /// Its entity tag.
    pub etag: ETag,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Its checksum.
    pub checksum: Checksum,
}

/// What [`ListParts`] answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartPage {
    /// Parts, by number.
    pub parts: Vec<ListedPart>,
    /// The number of the last part of this page, when there are more; `None` on the last page.
    pub next: Option<PartNumber>,
    /// The storage class of the object to be.
    pub class: StorageClass,
    /// How the parts are encrypted.
    pub encryption: EncryptionMode,
    /// Which checksum the object will have, when the client named one.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The principal that began the upload.
    pub initiator: String,
}
