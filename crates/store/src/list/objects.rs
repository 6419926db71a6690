//! ListObjects, both versions of it.

use super::scanner::Scanner;
use super::{Shape, Stand, page_len};
use crate::rows::{Content, ObjectRow, VersionRow, decode, keys};
use crate::{ListObjects, ListedObject, ObjectKey, ObjectPage, Store, StoreError};

impl Store {
    /// Lists current objects by key. Objects whose newest version is a delete marker are not among
    /// them.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], and those of the machine.
    pub async fn list_objects(&self, request: ListObjects) -> Result<ObjectPage, StoreError> {
        let inner = &*self.inner;
        let bucket = &request.bucket;
        inner.bucket(bucket).await?;
        let entries_max = page_len(request.entries_max);
        let mut page = ObjectPage::default();
        if entries_max == 0 {
            return Ok(page);
        }
        let shape = Shape {
            prefix: &request.prefix,
            delimiter: request.delimiter.as_deref(),
            after: request.after.as_deref(),
        };
        let prefix = keys::object(bucket, shape.prefix);
        let mut rows = Scanner::new(inner, keys::OBJECTS, prefix);
        if shape.delimiter.is_none() {
            rows = rows.expecting(entries_max + 1);
        }
        if let Some(after) = shape.after {
            let mut start = keys::object(bucket, after);
            start.push(0);
            rows.seek(start);
        }
        let mut last = None;
        while let Some(found) = rows.peek().await? {
            let key = keys::object_key(bucket, &found.key)
                .ok_or_else(|| StoreError::damaged("a row of objects has no object's key"))?;
            let stand = shape.stand(key.as_str());
            if let Stand::Passed(common) = stand {
                rows.skip(&keys::object(bucket, common));
                continue;
            }
            let row: ObjectRow = decode(keys::OBJECTS, &found.row.value)?;
            let Some(content) = &row.current.content else {
                rows.advance();
                continue;
            };
            if page.objects.len() + page.common_prefixes.len() == entries_max {
                page.next = last;
                break;
            }
            match stand {
                Stand::Common(common) => {
                    page.common_prefixes.push(common.to_owned());
                    last = Some(common.to_owned());
                    rows.skip(&keys::object(bucket, common));
                }
                _ => {
                    last = Some(key.as_str().to_owned());
                    page.objects.push(listed(key, &row.current, content));
                    rows.advance();
                }
            }
        }
        Ok(page)
    }
}

pub(super) fn listed(key: ObjectKey, version: &VersionRow, content: &Content) -> ListedObject {
    ListedObject {
        key,
        etag: content.etag,
        size_bytes: content.size_bytes,
        modified: version.created,
        class: content.class,
        checksum: content
            .checksum
            .as_ref()
            .map(|checksum| (checksum.checksum.algorithm(), checksum.checksum_type)),
        restore: content.restore,
    }
}
