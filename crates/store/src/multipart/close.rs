//! The end of an upload: completed into a version, or aborted.

use md5::{Digest, Md5};
use strongroom_keys::Caller;

use super::OpenUpload;
use super::part::has_checksum;
use crate::change::Change;
use crate::checksum;
use crate::history::NewVersion;
use crate::payload::plain_len_bytes;
use crate::put::written;
use crate::rows::{
    Content, GarbageBlobs, Part, Parts, SegmentIndex, SegmentRow, UploadRow, UploadedPartRow,
    WholePart, encode, keys,
};
use crate::store::Inner;
use crate::{
    Checksum, ChecksumAlgorithm, ChecksumType, CompleteUpload, ETag, ObjectChecksum, PartNumber,
    PayloadId, Store, StoreError, UploadRef, Written,
};

/// The shortest part but the last, in bytes: 5 MiB.
///
/// Source: Amazon S3 User Guide, "Multipart upload limits".
const PART_LEN_BYTES_MIN: u64 = 5 << 20;

impl Store {
    /// Makes an object of the parts of an upload. It takes no key.
    ///
    /// The upload is marked first; a part that is written after that takes the mark away, so that
    /// the parts that are then gathered are all there are when one batch commits the version. A
    /// mark that a crash left behind does no harm. A completion that is repeated, because its
    /// answer was lost, gives the same answer.
    ///
    /// # Errors
    /// [`StoreError::NoParts`], [`StoreError::InvalidPartOrder`], [`StoreError::NoSuchUpload`],
    /// [`StoreError::InvalidPart`], [`StoreError::EntityTooSmall`],
    /// [`StoreError::ObjectSizeMismatch`], [`StoreError::ChecksumNotOfUpload`],
    /// [`StoreError::ChecksumMismatch`], [`StoreError::PreconditionFailed`], and those of the
    /// machine.
    pub async fn complete_upload(
        &self,
        request: CompleteUpload,
        _caller: &Caller,
    ) -> Result<Written, StoreError> {
        let inner = &*self.inner;
        if request.parts.is_empty() {
            return Err(StoreError::NoParts);
        }
        if !request
            .parts
            .is_sorted_by(|one, two| one.number < two.number)
        {
            return Err(StoreError::InvalidPartOrder);
        }
        let UploadRef {
            bucket: bucket_name,
            key,
            upload,
        } = &request.upload;
        let mut attempts = inner.attempts(bucket_name, key.as_str());
        loop {
            let bucket = inner.bucket(bucket_name).await?;
            let history = inner.history(bucket_name, key).await?;
            let open = match inner.upload(&request.upload).await {
                Err(StoreError::NoSuchUpload) => {
                    return completed_before(inner, &request.upload).await;
                }
                open => open?,
            };
            let mut change = Change::new(inner);
            if !open.row.being_closed {
                mark(&mut change, open);
                attempts.commit(change).await?;
                continue;
            }
            let parts = inner.all_uploaded_parts(open.row.payload).await?;
            let chosen = choose(&request, &parts)?;
            let object = assemble(&request, &open.row, &chosen)?;
            history.check(&request.conditions)?;

            let payload = open.row.payload;
            put_parts(&mut change, payload, &object.parts);
            close(&mut change, open, &parts);
            let unused: Vec<Vec<u8>> = parts
                .iter()
                .filter(|(number, _)| {
                    let place = request
                        .parts
                        .binary_search_by_key(number, |part| part.number);
                    place.is_err()
                })
                .map(|(_, row)| row.part.blob.clone())
                .collect();
            if !unused.is_empty() {
                change.discard(payload, GarbageBlobs::Listed(unused));
            }
            let content = object.content;
            let new = NewVersion {
                binding: upload.binding(),
                created: upload.begun(),
                content: Some(content.clone()),
            };
            let now = inner.clock.now();
            let version = history
                .supersede(&mut change, &bucket, key, new, now)
                .await?;
            if attempts.commit(change).await? {
                return Ok(written(inner, &bucket, &version, &content));
            }
        }
    }

    /// Gives up an upload and its parts.
    ///
    /// # Errors
    /// [`StoreError::NoSuchUpload`], and those of the machine.
    pub async fn abort_upload(
        &self,
        upload: &UploadRef,
        _caller: &Caller,
    ) -> Result<(), StoreError> {
        let inner = &*self.inner;
        let mut attempts = inner.attempts(&upload.bucket, upload.key.as_str());
        loop {
            let open = inner.upload(upload).await?;
            let mut change = Change::new(inner);
            if !open.row.being_closed {
                mark(&mut change, open);
                attempts.commit(change).await?;
                continue;
            }
            let payload = open.row.payload;
            let parts = inner.all_uploaded_parts(payload).await?;
            close(&mut change, open, &parts);
            if !parts.is_empty() {
                let blobs = parts.into_iter().map(|(_, row)| row.part.blob).collect();
                change.discard(payload, GarbageBlobs::Listed(blobs));
            }
            if attempts.commit(change).await? {
                return Ok(());
            }
        }
    }
}

fn mark(change: &mut Change<'_>, open: OpenUpload) {
    let marked = UploadRow {
        being_closed: true,
        ..open.row
    };
    change
        .batch
        .expect_unchanged(keys::UPLOADS, open.row_key.clone(), Some(&open.read));
    change
        .batch
        .put(keys::UPLOADS, open.row_key, encode(&marked));
}

/// Deletes the rows of an upload and of its parts.
fn close(change: &mut Change<'_>, open: OpenUpload, parts: &[(PartNumber, UploadedPartRow)]) {
    change
        .batch
        .expect_unchanged(keys::UPLOADS, open.row_key.clone(), Some(&open.read));
    change.batch.delete(keys::UPLOADS, open.row_key);
    for (number, _) in parts {
        change
            .batch
            .delete(keys::PARTS, keys::part(open.row.payload, *number));
    }
}

/// The answer to a completion that was made before.
async fn completed_before(inner: &Inner, upload: &UploadRef) -> Result<Written, StoreError> {
    let bucket = inner.bucket(&upload.bucket).await?;
    let history = inner.history(&upload.bucket, &upload.key).await?;
    match history.current() {
        Some(version) if version.version.binding() == upload.upload.binding() => {
            let content = version.content.as_ref().ok_or(StoreError::NoSuchUpload)?;
            Ok(written(inner, &bucket, version, content))
        }
        _ => Err(StoreError::NoSuchUpload),
    }
}

/// The uploaded parts that a completion names.
fn choose<'p>(
    request: &CompleteUpload,
    parts: &'p [(PartNumber, UploadedPartRow)],
) -> Result<Vec<&'p UploadedPartRow>, StoreError> {
    let chosen = request
        .parts
        .iter()
        .map(|named| {
            parts
                .binary_search_by_key(&named.number, |(number, _)| *number)
                .ok()
                .and_then(|place| parts.get(place))
                .map(|(_, row)| row)
                .filter(|row| {
                    named.etag == Some(row.etag) && has_checksum(row, named.checksum.as_ref())
                })
                .ok_or(StoreError::InvalidPart {
                    number: named.number,
                    etag: named.etag,
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let all_but_last = chosen.len().saturating_sub(1);
    for (named, row) in request.parts.iter().zip(&chosen).take(all_but_last) {
        let size_bytes = row.part.plain_len_bytes;
        if size_bytes < PART_LEN_BYTES_MIN {
            return Err(StoreError::EntityTooSmall {
                number: named.number,
                etag: row.etag,
                size_bytes,
                size_bytes_min: PART_LEN_BYTES_MIN,
            });
        }
    }
    Ok(chosen)
}

/// An object made of parts.
struct Assembled {
    content: Content,
    parts: Vec<Part>,
}

fn assemble(
    request: &CompleteUpload,
    row: &UploadRow,
    chosen: &[&UploadedPartRow],
) -> Result<Assembled, StoreError> {
    let size_bytes = chosen.iter().fold(0_u64, |sum, row| {
        sum.saturating_add(row.part.plain_len_bytes)
    });
    if let Some(stated_bytes) = request.size_bytes
        && stated_bytes != size_bytes
    {
        return Err(StoreError::ObjectSizeMismatch {
            size_bytes,
            stated_bytes,
        });
    }
    let mut md5 = Md5::new();
    for row in chosen {
        md5.update(row.etag.digest());
    }
    let part_count = u16::try_from(chosen.len()).unwrap_or(u16::MAX);
    let parts: Vec<Part> = chosen.iter().map(|row| row.part.clone()).collect();
    let whole = match parts.as_slice() {
        [only] => Some(WholePart {
            part: only.id,
            blob: only.blob.clone(),
        }),
        _ => None,
    };
    Ok(Assembled {
        content: Content {
            size_bytes,
            etag: ETag::of_parts(md5.finalize().into(), part_count),
            class: row.class,
            archive_pending: row.class.is_archived(),
            metadata: row.metadata.clone(),
            checksum: Some(checksum_of(request, row, chosen)?),
            part_count: Some(part_count),
            envelope: row.envelope.clone(),
            payload: row.payload,
            whole,
            restore: None,
        },
        parts,
    })
}

fn checksum_of(
    request: &CompleteUpload,
    row: &UploadRow,
    chosen: &[&UploadedPartRow],
) -> Result<ObjectChecksum, StoreError> {
    let (algorithm, checksum_type) = row
        .checksum
        .unwrap_or((ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject));
    let not_of_upload = || StoreError::ChecksumNotOfUpload {
        expected: row.checksum.map(|(algorithm, _)| algorithm),
    };
    if request
        .checksum_type
        .is_some_and(|stated| stated != checksum_type)
    {
        return Err(not_of_upload());
    }
    let of_parts: Vec<(&Checksum, u64)> = chosen
        .iter()
        .filter_map(|row| Some((row.part.checksum.as_ref()?, row.part.plain_len_bytes)))
        .collect();
    if of_parts.len() != chosen.len() {
        return Err(StoreError::damaged("a part has no checksum"));
    }
    let computed = checksum::of_parts(algorithm, checksum_type, &of_parts)
        .ok_or_else(|| StoreError::damaged("the checksums of parts are of several kinds"))?;
    match &request.checksum {
        Some(stated) if stated.algorithm() != algorithm => Err(not_of_upload()),
        Some(stated) if *stated != computed.checksum => {
            Err(StoreError::ChecksumMismatch { algorithm })
        }
        _ => Ok(computed),
    }
}

/// Writes the parts of a new payload: one into its row, several into segments.
fn put_parts(change: &mut Change<'_>, payload: PayloadId, parts: &[Part]) {
    if let [only] = parts {
        change.new_payload(payload, Parts::One(only.clone()));
        return;
    }
    let indexes = put_segments(change, payload, 0, parts);
    change.new_payload(payload, Parts::Segments(indexes));
}

/// Writes the segments of a copy of a payload.
pub(crate) fn put_segments(
    change: &mut Change<'_>,
    payload: PayloadId,
    copy: u32,
    parts: &[Part],
) -> Vec<SegmentIndex> {
    parts
        .chunks(SegmentRow::PARTS_MAX)
        .zip(0_u16..)
        .map(|(parts, segment)| {
            let row = SegmentRow {
                parts: parts.to_vec(),
            };
            let row_key = keys::segment(payload, copy, segment);
            change.batch.put(keys::PAYLOAD_PARTS, row_key, encode(&row));
            SegmentIndex {
                part_count: u16::try_from(parts.len()).unwrap_or(u16::MAX),
                plain_len_bytes: plain_len_bytes(parts),
            }
        })
        .collect()
}
