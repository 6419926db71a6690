//! Payloads as they are: read for the cold tier, and written back warm. No key is used.

use std::fmt;
use std::pin::Pin as StdPin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use metrics::counter;
use strongroom_blobs::{BlobOwner, BlobRef};
use strongroom_seal::layout::sealed_len_bytes;

use super::{Pin, segments_of};
use crate::rows::{Part, PayloadRow};
use crate::store::Inner;
use crate::{BodyStream, PayloadId, SealedPayload, Store, StoreError};

/// How many sealed bytes are read at a time.
const PIECE_LEN_BYTES: u64 = 1 << 20;

/// The sealed bytes of a payload, part after part.
pub struct SealedStream {
    payload: SealedPayload,
    pieces: StdPin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>,
    _pin: Pin,
}

impl SealedStream {
    /// Which bytes they are, and how many.
    #[must_use]
    pub const fn payload(&self) -> &SealedPayload {
        &self.payload
    }
}

impl Stream for SealedStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(
        mut self: StdPin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

impl fmt::Debug for SealedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedStream({:?})", self.payload)
    }
}

/// A warm copy of a payload that is durable and that nothing refers to yet.
///
/// Given to [`Store::complete_restore`], or it is garbage that the next start reclaims.
#[derive(Debug)]
pub struct WarmCopy {
    pub(crate) payload: PayloadId,
    /// The blobs of the parts, in order.
    pub(crate) blobs: Vec<BlobRef>,
}

/// The lengths of the sealed parts of a payload, in bytes.
pub(crate) fn sealed_payload(
    payload: PayloadId,
    parts: &[Part],
) -> Result<SealedPayload, StoreError> {
    let part_lens_bytes = parts
        .iter()
        .map(|part| sealed_len_bytes(part.plain_len_bytes))
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::damaged(format!("payload {payload}: {error}")))?;
    Ok(SealedPayload {
        payload,
        part_lens_bytes,
    })
}

impl Store {
    /// The sealed bytes of a payload that has a warm copy.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`] when there is no such payload, or no warm copy of it.
    pub async fn read_sealed(&self, payload: PayloadId) -> Result<SealedStream, StoreError> {
        let inner = &self.inner;
        let row: PayloadRow = inner
            .payload(payload)
            .await?
            .filter(|row| row.is_warm)
            .ok_or(StoreError::NoSuchVersion)?;
        let pin = inner.pins.pin(payload);
        let parts = segments_of(inner, payload, &row).await?;
        let described = sealed_payload(payload, &parts)?;
        let mut pieces = Vec::new();
        for (part, len) in parts.iter().zip(&described.part_lens_bytes) {
            let mut offset = 0;
            while offset < *len {
                let piece = PIECE_LEN_BYTES.min(*len - offset);
                pieces.push((part.blob_ref(), offset, piece));
                offset += piece;
            }
        }
        let blobs = inner.blobs.clone();
        let pieces = futures::stream::iter(pieces).then(move |(blob, offset, len_bytes)| {
            let blobs = blobs.clone();
            async move {
                let len = usize::try_from(len_bytes).expect("a piece is at most 1 MiB");
                let bytes = blobs.read(&blob, offset, BytesMut::zeroed(len)).await?;
                counter!("strongroom_payload_read_bytes_total").increment(len_bytes);
                Ok(bytes.freeze())
            }
        });
        Ok(SealedStream {
            payload: described,
            pieces: Box::pin(pieces),
            _pin: pin,
        })
    }

    /// Writes the sealed bytes of a payload back, as [`Store::read_sealed`] gave them.
    ///
    /// The lengths are checked here, the contents by whoever reads them with a key.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`] when there is no such payload; [`StoreError::IncompleteBody`],
    /// [`StoreError::BodyTooLong`], [`StoreError::Body`].
    pub async fn write_warm_copy(
        &self,
        payload: PayloadId,
        sealed: impl BodyStream,
    ) -> Result<WarmCopy, StoreError> {
        let inner = &self.inner;
        let row = inner
            .payload(payload)
            .await?
            .ok_or(StoreError::NoSuchVersion)?;
        let parts = segments_of(inner, payload, &row).await?;
        let described = sealed_payload(payload, &parts)?;
        let mut copy = WarmCopy {
            payload,
            blobs: Vec::with_capacity(parts.len()),
        };
        match write_parts(inner, &described, sealed, &mut copy.blobs).await {
            Ok(()) => Ok(copy),
            Err(error) => {
                inner.delete_blobs(&copy.blobs).await;
                Err(error)
            }
        }
    }
}

async fn write_parts(
    inner: &Inner,
    described: &SealedPayload,
    mut sealed: impl BodyStream,
    blobs: &mut Vec<BlobRef>,
) -> Result<(), StoreError> {
    let declared = described.len_bytes();
    let mut received = 0;
    let mut piece = Bytes::new();
    for len in &described.part_lens_bytes {
        let mut writer = inner
            .blobs
            .create(BlobOwner(described.payload.0), *len)
            .await?;
        let mut left = *len;
        let mut buffer = BytesMut::new();
        while left > 0 {
            if piece.is_empty() {
                let Some(next) = sealed.next().await else {
                    return Err(StoreError::IncompleteBody { declared, received });
                };
                piece = next.map_err(StoreError::Body)?;
                received += piece.len() as u64;
                continue;
            }
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            buffer.extend_from_slice(&piece[..now]);
            buffer = writer.append(buffer).await?;
            piece.advance(now);
            left -= now as u64;
        }
        blobs.push(writer.finish().await?);
        counter!("strongroom_payload_written_bytes_total").increment(*len);
    }
    while piece.is_empty() {
        match sealed.next().await {
            Some(next) => piece = next.map_err(StoreError::Body)?,
            None => return Ok(()),
        }
    }
    Err(StoreError::BodyTooLong { declared })
}
