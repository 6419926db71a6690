//! Restores: asked for, fetched from the tier, and ended.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, Stream};
use sha2::{Digest as _, Sha256};
use strongroom_environment::Timestamp;
use strongroom_store::{
    BodyError, Caller, ObjectRef, OpenRestore, RestoreBegun, RestoreChange, StoreError, VersionName,
};

use super::{Inner, Lifecycle, LifecycleError, RunReport, archive_of};
use crate::RetrievalTier;
use crate::cold::{
    ArchiveDescription, ArchiveId, ColdError, ColdTier, Holding, PartDescription, Retrieval,
};
use crate::restore::{RestoreAnswer, RestoreDays, RestoreRefusal, RestoreRequest, RestoreState};

/// How many rows are read at a time.
const PAGE: usize = 256;
/// How much is read from the tier at a time, in bytes.
const STEP_LEN_BYTES: u64 = 1024 * 1024;

/// What became of a restore request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreOutcome {
    /// A retrieval was begun, or goes on faster: HTTP 202.
    Started,
    /// There is a copy, and its time has a new end: HTTP 200.
    AlreadyRestored {
        /// When the copy goes away.
        until: Timestamp,
    },
}

/// How far a restore came.
enum Progress {
    Completed,
    Waiting { ready: Option<Timestamp> },
}

/// The restore of an archived version, as the state machine has it.
fn state_of(restore: Option<strongroom_store::RestoreState>) -> Option<RestoreState> {
    Some(match restore {
        None => RestoreState::Archived,
        Some(strongroom_store::RestoreState::InProgress { days, tier, .. }) => {
            RestoreState::InProgress(RestoreRequest {
                days: RestoreDays::new(days.into())?,
                tier,
            })
        }
        Some(strongroom_store::RestoreState::Restored { until }) => {
            RestoreState::Restored { until }
        }
    })
}

impl Lifecycle {
    /// Asks for an archived object back, for some days. No key is needed.
    ///
    /// The retrieval is fetched by later runs. While it is under way, it may be asked for again in
    /// a faster tier and for the same days; once there is a copy, asking moves the end of its time.
    ///
    /// # Errors
    /// [`LifecycleError::RestoreDays`], [`LifecycleError::Restore`],
    /// [`LifecycleError::ExpeditedUnavailable`], [`LifecycleError::Store`],
    /// [`LifecycleError::Cold`]. Nothing is changed then, but that a tier may have begun to fetch.
    pub async fn restore(
        &self,
        object: &ObjectRef,
        days: i64,
        tier: RetrievalTier,
        caller: &Caller,
    ) -> Result<RestoreOutcome, LifecycleError> {
        let inner = &*self.inner;
        let request = RestoreRequest {
            days: RestoreDays::new(days).ok_or(LifecycleError::RestoreDays { days })?,
            tier,
        };
        let version = inner.store.tiered(object).await?;
        let state = state_of(version.restore).ok_or_else(|| StoreError::Damaged {
            what: format!("the restore of {}", version.name),
        })?;
        let now = inner.clock.now();
        let (_, answer) = state.request(version.class, request, now)?;
        // The tier is asked first, so that it can refuse; one that begins to fetch what is then
        // not committed to has done nothing that the next request does not use.
        if let (RestoreAnswer::Started | RestoreAnswer::Upgraded, Some(cold)) =
            (answer, &version.cold)
        {
            let archive = archive_of(&cold.locator)?;
            inner
                .tier
                .request_retrieval(archive, version.class, tier)
                .await
                .map_err(|error| match error {
                    ColdError::ExpeditedUnavailable => LifecycleError::ExpeditedUnavailable,
                    error => error.into(),
                })?;
        }
        let begin = strongroom_store::RestoreRequest {
            object: object.clone(),
            days: request.days.get(),
            tier,
            until_if_restored: request.days.end(now),
        };
        // Commit point of the request.
        let begun =
            inner
                .store
                .begin_restore(begin, caller)
                .await
                .map_err(|error| match error {
                    // Another request was faster, or the class changed since.
                    StoreError::RestoreInProgress => RestoreRefusal::InProgress.into(),
                    StoreError::NotArchived { class } => {
                        RestoreRefusal::NotArchived { class }.into()
                    }
                    error => LifecycleError::from(error),
                })?;
        inner.wake.notify_one();
        Ok(match begun {
            RestoreBegun::Started(_) | RestoreBegun::Upgraded(_) => RestoreOutcome::Started,
            RestoreBegun::AlreadyRestored { until } => RestoreOutcome::AlreadyRestored { until },
        })
    }

    /// Restores under way, by name, from after `after`.
    ///
    /// # Errors
    /// [`LifecycleError::Store`].
    pub async fn open_restores(
        &self,
        after: Option<&VersionName>,
        limit: usize,
    ) -> Result<Vec<OpenRestore>, LifecycleError> {
        Ok(self.inner.store.open_restores(after, limit).await?)
    }
}

impl Inner {
    /// Takes every restore under way as far as it goes now.
    pub(super) async fn advance_restores(
        &self,
        report: &mut RunReport,
    ) -> Result<(), LifecycleError> {
        let mut after: Option<VersionName> = None;
        loop {
            let page = self.store.open_restores(after.as_ref(), PAGE).await?;
            // A version that went while the page was read leaves it short, so only an empty page
            // is the last.
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.name.clone());
            let mut advanced = stream::iter(page)
                .map(|open| async move {
                    let advanced = self.advance(&open).await;
                    (open, advanced)
                })
                .buffer_unordered(self.settings.moves_at_once.max(1));
            while let Some((open, advanced)) = advanced.next().await {
                match advanced {
                    Ok(Progress::Completed) => report.restores_completed += 1,
                    Ok(Progress::Waiting { ready }) => {
                        report.restores_waiting += 1;
                        let retry = self.clock.now() + self.settings.retry_min;
                        report.wake_at(ready.unwrap_or(retry));
                    }
                    Err(error) => {
                        report.fail(format_args!("the restore of {}", open.name), &error);
                        report.wake_at(self.clock.now() + self.settings.retry_min);
                        if !is_passing(&error) {
                            // The archive cannot be had back. The version is archived as before,
                            // so that whoever asks is told anew.
                            self.store.cancel_restore(&open.name).await?;
                            if let Some(cold) = &open.cold
                                && let Ok(archive) = archive_of(&cold.locator)
                                && let Err(error) = self.tier.release(archive).await
                            {
                                let what = format_args!("the end of retrieval {archive}");
                                report.fail(what, &error.into());
                            }
                        }
                    }
                }
            }
        }
    }

    async fn advance(&self, open: &OpenRestore) -> Result<Progress, LifecycleError> {
        let Some(cold) = &open.cold else {
            // Its bytes are still on their way to the tier.
            return Ok(Progress::Waiting { ready: None });
        };
        let archive = archive_of(&cold.locator)?;
        if open.has_warm_copy {
            // Another version of the same payload has a copy, which serves this one too.
            let progress = self.complete(open, None).await?;
            // The request asked the tier all the same.
            self.tier.release(archive).await?;
            return Ok(progress);
        }
        match self
            .tier
            .request_retrieval(archive, open.class, open.tier)
            .await
        {
            Ok(()) => {}
            Err(ColdError::ExpeditedUnavailable) => {
                return Ok(Progress::Waiting { ready: None });
            }
            Err(error) => return Err(error.into()),
        }
        match self.tier.poll(archive).await? {
            Retrieval::Ready => {}
            Retrieval::InProgress { ready } => return Ok(Progress::Waiting { ready }),
            Retrieval::NotRequested => return Ok(Progress::Waiting { ready: None }),
        }
        let Holding::Durable(description) = self.tier.lookup(archive).await? else {
            return Err(ColdError::NotFound { archive }.into());
        };
        check_description(archive, &description, &open.payload.part_lens_bytes)?;
        let damage = Arc::new(parking_lot::Mutex::new(None));
        let sealed = sealed_bytes(
            Arc::clone(&self.tier),
            archive,
            &description,
            Arc::clone(&damage),
        );
        let written = self
            .store
            .write_warm_copy(open.payload.payload, sealed)
            .await;
        let warm = match written {
            Ok(warm) => warm,
            // What stopped the stream says more than that it stopped.
            Err(error) => match damage.lock().take() {
                Some(damage) => return Err(LifecycleError::Cold(damage)),
                None => return Err(error.into()),
            },
        };
        let progress = self.complete(open, Some(warm)).await?;
        self.tier.release(archive).await?;
        Ok(progress)
    }

    async fn complete(
        &self,
        open: &OpenRestore,
        warm: Option<strongroom_store::WarmCopy>,
    ) -> Result<Progress, LifecycleError> {
        let damaged = || StoreError::Damaged {
            what: format!("the restore of {}", open.name),
        };
        let request = RestoreRequest {
            days: RestoreDays::new(open.days.into()).ok_or_else(damaged)?,
            tier: open.tier,
        };
        let now = self.clock.now();
        let Ok(RestoreState::Restored { until }) = RestoreState::InProgress(request).retrieved(now)
        else {
            return Err(damaged().into());
        };
        // Commit point: from here on the version can be read.
        let change = self.store.complete_restore(&open.name, warm, until).await?;
        Ok(match change {
            RestoreChange::Done => Progress::Completed,
            // It was ended or deleted meanwhile; there is nothing to wait for.
            RestoreChange::Superseded => Progress::Waiting { ready: None },
        })
    }

    /// Takes away the copies whose time is over.
    pub(super) async fn expire_copies(&self, report: &mut RunReport) -> Result<(), LifecycleError> {
        loop {
            let expired = self.store.expired_restores(self.clock.now(), PAGE).await?;
            let before = report.copies_expired;
            let is_last = expired.len() < PAGE;
            for copy in expired {
                match self.store.expire_restore(&copy).await {
                    Ok(RestoreChange::Done) => report.copies_expired += 1,
                    Ok(RestoreChange::Superseded) => {}
                    Err(error) => {
                        report.fail(
                            format_args!("the end of the copy of {}", copy.name),
                            &error.into(),
                        );
                        report.wake_at(self.clock.now() + self.settings.retry_min);
                    }
                }
            }
            // What is left was tried, and is for a later run.
            if is_last || report.copies_expired == before {
                break;
            }
        }
        if let Some(next) = self.store.next_restore_expiry().await? {
            report.wake_at(next);
        }
        Ok(())
    }
}

/// Whether a failure may pass by itself.
fn is_passing(error: &LifecycleError) -> bool {
    match error {
        // Another restore of the same archive was done with it; the next run asks for it again.
        LifecycleError::Cold(ColdError::NotRetrieved { .. }) => true,
        LifecycleError::Cold(error) => error.is_passing(),
        LifecycleError::UnknownLocator => false,
        _ => true,
    }
}

fn check_description(
    archive: ArchiveId,
    description: &ArchiveDescription,
    part_lens_bytes: &[u64],
) -> Result<(), LifecycleError> {
    let described = description.parts.iter().map(|part| part.len_bytes);
    if described.eq(part_lens_bytes.iter().copied()) {
        Ok(())
    } else {
        Err(ColdError::Damaged {
            archive,
            reason: "it has other parts than the payload".to_owned(),
        }
        .into())
    }
}

/// A part that is being read.
struct Reading {
    tier: Arc<dyn ColdTier>,
    archive: ArchiveId,
    parts: VecDeque<(usize, PartDescription)>,
    offset: u64,
    digest: Sha256,
    failure: Arc<parking_lot::Mutex<Option<ColdError>>>,
}

/// The bytes of a retrieved archive, part after part. Each part is compared with its digest before
/// its last piece is given, so that a damaged one never becomes whole.
fn sealed_bytes(
    tier: Arc<dyn ColdTier>,
    archive: ArchiveId,
    description: &ArchiveDescription,
    failure: Arc<parking_lot::Mutex<Option<ColdError>>>,
) -> Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>> {
    let reading = Reading {
        tier,
        archive,
        parts: description.parts.iter().copied().enumerate().collect(),
        offset: 0,
        digest: Sha256::new(),
        failure,
    };
    Box::pin(stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reading))),
            Ok(None) => None,
            Err(error) => {
                let told = BodyError::Broken(error.to_string().into());
                *reading.failure.lock() = Some(error);
                Some((Err(told), None))
            }
        }
    }))
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, ColdError> {
        loop {
            let Some((number, part)) = self.parts.front().copied() else {
                return Ok(None);
            };
            let left = part.len_bytes.saturating_sub(self.offset);
            let step = left.min(STEP_LEN_BYTES);
            let piece = if step == 0 {
                Bytes::new()
            } else {
                let len = usize::try_from(step).expect("a step is at most 1 MiB");
                let buffer = BytesMut::zeroed(len);
                let bytes = self
                    .tier
                    .read(self.archive, number, self.offset, buffer)
                    .await?;
                self.digest.update(&bytes);
                self.offset += step;
                bytes.freeze()
            };
            if self.offset == part.len_bytes {
                let found: [u8; 32] = self.digest.finalize_reset().into();
                if found != part.sha256 {
                    return Err(ColdError::Damaged {
                        archive: self.archive,
                        reason: format!("the digest of part {number} is another"),
                    });
                }
                self.parts.pop_front();
                self.offset = 0;
            }
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
    }
}
