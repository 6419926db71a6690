//! What nothing refers to any more: deleted blobs, and what a crash left behind.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use metrics::counter;
use strongroom_blobs::BlobRef;
use strongroom_meta::{Batch, Scan};

use crate::payload::segments_of;
use crate::rows::{GarbageBlobs, GarbageRow, PayloadRow, SegmentRow, decode, keys};
use crate::store::Inner;
use crate::{PayloadId, Store, StoreError};

/// How many rows of garbage are worked through at a time.
const ROWS_AT_ONCE: usize = 256;

/// What a collection did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// How many blobs were deleted.
    pub blobs: u64,
    /// How many pieces of garbage have to wait, because their payloads are being read.
    pub waiting: u64,
}

impl Store {
    /// Deletes the blobs that nothing refers to. The store does so by itself; this is for those
    /// who cannot wait.
    ///
    /// # Errors
    /// Those of the machine; what is left is collected the next time.
    pub async fn collect_garbage(&self) -> Result<Collected, StoreError> {
        self.inner.collect_garbage().await
    }
}

impl Inner {
    /// Collects whenever there is garbage, until the store is dropped.
    pub(crate) fn spawn_collector(self: &Arc<Self>) {
        let woken = Arc::clone(&self.garbage);
        let store: Weak<Self> = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                woken.notified().await;
                let Some(inner) = store.upgrade() else {
                    return;
                };
                if let Err(error) = inner.collect_garbage().await {
                    tracing::warn!(%error, "garbage could not be collected and stays for later");
                }
            }
        });
    }

    /// Works through the garbage: the blobs first, then the rows, so that a crash between the two
    /// deletes the blobs once more, which is no error.
    pub(crate) async fn collect_garbage(&self) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        let mut start = Vec::new();
        loop {
            let scan = Scan::within(&[], start, ROWS_AT_ONCE);
            let found = self.meta.scan(keys::GARBAGE, scan).await?;
            let mut batch = Batch::new();
            for garbage in &found {
                match self.collect_row(&garbage.row.value, &mut batch).await {
                    Ok(Some(blobs)) => {
                        collected.blobs += blobs;
                        batch.delete(keys::GARBAGE, garbage.key.to_vec());
                    }
                    Ok(None) => collected.waiting += 1,
                    // What is damaged keeps nothing else from being collected.
                    Err(StoreError::Damaged { what }) => {
                        tracing::error!(what, "garbage that is damaged cannot be collected");
                        counter!("strongroom_garbage_damaged_total").increment(1);
                    }
                    Err(error) => return Err(error),
                }
            }
            if !batch.writes.is_empty() && !self.commit_once(batch).await? {
                // A payload changed meanwhile; the same rows are looked at again.
                start = found
                    .first()
                    .map(|row| row.key.to_vec())
                    .unwrap_or_default();
                continue;
            }
            match found.last() {
                Some(last) if found.len() == ROWS_AT_ONCE => {
                    start = last.key.to_vec();
                    start.push(0);
                }
                _ => break,
            }
        }
        counter!("strongroom_garbage_blobs_deleted_total").increment(collected.blobs);
        Ok(collected)
    }

    /// Deletes the blobs that a row of garbage names, and says how many; nothing where they have to
    /// wait for a reader. What is to be deleted with the row is put into `batch`.
    async fn collect_row(
        &self,
        value: &[u8],
        batch: &mut Batch,
    ) -> Result<Option<u64>, StoreError> {
        let row: GarbageRow = decode(keys::GARBAGE, value)?;
        if self.pins.is_pinned(row.payload) {
            return Ok(None);
        }
        match row.blobs {
            GarbageBlobs::Listed(blobs) => {
                for blob in &blobs {
                    self.blobs.delete(&BlobRef::from_bytes(blob)).await?;
                }
                Ok(Some(blobs.len() as u64))
            }
            GarbageBlobs::Copy { copy, segments } => self
                .collect_copy(row.payload, copy, segments, batch)
                .await
                .map(Some),
        }
    }

    /// Deletes the blobs of a copy of a payload of several parts, and the segments that name them,
    /// unless the payload still tells its parts by those.
    async fn collect_copy(
        &self,
        payload: PayloadId,
        copy: u32,
        segments: u16,
        batch: &mut Batch,
    ) -> Result<u64, StoreError> {
        let read = self.meta.get(keys::PAYLOADS, &payload.0).await?;
        let is_used = match &read {
            Some(row) => {
                let row: PayloadRow = decode(keys::PAYLOADS, &row.value)?;
                row.copy == copy
            }
            None => false,
        };
        let mut deleted = 0;
        let mut emptied = Vec::new();
        for segment in 0..segments {
            let row_key = keys::segment(payload, copy, segment);
            let Some(found) = self.meta.get(keys::PAYLOAD_PARTS, &row_key).await? else {
                continue;
            };
            let row: SegmentRow = decode(keys::PAYLOAD_PARTS, &found.value)?;
            for part in &row.parts {
                self.blobs.delete(&part.blob_ref()).await?;
                deleted += 1;
            }
            emptied.push(row_key);
        }
        if !is_used {
            for row_key in emptied {
                batch.delete(keys::PAYLOAD_PARTS, row_key);
            }
            batch.expect_unchanged(keys::PAYLOADS, payload.0, read.as_ref());
        }
        Ok(deleted)
    }

    /// Deletes the blobs that a crash left without a row that refers to them.
    pub(crate) async fn reclaim_unsettled(&self) -> Result<(), StoreError> {
        let mut by_payload: HashMap<PayloadId, Vec<BlobRef>> = HashMap::new();
        for unsettled in self.blobs.unsettled().await? {
            by_payload
                .entry(PayloadId(unsettled.owner.0))
                .or_default()
                .push(unsettled.blob);
        }
        let mut reclaimed = 0_u64;
        let mut all_known = true;
        for (payload, blobs) in by_payload {
            let referred = match self.referred_blobs(payload).await {
                Ok(referred) => referred,
                // Nobody can say what is referred to, so all of it stays, to be looked at again at
                // the next start; the rest of the store is opened.
                Err(StoreError::Damaged { what }) => {
                    tracing::error!(%payload, what, "it is not known which blobs are referred to");
                    all_known = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for blob in blobs {
                if !referred.contains(blob.as_bytes()) {
                    self.blobs.delete(&blob).await?;
                    reclaimed += 1;
                }
            }
        }
        if all_known {
            self.blobs.settle().await?;
        }
        if reclaimed > 0 {
            tracing::info!(reclaimed, "deleted blobs that a crash had left behind");
        }
        counter!("strongroom_unsettled_blobs_deleted_total").increment(reclaimed);
        Ok(())
    }

    /// All blobs that rows of a payload refer to: as its warm copy, or as parts of its upload.
    /// Those that rows of garbage name are not among them, and are deleted by either way.
    async fn referred_blobs(&self, payload: PayloadId) -> Result<HashSet<Vec<u8>>, StoreError> {
        let mut referred = HashSet::new();
        if let Some(row) = self.payload(payload).await?
            && row.is_warm
        {
            let parts = segments_of(self, payload, &row).await?;
            referred.extend(parts.into_iter().map(|part| part.blob));
        }
        let uploaded = self.all_uploaded_parts(payload).await?;
        referred.extend(uploaded.into_iter().map(|(_, row)| row.part.blob));
        Ok(referred)
    }
}
