//! ListMultipartUploads.

use super::scanner::Scanner;
use super::{Shape, Stand, page_len};
use crate::rows::{UploadRow, decode, keys};
use crate::{ListUploads, ListedUpload, Store, StoreError, UploadPage};

impl Store {
    /// Lists uploads under way by key, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], and those of the machine.
    pub async fn list_uploads(&self, request: ListUploads) -> Result<UploadPage, StoreError> {
        let inner = &*self.inner;
        let bucket = &request.bucket;
        inner.bucket(bucket).await?;
        let entries_max = page_len(request.entries_max);
        let mut page = UploadPage::default();
        if entries_max == 0 {
            return Ok(page);
        }
        let shape = Shape {
            prefix: &request.prefix,
            delimiter: request.delimiter.as_deref(),
            after: request.after_key.as_deref(),
        };
        let prefix = keys::escaped_prefix(bucket, shape.prefix);
        let mut rows = Scanner::new(inner, keys::UPLOADS, prefix);
        if let Some(after) = shape.after {
            let mut start = keys::of_key(bucket, after);
            match request.after_upload {
                Some(upload) => {
                    start.extend_from_slice(&upload.to_bytes());
                    start.push(0);
                    rows.seek(start);
                }
                None => {
                    rows.seek(start.clone());
                    rows.skip(&start);
                }
            }
        }
        let mut last = None;
        while let Some(found) = rows.peek().await? {
            let (key, upload) = keys::upload_of(bucket, &found.key)
                .ok_or_else(|| StoreError::damaged("a row of uploads has no upload's name"))?;
            let stand = shape.stand(key.as_str());
            if let Stand::Passed(common) = stand {
                rows.skip(&keys::escaped_prefix(bucket, common));
                continue;
            }
            if page.uploads.len() + page.common_prefixes.len() == entries_max {
                page.next = last;
                break;
            }
            if let Stand::Common(common) = stand {
                page.common_prefixes.push(common.to_owned());
                last = Some((common.to_owned(), None));
                rows.skip(&keys::escaped_prefix(bucket, common));
                continue;
            }
            let row: UploadRow = decode(keys::UPLOADS, &found.row.value)?;
            last = Some((key.as_str().to_owned(), Some(upload)));
            page.uploads.push(ListedUpload {
                key,
                upload,
                class: row.class,
                checksum: row.checksum,
                initiator: row.initiator,
            });
            rows.advance();
        }
        Ok(page)
    }
}
