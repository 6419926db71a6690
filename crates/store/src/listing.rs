//! What is asked of a bucket's listing, and what it answers.

use strongroom_environment::Timestamp;

use crate::{
    BucketName, ChecksumAlgorithm, ChecksumType, ETag, ObjectKey, RestoreState, ShownVersion,
    StorageClass, UploadId, VersionSelector,
};

/// The most entries of a page, and how many when the client does not say.
pub const PAGE_ENTRIES_MAX: usize = 1000;

/// A page of a bucket's current objects.
///
/// Both ListObjects and ListObjectsV2 are answered from it: the marker of the one and the
/// continuation token of the other are the [`ObjectPage::next`] of the page before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListObjects {
    /// The bucket.
    pub bucket: BucketName,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that hold this after the prefix are listed once, as a common prefix.
    pub delimiter: Option<String>,
    /// Only keys, and common prefixes, after this.
    pub after: Option<String>,
    /// The most entries, common prefixes included; more than [`PAGE_ENTRIES_MAX`] is that many.
    pub entries_max: usize,
}

/// An object in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedObject {
    /// Its key.
    pub key: ObjectKey,
    /// Its entity tag.
    pub etag: ETag,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Its storage class.
    pub class: StorageClass,
    /// Which checksum it has.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// Its restore, when it is archived and one was asked for.
    pub restore: Option<RestoreState>,
}

/// What [`ListObjects`] answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ObjectPage {
    /// Objects, by key.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, in order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<String>,
}

/// A page of a bucket's versions and delete markers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListVersions {
    /// The bucket.
    pub bucket: BucketName,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that hold this after the prefix are listed once, as a common prefix.
    pub delimiter: Option<String>,
    /// Only keys, and common prefixes, after this.
    pub after_key: Option<String>,
    /// Of that key itself, only versions after this one. [`VersionSelector::Current`] is none.
    pub after_version: VersionSelector,
    /// The most entries, common prefixes included; more than [`PAGE_ENTRIES_MAX`] is that many.
    pub entries_max: usize,
}

/// A version or a delete marker in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedVersion {
    /// How the version is named.
    pub version: ShownVersion,
    /// Whether it is the newest.
    pub is_latest: bool,
    /// When it was written.
    pub modified: Timestamp,
    /// Its key.
    pub key: ObjectKey,
    /// What it holds; `None` is a delete marker.
    pub object: Option<ListedObject>,
}

/// What [`ListVersions`] answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VersionPage {
    /// Versions and delete markers, by key, newest first.
    pub versions: Vec<ListedVersion>,
    /// Common prefixes, in order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins: a key, and a version of it unless it is a common prefix; `None`
    /// when this is the last page.
    pub next: Option<(String, Option<ShownVersion>)>,
}

/// A page of a bucket's multipart uploads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListUploads {
    /// The bucket.
    pub bucket: BucketName,
    /// Only keys that begin with this.
    pub prefix: String,
    /// Keys that hold this after the prefix are listed once, as a common prefix.
    pub delimiter: Option<String>,
    /// Only keys, and common prefixes, after this.
    pub after_key: Option<String>,
    /// Of that key itself, only uploads after this one.
    pub after_upload: Option<UploadId>,
    /// The most entries, common prefixes included; more than [`PAGE_ENTRIES_MAX`] is that many.
    pub entries_max: usize,
}

/// An upload in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedUpload {
    /// The key that it will be.
    pub key: ObjectKey,
    /// Which upload; it tells when it was begun.
    pub upload: UploadId,
    /// The storage class that it will have.
    pub class: StorageClass,
    /// Which checksum it will have, when the client named one.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The principal that began it.
    pub initiator: String,
}

/// What [`ListUploads`] answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UploadPage {
    /// Uploads, by key, oldest first.
    pub uploads: Vec<ListedUpload>,
    /// Common prefixes, in order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins: a key, and an upload of it unless it is a common prefix; `None`
    /// when this is the last page.
    pub next: Option<(String, Option<UploadId>)>,
}
