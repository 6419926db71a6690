//! Which keys protect which versions, and which versions are under a key: nobody needs to know a
//! key to ask.

use strongroom_environment::Timestamp;
use strongroom_keys::{ChainLink, EncryptionMode, ImpactPage, LedgerKey, ObjectKeys};
use strongroom_meta::{Scan, ScannedRow};

use crate::rows::{UploadRow, VersionRow, decode, keys};
use crate::{BucketName, ObjectKey, ShownVersion, StorageClass, Store, StoreError, VersionName};

/// A version and the keys that protect it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionKeys {
    /// How the version is named.
    pub version: ShownVersion,
    /// Its real id.
    pub name: VersionName,
    /// Whether it is the newest.
    pub is_latest: bool,
    /// Its length in bytes.
    pub size_bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Its storage class.
    pub class: StorageClass,
    /// How its data key is wrapped.
    pub encryption: EncryptionMode,
    /// Its keys, from the one that wraps the data key up to the one on the token.
    pub chain: Vec<ChainLink>,
}

/// A page of the versions under a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VersionKeysPage {
    /// The versions.
    pub versions: Vec<VersionKeys>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<String>,
}

/// A part of the count of what a key protects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Impact {
    /// The object versions of this part.
    pub page: ImpactPage,
    /// How many uploads are under way whose parts are under the key; `None` but in the last part.
    /// They are no versions yet, and cannot become any without the key.
    pub uploads: Option<u64>,
}

/// How many noncurrent versions of an object are read at a time.
const VERSIONS_AT_ONCE: usize = 1000;

impl Store {
    /// Every version of an object, newest first, and the keys that protect it. Delete markers are
    /// under no key and are left out.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchKey`], and those of the machine.
    pub async fn keys_of(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Vec<VersionKeys>, StoreError> {
        let inner = &*self.inner;
        inner.bucket(bucket).await?;
        let history = inner.history(bucket, key).await?;
        let current = history.current().cloned().ok_or(StoreError::NoSuchKey {
            delete_marker: None,
        })?;
        let prefix = keys::of_key(bucket, key.as_str());
        let mut start = prefix.clone();
        let mut versions = Vec::new();
        self.push_keys(&mut versions, bucket, key, &current, true)
            .await?;
        loop {
            let scan = Scan::within(&prefix, start, VERSIONS_AT_ONCE);
            let rows = inner.meta.scan(keys::VERSIONS, scan).await?;
            for row in &rows {
                let version: VersionRow = decode(keys::VERSIONS, &row.row.value)?;
                if version.version != current.version {
                    self.push_keys(&mut versions, bucket, key, &version, false)
                        .await?;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == VERSIONS_AT_ONCE => {
                    start = last.key.to_vec();
                    start.push(0);
                }
                _ => return Ok(versions),
            }
        }
    }

    async fn push_keys(
        &self,
        versions: &mut Vec<VersionKeys>,
        bucket: &BucketName,
        key: &ObjectKey,
        version: &VersionRow,
        is_latest: bool,
    ) -> Result<(), StoreError> {
        let Some(content) = &version.content else {
            return Ok(());
        };
        versions.push(VersionKeys {
            version: shown(version),
            name: VersionName {
                bucket: bucket.clone(),
                key: key.clone(),
                version: version.version,
            },
            is_latest,
            size_bytes: content.size_bytes,
            modified: version.created,
            class: content.class,
            encryption: self.inner.keys.mode_of(&content.envelope),
            chain: self.inner.keys.chain_of(&content.envelope).await?,
        });
        Ok(())
    }

    /// Counts what would become unreadable without a key, a part at a time, by bucket, storage class
    /// and version of the key. A `marker` is the `next` of the part before.
    ///
    /// # Errors
    /// [`StoreError::Key`], and those of the machine.
    pub async fn impact(&self, key: LedgerKey, marker: Option<&str>) -> Result<Impact, StoreError> {
        let inner = &*self.inner;
        let page = inner
            .keys
            .impact(key, marker, ObjectKeys::IMPACT_ROWS_MAX)
            .await?;
        let uploads = match key {
            LedgerKey::KmsKey(id) if page.next.is_none() => {
                let mut count = 0;
                self.each_upload(|_, row| count += u64::from(row.envelope.kms_key() == Some(id)))
                    .await?;
                Some(count)
            }
            _ => None,
        };
        Ok(Impact { page, uploads })
    }

    /// Shows every upload that is under way, and the key of its row.
    pub(crate) async fn each_upload(
        &self,
        mut see: impl FnMut(&ScannedRow, &UploadRow) + Send,
    ) -> Result<(), StoreError> {
        let mut start = Vec::new();
        loop {
            let scan = Scan::within(&[], start, VERSIONS_AT_ONCE);
            let rows = self.inner.meta.scan(keys::UPLOADS, scan).await?;
            for row in &rows {
                see(row, &decode(keys::UPLOADS, &row.row.value)?);
            }
            match rows.last() {
                Some(last) if rows.len() == VERSIONS_AT_ONCE => {
                    start = [&last.key[..], &[0]].concat();
                }
                _ => return Ok(()),
            }
        }
    }

    /// The versions under a key, a page at a time. A `marker` is the `next` of the page before.
    ///
    /// # Errors
    /// [`StoreError::Key`], and those of the machine.
    pub async fn versions_under(
        &self,
        key: LedgerKey,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<VersionKeysPage, StoreError> {
        let inner = &*self.inner;
        let page = inner.keys.versions_of(key, marker, limit).await?;
        let mut versions = Vec::with_capacity(page.items.len());
        for entry in page.items {
            let object = &entry.version.object;
            let name = VersionName {
                bucket: BucketName::new(&object.bucket)
                    .map_err(|error| StoreError::damaged(format!("the ledger: {error}")))?,
                key: ObjectKey::new(object.key.as_str())
                    .map_err(|error| StoreError::damaged(format!("the ledger: {error}")))?,
                version: crate::VersionId::new(entry.version.sequence, object.binding.0),
            };
            // A version that was deleted since the ledger was read is under no key any more.
            let Some((history, found)) = inner.find_named(&name).await? else {
                continue;
            };
            let is_latest = history
                .current()
                .is_some_and(|current| current.version == name.version);
            let version = shown(&found.row);
            if let Some(content) = found.row.content {
                versions.push(VersionKeys {
                    name,
                    version,
                    is_latest,
                    size_bytes: content.size_bytes,
                    modified: found.row.created,
                    class: content.class,
                    encryption: inner.keys.mode_of(&content.envelope),
                    chain: entry.chain,
                });
            }
        }
        Ok(VersionKeysPage {
            versions,
            next: page.next,
        })
    }
}

fn shown(version: &VersionRow) -> ShownVersion {
    if version.is_null {
        ShownVersion::Null
    } else {
        ShownVersion::Id(version.version)
    }
}
