//! Parts: uploaded, copied from other objects, listed.

use futures::TryStreamExt;
use strongroom_keys::{Caller, EncryptionMode, KeyError};

use crate::change::{Change, object_name};
use crate::checksum::Checksum;
use crate::copy::check_source;
use crate::get::check_active;
use crate::payload::{SealedPart, write_part};
use crate::put::etag_of;
use crate::rows::{GarbageBlobs, UploadRow, UploadedPartRow, decode, encode, keys};
use crate::store::Inner;
use crate::{
    Body, BodyChecks, BodyError, ByteRange, ChecksumAlgorithm, ETag, ListParts, ListedPart,
    PAGE_ENTRIES_MAX, PartNumber, PartPage, Store, StoreError, UploadPart, UploadPartCopy,
    UploadRef, UploadedPart,
};

impl Store {
    /// Uploads a part, in place of one of the same number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUpload`], [`StoreError::PartEncryptionNotOfUpload`],
    /// [`StoreError::PartKeyMismatch`], [`StoreError::ChecksumNotOfUpload`], and those of a body as
    /// in [`Store::put`].
    pub async fn upload_part(
        &self,
        request: UploadPart,
        caller: &Caller,
    ) -> Result<UploadedPart, StoreError> {
        let inner = &*self.inner;
        let open = inner.upload(&request.upload).await?;
        let kept = kept_checksum(&open.row, &request.checks)?;
        let UploadRef {
            bucket,
            key,
            upload,
        } = &request.upload;
        let name = object_name(bucket, key.as_str(), upload.binding());
        let data_key = inner
            .keys
            .open(
                &open.row.envelope,
                &name,
                request.customer_key.as_ref(),
                caller,
            )
            .await
            .map_err(of_part)?;
        // A customer key has done its work.
        drop(request.customer_key);
        let encryption = inner.keys.mode_of(&open.row.envelope);
        let md5_is_etag = encryption == EncryptionMode::Managed;
        let sealed = Box::pin(write_part(
            inner,
            data_key,
            open.row.payload,
            request.body,
            request.checks,
            kept,
            md5_is_etag,
        ))
        .await?;
        let etag = etag_of(inner, &sealed, md5_is_etag);
        let blob = sealed.blob_ref();
        let checksum = sealed.checksum.clone();
        let size_bytes = sealed.part.plain_len_bytes;
        let row = commit_part(inner, &request.upload, request.number, sealed, etag).await;
        match row {
            Ok(row) => Ok(UploadedPart {
                etag,
                checksum,
                size_bytes,
                modified: row.modified,
                encryption,
                source: None,
            }),
            Err(error) => {
                if error.is_certainly_not_done() {
                    inner.delete_blobs(&[blob]).await;
                }
                Err(error)
            }
        }
    }

    /// Makes a part of bytes of another object: they are opened with its key and sealed with that
    /// of the upload.
    ///
    /// # Errors
    /// Those of [`Store::get`] for the source, and of [`Store::upload_part`].
    pub async fn upload_part_copy(
        &self,
        request: UploadPartCopy,
        caller: &Caller,
    ) -> Result<UploadedPart, StoreError> {
        let inner = &self.inner;
        inner.upload(&request.upload).await?;
        let from = &request.source;
        let source = inner.readable(&from.object).await?;
        check_source(from, &source)?;
        check_active(&source.content, inner.clock.now()).map_err(|error| match error {
            StoreError::Archived { class } => StoreError::SourceArchived { class },
            other => other,
        })?;
        let size_bytes = source.content.size_bytes;
        let range = match request.range {
            None => 0..size_bytes,
            Some(ByteRange::FromTo { last, .. }) if last >= size_bytes => {
                return Err(StoreError::InvalidRange { size_bytes });
            }
            Some(range) => range
                .within(size_bytes)
                .ok_or(StoreError::InvalidRange { size_bytes })?,
        };
        let len_bytes = range.end - range.start;
        let stream = inner
            .open_range(
                &from.object,
                &source,
                range,
                from.customer_key.as_ref(),
                caller,
            )
            .await?
            .map_err(|error| BodyError::Source(Box::new(error)));
        let part = UploadPart {
            upload: request.upload,
            number: request.number,
            body: Body::new(stream, len_bytes),
            checks: BodyChecks::default(),
            customer_key: request.customer_key,
        };
        match Box::pin(self.upload_part(part, caller)).await {
            Ok(uploaded) => Ok(UploadedPart {
                source: source.shown,
                ..uploaded
            }),
            Err(StoreError::Body(BodyError::Source(error))) => Err(*error),
            Err(error) => Err(error),
        }
    }

    /// Lists the parts of an upload.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUpload`].
    pub async fn list_parts(&self, request: ListParts) -> Result<PartPage, StoreError> {
        let inner = &*self.inner;
        let open = inner.upload(&request.upload).await?;
        let entries_max = request.entries_max.min(PAGE_ENTRIES_MAX);
        let mut rows = inner
            .uploaded_parts(open.row.payload, request.after, entries_max + 1)
            .await?;
        let is_truncated = rows.len() > entries_max && entries_max > 0;
        rows.truncate(entries_max);
        let next = rows.last().map(|(number, _)| *number);
        let parts = rows
            .into_iter()
            .map(|(number, row)| {
                let checksum = row.part.checksum;
                Ok(ListedPart {
                    number,
                    etag: row.etag,
                    size_bytes: row.part.plain_len_bytes,
                    modified: row.modified,
                    checksum: checksum
                        .ok_or_else(|| StoreError::damaged("a part has no checksum"))?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(PartPage {
            parts,
            next: next.filter(|_| is_truncated),
            class: open.row.class,
            encryption: inner.keys.mode_of(&open.row.envelope),
            checksum: open.row.checksum,
            initiator: open.row.initiator,
        })
    }
}

/// The checksum that is kept of a part, so that those of all parts make one of the object.
fn kept_checksum(row: &UploadRow, checks: &BodyChecks) -> Result<ChecksumAlgorithm, StoreError> {
    let expected = row.checksum.map(|(algorithm, _)| algorithm);
    match (expected, checks.algorithm) {
        (Some(expected), Some(sent)) if expected != sent => Err(StoreError::ChecksumNotOfUpload {
            expected: Some(expected),
        }),
        _ => Ok(expected.unwrap_or(ChecksumAlgorithm::Crc64Nvme)),
    }
}

/// What it means for a part that its upload's key did not open.
fn of_part(error: KeyError) -> StoreError {
    match error {
        KeyError::CustomerKeyRequired | KeyError::CustomerKeyNotApplicable => {
            StoreError::PartEncryptionNotOfUpload
        }
        KeyError::CustomerKeyMismatch => StoreError::PartKeyMismatch,
        other => other.into(),
    }
}

async fn commit_part(
    inner: &Inner,
    upload: &UploadRef,
    number: PartNumber,
    sealed: SealedPart,
    etag: ETag,
) -> Result<UploadedPartRow, StoreError> {
    let row = UploadedPartRow {
        part: sealed.part,
        etag,
        modified: inner.clock.now(),
    };
    let mut attempts = inner.attempts(&upload.bucket, upload.key.as_str());
    loop {
        let open = inner.upload(upload).await?;
        let mut change = Change::new(inner);
        change
            .batch
            .expect_unchanged(keys::UPLOADS, open.row_key.clone(), Some(&open.read));
        if open.row.being_closed {
            let reopened = UploadRow {
                being_closed: false,
                ..open.row.clone()
            };
            change
                .batch
                .put(keys::UPLOADS, open.row_key, encode(&reopened));
        }
        let payload = open.row.payload;
        let row_key = keys::part(payload, number);
        let before = change.read(keys::PARTS, &row_key).await?;
        change
            .batch
            .expect_unchanged(keys::PARTS, row_key.clone(), before.as_ref());
        if let Some(before) = before {
            let before: UploadedPartRow = decode(keys::PARTS, &before.value)?;
            change.discard(payload, GarbageBlobs::Listed(vec![before.part.blob]));
        }
        change.batch.put(keys::PARTS, row_key, encode(&row));
        if attempts.commit(change).await? {
            return Ok(row);
        }
    }
}

/// Whether a part has the checksum that a completion gives for it. One of another algorithm than
/// is kept was checked when the part came.
pub(super) fn has_checksum(row: &UploadedPartRow, given: Option<&Checksum>) -> bool {
    match (given, &row.part.checksum) {
        (Some(given), Some(kept)) => given.algorithm() != kept.algorithm() || given == kept,
        _ => true,
    }
}
