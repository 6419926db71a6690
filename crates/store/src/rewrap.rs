//! Re-wrapping what is under an old version of a KMS key, in the background. No byte of payload is
//! read or written, and no class or lock of an object is in the way: only rows change.
//!
//! # Steps
//!
//! A re-wrap goes through bucket keys, then through the rows of the ledger under the version, in
//! their order, then through the uploads that are under way. For each page of the ledger:
//!
//! 1. The versions are read, and their data keys opened and wrapped anew. The entry goes on the log.
//! 2. One batch writes each version with its new envelope, moves its row of the ledger, and writes
//!    how far the re-wrap is; it expects each version as it was read. **This is the commit point.**
//!
//! While one page is committed the next ones are prepared, on other cores where there are any. Where
//! somebody else has changed a version of a page meanwhile, nothing of the page is written, and its
//! versions are done one by one. How far the re-wrap is is written after the last of them.
//!
//! What was re-wrapped is no longer under the version, so a pass that was cut short, at whatever
//! step, is simply begun again: it finds what is left. The cursor saves it the way. A version that
//! is committed later with an envelope that was made before, by an upload that took long, is found
//! by the next look.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use strongroom_keys::{
    BucketKeyId, Caller, KeyEnvelope, KeyError, KeyId, ObjectKeys, ObjectName, RewrapEntry,
    RewrapJob, RewrapScope, RewrapState,
};
use strongroom_meta::{Batch, CommitError, Row};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::change::{Change, object_name, protected};
use crate::rows::{UploadRow, encode, keys};
use crate::store::Inner;
use crate::tiering::Held;
use crate::{BucketName, ObjectKey, Store, StoreError, VersionId, VersionName};

/// How many versions are written in one batch: three rows each.
const VERSIONS_AT_ONCE: usize = 2_000;
/// How many pages are prepared at once, beside the one that is being committed.
const PAGES_AHEAD: usize = 3;
/// How many bucket keys are looked up at once, and how many the token is asked for together.
const BUCKET_KEYS_AT_ONCE: usize = 1_000;
const TOKEN_CALLS: usize = 8;

/// A page of the ledger that is ready to be committed.
struct Prepared {
    batch: Batch,
    names: Vec<VersionName>,
    /// How many were found damaged.
    left: u64,
    /// The last row of the page.
    cursor: Vec<u8>,
}

/// What became of a version that was re-wrapped by itself.
enum Alone {
    Rewrapped,
    /// It is gone by now, or under another key.
    NotDue,
    /// It stays as it is.
    Damaged,
}

/// The pages of the ledger that are still to come, in order. The next ones are being prepared.
struct Pages {
    store: Store,
    scope: Arc<RewrapScope>,
    caller: Caller,
    /// Up to where the ledger has been read; `None` at its end.
    cursor: Option<Vec<u8>>,
    ahead: VecDeque<JoinHandle<Result<Prepared, StoreError>>>,
}

impl Pages {
    /// Reads the ledger on, and has the pages prepared that come next.
    async fn read_on(&mut self) -> Result<(), StoreError> {
        while self.ahead.len() < PAGES_AHEAD {
            let Some(after) = self.cursor.take() else {
                break;
            };
            let keys = &self.store.inner.keys;
            let entries = keys.rewrap_entries(&self.scope, &after, VERSIONS_AT_ONCE);
            let entries = entries.await?;
            let Some(last) = entries.last() else {
                break;
            };
            self.cursor = Some(last.place.clone());
            let (store, scope) = (self.store.clone(), Arc::clone(&self.scope));
            let caller = self.caller.clone();
            let preparing = async move { store.prepare(&scope, entries, &caller).await };
            self.ahead.push_back(tokio::spawn(preparing));
        }
        Ok(())
    }

    /// The next page that is ready to be committed; `None` at the end.
    async fn next(&mut self) -> Result<Option<Prepared>, StoreError> {
        if self.ahead.is_empty() {
            self.read_on().await?;
        }
        let Some(next) = self.ahead.pop_front() else {
            return Ok(None);
        };
        match next.await {
            Ok(prepared) => prepared.map(Some),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(StoreError::Unavailable {
                    reason: "the daemon is shutting down".into(),
                }),
            },
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        for preparing in &self.ahead {
            preparing.abort();
        }
    }
}

impl Store {
    /// Wakes whoever waits for [`Store::rewrap_asked`].
    pub fn begin_rewraps(&self) {
        self.inner.rewraps.notify_one();
    }

    /// Waits until a re-wrap is to begin at once.
    pub async fn rewrap_asked(&self) {
        let asked: Arc<Notify> = Arc::clone(&self.inner.rewraps);
        asked.notified().await;
    }

    /// How far the re-wraps of what is under versions of a key are.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn rewraps_of(&self, key: KeyId) -> Result<Vec<RewrapJob>, StoreError> {
        let mut jobs = self.inner.keys.rewrap_jobs().await?;
        jobs.retain(|job| job.key == key);
        Ok(jobs)
    }

    /// Asks for the re-wrap of what is under versions that custody says are compromised, where that
    /// was not asked for yet: for a store whose custody is elsewhere.
    ///
    /// # Errors
    /// Those of the machine, and of custody.
    pub async fn ask_for_compromised(&self, caller: &Caller) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        self.inner.keys.ask_for_compromised(now, caller).await?;
        Ok(())
    }

    /// Goes on with every re-wrap that was asked for, until each is done or cannot go on now, or
    /// `is_stopped` says so. Why one does not go on is kept with it. It may be called again at any
    /// time, but not twice at once.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn run_rewraps(
        &self,
        caller: &Caller,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        let jobs = self.inner.keys.rewrap_jobs().await?;
        for mut job in jobs {
            if is_stopped() {
                return Ok(());
            }
            let ran = self.rewrap(&mut job, caller, is_stopped).await;
            let Err(error) = ran else {
                continue;
            };
            tracing::error!(key = %job.key, version = %job.version, %error, "a re-wrap does not go on");
            let text = error.to_string();
            job.progress.error = text[..text.floor_char_boundary(1_000)].to_owned();
            self.inner.keep(&job).await?;
        }
        Ok(())
    }

    async fn rewrap(
        &self,
        job: &mut RewrapJob,
        caller: &Caller,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let scope = Arc::new(inner.keys.rewrap_scope(job).await?);
        if matches!(job.progress.state, RewrapState::Done { .. }) {
            if !self.has_more(&scope, job.progress.left).await? {
                return Ok(());
            }
            job.progress.state = RewrapState::UnderWay;
        }
        if job.progress.cursor.is_empty() {
            let done = job.progress.versions;
            job.progress.versions_expected = done + inner.keys.rewrap_count(&scope).await?;
            job.progress.left = 0;
        }
        job.progress.error.clear();
        let mut begun = inner.clock.monotonic();
        let mut worked = || {
            let now = inner.clock.monotonic();
            let span = now.since(begun);
            begun = now;
            span
        };
        self.reseal_bucket_keys(job, &scope, caller, is_stopped)
            .await?;
        count_work(job, worked());

        let mut pages = Pages {
            store: self.clone(),
            scope: Arc::clone(&scope),
            caller: caller.clone(),
            cursor: Some(job.progress.cursor.clone()),
            ahead: VecDeque::new(),
        };
        while let Some(page) = pages.next().await? {
            let (mut after, names) = (job.clone(), page.names);
            let mut batch = page.batch;
            after.progress.cursor.clone_from(&page.cursor);
            after.progress.versions += names.len() as u64;
            after.progress.left += page.left;
            count_work(&mut after, worked());
            ObjectKeys::put_rewrap(&mut batch, &after);
            let (committed, read_on) = tokio::join!(inner.meta.commit(batch), pages.read_on());
            match committed {
                Ok(()) => {
                    *job = after;
                    count_rewrapped(names.len() as u64);
                }
                Err(CommitError::Conflict { .. }) => {
                    let mut left = page.left;
                    for name in &names {
                        match self.rewrap_alone(&scope, name, caller).await? {
                            Alone::Rewrapped => {
                                job.progress.versions += 1;
                                count_rewrapped(1);
                            }
                            Alone::NotDue => {}
                            Alone::Damaged => left += 1,
                        }
                    }
                    // Not before: where one of them fails, the next pass takes the page again, and
                    // counts again what is damaged in it.
                    job.progress.cursor = page.cursor;
                    job.progress.left += left;
                    inner.keep(job).await?;
                }
                Err(error) => return Err(error.into()),
            }
            if is_stopped() {
                return Ok(());
            }
            read_on?;
        }

        self.rewrap_uploads(job, &scope, caller).await?;
        count_work(job, worked());
        job.progress.cursor.clear();
        job.progress.state = RewrapState::Done {
            finished: inner.clock.now(),
        };
        inner.keep(job).await?;
        tracing::info!(
            key = %job.key,
            version = %job.version,
            versions = job.progress.versions,
            "everything under a version of a key is re-wrapped"
        );
        Ok(())
    }

    /// Whether there is more under a version than what was left there because it is damaged.
    async fn has_more(&self, scope: &RewrapScope, left: u64) -> Result<bool, StoreError> {
        let inner = &*self.inner;
        let left = usize::try_from(left).unwrap_or(usize::MAX - 1);
        let entries = inner.keys.rewrap_entries(scope, &[], left.min(10_000) + 1);
        let bucket_keys = inner
            .keys
            .bucket_keys_to_reseal(scope, None, left.min(10_000) + 1);
        let waiting = entries.await?.len() + bucket_keys.await?.len();
        Ok(waiting + self.uploads_in(scope).await?.len() > left)
    }

    /// Seals the bucket keys under the version anew.
    async fn reseal_bucket_keys(
        &self,
        job: &mut RewrapJob,
        scope: &RewrapScope,
        caller: &Caller,
        is_stopped: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), StoreError> {
        let keys = &self.inner.keys;
        let mut after: Option<BucketKeyId> = None;
        loop {
            let ids = keys
                .bucket_keys_to_reseal(scope, after, BUCKET_KEYS_AT_ONCE)
                .await?;
            after = ids.last().copied();
            if after.is_none() || is_stopped() {
                return Ok(());
            }
            let mut resealing = Vec::with_capacity(ids.len());
            for id in ids {
                resealing.push(keys.reseal_bucket_key(id, caller));
            }
            let mut resealing = futures::stream::iter(resealing).buffer_unordered(TOKEN_CALLS);
            while let Some(resealed) = resealing.next().await {
                match resealed {
                    Ok(is_done) => job.progress.bucket_keys += u64::from(is_done),
                    // Another one was faster, and has done the same.
                    Err(KeyError::NotCommitted(CommitError::Conflict { .. })) => {}
                    Err(error @ (KeyError::NotAuthentic | KeyError::Damaged { .. })) => {
                        tracing::error!(%error, "a bucket key is damaged and stays as it is");
                        job.progress.left += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.inner.keep(job).await?;
        }
    }

    /// Prepares a page of the ledger, whose rows are given and are not none.
    async fn prepare(
        &self,
        scope: &RewrapScope,
        entries: Vec<RewrapEntry>,
        caller: &Caller,
    ) -> Result<Prepared, StoreError> {
        let cursor = entries.last().map(|last| last.place.clone());
        let mut names = Vec::with_capacity(entries.len());
        for entry in entries {
            names.push(name_of(entry)?);
        }
        let (change, names, left) = self.rewrapped(scope, names, caller).await?;
        Ok(Prepared {
            batch: change.finish(),
            names,
            left,
            cursor: cursor.unwrap_or_default(),
        })
    }

    /// A change that gives versions new envelopes, which of them it is about, and how many are
    /// damaged. What is gone by now, or under another key, is left out.
    async fn rewrapped(
        &self,
        scope: &RewrapScope,
        names: Vec<VersionName>,
        caller: &Caller,
    ) -> Result<(Change<'_>, Vec<VersionName>, u64), StoreError> {
        let inner = &*self.inner;
        let mut left = 0;
        let mut found: Vec<(VersionName, Held)> = Vec::with_capacity(names.len());
        let held = inner.held_each(&names).await?;
        for (name, held) in names.into_iter().zip(held) {
            match held {
                Ok(Some(held)) if scope.is_due(&held.content.envelope) => found.push((name, held)),
                Ok(_) => {}
                Err(StoreError::Damaged { what }) => {
                    tracing::error!(version = %name, what, "a version is damaged and not re-wrapped");
                    left += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let of: Vec<(&KeyEnvelope, ObjectName)> = found
            .iter()
            .map(|(name, held)| (&held.content.envelope, protected(name).object))
            .collect();
        let wrapped = inner.keys.rewrap_batch(scope, &of, caller).await?;
        let mut change = Change::new(inner);
        let mut done = Vec::with_capacity(found.len());
        for ((name, held), wrapped) in found.into_iter().zip(wrapped) {
            let envelope = match wrapped {
                Ok(envelope) => envelope,
                Err(error) => {
                    tracing::error!(version = %name, %error, "a version is damaged and not re-wrapped");
                    left += 1;
                    continue;
                }
            };
            held.rewrap(&mut change, &name, envelope);
            done.push(name);
        }
        Ok((change, done, left))
    }

    /// Re-wraps one version that others may change at the same time.
    async fn rewrap_alone(
        &self,
        scope: &RewrapScope,
        name: &VersionName,
        caller: &Caller,
    ) -> Result<Alone, StoreError> {
        let mut attempts = self.inner.attempts(&name.bucket, name.key.as_str());
        loop {
            let names = vec![name.clone()];
            let (change, names, left) = self.rewrapped(scope, names, caller).await?;
            if left > 0 {
                return Ok(Alone::Damaged);
            }
            if names.is_empty() {
                return Ok(Alone::NotDue);
            }
            if attempts.commit(change).await? {
                return Ok(Alone::Rewrapped);
            }
        }
    }

    /// Re-wraps the data keys of uploads under way. A version that is made of one later has the new
    /// envelope.
    async fn rewrap_uploads(
        &self,
        job: &mut RewrapJob,
        scope: &RewrapScope,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        let inner = &*self.inner;
        for (row_key, read, row) in self.uploads_in(scope).await? {
            let object = keys::upload_name(&row_key)
                .map(|(bucket, key, upload)| object_name(&bucket, key.as_str(), upload.binding()))
                .ok_or_else(|| StoreError::damaged("an upload has no name"))?;
            let of = [(&row.envelope, object)];
            let wrapped = inner.keys.rewrap_batch(scope, &of, caller).await?.pop();
            let Some(Ok(envelope)) = wrapped else {
                job.progress.left += 1;
                continue;
            };
            let row = UploadRow {
                envelope,
                ..row.clone()
            };
            let mut batch = Batch::new();
            batch.expect_unchanged(keys::UPLOADS, row_key.clone(), Some(&read));
            batch.put(keys::UPLOADS, row_key, encode(&row));
            // One that has changed meanwhile is found by the next look.
            if inner.commit_once(batch).await? {
                job.progress.uploads += 1;
            }
        }
        Ok(())
    }

    async fn uploads_in(
        &self,
        scope: &RewrapScope,
    ) -> Result<Vec<(Vec<u8>, Row, UploadRow)>, StoreError> {
        let mut found = Vec::new();
        self.each_upload(|read, row| {
            if scope.is_due(&row.envelope) {
                found.push((read.key.to_vec(), read.row.clone(), row.clone()));
            }
        })
        .await?;
        Ok(found)
    }
}

impl Inner {
    /// Writes how far a re-wrap is.
    async fn keep(&self, job: &RewrapJob) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        ObjectKeys::put_rewrap(&mut batch, job);
        Ok(self.meta.commit(batch).await?)
    }
}

fn count_rewrapped(versions: u64) {
    metrics::counter!("strongroom_rewrapped_versions_total").increment(versions);
}

fn count_work(job: &mut RewrapJob, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    job.progress.busy_micros = job.progress.busy_micros.saturating_add(micros);
}

fn name_of(entry: RewrapEntry) -> Result<VersionName, StoreError> {
    let object = entry.version.object;
    let damaged =
        |error: &dyn std::fmt::Display| StoreError::damaged(format!("the ledger: {error}"));
    Ok(VersionName {
        bucket: BucketName::new(&object.bucket).map_err(|error| damaged(&error))?,
        key: ObjectKey::new(object.key.as_str()).map_err(|error| damaged(&error))?,
        version: VersionId::new(entry.version.sequence, object.binding.0),
    })
}
