//! What is waiting for the lifecycle, found without looking through everything.

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, Scan, Table};

use super::unless_damaged;
use crate::payload::{sealed_payload, segments_of};
use crate::rows::{ColdGarbageRow, decode, encode, keys};
use crate::store::Inner;
use crate::{
    AgeCursor, AgedVersion, BucketName, ColdCopy, ColdGarbage, ExpiredRestore, ObjectRef,
    PayloadId, PendingArchive, StorageClass, Store, StoreError, TieredVersion, VersionName,
};

/// How many rows one payload can have among the cold garbage; it has one as a rule.
const ROWS_OF_PAYLOAD_MAX: usize = 1000;

impl Inner {
    /// Versions that wait in a table, by name.
    pub(super) async fn waiting(
        &self,
        table: Table,
        after: Option<&VersionName>,
        limit: usize,
    ) -> Result<Vec<VersionName>, StoreError> {
        let start = after.map(|name| {
            let mut start = keys::named(name);
            start.push(0);
            start
        });
        let scan = Scan::within(&[], start.unwrap_or_default(), limit);
        let rows = self.meta.scan(table, scan).await?;
        rows.iter()
            .map(|found| {
                keys::name_of(&found.key).ok_or_else(|| {
                    StoreError::damaged(format!("a row of {table} has no version's name"))
                })
            })
            .collect()
    }

    /// What is to be archived of a version, if it is there and waits for it.
    async fn pending_archive(
        &self,
        name: &VersionName,
    ) -> Result<Option<PendingArchive>, StoreError> {
        let Some(held) = self.held(name).await? else {
            return Ok(None);
        };
        let Some(payload) = self.payload(held.content.payload).await? else {
            return Ok(None);
        };
        let parts = segments_of(self, held.content.payload, &payload).await?;
        let sealed = sealed_payload(held.content.payload, &parts)?;
        Ok(Some(PendingArchive {
            name: name.clone(),
            class: held.content.class,
            payload: held.content.payload,
            sealed_len_bytes: sealed.len_bytes(),
        }))
    }
}

impl Store {
    /// Versions of a bucket that were committed on days before `before_day` (days since the Unix
    /// epoch, UTC), oldest day first. The cursor is where the next page goes on; `None` when this
    /// was the last.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], and those of the machine.
    pub async fn aged_before(
        &self,
        bucket: &BucketName,
        before_day: i64,
        after: Option<&AgeCursor>,
        limit: usize,
    ) -> Result<(Vec<AgedVersion>, Option<AgeCursor>), StoreError> {
        let inner = &*self.inner;
        inner.bucket(bucket).await?;
        let scan = Scan {
            start: match after {
                Some(cursor) => cursor.0.clone(),
                None => keys::bucket_prefix(bucket),
            },
            end: Some(keys::age_day(bucket, before_day)),
            limit,
            reverse: false,
        };
        if Some(&scan.start) >= scan.end.as_ref() {
            return Ok((Vec::new(), None));
        }
        let rows = inner.meta.scan(keys::AGE, scan).await?;
        let cursor = rows.last().filter(|_| rows.len() == limit).map(|last| {
            let mut start = last.key.to_vec();
            start.push(0);
            AgeCursor(start)
        });
        let mut versions = Vec::with_capacity(rows.len());
        for row in &rows {
            let name = keys::aged(bucket, &row.key)
                .ok_or_else(|| StoreError::damaged("a row of age has no version's name"))?;
            // A version that was deleted since the scan is not there any more.
            let found = inner.find_named(&name).await;
            if let Some((_, found)) = unless_damaged(&name, found)? {
                let version = found.row;
                let content = version.content.as_ref();
                let committed = i64::try_from(name.version.sequence()).unwrap_or(i64::MAX);
                versions.push(AgedVersion {
                    name,
                    committed_day: Timestamp::from_micros(committed).day(),
                    created: version.created,
                    size_bytes: content.map(|content| content.size_bytes),
                    payload: content.map(|content| content.payload),
                    class: content.map_or(StorageClass::Standard, |content| content.class),
                    noncurrent_since: version.noncurrent_since_micros.map(Timestamp::from_micros),
                    archive_pending: content.is_some_and(|content| content.archive_pending),
                });
            }
        }
        Ok((versions, cursor))
    }

    /// Where a version is. No key is needed.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], [`StoreError::NoSuchVersion`],
    /// [`StoreError::IsDeleteMarker`], and those of the machine.
    pub async fn tiered(&self, object: &ObjectRef) -> Result<TieredVersion, StoreError> {
        let inner = &*self.inner;
        let readable = inner.readable(object).await?;
        Ok(TieredVersion {
            name: VersionName {
                bucket: object.bucket.clone(),
                key: object.key.clone(),
                version: readable.version.version,
            },
            class: readable.content.class,
            restore: readable.content.restore,
            payload: readable.content.payload,
            cold: inner
                .payload(readable.content.payload)
                .await?
                .and_then(|payload| payload.cold),
        })
    }

    /// The cold copy of a payload, if it has one; there is none of a payload that is gone.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn cold_copy(&self, payload: PayloadId) -> Result<Option<ColdCopy>, StoreError> {
        let row = self.inner.payload(payload).await?;
        Ok(row.and_then(|row| row.cold))
    }

    /// Versions that were written as archived and whose bytes are not in the cold tier yet, by
    /// name, after `after`.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn pending_archives(
        &self,
        after: Option<&VersionName>,
        limit: usize,
    ) -> Result<Vec<PendingArchive>, StoreError> {
        let inner = &*self.inner;
        let mut pending = Vec::new();
        let mut after = after.cloned();
        // A page is full unless it is the last, although some that wait may be left out.
        while pending.len() < limit {
            let left = limit - pending.len();
            let names = inner.waiting(keys::ARCHIVES, after.as_ref(), left).await?;
            let Some(last) = names.last() else {
                break;
            };
            after = Some(last.clone());
            for name in names {
                let archive = inner.pending_archive(&name).await;
                pending.extend(unless_damaged(&name, archive)?);
            }
        }
        Ok(pending)
    }

    /// Restored versions whose time is over at `now`, the longest over first.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn expired_restores(
        &self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<ExpiredRestore>, StoreError> {
        let ends = self.restore_ends(limit).await?;
        Ok(ends
            .into_iter()
            .take_while(|expired| expired.until <= now)
            .collect())
    }

    /// When the time of a restored version is over next.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn next_restore_expiry(&self) -> Result<Option<Timestamp>, StoreError> {
        let ends = self.restore_ends(1).await?;
        Ok(ends.first().map(|expired| expired.until))
    }

    async fn restore_ends(&self, limit: usize) -> Result<Vec<ExpiredRestore>, StoreError> {
        let scan = Scan::prefix(&[], limit);
        let rows = self.inner.meta.scan(keys::RESTORE_ENDS, scan).await?;
        rows.iter()
            .map(|found| {
                let (until, name) = keys::restore_end_of(&found.key).ok_or_else(|| {
                    StoreError::damaged("a row of restore_ends has no version's name")
                })?;
                Ok(ExpiredRestore { name, until })
            })
            .collect()
    }

    /// Cold copies that no version refers to any more, by payload, after `after`.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn cold_garbage(
        &self,
        after: Option<PayloadId>,
        limit: usize,
    ) -> Result<Vec<ColdGarbage>, StoreError> {
        // All rows of a payload begin with its id; what follows makes them several.
        let start = match after {
            Some(payload) => match Scan::after_prefix(&payload.0) {
                Some(start) => start,
                None => return Ok(Vec::new()),
            },
            None => Vec::new(),
        };
        let scan = Scan::within(&[], start, limit);
        let rows = self.inner.meta.scan(keys::COLD_GARBAGE, scan).await?;
        rows.iter()
            .map(|found| {
                let payload = keys::payload_of(&found.key).ok_or_else(|| {
                    StoreError::damaged("a row of cold_garbage has no payload's id")
                })?;
                let row: ColdGarbageRow = decode(keys::COLD_GARBAGE, &found.row.value)?;
                Ok(ColdGarbage {
                    payload,
                    cold: row.cold,
                })
            })
            .collect()
    }

    /// Says that a cold copy that nothing referred to has expired in the tier.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn forget_cold_garbage(&self, garbage: &ColdGarbage) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let row = encode(&ColdGarbageRow {
            cold: garbage.cold.clone(),
        });
        let scan = Scan::prefix(&garbage.payload.0, ROWS_OF_PAYLOAD_MAX);
        let mut batch = Batch::new();
        for found in inner.meta.scan(keys::COLD_GARBAGE, scan).await? {
            if found.row.value == row {
                batch.delete(keys::COLD_GARBAGE, found.key.to_vec());
            }
        }
        inner.commit_once(batch).await?;
        Ok(())
    }
}
