//! The lifecycle at work: rules followed, objects archived and restored, copies cleared away.
//!
//! Everything that takes longer than a request is written down first and done by
//! [`Lifecycle::run_once`], which may be cut short at any point and taken up again: each step finds
//! out how far the one before came. No step uses a key; sealed bytes move as they are.
//!
//! # Order of an archiving
//!
//! 1. The job is written down, and with it the name of the archive.
//! 2. The sealed bytes are submitted to the tier under that name, until the tier says that they
//!    are durable.
//! 3. The version's row changes class and the payload's row refers to the archive, in one batch of
//!    the store. **This is the commit point.** In the same batch the warm copy becomes garbage,
//!    unless another version holds it.
//! 4. The job is struck off.
//!
//! # Order of a restore
//!
//! 1. The retrieval is asked for, so that a tier without room can refuse.
//! 2. The version's row says that a restore is under way. **This is the commit point of the
//!    request.**
//! 3. When the tier says that the archive is there, its bytes are written back and compared with
//!    the digests of its description.
//! 4. The rows refer to the copy and say until when. **This is the commit point of the restore.**
//! 5. The retrieval is released.

mod archive;
mod background;
mod error;
mod follow;
mod release;
mod restore;
mod ruleset;
mod run;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_environment::{Clock, Entropy};
use strongroom_meta::MetaStore;
use strongroom_store::{ColdLocator, Store};
use tokio::sync::{Mutex, Notify};

pub use self::error::LifecycleError;
pub use self::restore::RestoreOutcome;
use self::ruleset::ReadRules;
pub use self::run::RunReport;
use crate::cold::{ArchiveId, ColdTier};
use crate::jobs::Jobs;

/// What the lifecycle stands on.
#[derive(Clone, Debug)]
pub struct LifecycleSeams {
    /// Keeps the objects.
    pub store: Store,
    /// Keeps the jobs; the same rows that the store stands on.
    pub meta: Arc<dyn MetaStore>,
    /// Keeps the archives.
    pub tier: Arc<dyn ColdTier>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Names archives and rules.
    pub entropy: Arc<dyn Entropy>,
}

/// How the lifecycle works: set by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleSettings {
    /// How many payloads are moved at a time.
    pub moves_at_once: usize,
    /// After what time something that failed is tried again; it doubles up to `retry_max`.
    pub retry_min: Duration,
    /// The longest time after which something that failed is tried again.
    pub retry_max: Duration,
    /// For how long after midnight the day before is looked through again, for writes that were
    /// under way when it ended.
    pub day_settles: Duration,
}

impl Default for LifecycleSettings {
    fn default() -> Self {
        Self {
            moves_at_once: 4,
            retry_min: Duration::from_secs(60),
            retry_max: Duration::from_secs(3_600),
            day_settles: Duration::from_secs(3_600),
        }
    }
}

/// The lifecycle of the objects of a store. A clone is the same lifecycle.
#[derive(Clone)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    tier: Arc<dyn ColdTier>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: LifecycleSettings,
    jobs: Jobs,
    read_rules: parking_lot::Mutex<ReadRules>,
    /// Held by the run under way; there is one at a time.
    running: Mutex<()>,
    /// Wakes the background when there is something new to do.
    wake: Notify,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lifecycle")
    }
}

impl Lifecycle {
    /// The lifecycle on its seams. It does nothing until it is run.
    #[must_use]
    pub fn new(seams: LifecycleSeams, settings: LifecycleSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                store: seams.store,
                tier: seams.tier,
                clock: seams.clock,
                entropy: seams.entropy,
                settings,
                jobs: Jobs::new(seams.meta),
                read_rules: parking_lot::Mutex::default(),
                running: Mutex::new(()),
                wake: Notify::new(),
            }),
        }
    }
}

impl Inner {
    fn new_archive(&self) -> ArchiveId {
        let mut id = ArchiveId([0; 16]);
        self.entropy.fill(&mut id.0);
        id
    }
}

/// How the store refers to an archive: a version byte and the archive's name.
const LOCATOR_VERSION: u8 = 1;

fn locator(archive: ArchiveId) -> ColdLocator {
    let mut bytes = vec![LOCATOR_VERSION];
    bytes.extend_from_slice(&archive.0);
    ColdLocator(bytes)
}

fn archive_of(locator: &ColdLocator) -> Result<ArchiveId, LifecycleError> {
    locator
        .0
        .split_first()
        .filter(|(version, _)| **version == LOCATOR_VERSION)
        .and_then(|(_, id)| id.try_into().ok())
        .map(ArchiveId)
        .ok_or(LifecycleError::UnknownLocator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locator_is_read_back_and_others_are_refused() {
        let archive = ArchiveId([9; 16]);
        assert_eq!(archive_of(&locator(archive)).ok(), Some(archive));
        let good = locator(archive).0;
        for len in 0..good.len() {
            assert!(archive_of(&ColdLocator(good[..len].to_vec())).is_err());
        }
        let mut later = good.clone();
        later[0] = 2;
        assert!(archive_of(&ColdLocator(later)).is_err());
        let mut longer = good;
        longer.push(0);
        assert!(archive_of(&ColdLocator(longer)).is_err());
    }
}
