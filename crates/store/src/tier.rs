//! What the lifecycle asks of the store: moves between the warm copy and the cold tier.
//!
//! A payload has at most one warm and one cold copy, and counts the versions that hold each. A
//! version of a warm class holds the warm copy; one of an archived class holds the cold copy and,
//! while it is restored, the warm one too. Until its bytes have reached the cold tier, a version
//! that was written as archived holds the warm copy, although it cannot be read.
//!
//! All changes are compare-and-set and may be repeated; none of them uses a key.

use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;

use crate::rows::keys;
use crate::{
    BucketName, ObjectRef, PayloadId, RestoreState, RetrievalTier, StorageClass, VersionName,
};

/// Where the cold tier keeps a payload: bytes that only the tier reads, up to 1,024.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ColdLocator(pub Vec<u8>);

impl ColdLocator {
    /// The longest locator, in bytes.
    pub const LEN_BYTES_MAX: usize = 1024;
}

/// A cold copy of a payload.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ColdCopy {
    /// The class it was archived as.
    pub class: StorageClass,
    /// Where it is.
    pub locator: ColdLocator,
}

/// The sealed bytes of a payload, as they go to the cold tier: its sealed parts in order, one
/// behind the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedPayload {
    /// Which payload.
    pub payload: PayloadId,
    /// The lengths of its sealed parts, in bytes.
    pub part_lens_bytes: Vec<u64>,
}

impl SealedPayload {
    /// The length of all parts together, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.part_lens_bytes
            .iter()
            .fold(0, |sum, len| sum.saturating_add(*len))
    }
}

/// What is to be done to bring a version to an archived class.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransitionStep {
    /// The bytes must be submitted to the cold tier, and the transition then committed.
    Submit(SealedPayload),
    /// The payload has a cold copy of that class already; the transition may be committed with it.
    Share(ColdCopy),
    /// The version is of that class and in the cold tier already.
    Done,
    /// The version is gone, or its class changed so that the transition is not possible any more.
    Superseded,
}

/// What became of a commit that gave the store a cold copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransitionCommit {
    /// The version is archived now, and the payload keeps the copy.
    Done,
    /// The version is archived now, or was already, with another cold copy of the payload: the one
    /// that was given is not referred to, and the tier may let it expire.
    Redundant,
    /// The version is gone, or its class changed. The copy that was given is not referred to, and
    /// the tier may let it expire.
    Superseded,
}

/// A version that was written as archived and whose bytes are not in the cold tier yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PendingArchive {
    /// Which version.
    pub name: VersionName,
    /// The class it was written as.
    pub class: StorageClass,
    /// Its payload.
    pub payload: PayloadId,
    /// The length of its sealed bytes.
    pub sealed_len_bytes: u64,
}

/// Asks for a warm copy of an archived version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreRequest {
    /// Which version.
    pub object: ObjectRef,
    /// For how many days, at least one.
    pub days: u32,
    /// How fast.
    pub tier: RetrievalTier,
    /// When the copy goes away if there is one already: the new end of its time.
    pub until_if_restored: Timestamp,
}

/// What became of a restore request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestoreBegun {
    /// The version is marked as being restored, and is among [`crate::Store::open_restores`] until
    /// the restore is completed.
    Started(OpenRestore),
    /// A restore was under way and is wanted faster now.
    Upgraded(OpenRestore),
    /// There is a warm copy, whose time has a new end.
    AlreadyRestored {
        /// When it goes away.
        until: Timestamp,
    },
}

/// A restore that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenRestore {
    /// Which version.
    pub name: VersionName,
    /// Its class.
    pub class: StorageClass,
    /// Its payload.
    pub payload: SealedPayload,
    /// Where the cold tier keeps it; `None` while its bytes have not reached the tier.
    pub cold: Option<ColdCopy>,
    /// Whether the payload has a warm copy, which then needs not be written.
    pub has_warm_copy: bool,
    /// When it was asked for.
    pub requested: Timestamp,
    /// For how many days.
    pub days: u32,
    /// How fast.
    pub tier: RetrievalTier,
}

/// What became of a change to a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestoreChange {
    /// It is made.
    Done,
    /// It was made before, or there is nothing to change any more: the version is gone, or its
    /// restore was ended or renewed.
    Superseded,
}

/// A restored version whose time is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExpiredRestore {
    /// Which version.
    pub name: VersionName,
    /// When its time ended.
    pub until: Timestamp,
}

/// A cold copy that no version refers to any more, for the tier to let expire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColdGarbage {
    /// Names the entry for [`crate::Store::forget_cold_garbage`].
    pub payload: PayloadId,
    /// The copy.
    pub cold: ColdCopy,
}

/// Where a walk through versions by age goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgeCursor(pub(crate) Vec<u8>);

impl AgeCursor {
    /// The beginning of a day (days since the Unix epoch, UTC).
    #[must_use]
    pub fn at_day(bucket: &BucketName, day: i64) -> Self {
        Self(keys::age_day(bucket, day))
    }
}

/// A version that is not a delete marker, and where its bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TieredVersion {
    /// Which version.
    pub name: VersionName,
    /// Its class.
    pub class: StorageClass,
    /// Its restore, when it is archived and one was asked for.
    pub restore: Option<RestoreState>,
    /// Its payload.
    pub payload: PayloadId,
    /// Where the cold tier keeps its payload, if it does.
    pub cold: Option<ColdCopy>,
}

/// Facts of a version, for lifecycle rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgedVersion {
    /// Which version.
    pub name: VersionName,
    /// The day it was committed on (days since the Unix epoch, UTC), by which it was found. It may
    /// be days after the version was begun.
    pub committed_day: i64,
    /// When it was written; for a multipart upload, when that was begun.
    pub created: Timestamp,
    /// Its length in bytes; `None` for a delete marker.
    pub size_bytes: Option<u64>,
    /// Its payload; `None` for a delete marker.
    pub payload: Option<PayloadId>,
    /// Its class.
    pub class: StorageClass,
    /// When it stopped being the current version; `None` while it is.
    pub noncurrent_since: Option<Timestamp>,
    /// Whether it was written as archived and its bytes have not reached the cold tier.
    pub archive_pending: bool,
}
