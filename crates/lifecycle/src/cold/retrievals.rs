//! The retrievals of a tier that have been asked for, and when each is ready.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;

use super::seam::{ArchiveId, ColdError, Retrieval};
use crate::retrieval::RetrievalTimes;
use crate::{RetrievalTier, StorageClass};

/// How a tier behaves: set by the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TierSettings {
    /// How long retrievals take.
    pub times: RetrievalTimes,
    /// The most expedited retrievals under way at a time; one more is refused.
    pub expedited_at_once_max: u32,
}

impl Default for TierSettings {
    fn default() -> Self {
        Self {
            times: RetrievalTimes::default(),
            expedited_at_once_max: 100,
        }
    }
}

/// One retrieval that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Requested {
    pub(super) tier: RetrievalTier,
    pub(super) requested: Timestamp,
    pub(super) ready: Timestamp,
}

/// All retrievals of a tier.
#[derive(Debug)]
pub(super) struct Retrievals {
    settings: TierSettings,
    requested: BTreeMap<ArchiveId, Requested>,
}

impl Retrievals {
    pub(super) fn new(settings: TierSettings, requested: BTreeMap<ArchiveId, Requested>) -> Self {
        Self {
            settings,
            requested,
        }
    }

    /// The retrieval that a request at `now` leads to; nothing is noted yet. `None` when the one
    /// under way is as good.
    pub(super) fn plan(
        &self,
        archive: ArchiveId,
        class: StorageClass,
        tier: RetrievalTier,
        len_bytes: u64,
        now: Timestamp,
    ) -> Result<Option<Requested>, ColdError> {
        let seed = archive.0.iter().fold(tier as u64, |seed, byte| {
            seed.rotate_left(8) ^ u64::from(*byte)
        });
        let time = self
            .settings
            .times
            .draw(class, tier, len_bytes, seed)
            .ok_or(ColdError::TierNotOffered { tier, class })?;
        let running = self.requested.get(&archive);
        if running.is_some_and(|running| running.ready <= now || !tier.is_faster_than(running.tier))
        {
            return Ok(None);
        }
        if tier == RetrievalTier::Expedited {
            let under_way = self
                .requested
                .values()
                .filter(|other| other.tier == tier && other.ready > now)
                .count();
            if under_way >= self.settings.expedited_at_once_max as usize {
                return Err(ColdError::ExpeditedUnavailable);
            }
        }
        // Where a slower retrieval under way would be ready earlier still, it stays that early.
        let ready = running.map_or(now + time, |running| running.ready.min(now + time));
        Ok(Some(Requested {
            tier,
            requested: now,
            ready,
        }))
    }

    pub(super) fn note(&mut self, archive: ArchiveId, requested: Requested) {
        self.requested.insert(archive, requested);
    }

    pub(super) fn forget(&mut self, archive: ArchiveId) {
        self.requested.remove(&archive);
    }

    pub(super) fn poll(&self, archive: ArchiveId, now: Timestamp) -> Retrieval {
        match self.requested.get(&archive) {
            None => Retrieval::NotRequested,
            Some(requested) if requested.ready <= now => Retrieval::Ready,
            Some(requested) => Retrieval::InProgress {
                ready: Some(requested.ready),
            },
        }
    }
}
