//! The object store: buckets, versions, multipart, copy, re-key, the encryption modes.
//!
//! [`Store`] is the whole of it. It knows the meaning of S3's operations and nothing of HTTP; its
//! errors ([`StoreError`]) are by meaning, for a protocol to translate. What it stands on comes
//! through seams ([`StoreSeams`]): rows in a [`MetaStore`](strongroom_meta::MetaStore), sealed
//! bytes in a [`BlobStore`](strongroom_blobs::BlobStore), keys from
//! [`ObjectKeys`](strongroom_keys::ObjectKeys).
//!
//! - Every byte is encrypted always. A data key is made for each upload and wrapped under what the
//!   request names; the sealed bytes, the *payload*, are shared by the copies of an object, each
//!   with a wrapping of its own.
//! - Every change is one batch of rows. Before it nothing is visible, after it everything is.
//! - The rows are described in `docs/format/store-rows.md`.

mod body;
mod bucket;
mod buckets;
mod change;
mod check;
mod checksum;
mod class;
mod copy;
mod delete;
mod error;
mod garbage;
mod get;
mod history;
mod ledger;
mod list;
mod listing;
mod metadata;
mod moment;
mod multipart;
mod names;
mod object;
mod payload;
mod put;
mod request;
mod rewrap;
mod rows;
mod store;
mod tier;
mod tiering;
mod upload;

pub use body::{Body, BodyError, BodyStream};
pub use bucket::{BucketInfo, ConfigName, CreateBucket, DefaultEncryption, Versioning};
pub use check::{Checked, Finding, check};
pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumType, Md5Digest, ObjectChecksum};
pub use class::{RetrievalTier, StorageClass};
pub use error::StoreError;
pub use garbage::Collected;
pub use ledger::{Impact, VersionKeys, VersionKeysPage};
pub use listing::{
    ListObjects, ListUploads, ListVersions, ListedObject, ListedUpload, ListedVersion, ObjectPage,
    PAGE_ENTRIES_MAX, UploadPage, VersionPage,
};
pub use metadata::ObjectMetadata;
pub use names::{
    BucketName, NameError, ObjectKey, PartId, PartNumber, PayloadId, ShownVersion, UploadId,
    VersionId, VersionName, VersionSelector,
};
pub use object::{ETag, ObjectInfo, ObjectPart, RestoreState};
pub use payload::{ObjectStream, SealedStream, WarmCopy};
pub use request::{
    BodyChecks, ByteRange, ChecksumTrailer, Copied, CopyRequest, CopySource, DeleteRequest,
    Deleted, ETagCondition, GetAnswer, HeadAnswer, MetadataDirective, ObjectRef, PutRequest,
    ReadConditions, ReadRequest, Span, WriteConditions, Written,
};
pub use store::{Store, StoreSeams};
// Who asks is told to the store in the words of the key service, which puts it on the audit log.
pub use strongroom_keys::{Caller, Standing};
pub use tier::{
    AgeCursor, AgedVersion, ColdCopy, ColdGarbage, ColdLocator, ExpiredRestore, OpenRestore,
    PendingArchive, RestoreBegun, RestoreChange, RestoreRequest, SealedPayload, TieredVersion,
    TransitionCommit, TransitionStep,
};
pub use upload::{
    CompleteUpload, CompletedPart, CreateUpload, CreatedUpload, ListParts, ListedPart, PartPage,
    UploadPart, UploadPartCopy, UploadRef, UploadedPart,
};
