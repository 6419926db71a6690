//! The store: what it stands on, and how it is opened.

use std::fmt;
use std::sync::Arc;

use metrics::counter;
use parking_lot::RwLock;
use std::collections::HashMap;
use strongroom_blobs::{BlobRef, BlobStore};
use strongroom_environment::{Clock, Entropy};
use strongroom_keys::ObjectKeys;
use strongroom_meta::{Batch, CommitError, MetaStore};
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::buckets::Bucket;
use crate::change::Change;
use crate::payload::Pins;
use crate::rows::{PayloadRow, decode, keys};
use crate::{BucketName, PayloadId, StoreError};

/// What the store stands on.
#[derive(Clone, Debug)]
pub struct StoreSeams {
    /// Keeps the rows.
    pub meta: Arc<dyn MetaStore>,
    /// Keeps the sealed bytes.
    pub blobs: Arc<dyn BlobStore>,
    /// Makes, opens and re-wraps data keys.
    pub keys: Arc<ObjectKeys>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids and salts.
    pub entropy: Arc<dyn Entropy>,
}

/// The object store: buckets, objects and their versions, multipart uploads, and the encryption
/// of all of it.
///
/// A clone is the same store. All methods may be called from many tasks at once.
///
/// Every change is one batch of rows, which is its commit point: before it nothing is visible,
/// after it everything is, and what a batch no longer refers to is written down in the same batch
/// as garbage to be collected.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

pub(crate) struct Inner {
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) keys: Arc<ObjectKeys>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Buckets as they were last read; a commit finds out what is stale.
    pub(crate) buckets: RwLock<HashMap<BucketName, Arc<Bucket>>>,
    pub(crate) pins: Arc<Pins>,
    /// Wakes the collector.
    pub(crate) garbage: Arc<Notify>,
    /// Wakes whoever does re-wraps.
    pub(crate) rewraps: Arc<Notify>,
    /// Those who met a conflict on a key go through the gate of its hash one by one.
    gates: [Mutex<()>; GATES],
}

const GATES: usize = 64;

/// After how many conflicts a change is given up. Those of one process go one by one after the
/// first, so it takes many processes on one key to get there.
const ATTEMPTS_MAX: usize = 100;

impl Store {
    /// Opens the store on its seams.
    ///
    /// Blobs that a crash left without a row are deleted, and garbage that was written down is
    /// collected, by the same code that does so while the store runs.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Damaged`].
    pub async fn open(seams: StoreSeams) -> Result<Self, StoreError> {
        let garbage = Arc::new(Notify::new());
        let inner = Arc::new(Inner {
            meta: seams.meta,
            blobs: seams.blobs,
            keys: seams.keys,
            clock: seams.clock,
            entropy: seams.entropy,
            buckets: RwLock::default(),
            pins: Arc::new(Pins::new(Arc::clone(&garbage))),
            garbage,
            rewraps: Arc::default(),
            gates: std::array::from_fn(|_| Mutex::new(())),
        });
        inner.reclaim_unsettled().await?;
        inner.collect_garbage().await?;
        inner.spawn_collector();
        Ok(Self { inner })
    }
}

impl Inner {
    /// The row of a payload.
    pub(crate) async fn payload(&self, id: PayloadId) -> Result<Option<PayloadRow>, StoreError> {
        match self.meta.get(keys::PAYLOADS, &id.0).await? {
            Some(row) => decode(keys::PAYLOADS, &row.value).map(Some),
            None => Ok(None),
        }
    }

    /// The attempts to change something about `key` of `bucket`.
    pub(crate) fn attempts<'n>(&self, bucket: &'n BucketName, key: &'n str) -> Attempts<'_, 'n> {
        Attempts {
            inner: self,
            bucket,
            key,
            held: None,
            left: ATTEMPTS_MAX,
        }
    }

    /// Commits a batch that expects nothing, or whose conflict means that there is nothing to do.
    pub(crate) async fn commit_once(&self, batch: Batch) -> Result<bool, StoreError> {
        match self.meta.commit(batch).await {
            Ok(()) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes blobs that nothing refers to; what cannot be deleted is found again at the next
    /// start.
    pub(crate) async fn delete_blobs(&self, blobs: &[BlobRef]) {
        for blob in blobs {
            if let Err(error) = self.blobs.delete(blob).await {
                tracing::warn!(%error, "a blob that is not referred to could not be deleted");
            }
        }
    }
}

/// Attempts to make one change: read, decide, commit, and again as long as others were faster.
pub(crate) struct Attempts<'i, 'n> {
    inner: &'i Inner,
    bucket: &'n BucketName,
    key: &'n str,
    /// After the first conflict: the gate that lets one through at a time.
    held: Option<MutexGuard<'i, ()>>,
    left: usize,
}

impl<'i> Attempts<'i, '_> {
    /// Commits a change. `false` says that others were faster, and that all that was read must be
    /// read again.
    ///
    /// A change without a write is done already.
    pub(crate) async fn commit(&mut self, change: Change<'_>) -> Result<bool, StoreError> {
        let mut change = change;
        let misfit = change.misfit.take();
        let makes_garbage = change.makes_garbage();
        let mut batch = change.finish();
        if misfit.is_some() {
            batch.writes.clear();
        } else if batch.writes.is_empty() {
            return Ok(true);
        }
        // The commit point of every change.
        match self.inner.meta.commit(batch).await {
            Ok(()) => {
                // All that was read is as it was, and does not fit.
                if let Some(misfit) = misfit {
                    return Err(StoreError::damaged(misfit));
                }
                if makes_garbage {
                    self.inner.garbage.notify_one();
                }
                return Ok(true);
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        counter!("strongroom_commit_conflicts_total").increment(1);
        self.inner.buckets.write().remove(self.bucket);
        self.left = self.left.checked_sub(1).ok_or(StoreError::Contended)?;
        if self.held.is_none() {
            self.held = Some(self.gate().lock().await);
        }
        Ok(false)
    }

    fn gate(&self) -> &'i Mutex<()> {
        // FNV-1a (Fowler, Noll, Vo): a spread over the gates is all that is asked of it.
        let hash = self
            .bucket
            .as_str()
            .bytes()
            .chain([0])
            .chain(self.key.bytes())
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
            });
        &self.inner.gates[(hash % GATES as u64) as usize]
    }
}
