//! Multipart uploads.
//!
//! An upload has one data key and one payload from its beginning. Its parts are sealed with that
//! key as they come, each attempt under an id of its own; completing it makes rows only, and needs
//! no key.

mod begin;
pub(crate) mod close;
mod part;

use strongroom_meta::{Row, Scan};

use crate::rows::{UploadRow, UploadedPartRow, decode, keys};
use crate::store::Inner;
use crate::{PartNumber, PayloadId, StoreError, UploadRef};

/// How many rows of parts are read at a time.
const PARTS_AT_ONCE: usize = 1000;

/// An upload as it was read.
pub(crate) struct OpenUpload {
    pub(crate) row_key: Vec<u8>,
    pub(crate) read: Row,
    pub(crate) row: UploadRow,
}

impl Inner {
    /// An upload that is under way.
    pub(crate) async fn upload(&self, upload: &UploadRef) -> Result<OpenUpload, StoreError> {
        let row_key = keys::upload(&upload.bucket, &upload.key, upload.upload);
        match self.meta.get(keys::UPLOADS, &row_key).await? {
            Some(read) => Ok(OpenUpload {
                row: decode(keys::UPLOADS, &read.value)?,
                row_key,
                read,
            }),
            None => {
                self.bucket(&upload.bucket).await?;
                Err(StoreError::NoSuchUpload)
            }
        }
    }

    /// The parts of an upload after `after`, by number, at most `limit`.
    pub(crate) async fn uploaded_parts(
        &self,
        payload: PayloadId,
        after: u16,
        limit: usize,
    ) -> Result<Vec<(PartNumber, UploadedPartRow)>, StoreError> {
        let mut start = payload.0.to_vec();
        start.extend_from_slice(&after.saturating_add(1).to_be_bytes());
        let scan = Scan::within(&payload.0, start, limit);
        let rows = self.meta.scan(keys::PARTS, scan).await?;
        rows.iter()
            .map(|found| {
                let (_, number) = keys::part_of(&found.key)
                    .ok_or_else(|| StoreError::damaged("a row of parts has no part's number"))?;
                Ok((number, decode(keys::PARTS, &found.row.value)?))
            })
            .collect()
    }

    /// All parts of an upload, by number.
    pub(crate) async fn all_uploaded_parts(
        &self,
        payload: PayloadId,
    ) -> Result<Vec<(PartNumber, UploadedPartRow)>, StoreError> {
        let mut parts: Vec<(PartNumber, UploadedPartRow)> = Vec::new();
        loop {
            let after = parts.last().map_or(0, |(number, _)| number.get());
            let page = self.uploaded_parts(payload, after, PARTS_AT_ONCE).await?;
            let is_last = page.len() < PARTS_AT_ONCE;
            parts.extend(page);
            if is_last {
                return Ok(parts);
            }
        }
    }
}
