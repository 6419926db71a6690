//! One part on its way in: checked, sealed and made durable in one pass.

use std::num::NonZeroUsize;

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use metrics::counter;
use strongroom_blobs::{BlobOwner, BlobRef};
use strongroom_seal::layout::{
    SEALED_CHUNK_LEN_BYTES, TAG_LEN_BYTES, last_chunk, sealed_len_bytes,
};
use strongroom_seal::{DataKey, HEADER_LEN_BYTES, PayloadContext, RunBuffer, Salt, Sealer};

use crate::checksum::{RunningChecksum, RunningMd5};
use crate::rows::Part;
use crate::store::Inner;
use crate::{
    Body, BodyChecks, Checksum, ChecksumAlgorithm, Md5Digest, PartId, PayloadId, StoreError,
};

/// How many chunks are sealed and appended at a time: 1 MiB of plaintext.
const RUN_CHUNKS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// The longest body of one request, in bytes: 5 GiB.
///
/// Source: Amazon S3 User Guide, "Uploading objects", and "Multipart upload limits".
const BODY_LEN_BYTES_MAX: u64 = 5 << 30;

/// A part that is durable and that nothing refers to yet.
pub(crate) struct SealedPart {
    pub(crate) part: Part,
    /// The checksum that the client sent or asked for, or else the one that is kept.
    pub(crate) checksum: Checksum,
    /// The MD5 of the plaintext, when it was wanted.
    pub(crate) md5: Option<Md5Digest>,
}

impl SealedPart {
    pub(crate) fn blob_ref(&self) -> BlobRef {
        self.part.blob_ref()
    }
}

/// Streams a body once: computes what is to be checked and the checksum that is `kept`, seals it
/// under `key`, and makes it durable as a part of `payload`.
///
/// The key is wiped when the header is made, and the sealer with the last chunk. When this fails,
/// the bytes that were written are given back.
pub(crate) async fn write_part(
    inner: &Inner,
    key: DataKey,
    payload: PayloadId,
    body: Body,
    mut checks: BodyChecks,
    kept: ChecksumAlgorithm,
    md5_wanted: bool,
) -> Result<SealedPart, StoreError> {
    let Body {
        mut stream,
        len_bytes,
    } = body;
    if len_bytes > BODY_LEN_BYTES_MAX {
        return Err(StoreError::EntityTooLarge {
            size_bytes: len_bytes,
            size_bytes_max: BODY_LEN_BYTES_MAX,
        });
    }
    let sealed_len =
        sealed_len_bytes(len_bytes).map_err(|error| StoreError::damaged(error.to_string()))?;
    let mut writer = inner.blobs.create(BlobOwner(payload.0), sealed_len).await?;

    let id = PartId::random(&*inner.entropy);
    let context = PayloadContext::new(&payload.0, &id.0);
    let salt = Salt::generate(&*inner.entropy);
    let (mut sealer, header) = Sealer::new(&key, &salt, context.as_bytes());
    drop(key);

    let mut md5 = RunningMd5::new(md5_wanted || checks.content_md5.is_some());
    let mut checksum = RunningChecksum::new(kept);
    let mut checked = checks
        .algorithm
        .filter(|algorithm| *algorithm != kept)
        .map(RunningChecksum::new);

    let chunks = run_chunks(len_bytes);
    // The header stands before the first run in one buffer; its room is exactly what the run
    // reserves, so that joining them again moves nothing.
    let mut head = Some(BytesMut::with_capacity(
        HEADER_LEN_BYTES + chunks.get() * SEALED_CHUNK_LEN_BYTES + TAG_LEN_BYTES,
    ));
    let first = head.as_mut().map_or_else(BytesMut::new, |head| {
        head.extend_from_slice(&header);
        head.split_off(HEADER_LEN_BYTES)
    });
    let mut run = RunBuffer::new(first, chunks);
    let mut received = 0_u64;
    while let Some(piece) = stream.next().await {
        let mut piece: Bytes = piece.map_err(StoreError::Body)?;
        received += piece.len() as u64;
        if received > len_bytes {
            return Err(StoreError::BodyTooLong {
                declared: len_bytes,
            });
        }
        // Chunk by chunk, so that sums, sealing and copy find the bytes in the nearest cache.
        while !piece.is_empty() {
            if run.is_full() {
                let sealed = run.into_sealed().map_err(seal_failed)?;
                let buffer = writer.append(joined(head.take(), sealed)).await?;
                run = RunBuffer::new(buffer, chunks);
            }
            let now = &piece[..piece.len().min(run.wanted_len_bytes())];
            md5.update(now);
            checksum.update(now);
            if let Some(checked) = &mut checked {
                checked.update(now);
            }
            let taken = run.fill(now, &mut sealer).map_err(seal_failed)?;
            piece.advance(taken);
        }
    }
    if received < len_bytes {
        return Err(StoreError::IncompleteBody {
            declared: len_bytes,
            received,
        });
    }
    let sealed = run.into_last_sealed(sealer).map_err(seal_failed)?;

    let md5 = md5.finish();
    let kept = checksum.finish();
    let checksum = checked.map_or_else(|| kept.clone(), RunningChecksum::finish);
    check_body(&mut checks, md5, &checksum)?;

    writer.append(joined(head.take(), sealed)).await?;
    let blob = writer.finish().await?;
    counter!("strongroom_payload_written_bytes_total").increment(sealed_len);
    Ok(SealedPart {
        part: Part {
            id,
            plain_len_bytes: len_bytes,
            checksum: Some(kept),
            blob: blob.as_bytes().to_vec(),
        },
        checksum,
        md5,
    })
}

fn run_chunks(len_bytes: u64) -> NonZeroUsize {
    usize::try_from(last_chunk(len_bytes) + 1)
        .ok()
        .and_then(NonZeroUsize::new)
        .map_or(RUN_CHUNKS, |chunks| chunks.min(RUN_CHUNKS))
}

fn joined(head: Option<BytesMut>, run: BytesMut) -> BytesMut {
    match head {
        Some(mut head) => {
            head.unsplit(run);
            head
        }
        None => run,
    }
}

fn check_body(
    checks: &mut BodyChecks,
    md5: Option<Md5Digest>,
    checksum: &Checksum,
) -> Result<(), StoreError> {
    if checks.content_md5.is_some() && checks.content_md5 != md5 {
        return Err(StoreError::Md5Mismatch);
    }
    let mismatch = || StoreError::ChecksumMismatch {
        algorithm: checksum.algorithm(),
    };
    if checks
        .checksum
        .as_ref()
        .is_some_and(|sent| sent != checksum)
    {
        return Err(mismatch());
    }
    if let Some(trailer) = checks.trailer.take() {
        let sent = trailer().map_err(StoreError::Body)?;
        if sent.as_ref() != Some(checksum) {
            return Err(mismatch());
        }
    }
    Ok(())
}

fn seal_failed(error: strongroom_seal::SealError) -> StoreError {
    // The lengths are those of the declared body, which is within the limits of the format.
    StoreError::Unavailable {
        reason: error.to_string(),
    }
}
