//! Moves between storage classes: written down, and made.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use strongroom_environment::Timestamp;
use strongroom_store::{
    Caller, ColdCopy, ObjectRef, PayloadId, SealedPayload, SealedStream, StoreError,
    TransitionCommit, TransitionStep, VersionName, VersionSelector,
};

use super::{Inner, Lifecycle, LifecycleError, RunReport, locator};
use crate::StorageClass;
use crate::class::Waterfall as _;
use crate::cold::{ArchiveSource, SourceError, Submission, SubmitOutcome};
use crate::jobs::{Job, JobOrigin};

/// How many rows are read at a time.
const PAGE: usize = 256;

/// How far a move came.
enum Progress {
    /// The version is of the class, and this many sealed bytes went to the tier for it.
    Moved { archived_bytes: u64 },
    /// There was nothing left to do.
    NothingToDo,
    /// The tier has the bytes and does not call them durable yet.
    Accepted,
    /// Something changed in between; the next run takes the move up again.
    LookAgain,
}

/// The sealed bytes of a payload, as a tier reads them.
struct StoreSource {
    pieces: Pin<Box<SealedStream>>,
    piece: Bytes,
}

#[async_trait]
impl ArchiveSource for StoreSource {
    async fn fill(&mut self, mut buffer: BytesMut) -> Result<BytesMut, SourceError> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.piece.is_empty() {
                self.piece = match self.pieces.next().await {
                    Some(Ok(piece)) => piece,
                    Some(Err(error)) => {
                        return Err(SourceError {
                            reason: error.to_string(),
                        });
                    }
                    None => {
                        return Err(SourceError {
                            reason: "the payload ends early".to_owned(),
                        });
                    }
                };
                continue;
            }
            let step = self.piece.len().min(buffer.len() - filled);
            self.piece.copy_to_slice(&mut buffer[filled..filled + step]);
            filled += step;
        }
        Ok(buffer)
    }
}

impl Lifecycle {
    /// Moves a version to a colder class because an operator asks for it. The move is made by the
    /// next run.
    ///
    /// Asking again is no error; a version that is in the class already stays there.
    ///
    /// # Errors
    /// [`LifecycleError::NoWay`], [`LifecycleError::Store`], [`LifecycleError::Jobs`].
    pub async fn archive_now(
        &self,
        object: &ObjectRef,
        class: StorageClass,
        _caller: &Caller,
    ) -> Result<VersionName, LifecycleError> {
        let inner = &*self.inner;
        let version = inner.store.tiered(object).await?;
        if version.class != class && !version.class.may_go_to(class) {
            return Err(LifecycleError::NoWay {
                from: version.class,
                to: class,
            });
        }
        if version.class != class {
            inner
                .write_down(
                    version.name.clone(),
                    version.payload,
                    class,
                    JobOrigin::Request,
                )
                .await?;
            inner.wake.notify_one();
        }
        Ok(version.name)
    }
}

impl Inner {
    /// Writes a move down; says whether it was not written down before.
    pub(super) async fn write_down(
        &self,
        name: VersionName,
        payload: PayloadId,
        class: StorageClass,
        origin: JobOrigin,
    ) -> Result<bool, LifecycleError> {
        let now = self.clock.now();
        let job = Job {
            name,
            class,
            payload,
            archive: self.new_archive(),
            origin,
            created: now,
            due: now,
            failures: 0,
            last_error: None,
        };
        Ok(self.jobs.add(&job).await?)
    }

    /// Writes down the moves of versions that were written into an archive class.
    pub(super) async fn write_down_pending(
        &self,
        report: &mut RunReport,
    ) -> Result<(), LifecycleError> {
        let mut after: Option<VersionName> = None;
        loop {
            let page = self.store.pending_archives(after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|pending| pending.name.clone());
            for pending in page {
                let is_new = self
                    .write_down(
                        pending.name,
                        pending.payload,
                        pending.class,
                        JobOrigin::Write,
                    )
                    .await?;
                report.moves_begun += u64::from(is_new);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Makes every move that is due.
    pub(super) async fn work_through_jobs(
        &self,
        report: &mut RunReport,
    ) -> Result<(), LifecycleError> {
        loop {
            let now = self.clock.now();
            let due = self.jobs.due(now, PAGE).await?;
            if due.is_empty() {
                return Ok(());
            }
            let mut moves = futures::stream::iter(due)
                .map(|job| async move {
                    let made = self.make_move(&job, now).await;
                    (job, made)
                })
                .buffer_unordered(self.settings.moves_at_once.max(1));
            while let Some((job, made)) = moves.next().await {
                match made {
                    Ok(Progress::Moved { archived_bytes }) => {
                        self.jobs.finish(&job).await?;
                        report.versions_moved += 1;
                        report.archived_bytes += archived_bytes;
                    }
                    Ok(Progress::NothingToDo) => self.jobs.finish(&job).await?,
                    Ok(Progress::LookAgain) => {
                        let later = now + self.retry_after(0);
                        self.jobs.put_off(&job, later, None).await?;
                    }
                    Ok(Progress::Accepted) => {
                        // It is asked for less and less often, the longer it takes.
                        let waited = now.since(job.created);
                        let later = waited.min(self.settings.retry_max).max(self.retry_after(0));
                        self.jobs.put_off(&job, now + later, None).await?;
                        report.moves_accepted += 1;
                    }
                    Err(error) => {
                        report.fail(
                            format_args!("the move of {} to {}", job.name, job.class),
                            &error,
                        );
                        let later = now + self.retry_after(job.failures);
                        self.jobs
                            .put_off(&job, later, Some(error.to_string()))
                            .await?;
                    }
                }
            }
        }
    }

    /// After what time something that failed so often is tried again.
    pub(super) fn retry_after(&self, failures: u32) -> Duration {
        self.settings
            .retry_min
            .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
            .clamp(
                Duration::from_micros(1),
                self.settings.retry_max.max(Duration::from_micros(1)),
            )
    }

    /// Makes a move, from wherever an earlier attempt left it.
    async fn make_move(&self, job: &Job, now: Timestamp) -> Result<Progress, LifecycleError> {
        if !job.class.is_archived() {
            return self.relabel(job).await;
        }
        match self.store.begin_transition(&job.name, job.class).await? {
            TransitionStep::Submit(payload) => self.submit(job, payload, now).await,
            TransitionStep::Share(cold) => {
                match self.store.commit_transition(&job.name, cold).await? {
                    TransitionCommit::Done => {
                        self.give_up_unneeded(job).await?;
                        Ok(Progress::Moved { archived_bytes: 0 })
                    }
                    // The payload lost the cold copy since, or the version is gone: look again.
                    TransitionCommit::Redundant | TransitionCommit::Superseded => {
                        Ok(Progress::LookAgain)
                    }
                }
            }
            TransitionStep::Done | TransitionStep::Superseded => {
                self.give_up_unneeded(job).await?;
                Ok(Progress::NothingToDo)
            }
        }
    }

    /// Lets the tier give up the archive of a job that is over, unless its payload lies there: an
    /// earlier attempt may have submitted it and not come further.
    async fn give_up_unneeded(&self, job: &Job) -> Result<(), LifecycleError> {
        // A version may be gone and a copy of it lie in the archive all the same, so the payload
        // says what is needed. Nobody but this job commits the archive to it.
        let kept = self.store.cold_copy(job.payload).await?;
        if kept.is_none_or(|kept| kept.locator != locator(job.archive)) {
            self.tier.expire(job.archive).await?;
        }
        Ok(())
    }

    /// Changes between two warm classes, which are told apart by name only.
    async fn relabel(&self, job: &Job) -> Result<Progress, LifecycleError> {
        let object = ObjectRef {
            bucket: job.name.bucket.clone(),
            key: job.name.key.clone(),
            version: VersionSelector::Id(job.name.version),
        };
        let version = match self.store.tiered(&object).await {
            Ok(version) => version,
            Err(
                StoreError::NoSuchBucket | StoreError::NoSuchKey { .. } | StoreError::NoSuchVersion,
            ) => return Ok(Progress::NothingToDo),
            Err(error) => return Err(error.into()),
        };
        // Another move may have taken it further down since this one was written down.
        if !version.class.may_go_to(job.class) {
            return Ok(Progress::NothingToDo);
        }
        match self.store.set_warm_class(&job.name, job.class).await? {
            TransitionCommit::Done => Ok(Progress::Moved { archived_bytes: 0 }),
            TransitionCommit::Redundant | TransitionCommit::Superseded => Ok(Progress::NothingToDo),
        }
    }

    async fn submit(
        &self,
        job: &Job,
        payload: SealedPayload,
        now: Timestamp,
    ) -> Result<Progress, LifecycleError> {
        let archived_bytes = payload.len_bytes();
        let submission = Submission {
            archive: job.archive,
            class: job.class,
            part_lens_bytes: payload.part_lens_bytes,
            archived: now,
        };
        let mut source = StoreSource {
            pieces: Box::pin(self.store.read_sealed(payload.payload).await?),
            piece: Bytes::new(),
        };
        // Order: durable in the tier, then the commit, and in the same batch the warm copy becomes
        // garbage.
        match self.tier.submit(&submission, &mut source).await? {
            SubmitOutcome::Accepted => return Ok(Progress::Accepted),
            SubmitOutcome::Durable(_) => {}
        }
        let cold = ColdCopy {
            class: job.class,
            locator: locator(job.archive),
        };
        // Commit point: from here on the version is archived.
        match self.store.commit_transition(&job.name, cold).await? {
            TransitionCommit::Done => Ok(Progress::Moved { archived_bytes }),
            // When this move began, the payload had no cold copy. So the archive is not the one it
            // has now, and nothing refers to it.
            TransitionCommit::Redundant => {
                self.tier.expire(job.archive).await?;
                Ok(Progress::Moved { archived_bytes: 0 })
            }
            TransitionCommit::Superseded => {
                self.tier.expire(job.archive).await?;
                Ok(Progress::NothingToDo)
            }
        }
    }
}
