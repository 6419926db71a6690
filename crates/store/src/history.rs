//! The versions of one object: how one is found, how one supersedes another, how one goes.

use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::{Row, Scan};

use crate::buckets::Bucket;
use crate::change::Change;
use crate::rows::{Content, ObjectRow, VersionRow, decode, encode, keys};
use crate::store::Inner;
use crate::{
    BucketName, ETag, ObjectKey, ShownVersion, StoreError, VersionId, VersionName, VersionSelector,
    Versioning, WriteConditions,
};

/// What is known of an object: its current version, if it has one.
pub(crate) struct History {
    row_key: Vec<u8>,
    read: Option<(Row, ObjectRow)>,
}

/// A version that was found.
pub(crate) struct Found {
    pub(crate) row: VersionRow,
    /// The row it stands in, when it is a noncurrent one.
    pub(crate) noncurrent: Option<Row>,
}

impl Inner {
    /// Reads the current version of an object.
    pub(crate) async fn history(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<History, StoreError> {
        let row_key = keys::object(bucket, key.as_str());
        let read = self.meta.get(keys::OBJECTS, &row_key).await?;
        History::of(row_key, read)
    }

    /// The version that is meant, if there is one.
    pub(crate) async fn find(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
        history: &History,
        selector: VersionSelector,
    ) -> Result<Option<Found>, StoreError> {
        let Some((_, object)) = &history.read else {
            return Ok(None);
        };
        let current = &object.current;
        let wanted = match selector {
            VersionSelector::Current => current.version,
            VersionSelector::Null if current.is_null => current.version,
            VersionSelector::Null => match object.noncurrent_null {
                Some(version) => version,
                None => return Ok(None),
            },
            VersionSelector::Id(version) => version,
        };
        if wanted == current.version {
            return Ok(Some(Found {
                row: current.clone(),
                noncurrent: None,
            }));
        }
        let row_key = keys::version(bucket, key, wanted);
        let Some(row) = self.meta.get(keys::VERSIONS, &row_key).await? else {
            return Ok(None);
        };
        Ok(Some(Found {
            row: decode(keys::VERSIONS, &row.value)?,
            noncurrent: Some(row),
        }))
    }

    /// A version by its name, for whoever works on versions that he was told of.
    pub(crate) async fn find_named(
        &self,
        name: &VersionName,
    ) -> Result<Option<(History, Found)>, StoreError> {
        let history = self.history(&name.bucket, &name.key).await?;
        let found = self.find_in(&history, name).await?;
        Ok(found.map(|found| (history, found)))
    }

    /// A version by its name, in the history of its object.
    pub(crate) async fn find_in(
        &self,
        history: &History,
        name: &VersionName,
    ) -> Result<Option<Found>, StoreError> {
        let selector = VersionSelector::Id(name.version);
        self.find(&name.bucket, &name.key, history, selector).await
    }
}

impl History {
    /// What the row of an object says.
    pub(crate) fn of(row_key: Vec<u8>, read: Option<Row>) -> Result<Self, StoreError> {
        let read = match read {
            Some(row) => {
                let object = decode(keys::OBJECTS, &row.value)?;
                Some((row, object))
            }
            None => None,
        };
        Ok(Self { row_key, read })
    }

    /// The current version, if it is `version`; its content is moved and not copied. What is left
    /// writes the object anew, and cannot be asked what its current version holds.
    pub(crate) fn take_current(
        &mut self,
        version: VersionId,
    ) -> Option<(Found, Option<Box<Content>>)> {
        let (_, object) = self.read.as_mut()?;
        let current = &mut object.current;
        if current.version != version {
            return None;
        }
        let content = current.content.take();
        let found = Found {
            row: current.clone(),
            noncurrent: None,
        };
        Some((found, content))
    }

    pub(crate) fn current(&self) -> Option<&VersionRow> {
        self.read.as_ref().map(|(_, object)| &object.current)
    }

    /// Checks what a write says about the object it replaces.
    pub(crate) fn check(&self, conditions: &WriteConditions) -> Result<(), StoreError> {
        let current: Option<&ETag> = self
            .current()
            .and_then(|version| version.content.as_ref())
            .map(|content| &content.etag);
        if let Some(condition) = &conditions.if_match {
            match current {
                None => {
                    return Err(StoreError::NoSuchKey {
                        delete_marker: None,
                    });
                }
                Some(etag) if !condition.matches(etag) => {
                    return Err(StoreError::PreconditionFailed {
                        condition: "If-Match",
                    });
                }
                Some(_) => {}
            }
        }
        if let (Some(condition), Some(etag)) = (&conditions.if_none_match, current)
            && condition.matches(etag)
        {
            return Err(StoreError::PreconditionFailed {
                condition: "If-None-Match",
            });
        }
        Ok(())
    }

    /// The id of a version that is committed now, after all versions of the object.
    fn next_version(&self, now: Timestamp, binding: [u8; 16]) -> VersionId {
        let now = u64::try_from(now.micros()).unwrap_or(0);
        let after = self
            .current()
            .map_or(0, |current| current.version.sequence().saturating_add(1));
        VersionId::new(now.max(after), binding)
    }

    /// Makes a new version the current one. What becomes of the one before is what the bucket's
    /// versioning says.
    pub(crate) async fn supersede(
        &self,
        change: &mut Change<'_>,
        bucket: &Arc<Bucket>,
        key: &ObjectKey,
        new: NewVersion,
        now: Timestamp,
    ) -> Result<VersionRow, StoreError> {
        let bucket_name = &bucket.info.bucket;
        change.writes_into(bucket_name, bucket);
        let keeps_versions = bucket.row.versioning == Versioning::Enabled;
        let new = VersionRow {
            version: self.next_version(now, new.binding),
            is_null: !keeps_versions,
            created: new.created,
            noncurrent_since_micros: None,
            content: new.content.map(Box::new),
        };
        let name = |version| VersionName {
            bucket: bucket_name.clone(),
            key: key.clone(),
            version,
        };
        let mut noncurrent_null = None;
        if let Some((_, before)) = &self.read {
            noncurrent_null = before.noncurrent_null;
            let current = &before.current;
            if current.is_null && !keeps_versions {
                change
                    .remove_version(&name(current.version), current)
                    .await?;
            } else {
                if current.is_null {
                    noncurrent_null = Some(current.version);
                }
                let row = VersionRow {
                    noncurrent_since_micros: Some(now.micros()),
                    ..current.clone()
                };
                change.batch.put(
                    keys::VERSIONS,
                    keys::version(bucket_name, key, current.version),
                    encode(&row),
                );
            }
            if let (Some(null), false) = (noncurrent_null, keeps_versions) {
                self.drop_noncurrent(change, &name(null)).await?;
                noncurrent_null = None;
            }
        }
        change.add_version(&name(new.version), &new).await?;
        self.write(change, new.clone(), noncurrent_null);
        Ok(new)
    }

    /// Takes away a noncurrent version that must be there.
    async fn drop_noncurrent(
        &self,
        change: &mut Change<'_>,
        name: &VersionName,
    ) -> Result<(), StoreError> {
        let row_key = keys::version(&name.bucket, &name.key, name.version);
        let Some(row) = change.read(keys::VERSIONS, &row_key).await? else {
            change.misfit = Some(format!("{name} is gone"));
            return Ok(());
        };
        let version: VersionRow = decode(keys::VERSIONS, &row.value)?;
        change
            .batch
            .expect_unchanged(keys::VERSIONS, row_key.clone(), Some(&row));
        change.batch.delete(keys::VERSIONS, row_key);
        change.remove_version(name, &version).await
    }

    /// Takes away a version for good. If it was the current one, the one before becomes current.
    pub(crate) async fn remove(
        &self,
        change: &mut Change<'_>,
        bucket: &BucketName,
        key: &ObjectKey,
        found: &Found,
    ) -> Result<(), StoreError> {
        let Some((_, object)) = &self.read else {
            return Ok(());
        };
        let name = VersionName {
            bucket: bucket.clone(),
            key: key.clone(),
            version: found.row.version,
        };
        if let Some(row) = &found.noncurrent {
            let row_key = keys::version(bucket, key, found.row.version);
            change
                .batch
                .expect_unchanged(keys::VERSIONS, row_key.clone(), Some(row));
            change.batch.delete(keys::VERSIONS, row_key);
            change.remove_version(&name, &found.row).await?;
            if object.noncurrent_null == Some(found.row.version) {
                self.write(change, object.current.clone(), None);
            }
            return Ok(());
        }
        change.remove_version(&name, &found.row).await?;
        self.expect_unchanged(change);
        let older = Scan::prefix(&keys::of_key(bucket, key.as_str()), 1);
        let Some(older) = change.scan(keys::VERSIONS, older).await?.pop() else {
            change.batch.delete(keys::OBJECTS, self.row_key.clone());
            return Ok(());
        };
        let mut promoted: VersionRow = decode(keys::VERSIONS, &older.row.value)?;
        promoted.noncurrent_since_micros = None;
        change
            .batch
            .expect_unchanged(keys::VERSIONS, older.key.to_vec(), Some(&older.row));
        change.batch.delete(keys::VERSIONS, older.key.to_vec());
        let noncurrent_null = object
            .noncurrent_null
            .filter(|null| *null != promoted.version);
        self.write(change, promoted, noncurrent_null);
        Ok(())
    }

    /// Writes a version that was found anew, in the row where it stands.
    pub(crate) fn rewrite(&self, change: &mut Change<'_>, name: &VersionName, found: Found) {
        match (&found.noncurrent, &self.read) {
            (Some(read), _) => {
                let row_key = keys::version(&name.bucket, &name.key, name.version);
                change
                    .batch
                    .expect_unchanged(keys::VERSIONS, row_key.clone(), Some(read));
                change
                    .batch
                    .put(keys::VERSIONS, row_key, encode(&found.row));
            }
            (None, Some((_, object))) => self.write(change, found.row, object.noncurrent_null),
            (None, None) => {}
        }
    }

    fn expect_unchanged(&self, change: &mut Change<'_>) {
        let read = self.read.as_ref().map(|(row, _)| row);
        change
            .batch
            .expect_unchanged(keys::OBJECTS, self.row_key.clone(), read);
    }

    fn write(
        &self,
        change: &mut Change<'_>,
        current: VersionRow,
        noncurrent_null: Option<VersionId>,
    ) {
        self.expect_unchanged(change);
        let row = ObjectRow {
            current,
            noncurrent_null,
        };
        change
            .batch
            .put(keys::OBJECTS, self.row_key.clone(), encode(&row));
    }

    /// Expects, in a change that reads this object only, that a version is as it was read.
    pub(crate) fn expect_found(
        &self,
        change: &mut Change<'_>,
        row_key: Vec<u8>,
        noncurrent: Option<&Row>,
    ) {
        match noncurrent {
            Some(_) => {
                change
                    .batch
                    .expect_unchanged(keys::VERSIONS, row_key, noncurrent);
            }
            None => self.expect_unchanged(change),
        }
    }
}

/// A version that is about to be committed.
pub(crate) struct NewVersion {
    pub(crate) binding: [u8; 16],
    pub(crate) created: Timestamp,
    /// Nothing makes a delete marker.
    pub(crate) content: Option<Content>,
}

/// How a version is named to clients.
pub(crate) fn shown(versioning: Versioning, version: &VersionRow) -> Option<ShownVersion> {
    match (versioning, version.is_null) {
        (Versioning::Unversioned, _) => None,
        (_, true) => Some(ShownVersion::Null),
        (_, false) => Some(ShownVersion::Id(version.version)),
    }
}
