//! The moves that are to be made, and how far the rules have been followed: rows in `meta`.
//!
//! A move is written down before it is begun, under an archive name that is fixed with it, so that
//! whoever takes it up after a crash repeats its steps by the same name. Restores need no rows
//! here: the store keeps them with the version. The rows are described in
//! `docs/format/lifecycle.md`.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, CommitError, Expected, MetaStore, ReadError, Scan, Table};
use strongroom_store::{BucketName, ObjectKey, PayloadId, VersionId, VersionName};

use crate::StorageClass;
use crate::cold::ArchiveId;
use crate::rules::When;

/// Bucket, version, class and object key to a move that is to be made.
pub(crate) const JOBS: Table = Table::new("lifecycle_jobs");
/// When a move is to be tried next, and its key in [`JOBS`].
pub(crate) const DUE: Table = Table::new("lifecycle_due");
/// Bucket to how far its rules have been followed.
pub(crate) const PROGRESS: Table = Table::new("lifecycle_progress");

/// The version of the format of all these rows.
const FORMAT_VERSION: u8 = 1;

/// Why rows could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The rows cannot be read now.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The rows cannot be written now, or it is not known whether they were.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A row is not what was written.
    #[error("a row of {table} is damaged")]
    Damaged {
        /// Where.
        table: Table,
    },
}

/// Why a move is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobOrigin {
    /// The rule of this name asks for it.
    Rule(String),
    /// An operator asked for it.
    Request,
    /// The object was written into an archive class.
    Write,
}

/// A move of a version to another storage class that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Which version.
    pub name: VersionName,
    /// Where it goes.
    pub class: StorageClass,
    /// Its payload, by which it is told when the version is gone whether the archive is needed.
    pub payload: PayloadId,
    /// The name of the archive that its bytes become, unless the payload has one already.
    pub archive: ArchiveId,
    /// Why.
    pub origin: JobOrigin,
    /// When it was written down.
    pub created: Timestamp,
    /// When it is to be tried next.
    pub due: Timestamp,
    /// How often it was tried in vain.
    pub failures: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct JobRow {
    payload: PayloadId,
    archive: ArchiveId,
    origin: JobOrigin,
    created_micros: i64,
    due_micros: i64,
    failures: u32,
    last_error: Option<String>,
}

/// How far the rules of a bucket have been followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The SHA-256 digest of the configuration that was followed; another one begins anew.
    pub(crate) rules_sha256: [u8; 32],
    /// For each moment that rules name: the first day of creation that is still to be looked at.
    pub(crate) next_days: Vec<(Trigger, i64)>,
    /// The day on which uploads under way were last looked at.
    pub(crate) uploads_day: i64,
}

impl Progress {
    pub(crate) fn next_day(&self, trigger: Trigger) -> Option<i64> {
        self.next_days
            .iter()
            .find(|(known, _)| *known == trigger)
            .map(|(_, day)| *day)
    }

    pub(crate) fn set_next_day(&mut self, trigger: Trigger, day: i64) {
        self.next_days.retain(|(known, _)| *known != trigger);
        self.next_days.push((trigger, day));
        self.next_days.sort_unstable();
    }
}

/// A moment that a rule names, as it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Trigger {
    /// So many days after creation.
    AfterDays(u32),
    /// From this moment on, in microseconds since the Unix epoch.
    OnDate(i64),
}

impl From<When> for Trigger {
    fn from(when: When) -> Self {
        match when {
            When::AfterDays(days) => Self::AfterDays(days),
            When::OnDate(date) => Self::OnDate(date.micros()),
        }
    }
}

/// A class as one byte of a row's key. The bytes are part of the format.
fn class_code(class: StorageClass) -> u8 {
    match class {
        StorageClass::Standard => 0,
        StorageClass::ReducedRedundancy => 1,
        StorageClass::StandardIa => 2,
        StorageClass::IntelligentTiering => 3,
        StorageClass::OnezoneIa => 4,
        StorageClass::GlacierIr => 5,
        StorageClass::Glacier => 6,
        StorageClass::DeepArchive => 7,
    }
}

fn job_key(name: &VersionName, class: StorageClass) -> Vec<u8> {
    let mut key = name.bucket.as_str().as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&name.version.to_bytes());
    key.push(class_code(class));
    key.extend_from_slice(name.key.as_str().as_bytes());
    key
}

fn job_of_key(key: &[u8]) -> Option<(VersionName, StorageClass)> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (bucket, rest) = (key.get(..end)?, key.get(end + 1..)?);
    let (version, rest) = rest.split_first_chunk::<{ VersionId::LEN_BYTES }>()?;
    let (code, key) = rest.split_first()?;
    let name = VersionName {
        bucket: BucketName::new(std::str::from_utf8(bucket).ok()?).ok()?,
        key: ObjectKey::new(std::str::from_utf8(key).ok()?).ok()?,
        version: VersionId::from_bytes(version),
    };
    let class = StorageClass::ALL
        .into_iter()
        .find(|class| class_code(*class) == *code)?;
    Some((name, class))
}

fn due_key(due: Timestamp, job: &[u8]) -> Vec<u8> {
    // With the sign bit turned over, the bytes order as the signed numbers do.
    let ordered = due.micros().cast_unsigned() ^ (1 << 63);
    let mut key = ordered.to_be_bytes().to_vec();
    key.extend_from_slice(job);
    key
}

fn encode<R: Serialize>(row: &R) -> Vec<u8> {
    postcard::to_extend(row, vec![FORMAT_VERSION])
        .expect("a row has no part that postcard cannot write, and a vector takes all")
}

fn decode<R: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<R, JobError> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, value)) => match postcard::take_from_bytes(value) {
            Ok((row, [])) => Ok(row),
            Ok(_) | Err(_) => Err(JobError::Damaged { table }),
        },
        _ => Err(JobError::Damaged { table }),
    }
}

impl Job {
    fn key(&self) -> Vec<u8> {
        job_key(&self.name, self.class)
    }

    fn row(&self) -> Vec<u8> {
        encode(&JobRow {
            payload: self.payload,
            archive: self.archive,
            origin: self.origin.clone(),
            created_micros: self.created.micros(),
            due_micros: self.due.micros(),
            failures: self.failures,
            last_error: self.last_error.clone(),
        })
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Self, JobError> {
        let (name, class) = job_of_key(key).ok_or(JobError::Damaged { table: JOBS })?;
        let row: JobRow = decode(JOBS, value)?;
        Ok(Self {
            name,
            class,
            payload: row.payload,
            archive: row.archive,
            origin: row.origin,
            created: Timestamp::from_micros(row.created_micros),
            due: Timestamp::from_micros(row.due_micros),
            failures: row.failures,
            last_error: row.last_error,
        })
    }
}

/// The rows of this crate.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    meta: Arc<dyn MetaStore>,
}

impl Jobs {
    pub(crate) fn new(meta: Arc<dyn MetaStore>) -> Self {
        Self { meta }
    }

    /// Writes a job down, unless there is one for the same move; says whether it did.
    pub(crate) async fn add(&self, job: &Job) -> Result<bool, JobError> {
        let key = job.key();
        let mut batch = Batch::new();
        batch
            .expect(JOBS, key.clone(), Expected::Absent)
            .put(DUE, due_key(job.due, &key), [FORMAT_VERSION])
            .put(JOBS, key, job.row());
        match self.meta.commit(batch).await {
            Ok(()) => Ok(true),
            Err(CommitError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The jobs that are to be tried by `now`, the longest due first.
    pub(crate) async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Job>, JobError> {
        let scan = Scan {
            start: Vec::new(),
            end: Some(due_key(now + std::time::Duration::from_micros(1), &[])),
            limit,
            reverse: false,
        };
        let mut jobs = Vec::new();
        for row in self.meta.scan(DUE, scan).await? {
            let key = row.key.get(8..).ok_or(JobError::Damaged { table: DUE })?;
            // A job that is not there was finished by another worker since the scan.
            if let Some(job) = self.meta.get(JOBS, key).await? {
                jobs.push(Job::read(key, &job.value)?);
            }
        }
        Ok(jobs)
    }

    /// When the next job is to be tried.
    pub(crate) async fn next_due(&self) -> Result<Option<Timestamp>, JobError> {
        let first = self.meta.scan(DUE, Scan::prefix(&[], 1)).await?;
        let Some(row) = first.first() else {
            return Ok(None);
        };
        let ordered = row
            .key
            .first_chunk::<8>()
            .ok_or(JobError::Damaged { table: DUE })?;
        let micros = u64::from_be_bytes(*ordered) ^ (1 << 63);
        Ok(Some(Timestamp::from_micros(micros.cast_signed())))
    }

    /// Jobs in the order of bucket and version, from after `cursor`, which is the last job of the
    /// page before.
    pub(crate) async fn page(
        &self,
        cursor: Option<&Job>,
        limit: usize,
    ) -> Result<Vec<Job>, JobError> {
        let mut scan = Scan::prefix(&[], limit);
        if let Some(last) = cursor {
            scan.start = last.key();
            scan.start.push(0);
        }
        self.meta
            .scan(JOBS, scan)
            .await?
            .iter()
            .map(|row| Job::read(&row.key, &row.row.value))
            .collect()
    }

    /// Puts a job off until `due`.
    pub(crate) async fn put_off(
        &self,
        job: &Job,
        due: Timestamp,
        error: Option<String>,
    ) -> Result<(), JobError> {
        let key = job.key();
        let later = Job {
            due,
            failures: job.failures.saturating_add(u32::from(error.is_some())),
            last_error: error.or_else(|| job.last_error.clone()),
            ..job.clone()
        };
        let mut batch = Batch::new();
        batch
            .delete(DUE, due_key(job.due, &key))
            .put(DUE, due_key(due, &key), [FORMAT_VERSION])
            .put(JOBS, key, later.row());
        Ok(self.meta.commit(batch).await?)
    }

    /// Strikes a job off.
    pub(crate) async fn finish(&self, job: &Job) -> Result<(), JobError> {
        let key = job.key();
        let mut batch = Batch::new();
        batch.delete(DUE, due_key(job.due, &key)).delete(JOBS, key);
        Ok(self.meta.commit(batch).await?)
    }

    pub(crate) async fn progress(&self, bucket: &BucketName) -> Result<Progress, JobError> {
        match self.meta.get(PROGRESS, bucket.as_str().as_bytes()).await? {
            Some(row) => decode(PROGRESS, &row.value),
            None => Ok(Progress::default()),
        }
    }

    pub(crate) async fn set_progress(
        &self,
        bucket: &BucketName,
        progress: &Progress,
    ) -> Result<(), JobError> {
        let mut batch = Batch::new();
        batch.put(PROGRESS, bucket.as_str().as_bytes(), encode(progress));
        Ok(self.meta.commit(batch).await?)
    }
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
