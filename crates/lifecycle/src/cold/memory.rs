//! A tier in memory, whose times pass on a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use strongroom_environment::{Clock, Timestamp};

use super::manifest::{ArchiveDescription, PartDescription};
use super::retrievals::{Retrievals, TierSettings};
use super::seam::{
    ArchiveId, ArchiveSource, ColdError, ColdTier, Holding, Retrieval, Submission, SubmitOutcome,
};
use crate::{RetrievalTier, StorageClass};

/// A tier that keeps archives in memory. "Durable" is as long as it lives.
#[derive(Debug)]
pub struct MemoryTier {
    clock: Arc<dyn Clock>,
    settling: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    archives: BTreeMap<ArchiveId, Archive>,
    retrievals: Retrievals,
}

#[derive(Debug)]
struct Archive {
    description: ArchiveDescription,
    parts: Vec<Bytes>,
    durable_from: Timestamp,
}

impl MemoryTier {
    /// An empty tier that says at once that a submission is durable.
    #[must_use]
    pub fn new(settings: TierSettings, clock: Arc<dyn Clock>) -> Self {
        Self::with_settling(settings, clock, Duration::ZERO)
    }

    /// An empty tier that says only after `settling` that a submission is durable, as one does
    /// that collects archives before it writes a tape.
    #[must_use]
    pub fn with_settling(
        settings: TierSettings,
        clock: Arc<dyn Clock>,
        settling: Duration,
    ) -> Self {
        Self {
            clock,
            settling,
            state: Mutex::new(State {
                archives: BTreeMap::new(),
                retrievals: Retrievals::new(settings, BTreeMap::new()),
            }),
        }
    }

    /// The archives it holds, in order.
    #[must_use]
    pub fn archives(&self) -> Vec<ArchiveId> {
        self.state.lock().archives.keys().copied().collect()
    }
}

impl Archive {
    fn holding(&self, now: Timestamp) -> Holding {
        if self.durable_from <= now {
            Holding::Durable(self.description.clone())
        } else {
            Holding::Accepted
        }
    }
}

#[async_trait]
impl ColdTier for MemoryTier {
    async fn submit(
        &self,
        submission: &Submission,
        source: &mut dyn ArchiveSource,
    ) -> Result<SubmitOutcome, ColdError> {
        let known = self.lookup(submission.archive).await?;
        if known == Holding::Absent {
            let mut parts = Vec::with_capacity(submission.part_lens_bytes.len());
            let mut described = Vec::with_capacity(submission.part_lens_bytes.len());
            for len_bytes in submission.part_lens_bytes.iter().copied() {
                let len = usize::try_from(len_bytes).map_err(|_| ColdError::Full)?;
                let part = source.fill(BytesMut::zeroed(len)).await?.freeze();
                described.push(PartDescription {
                    len_bytes,
                    sha256: Sha256::digest(&part).into(),
                });
                parts.push(part);
            }
            let archive = Archive {
                description: ArchiveDescription {
                    class: submission.class,
                    archived: submission.archived,
                    parts: described,
                },
                parts,
                durable_from: self.clock.now() + self.settling,
            };
            self.state
                .lock()
                .archives
                .entry(submission.archive)
                .or_insert(archive);
        }
        match self.lookup(submission.archive).await? {
            Holding::Durable(description) => Ok(SubmitOutcome::Durable(description)),
            Holding::Accepted | Holding::Absent => Ok(SubmitOutcome::Accepted),
        }
    }

    async fn lookup(&self, archive: ArchiveId) -> Result<Holding, ColdError> {
        let now = self.clock.now();
        let state = self.state.lock();
        Ok(state
            .archives
            .get(&archive)
            .map_or(Holding::Absent, |held| held.holding(now)))
    }

    async fn request_retrieval(
        &self,
        archive: ArchiveId,
        class: StorageClass,
        tier: RetrievalTier,
    ) -> Result<(), ColdError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let len_bytes = match state.archives.get(&archive) {
            Some(held) if held.durable_from <= now => held.description.len_bytes(),
            _ => return Err(ColdError::NotFound { archive }),
        };
        if let Some(requested) = state
            .retrievals
            .plan(archive, class, tier, len_bytes, now)?
        {
            state.retrievals.note(archive, requested);
        }
        Ok(())
    }

    async fn poll(&self, archive: ArchiveId) -> Result<Retrieval, ColdError> {
        let now = self.clock.now();
        let state = self.state.lock();
        if !state.archives.contains_key(&archive) {
            return Err(ColdError::NotFound { archive });
        }
        Ok(state.retrievals.poll(archive, now))
    }

    async fn read(
        &self,
        archive: ArchiveId,
        part: usize,
        offset: u64,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, ColdError> {
        let now = self.clock.now();
        let state = self.state.lock();
        let held = state
            .archives
            .get(&archive)
            .ok_or(ColdError::NotFound { archive })?;
        if state.retrievals.poll(archive, now) != Retrieval::Ready {
            return Err(ColdError::NotRetrieved { archive });
        }
        let end = offset.saturating_add(buffer.len() as u64);
        let bytes = held
            .parts
            .get(part)
            .zip(usize::try_from(offset).ok().zip(usize::try_from(end).ok()))
            .and_then(|(bytes, (start, end))| bytes.get(start..end))
            .ok_or(ColdError::OutOfRange {
                archive,
                part,
                offset,
                end,
            })?;
        buffer.copy_from_slice(bytes);
        Ok(buffer)
    }

    async fn release(&self, archive: ArchiveId) -> Result<(), ColdError> {
        self.state.lock().retrievals.forget(archive);
        Ok(())
    }

    async fn expire(&self, archive: ArchiveId) -> Result<(), ColdError> {
        let mut state = self.state.lock();
        state.archives.remove(&archive);
        state.retrievals.forget(archive);
        Ok(())
    }
}
