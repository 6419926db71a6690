//! The seam: what every cold tier promises.

use std::fmt;

use async_trait::async_trait;
use bytes::BytesMut;
use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;

use super::manifest::ArchiveDescription;
use crate::{RetrievalTier, StorageClass};

/// The name of an archive: sixteen random bytes, chosen before it is submitted and never used for
/// another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ArchiveId(pub [u8; 16]);

impl ArchiveId {
    /// The archive named by 32 hexadecimal digits.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ArchiveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchiveId({self})")
    }
}

/// What is handed over to a tier: sealed parts, each of a length known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The archive's name.
    pub archive: ArchiveId,
    /// The class it is archived under. A tier may lay classes on different media.
    pub class: StorageClass,
    /// The length of each sealed part, in bytes, in order. There may be none, and a part may be
    /// empty.
    pub part_lens_bytes: Vec<u64>,
    /// When it is handed over, for the description.
    pub archived: Timestamp,
}

impl Submission {
    /// The length of all parts together, in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.part_lens_bytes
            .iter()
            .fold(0_u64, |sum, len| sum.saturating_add(*len))
    }
}

/// Why the bytes to be archived could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the payload to be archived could not be read: {reason}")]
pub struct SourceError {
    /// What the source said, without payload contents.
    pub reason: String,
}

/// Where a tier reads the bytes of a submission from: its parts in order, one behind the other.
#[async_trait]
pub trait ArchiveSource: Send {
    /// Fills all of `buffer` with the next bytes, and gives it back.
    ///
    /// # Errors
    /// [`SourceError`], also where there are fewer bytes left; the submission then fails, and
    /// nothing is kept of it.
    async fn fill(&mut self, buffer: BytesMut) -> Result<BytesMut, SourceError>;
}

/// What a tier answers to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// The archive is durable, and reads as described.
    Durable(ArchiveDescription),
    /// The tier has taken the archive, but cannot say yet whether it is durable: ask
    /// [`ColdTier::lookup`] later. The warm copy must not be given back before.
    Accepted,
}

/// What a tier knows of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Nothing: it was never submitted, the submission failed, or it was expired.
    Absent,
    /// It was submitted, and it is not known yet whether it is durable.
    Accepted,
    /// It is durable.
    Durable(ArchiveDescription),
}

/// How far a retrieval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieval {
    /// None was asked for, or it was released.
    NotRequested,
    /// It is under way.
    InProgress {
        /// When it will be ready, if the tier can tell. Asking again before is not needed.
        ready: Option<Timestamp>,
    },
    /// The archive can be read.
    Ready,
}

/// Why a tier could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColdError {
    /// There is no such archive.
    #[error("the cold tier has no archive {archive}")]
    NotFound {
        /// Which.
        archive: ArchiveId,
    },
    /// The archive was not retrieved, so it cannot be read.
    #[error("archive {archive} is not retrieved")]
    NotRetrieved {
        /// Which.
        archive: ArchiveId,
    },
    /// The class does not offer the retrieval tier.
    #[error("retrieval tier {} is not offered for class {}", .tier.as_str(), .class.as_str())]
    TierNotOffered {
        /// The tier asked for.
        tier: RetrievalTier,
        /// The class of the archive.
        class: StorageClass,
    },
    /// There is no room for an expedited retrieval now. Nothing was changed.
    #[error("expedited retrievals are not available now")]
    ExpeditedUnavailable,
    /// What is on the medium is not what was submitted.
    #[error("archive {archive} is damaged: {reason}")]
    Damaged {
        /// Which.
        archive: ArchiveId,
        /// What was found.
        reason: String,
    },
    /// The caller read past the end of a part.
    #[error("part {part} of archive {archive} has no bytes {offset} to {end}")]
    OutOfRange {
        /// Which.
        archive: ArchiveId,
        /// The part.
        part: usize,
        /// The first byte asked for.
        offset: u64,
        /// The first byte not asked for.
        end: u64,
    },
    /// The bytes to archive could not be read. Nothing was kept.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no room. Nothing was kept.
    #[error("the cold tier is full")]
    Full,
    /// The tier cannot be reached or has failed. Nothing was changed; it may be tried again.
    #[error("the cold tier is not available while it {doing}: {reason}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the tier said.
        reason: String,
    },
    /// The tier failed when it may already have done what was asked. Every call may be repeated:
    /// the same archive id makes sure that nothing happens twice.
    #[error("it is not known whether the cold tier has done it while it {doing}: {reason}")]
    OutcomeUnknown {
        /// What was being done.
        doing: &'static str,
        /// What the tier said.
        reason: String,
    },
}

impl ColdError {
    /// Whether the call certainly changed nothing.
    #[must_use]
    pub fn is_certainly_not_done(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown { .. })
    }

    /// Whether the same call may succeed later without anyone's help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::ExpeditedUnavailable
                | Self::Full
                | Self::Unavailable { .. }
                | Self::OutcomeUnknown { .. }
                | Self::Source(_)
        )
    }
}

/// A tier that keeps archives durably and gives them back after hours.
///
/// A tier is not a slow blob store. A submission may be taken without its outcome being known; an
/// archive cannot be read until it was asked for and the time has passed; and what was asked for
/// goes back to rest when it is released.
///
/// # Contract
///
/// - **Opaque.** Archives are sealed bytes. A tier neither has nor needs a key.
/// - **Idempotent.** Every call may be repeated, by its archive id, any number of times, also
///   after a crash between the calls. Submitting again what is durable changes nothing and answers
///   [`SubmitOutcome::Durable`]; submitting again what was cut short does it over; asking for a
///   retrieval again leaves the running one, or makes it faster; expiring what is gone is no error.
/// - **Durable.** After [`SubmitOutcome::Durable`], and after `lookup` has answered
///   [`Holding::Durable`], the archive survives loss of power. So does a retrieval, after
///   `request_retrieval` has answered `Ok`; and the end of an archive, after `expire` has.
/// - **Whole or not.** An archive is never there in part: before it is durable it cannot be
///   retrieved.
/// - **Self-describing.** The description names every part's length and SHA-256 digest, so that
///   damage is found without a key. `read` may give damaged bytes; who reads a part whole compares
///   its digest.
/// - **Unknown.** [`ColdError::OutcomeUnknown`] means that the call may have taken effect; every
///   other error means that it has not.
/// - **Cancel.** Dropping a future leaves its call done or not done, as a crash would.
/// - **Concurrent.** All methods may be called from many tasks at once. Two submissions of one
///   archive at a time end as one.
#[async_trait]
pub trait ColdTier: Send + Sync + fmt::Debug + 'static {
    /// Takes an archive, reading its parts in order from `source`.
    ///
    /// # Errors
    /// [`ColdError::Source`], [`ColdError::Full`], [`ColdError::Unavailable`],
    /// [`ColdError::OutcomeUnknown`].
    async fn submit(
        &self,
        submission: &Submission,
        source: &mut dyn ArchiveSource,
    ) -> Result<SubmitOutcome, ColdError>;

    /// What the tier knows of an archive.
    ///
    /// # Errors
    /// [`ColdError::Damaged`] when its description cannot be read; [`ColdError::Unavailable`].
    async fn lookup(&self, archive: ArchiveId) -> Result<Holding, ColdError>;

    /// Asks for an archive back. `class` is the class of the object that is restored; it decides
    /// which tiers there are and how long they take.
    ///
    /// Where a retrieval is under way, it goes on in the faster of the two tiers.
    ///
    /// # Errors
    /// [`ColdError::NotFound`], [`ColdError::TierNotOffered`], [`ColdError::ExpeditedUnavailable`],
    /// [`ColdError::Unavailable`], [`ColdError::OutcomeUnknown`].
    async fn request_retrieval(
        &self,
        archive: ArchiveId,
        class: StorageClass,
        tier: RetrievalTier,
    ) -> Result<(), ColdError>;

    /// How far the retrieval of an archive is.
    ///
    /// # Errors
    /// [`ColdError::NotFound`], [`ColdError::Unavailable`].
    async fn poll(&self, archive: ArchiveId) -> Result<Retrieval, ColdError>;

    /// Fills all of `buffer` from `offset` bytes into part `part` of a retrieved archive, and
    /// gives it back.
    ///
    /// # Errors
    /// [`ColdError::NotRetrieved`], [`ColdError::NotFound`], [`ColdError::OutOfRange`],
    /// [`ColdError::Damaged`] when the medium is shorter than described,
    /// [`ColdError::Unavailable`].
    async fn read(
        &self,
        archive: ArchiveId,
        part: usize,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, ColdError>;

    /// Ends a retrieval, whether or not it was ready: the archive goes back to rest.
    ///
    /// # Errors
    /// [`ColdError::Unavailable`], [`ColdError::OutcomeUnknown`].
    async fn release(&self, archive: ArchiveId) -> Result<(), ColdError>;

    /// Deletes an archive for good, with its retrieval.
    ///
    /// # Errors
    /// [`ColdError::Unavailable`], [`ColdError::OutcomeUnknown`].
    async fn expire(&self, archive: ArchiveId) -> Result<(), ColdError>;
}
