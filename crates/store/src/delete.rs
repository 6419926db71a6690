//! DELETE: of an object, which in a bucket that keeps versions leaves a delete marker, or of one
//! of its versions, which is for good.

use futures::StreamExt;
use strongroom_environment::Timestamp;
use strongroom_keys::{BindingId, Caller};

use crate::change::Change;
use crate::history::{NewVersion, shown};
use crate::{
    DeleteRequest, Deleted, ETagCondition, ObjectRef, ShownVersion, Store, StoreError,
    VersionSelector, Versioning, WriteConditions,
};

/// How many deletions of one request run at a time, so that they share commits.
const DELETIONS_AT_ONCE: usize = 32;

impl Store {
    /// Deletes an object or one of its versions. No key is needed.
    ///
    /// What is not there is deleted already, which is no error.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::PreconditionFailed`], and, with a condition,
    /// [`StoreError::NoSuchKey`].
    pub async fn delete(
        &self,
        request: DeleteRequest,
        _caller: &Caller,
    ) -> Result<Deleted, StoreError> {
        self.delete_now(&request.object, request.if_match.as_ref())
            .await
    }

    /// Deletes several objects or versions, each for itself, and answers in the order asked.
    pub async fn delete_many(
        &self,
        requests: Vec<DeleteRequest>,
        caller: &Caller,
    ) -> Vec<Result<Deleted, StoreError>> {
        let deletions = requests
            .into_iter()
            .map(|request| self.delete(request, caller));
        futures::stream::iter(deletions)
            .buffered(DELETIONS_AT_ONCE)
            .collect()
            .await
    }

    async fn delete_now(
        &self,
        object: &ObjectRef,
        if_match: Option<&ETagCondition>,
    ) -> Result<Deleted, StoreError> {
        let inner = &*self.inner;
        let ObjectRef {
            bucket: bucket_name,
            key,
            version: selector,
        } = object;
        let conditions = WriteConditions {
            if_match: if_match.cloned(),
            if_none_match: None,
        };
        let mut attempts = inner.attempts(bucket_name, key.as_str());
        loop {
            let bucket = inner.bucket(bucket_name).await?;
            let history = inner.history(bucket_name, key).await?;
            history.check(&conditions)?;
            let versioning = bucket.row.versioning;
            let leaves_marker =
                *selector == VersionSelector::Current && versioning != Versioning::Unversioned;
            let mut change = Change::new(inner);
            let deleted = if leaves_marker {
                let now = inner.clock.now();
                let marker = NewVersion {
                    binding: BindingId::random(&*inner.entropy).0,
                    created: now,
                    content: None,
                };
                let marker = history
                    .supersede(&mut change, &bucket, key, marker, now)
                    .await?;
                Deleted {
                    version: shown(versioning, &marker),
                    delete_marker: true,
                }
            } else {
                let found = inner.find(bucket_name, key, &history, *selector).await?;
                match found {
                    Some(found) => {
                        history
                            .remove(&mut change, bucket_name, key, &found)
                            .await?;
                        Deleted {
                            version: shown(versioning, &found.row),
                            delete_marker: found.row.content.is_none(),
                        }
                    }
                    None => Deleted {
                        version: asked(*selector),
                        delete_marker: false,
                    },
                }
            };
            if attempts.commit(change).await? {
                return Ok(deleted);
            }
        }
    }

    /// Does to a current version what the expiration of a lifecycle rule means: in a bucket that
    /// keeps versions it leaves a delete marker, in another it deletes the object.
    ///
    /// `false` when the version is not the current one any more, or is a delete marker.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], and those of the machine.
    pub async fn expire_object(
        &self,
        name: &crate::VersionName,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inner = &*self.inner;
        let mut attempts = inner.attempts(&name.bucket, name.key.as_str());
        loop {
            let bucket = inner.bucket(&name.bucket).await?;
            let history = inner.history(&name.bucket, &name.key).await?;
            let is_due = history.current().is_some_and(|current| {
                current.version == name.version && current.content.is_some()
            });
            if !is_due {
                return Ok(false);
            }
            let mut change = Change::new(inner);
            if bucket.row.versioning == Versioning::Unversioned {
                let selector = VersionSelector::Current;
                let found = inner
                    .find(&name.bucket, &name.key, &history, selector)
                    .await?;
                if let Some(found) = found {
                    history
                        .remove(&mut change, &name.bucket, &name.key, &found)
                        .await?;
                }
            } else {
                let marker = NewVersion {
                    binding: BindingId::random(&*inner.entropy).0,
                    created: now,
                    content: None,
                };
                history
                    .supersede(&mut change, &bucket, &name.key, marker, now)
                    .await?;
            }
            if attempts.commit(change).await? {
                return Ok(true);
            }
        }
    }

    /// Deletes one version for good, whatever it is; `false` when it is gone already.
    ///
    /// # Errors
    /// Those of the machine.
    pub async fn delete_version(&self, name: &crate::VersionName) -> Result<bool, StoreError> {
        let inner = &*self.inner;
        let mut attempts = inner.attempts(&name.bucket, name.key.as_str());
        loop {
            let Some((history, found)) = inner.find_named(name).await? else {
                return Ok(false);
            };
            let mut change = Change::new(inner);
            history
                .remove(&mut change, &name.bucket, &name.key, &found)
                .await?;
            if attempts.commit(change).await? {
                return Ok(true);
            }
        }
    }
}

/// How a version that is not there is named in the answer to its deletion.
fn asked(selector: VersionSelector) -> Option<ShownVersion> {
    match selector {
        VersionSelector::Current => None,
        VersionSelector::Null => Some(ShownVersion::Null),
        VersionSelector::Id(version) => Some(ShownVersion::Id(version)),
    }
}
