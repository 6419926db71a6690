//! Buckets: made, configured, listed, deleted.

use std::sync::Arc;

use strongroom_keys::Caller;
use strongroom_meta::{Batch, CommitError, Expected, Row, Scan};

use crate::rows::{BucketRow, decode, encode, keys};
use crate::store::Inner;
use crate::{
    BucketInfo, BucketName, ConfigName, CreateBucket, DefaultEncryption, Store, StoreError,
    Versioning,
};

/// How many buckets are remembered at most. All are forgotten when there are more.
const REMEMBERED_MAX: usize = 10_000;

/// A bucket as it was read.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) read: Row,
    pub(crate) row: BucketRow,
    pub(crate) info: Arc<BucketInfo>,
}

impl Bucket {
    fn new(name: &BucketName, read: Row) -> Result<Self, StoreError> {
        let row: BucketRow = decode(keys::BUCKETS, &read.value)?;
        let info = Arc::new(info(name, &row)?);
        Ok(Self { read, row, info })
    }
}

fn info(name: &BucketName, row: &BucketRow) -> Result<BucketInfo, StoreError> {
    let configs = row
        .configs
        .iter()
        .map(|(config, value)| Some((ConfigName::new(config)?, value.clone())))
        .collect::<Option<_>>()
        .ok_or_else(|| StoreError::damaged(format!("the configurations of bucket {name}")))?;
    Ok(BucketInfo {
        bucket: name.clone(),
        created: row.created,
        owner: row.owner.clone(),
        region: row.region.clone(),
        versioning: row.versioning,
        default_encryption: row.default_encryption.clone(),
        customer_keys_blocked: row.customer_keys_blocked,
        configs,
    })
}

impl Inner {
    /// A bucket, as it was last read. Whoever writes by it expects it to be unchanged.
    pub(crate) async fn bucket(&self, name: &BucketName) -> Result<Arc<Bucket>, StoreError> {
        if let Some(bucket) = self.buckets.read().get(name) {
            return Ok(Arc::clone(bucket));
        }
        self.read_bucket(name).await
    }

    /// A bucket, as it is now.
    pub(crate) async fn read_bucket(&self, name: &BucketName) -> Result<Arc<Bucket>, StoreError> {
        let read = self
            .meta
            .get(keys::BUCKETS, name.as_str().as_bytes())
            .await?
            .ok_or(StoreError::NoSuchBucket)?;
        let bucket = Arc::new(Bucket::new(name, read)?);
        let mut remembered = self.buckets.write();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(name.clone(), Arc::clone(&bucket));
        Ok(bucket)
    }

    /// Whether a bucket holds no object, version or upload.
    async fn is_empty(&self, name: &BucketName) -> Result<bool, StoreError> {
        let prefix = keys::bucket_prefix(name);
        for table in [keys::OBJECTS, keys::VERSIONS, keys::UPLOADS] {
            if !self
                .meta
                .scan(table, Scan::prefix(&prefix, 1))
                .await?
                .is_empty()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Store {
    /// Makes a bucket.
    ///
    /// # Errors
    /// [`StoreError::BucketExists`].
    pub async fn create_bucket(
        &self,
        request: CreateBucket,
        _caller: &Caller,
    ) -> Result<BucketInfo, StoreError> {
        let name = &request.bucket;
        let row = BucketRow {
            created: self.inner.clock.now(),
            owner: request.owner,
            region: request.region,
            versioning: Versioning::Unversioned,
            default_encryption: None,
            customer_keys_blocked: request.customer_keys_blocked,
            configs: std::collections::BTreeMap::new(),
            being_deleted: false,
        };
        let mut batch = Batch::new();
        batch.expect(keys::BUCKETS, name.as_str(), Expected::Absent);
        batch.put(keys::BUCKETS, name.as_str(), encode(&row));
        match self.inner.meta.commit(batch).await {
            Ok(()) => info(name, &row),
            Err(CommitError::Conflict { .. }) => {
                let owner = self.inner.read_bucket(name).await?.row.owner.clone();
                Err(StoreError::BucketExists { owner })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes an empty bucket.
    ///
    /// The row is marked first, and deleted when the bucket was then found empty; a write into the
    /// bucket takes the mark away, so that between the two nothing is lost. A mark that a crash
    /// left behind does no harm.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::BucketNotEmpty`].
    pub async fn delete_bucket(
        &self,
        name: &BucketName,
        _caller: &Caller,
    ) -> Result<(), StoreError> {
        let key = name.as_str().as_bytes();
        let mut attempts = self.inner.attempts(name, "");
        loop {
            let bucket = self.inner.read_bucket(name).await?;
            if !self.inner.is_empty(name).await? {
                return Err(StoreError::BucketNotEmpty);
            }
            let mut change = crate::change::Change::new(&self.inner);
            change
                .batch
                .expect_unchanged(keys::BUCKETS, key, Some(&bucket.read));
            if bucket.row.being_deleted {
                change.batch.delete(keys::BUCKETS, key);
            } else {
                let row = BucketRow {
                    being_deleted: true,
                    ..bucket.row.clone()
                };
                change.batch.put(keys::BUCKETS, key, encode(&row));
            }
            let committed = attempts.commit(change).await?;
            self.inner.buckets.write().remove(name);
            if committed && bucket.row.being_deleted {
                return Ok(());
            }
        }
    }

    /// A bucket and its configuration.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub async fn bucket(&self, name: &BucketName) -> Result<Arc<BucketInfo>, StoreError> {
        Ok(Arc::clone(&self.inner.bucket(name).await?.info))
    }

    /// Buckets by name: those that begin with `prefix` and come after `after`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Damaged`].
    pub async fn list_buckets(
        &self,
        prefix: &str,
        after: Option<&BucketName>,
        limit: usize,
    ) -> Result<Vec<BucketInfo>, StoreError> {
        // The smallest key after a name is that name and a zero byte.
        let start = after.map(keys::bucket_prefix).unwrap_or_default();
        let scan = Scan::within(prefix.as_bytes(), start, limit);
        let rows = self.inner.meta.scan(keys::BUCKETS, scan).await?;
        rows.iter()
            .map(|found| {
                let name = std::str::from_utf8(&found.key)
                    .ok()
                    .and_then(|name| BucketName::new(name).ok())
                    .ok_or_else(|| StoreError::damaged("a row of buckets has no bucket's name"))?;
                info(&name, &decode(keys::BUCKETS, &found.row.value)?)
            })
            .collect()
    }

    /// Makes a bucket keep versions, or stop doing so.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub async fn set_versioning(
        &self,
        name: &BucketName,
        enabled: bool,
        _caller: &Caller,
    ) -> Result<(), StoreError> {
        self.configure(name, |row| {
            row.versioning = if enabled {
                Versioning::Enabled
            } else {
                Versioning::Suspended
            };
            Ok(())
        })
        .await
    }

    /// Says how objects are protected when a request does not; `None` is SSE-S3.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub async fn set_default_encryption(
        &self,
        name: &BucketName,
        encryption: Option<DefaultEncryption>,
        _caller: &Caller,
    ) -> Result<(), StoreError> {
        self.configure(name, |row| {
            row.default_encryption.clone_from(&encryption);
            Ok(())
        })
        .await
    }

    /// Says whether new objects under customer keys are refused.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub async fn set_customer_keys_blocked(
        &self,
        name: &BucketName,
        blocked: bool,
        _caller: &Caller,
    ) -> Result<(), StoreError> {
        self.configure(name, |row| {
            row.customer_keys_blocked = blocked;
            Ok(())
        })
        .await
    }

    /// Keeps a configuration that the store does not read; `None` deletes it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`].
    pub async fn set_config(
        &self,
        name: &BucketName,
        config: &ConfigName,
        value: Option<Vec<u8>>,
        _caller: &Caller,
    ) -> Result<(), StoreError> {
        self.configure(name, |row| {
            match &value {
                Some(value) => row
                    .configs
                    .insert(config.as_str().to_owned(), value.clone()),
                None => row.configs.remove(config.as_str()),
            };
            Ok(())
        })
        .await
    }

    async fn configure(
        &self,
        name: &BucketName,
        edit: impl Fn(&mut BucketRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut attempts = self.inner.attempts(name, "");
        loop {
            let bucket = self.inner.read_bucket(name).await?;
            let mut row = bucket.row.clone();
            edit(&mut row)?;
            let mut change = crate::change::Change::new(&self.inner);
            let key = name.as_str().as_bytes();
            change
                .batch
                .expect_unchanged(keys::BUCKETS, key, Some(&bucket.read));
            change.batch.put(keys::BUCKETS, key, encode(&row));
            let committed = attempts.commit(change).await;
            self.inner.buckets.write().remove(name);
            if committed? {
                return Ok(());
            }
        }
    }
}
