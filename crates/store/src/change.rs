//! One change to the store: a batch that is being gathered.
//!
//! Versions are added and removed here and nowhere else, so that the holds of payloads, the ledger
//! of the keys and the index by age are always part of the batch that changes the version.

use strongroom_keys::{BindingId, ClassCode, KeyEnvelope, ObjectName, ProtectedVersion, Weight};
use strongroom_meta::{Batch, Row, Scan, ScannedRow, Table};

use crate::buckets::Bucket;
use crate::rows::{
    BucketRow, ColdGarbageRow, Content, GarbageBlobs, GarbageRow, Parts, PayloadRow, PendingRow,
    VersionRow, decode, encode, keys,
};
use crate::store::Inner;
use crate::{BucketName, ColdCopy, PayloadId, RestoreState, StorageClass, StoreError, VersionName};

/// A batch that is being gathered.
pub(crate) struct Change<'i> {
    inner: &'i Inner,
    pub(crate) batch: Batch,
    payloads: Vec<Touched>,
    makes_garbage: bool,
    /// Rows that were read do not fit each other. Others may have changed some of them in between;
    /// only if none was changed is something damaged.
    pub(crate) misfit: Option<String>,
}

/// A payload that the change reads or writes.
struct Touched {
    id: PayloadId,
    read: Option<Row>,
    row: PayloadRow,
    was: Option<PayloadRow>,
}

impl<'i> Change<'i> {
    pub(crate) fn new(inner: &'i Inner) -> Self {
        Self {
            inner,
            batch: Batch::new(),
            payloads: Vec::new(),
            makes_garbage: false,
            misfit: None,
        }
    }

    /// Reads a row.
    pub(crate) async fn read(&self, table: Table, key: &[u8]) -> Result<Option<Row>, StoreError> {
        Ok(self.inner.meta.get(table, key).await?)
    }

    /// Reads rows.
    pub(crate) async fn scan(
        &self,
        table: Table,
        scan: Scan,
    ) -> Result<Vec<ScannedRow>, StoreError> {
        Ok(self.inner.meta.scan(table, scan).await?)
    }

    /// Expects the bucket to be as it was read, and stops a deletion of it that is under way.
    pub(crate) fn writes_into(&mut self, name: &BucketName, bucket: &Bucket) {
        let key = name.as_str().as_bytes();
        self.batch
            .expect_unchanged(keys::BUCKETS, key, Some(&bucket.read));
        if bucket.row.being_deleted {
            let row = BucketRow {
                being_deleted: false,
                ..bucket.row.clone()
            };
            self.batch.put(keys::BUCKETS, key, encode(&row));
        }
    }

    /// Brings a new payload along, which no version holds yet.
    pub(crate) fn new_payload(&mut self, id: PayloadId, parts: Parts) {
        self.payloads.push(Touched {
            id,
            read: None,
            row: PayloadRow {
                parts,
                is_warm: true,
                copy: 0,
                cold: None,
                holds_warm: 0,
                holds_cold: 0,
            },
            was: None,
        });
    }

    /// The row of a payload, which others may have deleted meanwhile.
    pub(crate) async fn payload_if_there(
        &mut self,
        id: PayloadId,
    ) -> Result<Option<&mut PayloadRow>, StoreError> {
        let place = match self.payloads.iter().position(|touched| touched.id == id) {
            Some(place) => place,
            None => {
                let Some(read) = self.inner.meta.get(keys::PAYLOADS, &id.0).await? else {
                    return Ok(None);
                };
                let row: PayloadRow = decode(keys::PAYLOADS, &read.value)?;
                self.payloads.push(Touched {
                    id,
                    read: Some(read),
                    was: Some(row.clone()),
                    row,
                });
                self.payloads.len() - 1
            }
        };
        Ok(self.payloads.get_mut(place).map(|touched| &mut touched.row))
    }

    /// Adds what goes with a version that comes into being: its holds, its keys in the ledger, its
    /// place in the index by age and in the list of what is to be archived.
    pub(crate) async fn add_version(
        &mut self,
        name: &VersionName,
        version: &VersionRow,
    ) -> Result<(), StoreError> {
        self.batch
            .put(keys::AGE, keys::age(name), encode(&PendingRow));
        let Some(content) = &version.content else {
            return Ok(());
        };
        self.hold(content).await?;
        self.record(name, content);
        if content.archive_pending {
            self.batch
                .put(keys::ARCHIVES, keys::named(name), encode(&PendingRow));
        }
        Ok(())
    }

    /// Writes in the ledger that the envelope of a version protects it, and what it weighs.
    pub(crate) fn record(&mut self, name: &VersionName, content: &Content) {
        let weight = Weight {
            size_bytes: content.size_bytes,
            class: class_code(content.class),
        };
        let version = protected(name);
        self.inner
            .keys
            .record(&mut self.batch, &content.envelope, &version, weight);
    }

    /// Moves a version in the ledger from the envelope that protected it to the one that does now.
    pub(crate) fn rewrapped(
        &mut self,
        name: &VersionName,
        before: &KeyEnvelope,
        content: &Content,
    ) {
        self.inner
            .keys
            .forget(&mut self.batch, before, &protected(name));
        self.record(name, content);
    }

    /// Takes away what [`Change::add_version`] and later changes added. The row of the version
    /// itself is the caller's.
    pub(crate) async fn remove_version(
        &mut self,
        name: &VersionName,
        version: &VersionRow,
    ) -> Result<(), StoreError> {
        self.batch.delete(keys::AGE, keys::age(name));
        let Some(content) = &version.content else {
            return Ok(());
        };
        self.release(content).await?;
        self.inner
            .keys
            .forget(&mut self.batch, &content.envelope, &protected(name));
        if content.archive_pending {
            self.batch.delete(keys::ARCHIVES, keys::named(name));
        }
        match content.restore {
            Some(RestoreState::InProgress { .. }) => {
                self.batch.delete(keys::RESTORES, keys::named(name));
            }
            Some(RestoreState::Restored { until }) => {
                self.batch
                    .delete(keys::RESTORE_ENDS, keys::restore_end(until, name));
            }
            None => {}
        }
        Ok(())
    }

    /// Counts the holds of a version on its payload.
    pub(crate) async fn hold(&mut self, content: &Content) -> Result<(), StoreError> {
        let id = content.payload;
        let Some(payload) = self.payload_if_there(id).await? else {
            self.misfit = Some(format!("payload {id} is gone"));
            return Ok(());
        };
        let (warm, cold) = (
            payload.holds_warm.checked_add(content.holds_warm().into()),
            payload.holds_cold.checked_add(content.holds_cold().into()),
        );
        match (warm, cold) {
            (Some(warm), Some(cold)) => (payload.holds_warm, payload.holds_cold) = (warm, cold),
            _ => self.misfit = Some(format!("payload {id} has more holds than can be counted")),
        }
        Ok(())
    }

    /// Takes back [`Change::hold`].
    pub(crate) async fn release(&mut self, content: &Content) -> Result<(), StoreError> {
        let id = content.payload;
        let Some(payload) = self.payload_if_there(id).await? else {
            self.misfit = Some(format!("payload {id} is gone"));
            return Ok(());
        };
        let (warm, cold) = (
            u32::from(content.holds_warm()),
            u32::from(content.holds_cold()),
        );
        if payload.holds_warm < warm || payload.holds_cold < cold {
            self.misfit = Some(format!("payload {id} has fewer holds than versions"));
            return Ok(());
        }
        payload.holds_warm -= warm;
        payload.holds_cold -= cold;
        Ok(())
    }

    /// Writes down blobs of a payload that are to be deleted.
    pub(crate) fn discard(&mut self, payload: PayloadId, blobs: GarbageBlobs) {
        let row_key = self.garbage_key(payload);
        self.batch.put(
            keys::GARBAGE,
            row_key,
            encode(&GarbageRow { payload, blobs }),
        );
        self.makes_garbage = true;
    }

    fn discard_cold(&mut self, payload: PayloadId, cold: ColdCopy) {
        let row_key = self.garbage_key(payload);
        let row = encode(&ColdGarbageRow { cold });
        self.batch.put(keys::COLD_GARBAGE, row_key, row);
    }

    /// A row of garbage: a payload may have several.
    fn garbage_key(&self, payload: PayloadId) -> Vec<u8> {
        let mut row_key = payload.0.to_vec();
        row_key.extend_from_slice(&self.inner.entropy.array::<8>());
        row_key
    }

    /// Writes the payloads with what their new holds mean: a copy that no version holds is garbage,
    /// and a payload without copies is gone.
    fn settle_payloads(&mut self) {
        for mut touched in std::mem::take(&mut self.payloads) {
            let (id, row) = (touched.id, &mut touched.row);
            if touched.was.as_ref() == Some(row) {
                // Read only: what was decided by it must still be so.
                self.batch
                    .expect_unchanged(keys::PAYLOADS, id.0, touched.read.as_ref());
                continue;
            }
            let is_new = touched.was.is_none();
            let (had_warm, had_cold) = (row.is_warm, row.cold.is_some());
            if row.holds_warm == 0 && row.is_warm {
                row.is_warm = false;
            }
            let cold = if row.holds_cold == 0 {
                row.cold.take()
            } else {
                None
            };
            let is_gone = !row.is_warm && row.cold.is_none();
            match &mut row.parts {
                Parts::One(part) => {
                    if had_warm && !row.is_warm {
                        let blob = std::mem::take(&mut part.blob);
                        self.discard(id, GarbageBlobs::Listed(vec![blob]));
                    }
                }
                Parts::Segments(indexes) => {
                    if is_gone || (had_warm && !row.is_warm) {
                        let (copy, segments) = (row.copy, indexes.len());
                        let segments = u16::try_from(segments).unwrap_or(u16::MAX);
                        self.discard(id, GarbageBlobs::Copy { copy, segments });
                    }
                }
            }
            if let (true, Some(cold)) = (had_cold, cold) {
                self.discard_cold(id, cold);
            }
            self.batch
                .expect_unchanged(keys::PAYLOADS, id.0, touched.read.as_ref());
            if is_gone {
                if !is_new {
                    self.batch.delete(keys::PAYLOADS, id.0);
                }
            } else {
                self.batch.put(keys::PAYLOADS, id.0, encode(row));
            }
        }
    }

    /// Whether the collector has work once the change is committed.
    pub(crate) fn makes_garbage(&self) -> bool {
        self.makes_garbage
            || self
                .payloads
                .iter()
                .any(|touched| touched.row.holds_warm == 0)
    }

    /// The batch.
    pub(crate) fn finish(mut self) -> Batch {
        self.settle_payloads();
        self.batch
    }
}

/// A storage class as the ledger of the keys names it.
fn class_code(class: StorageClass) -> ClassCode {
    ClassCode::of(class.as_str()).expect("the ledger has a code for every class")
}

/// A version as the ledger of the keys names it.
pub(crate) fn protected(name: &VersionName) -> ProtectedVersion {
    ProtectedVersion {
        object: object_name(&name.bucket, name.key.as_str(), name.version.binding()),
        sequence: name.version.sequence(),
    }
}

/// What the data key of a version is wrapped to.
pub(crate) fn object_name(bucket: &BucketName, key: &str, binding: [u8; 16]) -> ObjectName {
    ObjectName {
        bucket: bucket.as_str().to_owned(),
        key: key.to_owned(),
        binding: BindingId(binding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_knows_every_class() {
        for class in StorageClass::ALL {
            assert_eq!(StorageClass::parse(class_code(class).name()), Some(class));
        }
    }
}
