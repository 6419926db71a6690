//! Which parts of a payload hold which bytes.

use std::ops::Range;

use strongroom_blobs::BlobRef;

use crate::rows::{Part, Parts, PayloadRow, SegmentIndex, SegmentRow, decode, keys};
use crate::store::Inner;
use crate::{PartId, PartNumber, PayloadId, StoreError};

/// Bytes of one part that are wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PartSlice {
    pub(crate) id: PartId,
    pub(crate) blob: BlobRef,
    /// The length of the whole part, in bytes of plaintext.
    pub(crate) plain_len_bytes: u64,
    /// The wanted bytes of its plaintext.
    pub(crate) range: Range<u64>,
}

/// A segment of a payload's parts, which must be what its index says: an offset within the payload
/// is told by the indexes of the segments before it.
async fn segment(
    inner: &Inner,
    payload: PayloadId,
    copy: u32,
    index: usize,
    says: &SegmentIndex,
) -> Result<SegmentRow, StoreError> {
    let missing = || StoreError::damaged(format!("segment {index} of payload {payload} is gone"));
    let index = u16::try_from(index).map_err(|_| missing())?;
    let row = inner
        .meta
        .get(keys::PAYLOAD_PARTS, &keys::segment(payload, copy, index))
        .await?
        .ok_or_else(missing)?;
    let row: SegmentRow = decode(keys::PAYLOAD_PARTS, &row.value)?;
    let len_bytes = plain_len_bytes(&row.parts);
    if row.parts.len() != usize::from(says.part_count) || len_bytes != says.plain_len_bytes {
        return Err(StoreError::damaged(format!(
            "segment {index} of payload {payload} is not what its index says"
        )));
    }
    Ok(row)
}

/// The length of parts together. One that no payload can have stands for all that are longer.
pub(crate) fn plain_len_bytes(parts: &[Part]) -> u64 {
    parts
        .iter()
        .fold(0, |len, part| len.saturating_add(part.plain_len_bytes))
}

/// All parts of a payload, in order.
pub(crate) async fn segments_of(
    inner: &Inner,
    payload: PayloadId,
    row: &PayloadRow,
) -> Result<Vec<Part>, StoreError> {
    match &row.parts {
        Parts::One(part) => Ok(vec![part.clone()]),
        Parts::Segments(indexes) => {
            let mut parts = Vec::new();
            for (index, says) in indexes.iter().enumerate() {
                let segment = segment(inner, payload, row.copy, index, says).await?;
                parts.extend(segment.parts);
            }
            Ok(parts)
        }
    }
}

/// The parts that hold the bytes `range` of the plaintext of a payload.
///
/// Of an empty payload that is its only part, so that it too is verified by who reads it.
pub(crate) async fn slices(
    inner: &Inner,
    payload: PayloadId,
    row: &PayloadRow,
    range: Range<u64>,
) -> Result<Vec<PartSlice>, StoreError> {
    match &row.parts {
        Parts::One(part) => Ok(vec![PartSlice {
            id: part.id,
            blob: part.blob_ref(),
            plain_len_bytes: part.plain_len_bytes,
            range,
        }]),
        Parts::Segments(indexes) => {
            let mut slices = Vec::new();
            let mut start = 0_u64;
            for (index, span) in indexes.iter().enumerate() {
                let end = start.saturating_add(span.plain_len_bytes);
                if start < range.end && range.start < end {
                    let segment = segment(inner, payload, row.copy, index, span).await?;
                    push_slices(&mut slices, segment.parts, start, &range);
                }
                start = end;
            }
            Ok(slices)
        }
    }
}

fn push_slices(slices: &mut Vec<PartSlice>, parts: Vec<Part>, start: u64, wanted: &Range<u64>) {
    let mut start = start;
    for part in parts {
        let end = start.saturating_add(part.plain_len_bytes);
        let (from, to) = (wanted.start.max(start), wanted.end.min(end));
        if from < to {
            slices.push(PartSlice {
                id: part.id,
                blob: part.blob_ref(),
                plain_len_bytes: part.plain_len_bytes,
                range: from - start..to - start,
            });
        }
        start = end;
    }
}

/// The bytes of the plaintext of a payload that its part `number` holds; `None` when it has no
/// such part.
pub(crate) async fn range_of_part(
    inner: &Inner,
    payload: PayloadId,
    row: &PayloadRow,
    number: PartNumber,
) -> Result<Option<Range<u64>>, StoreError> {
    let mut before = usize::from(number.get()) - 1;
    let mut start = 0_u64;
    let indexes = match &row.parts {
        Parts::One(part) => return Ok((before == 0).then_some(0..part.plain_len_bytes)),
        Parts::Segments(indexes) => indexes,
    };
    for (index, span) in indexes.iter().enumerate() {
        if before >= usize::from(span.part_count) {
            before -= usize::from(span.part_count);
            start = start.saturating_add(span.plain_len_bytes);
            continue;
        }
        let parts = segment(inner, payload, row.copy, index, span).await?.parts;
        let (earlier, rest) = parts.split_at(before);
        let first = start.saturating_add(plain_len_bytes(earlier));
        return Ok(rest
            .first()
            .map(|part| first..first.saturating_add(part.plain_len_bytes)));
    }
    Ok(None)
}
