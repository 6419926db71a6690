//! ListObjectVersions.

use super::objects::listed;
use super::scanner::Scanner;
use super::{Shape, Stand, page_len};
use crate::rows::{ObjectRow, VersionRow, decode, keys};
use crate::{
    ListVersions, ListedVersion, ObjectKey, ShownVersion, Store, StoreError, VersionId,
    VersionPage, VersionSelector,
};

impl Store {
    /// Lists versions and delete markers by key, newest first.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], and those of the machine.
    pub async fn list_versions(&self, request: ListVersions) -> Result<VersionPage, StoreError> {
        let inner = &*self.inner;
        let bucket = &request.bucket;
        inner.bucket(bucket).await?;
        let mut page = PageMaker {
            page: VersionPage::default(),
            entries_max: page_len(request.entries_max),
            last: None,
        };
        if page.entries_max == 0 {
            return Ok(page.page);
        }
        let shape = Shape {
            prefix: &request.prefix,
            delimiter: request.delimiter.as_deref(),
            after: request.after_key.as_deref(),
        };
        // Every key has a row among the current versions; those with a history have more among the
        // noncurrent ones.
        let mut current = Scanner::new(inner, keys::OBJECTS, keys::object(bucket, shape.prefix));
        let prefix = keys::escaped_prefix(bucket, shape.prefix);
        let mut noncurrent = Scanner::new(inner, keys::VERSIONS, prefix);
        if shape.delimiter.is_none() {
            current = current.expecting(page.entries_max + 1);
        }
        let within_key = request.after_version != VersionSelector::Current;
        if let Some(after) = shape.after {
            let mut start = keys::object(bucket, after);
            if !within_key {
                start.push(0);
            }
            current.seek(start);
        }
        while let Some(found) = current.peek().await? {
            let key = keys::object_key(bucket, &found.key)
                .ok_or_else(|| StoreError::damaged("a row of objects has no object's key"))?;
            match shape.stand(key.as_str()) {
                Stand::Passed(common) => {
                    current.skip(&keys::object(bucket, common));
                    continue;
                }
                Stand::Common(common) => {
                    if !page.has_room() {
                        return Ok(page.truncated());
                    }
                    page.page.common_prefixes.push(common.to_owned());
                    page.last = Some((common.to_owned(), None));
                    current.skip(&keys::object(bucket, common));
                    continue;
                }
                Stand::Key => {}
            }
            let row: ObjectRow = decode(keys::OBJECTS, &found.row.value)?;
            current.advance();
            // Of the key that the page before ended in, only what comes after its last version.
            let newest = if within_key && shape.after == Some(key.as_str()) {
                match request.after_version {
                    VersionSelector::Id(version) => Some(version),
                    VersionSelector::Null if row.current.is_null => Some(row.current.version),
                    VersionSelector::Null => row.noncurrent_null,
                    VersionSelector::Current => None,
                }
            } else {
                None
            };
            let is_wanted = |version: VersionId| newest.is_none_or(|newest| version < newest);
            let latest = row.current.version;
            if is_wanted(latest) && !page.push(&key, &row.current, true) {
                return Ok(page.truncated());
            }
            let of_key = keys::of_key(bucket, key.as_str());
            noncurrent.seek(match newest {
                Some(newest) => keys::version(bucket, &key, newest),
                None => of_key.clone(),
            });
            while let Some(found) = noncurrent.peek().await?
                && found.key.starts_with(&of_key)
            {
                let version: VersionRow = decode(keys::VERSIONS, &found.row.value)?;
                noncurrent.advance();
                // A version that stopped being current between the two reads is listed once.
                if version.version != latest
                    && is_wanted(version.version)
                    && !page.push(&key, &version, false)
                {
                    return Ok(page.truncated());
                }
            }
        }
        Ok(page.page)
    }
}

struct PageMaker {
    page: VersionPage,
    entries_max: usize,
    /// The last entry.
    last: Option<(String, Option<ShownVersion>)>,
}

impl PageMaker {
    fn has_room(&self) -> bool {
        self.page.versions.len() + self.page.common_prefixes.len() < self.entries_max
    }

    /// Adds a version; `false` when the page is full.
    fn push(&mut self, key: &ObjectKey, version: &VersionRow, is_latest: bool) -> bool {
        if !self.has_room() {
            return false;
        }
        let shown = if version.is_null {
            ShownVersion::Null
        } else {
            ShownVersion::Id(version.version)
        };
        self.last = Some((key.as_str().to_owned(), Some(shown)));
        self.page.versions.push(ListedVersion {
            version: shown,
            is_latest,
            modified: version.created,
            key: key.clone(),
            object: version
                .content
                .as_ref()
                .map(|content| listed(key.clone(), version, content)),
        });
        true
    }

    fn truncated(self) -> VersionPage {
        VersionPage {
            next: self.last,
            ..self.page
        }
    }
}
