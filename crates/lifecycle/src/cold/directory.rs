//! A tier in a directory: the stage of a tape library, an LTFS mount, or another disk.
//!
//! An archive is a directory of three files that describe themselves; `sha256sum -c SHA256SUMS`
//! checks them without Strongroom. The layout is in `docs/format/lifecycle.md`, section "Cold tier
//! directory".
//!
//! # Order of writing
//!
//! 1. The files are written in `incoming/`, each flushed, then their directory.
//! 2. Their directory is renamed into `archives/`. **This is the commit point.**
//! 3. The directory above is flushed; only then is the archive called durable.
//!
//! An archive that is deleted goes the same way back: it is renamed into `incoming/`, then removed.
//! What a crash leaves in `incoming/` is removed when the tier is opened.

mod disk;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use strongroom_environment::Clock;

use self::disk::{Disk, Written};
use super::manifest::{ArchiveDescription, PartDescription};
use super::retrievals::{Retrievals, TierSettings};
use super::seam::{
    ArchiveId, ArchiveSource, ColdError, ColdTier, Holding, Retrieval, Submission, SubmitOutcome,
};
use crate::{RetrievalTier, StorageClass};

/// How much is read and written at a time, in bytes.
const STEP_LEN_BYTES: usize = 1024 * 1024;

/// Why a tier's directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("the cold tier {} is in use by another process", .path.display())]
    InUse {
        /// The tier's directory.
        path: PathBuf,
    },
    /// It holds something else, or a later format.
    #[error("{} is not a cold tier of a format known here: {reason}", .path.display())]
    Format {
        /// What was looked at.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The system failed.
    #[error("the cold tier {} cannot be opened: {source}", .path.display())]
    Io {
        /// What was looked at.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A tier in a directory.
#[derive(Debug)]
pub struct DirectoryTier {
    disk: Arc<Disk>,
    clock: Arc<dyn Clock>,
    retrievals: Mutex<Retrievals>,
    /// Held while a retrieval is written down, so that file and memory go the same way.
    writing_down: tokio::sync::Mutex<()>,
    attempts: AtomicU64,
    /// Held for its lock.
    _lock: File,
}

impl DirectoryTier {
    /// Opens the tier in `path`, making it where there is none, and clears away what a crash left
    /// half-written. Blocks; call it at start-up.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        path: &Path,
        settings: TierSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let (disk, lock, requested) = Disk::open(path)?;
        Ok(Self {
            disk: Arc::new(disk),
            clock,
            retrievals: Mutex::new(Retrievals::new(settings, requested)),
            writing_down: tokio::sync::Mutex::new(()),
            attempts: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Runs something on the disk where it may block.
    async fn on_disk<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Disk) -> Result<T, ColdError> + Send + 'static,
    ) -> Result<T, ColdError> {
        let disk = Arc::clone(&self.disk);
        match tokio::task::spawn_blocking(move || work(&disk)).await {
            Ok(result) => result,
            // The work may have gone on to its end, or not.
            Err(gone) => Err(ColdError::OutcomeUnknown {
                doing,
                reason: gone.to_string(),
            }),
        }
    }

    /// The description of an archive that must be there.
    async fn describe(&self, archive: ArchiveId) -> Result<ArchiveDescription, ColdError> {
        self.on_disk("looked an archive up", move |disk| {
            disk.description(archive)?
                .ok_or(ColdError::NotFound { archive })
        })
        .await
    }

    /// Writes a submission into `incoming/`.
    async fn write(
        &self,
        submission: &Submission,
        source: &mut dyn ArchiveSource,
    ) -> Result<Written, ColdError> {
        const DOING: &str = "wrote an archive";
        let archive = submission.archive;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let mut written = self
            .on_disk(DOING, move |disk| disk.begin(archive, attempt))
            .await?;
        let mut parts = Vec::with_capacity(submission.part_lens_bytes.len());
        let mut whole = Sha256::new();
        let mut buffer = BytesMut::new();
        for len_bytes in submission.part_lens_bytes.iter().copied() {
            let mut digest = Sha256::new();
            let mut left = len_bytes;
            while left > 0 {
                let step = usize::try_from(left)
                    .unwrap_or(STEP_LEN_BYTES)
                    .min(STEP_LEN_BYTES);
                buffer.resize(step, 0);
                buffer = source.fill(buffer).await?;
                left = left.saturating_sub(buffer.len() as u64);
                (written, digest, whole, buffer) = self
                    .on_disk(DOING, move |_| {
                        written.append(&buffer)?;
                        digest.update(&buffer);
                        whole.update(&buffer);
                        Ok((written, digest, whole, buffer))
                    })
                    .await?;
            }
            parts.push(PartDescription {
                len_bytes,
                sha256: digest.finalize().into(),
            });
        }
        let description = ArchiveDescription {
            class: submission.class,
            archived: submission.archived,
            parts,
        };
        self.on_disk(DOING, move |_| {
            written.describe(archive, &description, whole.finalize().into())?;
            Ok(written)
        })
        .await
    }
}

#[async_trait]
impl ColdTier for DirectoryTier {
    async fn submit(
        &self,
        submission: &Submission,
        source: &mut dyn ArchiveSource,
    ) -> Result<SubmitOutcome, ColdError> {
        let archive = submission.archive;
        if let Holding::Durable(description) = self.lookup(archive).await? {
            return Ok(SubmitOutcome::Durable(description));
        }
        let written = self.write(submission, source).await?;
        self.on_disk("put an archive in its place", move |disk| {
            disk.put_in_place(archive, written)
        })
        .await?;
        match self.lookup(archive).await? {
            Holding::Durable(description) => Ok(SubmitOutcome::Durable(description)),
            Holding::Accepted | Holding::Absent => Err(ColdError::OutcomeUnknown {
                doing: "put an archive in its place",
                reason: "it was deleted meanwhile".to_owned(),
            }),
        }
    }

    async fn lookup(&self, archive: ArchiveId) -> Result<Holding, ColdError> {
        self.on_disk("looked an archive up", move |disk| {
            Ok(disk
                .durable_description(archive)?
                .map_or(Holding::Absent, Holding::Durable))
        })
        .await
    }

    async fn request_retrieval(
        &self,
        archive: ArchiveId,
        class: StorageClass,
        tier: RetrievalTier,
    ) -> Result<(), ColdError> {
        let description = self.describe(archive).await?;
        let _alone = self.writing_down.lock().await;
        let now = self.clock.now();
        let planned =
            self.retrievals
                .lock()
                .plan(archive, class, tier, description.len_bytes(), now)?;
        let Some(requested) = planned else {
            return Ok(());
        };
        self.on_disk("wrote a retrieval down", move |disk| {
            disk.write_retrieval(archive, &requested)
        })
        .await?;
        self.retrievals.lock().note(archive, requested);
        Ok(())
    }

    async fn poll(&self, archive: ArchiveId) -> Result<Retrieval, ColdError> {
        self.describe(archive).await?;
        Ok(self.retrievals.lock().poll(archive, self.clock.now()))
    }

    async fn read(
        &self,
        archive: ArchiveId,
        part: usize,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, ColdError> {
        let description = self.describe(archive).await?;
        if self.retrievals.lock().poll(archive, self.clock.now()) != Retrieval::Ready {
            return Err(ColdError::NotRetrieved { archive });
        }
        let end = offset.saturating_add(buffer.len() as u64);
        let start_of_part = description
            .parts
            .get(part)
            .filter(|part| end <= part.len_bytes)
            .and_then(|_| description.offset_of(part))
            .ok_or(ColdError::OutOfRange {
                archive,
                part,
                offset,
                end,
            })?;
        self.on_disk("read an archive", move |disk| {
            disk.read(archive, start_of_part.saturating_add(offset), buffer)
        })
        .await
    }

    async fn release(&self, archive: ArchiveId) -> Result<(), ColdError> {
        let _alone = self.writing_down.lock().await;
        self.on_disk("ended a retrieval", move |disk| {
            disk.remove_retrieval(archive)
        })
        .await?;
        self.retrievals.lock().forget(archive);
        Ok(())
    }

    async fn expire(&self, archive: ArchiveId) -> Result<(), ColdError> {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        // The archive goes first: a retrieval of nothing does no harm.
        self.on_disk("deleted an archive", move |disk| {
            disk.remove(archive, attempt)
        })
        .await?;
        self.release(archive).await
    }
}

/// What retrievals were written down, by archive.
type WrittenRetrievals = BTreeMap<ArchiveId, super::retrievals::Requested>;
