//! The object half of a re-wrap: which keys are due, and how they are wrapped anew.
//!
//! Whoever keeps objects walks the ledger from here, has envelopes wrapped anew a batch at a time,
//! and writes them with the ledger in one batch of its own. The data key is opened and wrapped by
//! the same code as in any other use.

use std::collections::HashSet;

use futures::StreamExt as _;
use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, Scan};

use crate::arn::{KeyId, KeyVersion};
use crate::caller::Caller;
use crate::envelope::{KeyEnvelope, Wrapping};
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::kms::{RewrapJob, RewrapLevel, RewrapProgress};
use crate::ledger::{self, LEDGER, NO_BUCKET_KEY};
use crate::names::{BucketKeyId, ObjectName, ProtectedVersion};
use crate::objects::ObjectKeys;
use crate::rows::{self, BUCKET_KEYS_MOVED, BUCKET_KEYS_OF, MovedBucketKeyRow, REWRAPS, RowFormat};

/// How many data keys are wrapped at once: where each costs calls of the token, that many are asked
/// of it together.
const AT_ONCE: usize = 16;

/// What is under a version of a key that is to be given up.
#[derive(Debug)]
pub struct RewrapScope {
    key: KeyId,
    version: KeyVersion,
    level: RewrapLevel,
    /// Bucket keys that were made under an earlier version, and sealed under this one since.
    moved: HashSet<BucketKeyId>,
    /// What the keys of the ledger's rows begin with, in order.
    prefixes: Vec<Vec<u8>>,
}

/// A row of the ledger that a re-wrap meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewrapEntry {
    /// Where it is.
    pub place: Vec<u8>,
    /// The object version.
    pub version: ProtectedVersion,
}

impl RewrapScope {
    /// Whether what is in `envelope` is to be wrapped anew.
    #[must_use]
    pub fn is_due(&self, envelope: &KeyEnvelope) -> bool {
        match &envelope.0 {
            Wrapping::Customer { .. } => false,
            Wrapping::Kms { blob, .. } => blob.key() == self.key && blob.version() == self.version,
            Wrapping::Bucket { lock, .. } => {
                self.level == RewrapLevel::DataKeys
                    && lock.key == self.key
                    && (lock.version == self.version || self.moved.contains(&lock.bucket_key))
            }
        }
    }
}

impl ObjectKeys {
    /// All re-wraps that were ever asked for.
    ///
    /// # Errors
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn rewrap_jobs(&self) -> Result<Vec<RewrapJob>, KeyError> {
        crate::kms::rewrap_jobs(&*self.meta, &[]).await
    }

    /// Asks for the re-wrap of what is under versions that custody says are compromised, where that
    /// was not asked for yet, and gives how many these are. It is for a store whose custody is
    /// elsewhere: where it is here, the mark and the re-wrap are one change.
    ///
    /// # Errors
    /// [`KeyError::CustodyUnavailable`], [`KeyError::AuditUnavailable`], [`KeyError::Metadata`],
    /// [`KeyError::NotCommitted`], [`KeyError::Damaged`].
    pub async fn ask_for_compromised(
        &self,
        now: Timestamp,
        caller: &Caller,
    ) -> Result<usize, KeyError> {
        let mut asked = 0;
        for (key, version) in self.custody.compromised().await? {
            let place = rows::version_key(key, version);
            if self.meta.get(REWRAPS, &place).await?.is_some() {
                continue;
            }
            let progress = RewrapProgress::new(RewrapLevel::DataKeys, now, caller);
            let mut batch = Batch::new();
            rows::create(&mut batch, REWRAPS, &place, &progress);
            let entry = Entry::new(Event::KeyAdministration, "rewrap-key-version")
                .key(KeyNamed::kms(&self.custody.arn(key)))
                .detail(serde_json::json!({ "key_versions": [version.0] }));
            self.journal
                .change(&*self.meta, caller, entry, Ok(batch))
                .await?;
            asked += 1;
        }
        Ok(asked)
    }

    /// Writes how far a re-wrap is, in the batch that brings it there.
    pub fn put_rewrap(batch: &mut Batch, job: &RewrapJob) {
        let place = rows::version_key(job.key, job.version);
        batch.put(REWRAPS, place, job.progress.encode());
    }

    /// What is under the version of a re-wrap.
    ///
    /// A bucket key is in doubt with a compromised version if it was made under it, or under an
    /// earlier one and is sealed under it or a later one: it may have been sealed under it.
    ///
    /// # Errors
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn rewrap_scope(&self, job: &RewrapJob) -> Result<RewrapScope, KeyError> {
        let mut scope = RewrapScope {
            key: job.key,
            version: job.version,
            level: job.progress.level,
            moved: HashSet::new(),
            prefixes: Vec::new(),
        };
        let mut own = ledger::kms_prefix(job.key, job.version);
        match job.progress.level {
            RewrapLevel::BucketKeys => own.extend_from_slice(NO_BUCKET_KEY.as_bytes()),
            RewrapLevel::DataKeys => {
                let key = job.key.as_bytes();
                for row in rows::scan_all(&*self.meta, BUCKET_KEYS_MOVED, key).await? {
                    let id = ledger::last_id(BUCKET_KEYS_MOVED, &row.key)?;
                    let moved: MovedBucketKeyRow =
                        rows::decoded(BUCKET_KEYS_MOVED, &row.row.value)?;
                    if moved.made_under < job.version && moved.now_under >= job.version {
                        let mut prefix = ledger::kms_prefix(job.key, moved.made_under);
                        prefix.extend_from_slice(id.as_bytes());
                        scope.prefixes.push(prefix);
                        scope.moved.insert(id);
                    }
                }
            }
        }
        scope.prefixes.push(own);
        scope.prefixes.sort();
        Ok(scope)
    }

    /// The next rows of the ledger in the scope of a re-wrap, after the row `after`.
    ///
    /// # Errors
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn rewrap_entries(
        &self,
        scope: &RewrapScope,
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<RewrapEntry>, KeyError> {
        let mut entries = Vec::new();
        for prefix in &scope.prefixes {
            let is_behind = Scan::after_prefix(prefix).is_some_and(|end| end.as_slice() <= after);
            if is_behind {
                continue;
            }
            let start = if after.is_empty() {
                Vec::new()
            } else {
                [after, &[0]].concat()
            };
            let scan = Scan::within(prefix, start, limit - entries.len());
            for row in self.meta.scan(LEDGER, scan).await? {
                let version =
                    ledger::version_in(&row.key, &row.row.value).ok_or(KeyError::Damaged {
                        table: LEDGER.name(),
                        what: "it is not a row of a version this program knows",
                    })?;
                entries.push(RewrapEntry {
                    place: row.key.to_vec(),
                    version,
                });
            }
            if entries.len() == limit {
                break;
            }
        }
        Ok(entries)
    }

    /// How many object versions are in the scope of a re-wrap.
    ///
    /// # Errors
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn rewrap_count(&self, scope: &RewrapScope) -> Result<u64, KeyError> {
        let mut versions = 0;
        for prefix in &scope.prefixes {
            versions += ledger::impact::count_under(&*self.meta, prefix).await?;
        }
        Ok(versions)
    }

    /// The bucket keys that are sealed under the version of a re-wrap and are to be sealed anew: of
    /// these at most `limit`, after the bucket key `after`. Where data keys are wrapped anew there
    /// are none: nothing is under the old ones in the end.
    ///
    /// # Errors
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn bucket_keys_to_reseal(
        &self,
        scope: &RewrapScope,
        after: Option<BucketKeyId>,
        limit: usize,
    ) -> Result<Vec<BucketKeyId>, KeyError> {
        if scope.level == RewrapLevel::DataKeys {
            return Ok(Vec::new());
        }
        let prefix = rows::version_key(scope.key, scope.version);
        let start = after.map_or_else(Vec::new, |id| {
            [prefix.as_slice(), id.as_bytes(), &[0]].concat()
        });
        let found = self
            .meta
            .scan(BUCKET_KEYS_OF, Scan::within(&prefix, start, limit))
            .await?;
        found
            .iter()
            .map(|row| ledger::last_id(BUCKET_KEYS_OF, &row.key))
            .collect()
    }

    /// Seals a bucket key under the version of its KMS key that encrypts now. No object version
    /// changes. `false` when it is under that version already.
    ///
    /// # Errors
    /// [`KeyError::NoSuchBucketKey`], [`KeyError::NotAuthentic`], [`KeyError::Disabled`],
    /// [`KeyError::PendingDeletion`], [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::Metadata`], [`KeyError::NotCommitted`].
    pub async fn reseal_bucket_key(
        &self,
        id: BucketKeyId,
        caller: &Caller,
    ) -> Result<bool, KeyError> {
        self.bucket_keys.reseal(id, caller).await
    }

    /// Wraps data keys anew under the same KMS keys, for the same objects and in the same way: each
    /// under the version that encrypts now. One entry on the log tells of all of them. What cannot
    /// be wrapped for itself, because it is damaged, has an error of its own.
    ///
    /// # Errors
    /// [`KeyError::Disabled`], [`KeyError::PendingDeletion`], [`KeyError::NoSuchKey`],
    /// [`KeyError::TokenUnavailable`], [`KeyError::AuditUnavailable`], [`KeyError::Metadata`],
    /// [`KeyError::NotCommitted`]: nothing can be wrapped now.
    pub async fn rewrap_batch(
        &self,
        scope: &RewrapScope,
        of: &[(&KeyEnvelope, ObjectName)],
        caller: &Caller,
    ) -> Result<Vec<Result<KeyEnvelope, KeyError>>, KeyError> {
        let (Some((_, first)), Some((_, last))) = (of.first(), of.last()) else {
            return Ok(Vec::new());
        };
        let mut wrapped = Vec::with_capacity(of.len());
        let mut by_token = Vec::new();
        for (place, (envelope, object)) in of.iter().enumerate() {
            let wrapping = self.wrap_anew(envelope, object, caller);
            if matches!(envelope.0, Wrapping::Bucket { .. }) {
                // The bucket key is opened once, and the token is not asked again.
                wrapped.push((place, wrapping.await));
            } else {
                by_token.push(async move { (place, wrapping.await) });
            }
        }
        let mut by_token = futures::stream::iter(by_token).buffer_unordered(AT_ONCE);
        while let Some(done) = by_token.next().await {
            wrapped.push(done);
        }
        wrapped.sort_unstable_by_key(|(place, _)| *place);
        let mut results = Vec::with_capacity(wrapped.len());
        let mut failure = None;
        for (_, result) in wrapped {
            match result {
                Err(error @ (KeyError::NotAuthentic | KeyError::Damaged { .. })) => {
                    results.push(Err(error));
                }
                Err(error) => failure = failure.or(Some(error)),
                Ok(envelope) => results.push(Ok(envelope)),
            }
        }
        let arn = self.custody.arn(scope.key);
        let new = results.iter().find_map(|result| result.as_ref().ok());
        let named = new.map_or_else(|| KeyNamed::kms(&arn), |envelope| self.named(envelope));
        let is_wrapped = results.iter().filter(|result| result.is_ok()).count();
        let names =
            |object: &ObjectName| serde_json::json!({ "bucket": object.bucket, "key": object.key });
        let entry = Entry::new(Event::KeyUse, "rewrap-batch")
            .key(named)
            .from(KeyNamed::kms(&arn).with_version(scope.version), None)
            .detail(serde_json::json!({
                "object_versions": is_wrapped,
                "left": results.len() - is_wrapped,
                "first": names(first),
                "last": names(last),
            }));
        let result = match failure {
            Some(error) => Err(error),
            None => Ok(results),
        };
        self.journal.settle(caller, entry, result).await
    }

    /// Opens a data key and wraps it in the same way, under the version that encrypts now.
    async fn wrap_anew(
        &self,
        envelope: &KeyEnvelope,
        object: &ObjectName,
        caller: &Caller,
    ) -> Result<KeyEnvelope, KeyError> {
        let (data_key, _) = self.unwrap(envelope, object, None, caller).await?;
        let wrapping = match &envelope.0 {
            Wrapping::Customer { .. } => return Err(KeyError::CustomerKeyRequired),
            Wrapping::Kms { context, blob } => {
                self.wrap_by_kms_key(&data_key, blob.key(), context, object, caller)
                    .await?
            }
            Wrapping::Bucket { lock, .. } => {
                let context = lock.context.clone();
                self.wrap_by_bucket_key(&data_key, lock.key, context, lock.managed, object, caller)
                    .await?
            }
        };
        Ok(KeyEnvelope(wrapping))
    }
}
