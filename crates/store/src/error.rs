//! Why the store did not do what was asked, by meaning.

use strongroom_blobs::BlobError;
use strongroom_environment::Timestamp;
use strongroom_keys::KeyError;
use strongroom_meta::{CommitError, ReadError};

use crate::{
    BodyError, ChecksumAlgorithm, ChecksumType, ETag, PartNumber, ShownVersion, StorageClass,
};

/// Why the store did not do what was asked.
///
/// Every variant but [`StoreError::OutcomeUnknown`] means that nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    // --- what is named is not there, or is there already ---
    /// There is no such bucket.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// There is a bucket of this name.
    #[error("there is a bucket of this name")]
    BucketExists {
        /// The principal it belongs to.
        owner: String,
    },
    /// A bucket that holds objects, versions or uploads cannot be deleted.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The bucket has no configuration of this name.
    #[error("the bucket has no such configuration")]
    NoSuchConfig,
    /// There is no such object, or its newest version is a delete marker.
    #[error("the object does not exist")]
    NoSuchKey {
        /// The delete marker that stands in its place.
        delete_marker: Option<ShownVersion>,
    },
    /// The object has no such version.
    #[error("the version does not exist")]
    NoSuchVersion,
    /// The version is a delete marker, which can only be deleted.
    #[error("the version is a delete marker")]
    IsDeleteMarker {
        /// Which one.
        version: ShownVersion,
        /// When it was made.
        modified: Timestamp,
    },
    /// There is no such multipart upload: it was completed, aborted, or never begun.
    #[error("the multipart upload does not exist")]
    NoSuchUpload,

    // --- conditions ---
    /// A condition of the request does not hold.
    #[error("the condition {condition} does not hold")]
    PreconditionFailed {
        /// The header that states it, such as `If-Match`.
        condition: &'static str,
    },
    /// The client has what it asks for already.
    #[error("the object has not changed")]
    NotModified {
        /// Its ETag.
        etag: ETag,
        /// When it was last written.
        modified: Timestamp,
        /// Which version it is; `None` in a bucket that never kept versions.
        version: Option<ShownVersion>,
    },

    // --- what the client sent ---
    /// No byte of the object is in the range asked for.
    #[error("the range is not within the {size_bytes} bytes of the object")]
    InvalidRange {
        /// The object's length.
        size_bytes: u64,
    },
    /// The object has no part of this number.
    #[error("the object has no such part")]
    NoSuchPart {
        /// How many parts it has.
        part_count: u16,
    },
    /// The body ended before its declared length.
    #[error("the body has {received} bytes instead of {declared}")]
    IncompleteBody {
        /// What was declared, in bytes.
        declared: u64,
        /// What came, in bytes.
        received: u64,
    },
    /// The body went on after its declared length.
    #[error("the body is longer than the {declared} bytes declared")]
    BodyTooLong {
        /// What was declared, in bytes.
        declared: u64,
    },
    /// The body, or a part, or the object that it would make, is longer than allowed.
    #[error("{size_bytes} bytes are more than the {size_bytes_max} allowed")]
    EntityTooLarge {
        /// What was sent or would come out.
        size_bytes: u64,
        /// What is allowed.
        size_bytes_max: u64,
    },
    /// The body could not be read from the client.
    #[error("the body could not be read: {0}")]
    Body(#[source] BodyError),
    /// `Content-MD5` is not the MD5 of the body.
    #[error("Content-MD5 is not the MD5 of the body")]
    Md5Mismatch,
    /// A checksum that the client sent is not that of the body.
    #[error("the {} that was sent is not that of the body", .algorithm.as_str())]
    ChecksumMismatch {
        /// Which checksum.
        algorithm: ChecksumAlgorithm,
    },
    /// A part or a completion names another checksum algorithm or type than the upload.
    #[error("the upload has another checksum algorithm or type")]
    ChecksumNotOfUpload {
        /// The algorithm of the upload; `None` when none was named.
        expected: Option<ChecksumAlgorithm>,
    },
    /// The checksum algorithm cannot be used in this way.
    #[error("{} makes no {} checksum", .algorithm.as_str(), .checksum_type.as_str())]
    ChecksumTypeNotAllowed {
        /// The algorithm.
        algorithm: ChecksumAlgorithm,
        /// The type asked for.
        checksum_type: ChecksumType,
    },
    /// User metadata is longer than allowed.
    #[error("{len_bytes} bytes of user metadata are more than 2048")]
    MetadataTooLarge {
        /// Its length.
        len_bytes: usize,
    },

    // --- multipart ---
    /// A part that the completion names was not uploaded, or has another ETag or checksum.
    #[error("part {} was not uploaded like this", .number.get())]
    InvalidPart {
        /// The part.
        number: PartNumber,
        /// The ETag that the completion gave.
        etag: Option<ETag>,
    },
    /// The parts of a completion are not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A completion names no part.
    #[error("a completion names at least one part")]
    NoParts,
    /// A part other than the last is shorter than 5 MiB.
    #[error("part {} has {size_bytes} bytes, fewer than {size_bytes_min}", .number.get())]
    EntityTooSmall {
        /// The part.
        number: PartNumber,
        /// Its ETag.
        etag: ETag,
        /// Its length.
        size_bytes: u64,
        /// What is asked of every part but the last.
        size_bytes_min: u64,
    },
    /// The completion states another length than the parts have together.
    #[error("the parts have {size_bytes} bytes together, not {stated_bytes}")]
    ObjectSizeMismatch {
        /// What the parts have.
        size_bytes: u64,
        /// What the client stated.
        stated_bytes: u64,
    },
    /// A part came without the customer key of its upload, or with one where the upload has none.
    #[error("the part does not carry the encryption parameters of its upload")]
    PartEncryptionNotOfUpload,
    /// A part came with another customer key than its upload was begun with.
    #[error("the part carries another customer key than its upload")]
    PartKeyMismatch,

    // --- storage classes ---
    /// The object is archived and must be restored before it is read.
    #[error("the object is archived as {class}")]
    Archived {
        /// Its class.
        class: StorageClass,
    },
    /// The source of a copy is archived and not restored.
    #[error("the source is archived as {class} and not restored")]
    SourceArchived {
        /// Its class.
        class: StorageClass,
    },
    /// Only an archived object can be restored.
    #[error("an object of class {class} is not restored")]
    NotArchived {
        /// Its class.
        class: StorageClass,
    },
    /// A restore is under way.
    #[error("a restore is in progress")]
    RestoreInProgress,

    // --- protection ---
    /// The bucket takes no objects under customer keys.
    #[error("the bucket takes no objects under customer keys")]
    CustomerKeysBlocked,
    /// A copy onto the same object that changes nothing.
    #[error("a copy of an object onto itself must change something")]
    CopyToItself,
    /// The key service refused or failed.
    #[error(transparent)]
    Key(KeyError),

    // --- the machine ---
    /// A row or a payload is not what was written.
    #[error("what is stored is damaged: {what}")]
    Damaged {
        /// Where, without contents.
        what: String,
    },
    /// There is no room.
    #[error("the storage is full")]
    Full,
    /// An engine cannot serve now. The request may be tried again.
    #[error("the storage is not available: {reason}")]
    Unavailable {
        /// What the engine said.
        reason: String,
    },
    /// Others changed the same object again and again. The request may be tried again.
    #[error("the object is being changed by too many requests at once")]
    Contended,
    /// An engine failed while it made a change durable: it may or may not be there.
    #[error("it is not known whether the change was made: {reason}")]
    OutcomeUnknown {
        /// What the engine said.
        reason: String,
    },
}

impl StoreError {
    /// Whether the request certainly changed nothing.
    #[must_use]
    pub fn is_certainly_not_done(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown { .. })
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Corrupt { .. } => Self::damaged(error.to_string()),
            _ => Self::Unavailable {
                reason: error.to_string(),
            },
        }
    }
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Conflict { .. } => Self::Contended,
            CommitError::Full => Self::Full,
            CommitError::OutcomeUnknown { reason } => Self::OutcomeUnknown { reason },
            _ => Self::Unavailable {
                reason: error.to_string(),
            },
        }
    }
}

impl From<BlobError> for StoreError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::Full,
            BlobError::NotFound | BlobError::Corrupt { .. } | BlobError::Length { .. } => {
                Self::damaged(error.to_string())
            }
            // A blob whose durability is unknown is referred to by no row, so nothing has changed.
            _ => Self::Unavailable {
                reason: error.to_string(),
            },
        }
    }
}

impl From<KeyError> for StoreError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
