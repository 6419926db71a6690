//! Which byte of a payload is where in its sealed stream.
//!
//! ```text
//! salt 24 | commitment 32 | chunk 0: 16384 + tag 16 | chunk 1 | … | last chunk: 0..16383 + tag 16
//! ```
//!
//! The last chunk is always shorter than the others, so a payload of a whole number of chunks
//! ends in an empty one, and where a sealed stream ends can't be mistaken.

use std::num::NonZeroU64;
use std::ops::Range;

use crate::payload::HEADER_LEN_BYTES;

/// The length of the plaintext of every chunk but the last, in bytes.
pub const CHUNK_LEN_BYTES: usize = 16 * 1024;

/// The length of the AES-GCM tag behind each chunk, in bytes.
pub const TAG_LEN_BYTES: usize = 16;

/// The length of every sealed chunk but the last, in bytes.
pub const SEALED_CHUNK_LEN_BYTES: usize = CHUNK_LEN_BYTES + TAG_LEN_BYTES;

/// The largest number of chunks of a payload (C2SP chunked-encryption, "Message chunking").
pub const CHUNKS_MAX: u64 = 1 << 38;

/// The length of the longest payload in bytes: one byte short of 4 PiB.
pub const PLAIN_LEN_BYTES_MAX: u64 = CHUNKS_MAX * CHUNK_LEN_BYTES as u64 - 1;

const HEADER: u64 = HEADER_LEN_BYTES as u64;
const CHUNK: u64 = CHUNK_LEN_BYTES as u64;
const TAG: u64 = TAG_LEN_BYTES as u64;
const SEALED_CHUNK: u64 = SEALED_CHUNK_LEN_BYTES as u64;

/// A length or a range that no payload has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The caller asks for a payload longer than the format allows.
    #[error("a payload of {plain_len_bytes} bytes is longer than {PLAIN_LEN_BYTES_MAX}")]
    TooLong {
        /// The length of the plaintext, in bytes.
        plain_len_bytes: u64,
    },
    /// No sealed stream has this length: bytes are missing at its end, or were added.
    #[error("no sealed stream is {sealed_len_bytes} bytes long: it is truncated or extended")]
    Truncated {
        /// The length of the sealed stream, header included, in bytes.
        sealed_len_bytes: u64,
    },
    /// The caller asks for bytes behind the end, or for a range that ends before it starts.
    #[error("bytes {start}..{end} are not within a payload of {plain_len_bytes} bytes")]
    OutOfBounds {
        /// The first byte asked for.
        start: u64,
        /// The byte behind the last one asked for.
        end: u64,
        /// The length of the plaintext, in bytes.
        plain_len_bytes: u64,
    },
}

/// The length of the sealed stream of a payload of `plain_len_bytes`, header included.
///
/// # Errors
/// [`LayoutError::TooLong`].
pub const fn sealed_len_bytes(plain_len_bytes: u64) -> Result<u64, LayoutError> {
    if plain_len_bytes > PLAIN_LEN_BYTES_MAX {
        return Err(LayoutError::TooLong { plain_len_bytes });
    }
    Ok(HEADER + plain_len_bytes + (last_chunk(plain_len_bytes) + 1) * TAG)
}

/// The length of the payload whose sealed stream, header included, is `sealed_len_bytes` long.
///
/// # Errors
/// [`LayoutError::Truncated`] when no payload seals to that length, [`LayoutError::TooLong`].
pub const fn plain_len_bytes(sealed_len_bytes: u64) -> Result<u64, LayoutError> {
    let Some(body) = sealed_len_bytes.checked_sub(HEADER) else {
        return Err(LayoutError::Truncated { sealed_len_bytes });
    };
    let Some(last) = (body % SEALED_CHUNK).checked_sub(TAG) else {
        return Err(LayoutError::Truncated { sealed_len_bytes });
    };
    let plain_len_bytes = body / SEALED_CHUNK * CHUNK + last;
    if plain_len_bytes > PLAIN_LEN_BYTES_MAX {
        return Err(LayoutError::TooLong { plain_len_bytes });
    }
    Ok(plain_len_bytes)
}

/// The index of the last chunk of a payload of `plain_len_bytes`.
#[must_use]
pub const fn last_chunk(plain_len_bytes: u64) -> u64 {
    plain_len_bytes / CHUNK
}

/// The chunks that hold the bytes `range` of a payload of `plain_len_bytes`.
///
/// An empty range gives the chunk it stands in, so that an empty payload too is verified by
/// opening its last chunk.
///
/// # Errors
/// [`LayoutError::TooLong`], [`LayoutError::OutOfBounds`].
pub fn chunk_span(range: Range<u64>, plain_len_bytes: u64) -> Result<ChunkSpan, LayoutError> {
    if plain_len_bytes > PLAIN_LEN_BYTES_MAX {
        return Err(LayoutError::TooLong { plain_len_bytes });
    }
    if range.start > range.end || range.end > plain_len_bytes {
        return Err(LayoutError::OutOfBounds {
            start: range.start,
            end: range.end,
            plain_len_bytes,
        });
    }
    let last_byte = range.end.saturating_sub(1).max(range.start);
    Ok(ChunkSpan {
        first: range.start / CHUNK,
        last: last_byte / CHUNK,
        wanted: range,
        plain_len_bytes,
    })
}

/// Neighbouring chunks of a payload, and which of their bytes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSpan {
    first: u64,
    last: u64,
    wanted: Range<u64>,
    plain_len_bytes: u64,
}

impl ChunkSpan {
    /// The index of the first chunk.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The index of the last chunk of the span, which is a part of it.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Whether the span ends with the payload's last chunk.
    #[must_use]
    pub const fn holds_last(&self) -> bool {
        self.last == last_chunk(self.plain_len_bytes)
    }

    /// Where the span's chunks are in the sealed stream, tags included: offsets from the start of
    /// its header, in bytes.
    #[must_use]
    pub fn sealed(&self) -> Range<u64> {
        let end = if self.holds_last() {
            HEADER + self.plain_len_bytes + (self.last + 1) * TAG
        } else {
            HEADER + (self.last + 1) * SEALED_CHUNK
        };
        HEADER + self.first * SEALED_CHUNK..end
    }

    /// Where the wanted bytes are in the payload.
    #[must_use]
    pub fn wanted(&self) -> Range<u64> {
        self.wanted.clone()
    }

    /// Where the wanted bytes are in the plaintext of the span's chunks, laid out without gaps.
    #[must_use]
    pub fn wanted_in_span(&self) -> Range<u64> {
        let start = self.first * CHUNK;
        self.wanted.start - start..self.wanted.end - start
    }

    /// The length of the plaintext of the span's chunks, wanted or not, in bytes.
    #[must_use]
    pub fn span_len_bytes(&self) -> u64 {
        let end = ((self.last + 1) * CHUNK).min(self.plain_len_bytes);
        end - self.first * CHUNK
    }

    /// The same span in runs of at most `chunks_max` chunks, each short enough to be held.
    pub fn runs(self, chunks_max: NonZeroU64) -> impl Iterator<Item = Self> + Send {
        let count = (self.last - self.first) / chunks_max + 1;
        (0..count).map(move |run| {
            let first = self.first + run * chunks_max.get();
            let last = (first + (chunks_max.get() - 1)).min(self.last);
            let start = self.wanted.start.max(first * CHUNK);
            let end = self.wanted.end.min((last + 1) * CHUNK);
            Self {
                first,
                last,
                wanted: start..end,
                plain_len_bytes: self.plain_len_bytes,
            }
        })
    }
}

/// Where the plaintext of each chunk stands in an opened run of `run_len_bytes`.
///
/// A run is one or several neighbouring sealed chunks in one buffer; opening it in place leaves
/// the tags between the plaintexts.
pub fn plain_pieces(run_len_bytes: usize) -> impl Iterator<Item = Range<usize>> + Clone + Send {
    (0..run_len_bytes)
        .step_by(SEALED_CHUNK_LEN_BYTES)
        .map(move |start| {
            let end = run_len_bytes.min(start + SEALED_CHUNK_LEN_BYTES);
            start..end.saturating_sub(TAG_LEN_BYTES).max(start)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_the_specification_examples() {
        assert_eq!(sealed_len_bytes(0), Ok(56 + 16));
        assert_eq!(sealed_len_bytes(1_024), Ok(56 + 1_024 + 16));
        assert_eq!(sealed_len_bytes(16_384), Ok(56 + 16_384 + 2 * 16));
        assert_eq!(sealed_len_bytes(20_480), Ok(56 + 20_480 + 2 * 16));
    }

    #[test]
    fn the_longest_payload_has_a_length_and_one_byte_more_has_none() {
        let sealed = sealed_len_bytes(PLAIN_LEN_BYTES_MAX).expect("the longest payload");
        assert_eq!(last_chunk(PLAIN_LEN_BYTES_MAX), CHUNKS_MAX - 1);
        assert_eq!(plain_len_bytes(sealed), Ok(PLAIN_LEN_BYTES_MAX));
        let too_long = PLAIN_LEN_BYTES_MAX + 1;
        let error = Err(LayoutError::TooLong {
            plain_len_bytes: too_long,
        });
        assert_eq!(sealed_len_bytes(too_long), error);
        assert_eq!(plain_len_bytes(sealed + 1 + TAG), error);
        assert!(sealed_len_bytes(u64::MAX).is_err());
        assert!(plain_len_bytes(u64::MAX).is_err());
        assert!(chunk_span(0..1, u64::MAX).is_err());
    }

    #[test]
    fn a_range_outside_is_refused() {
        for range in [0..101, 100..101, Range { start: 3, end: 2 }, 0..u64::MAX] {
            assert!(matches!(
                chunk_span(range, 100),
                Err(LayoutError::OutOfBounds { .. })
            ));
        }
    }

    #[test]
    fn an_empty_range_stands_in_a_chunk() {
        let span = chunk_span(0..0, 0).expect("within");
        assert_eq!((span.first(), span.last()), (0, 0));
        assert!(span.holds_last());
        assert_eq!(span.sealed(), 56..72);
        assert_eq!(span.wanted_in_span(), 0..0);
        let span = chunk_span(16_384..16_384, 16_384).expect("within");
        assert_eq!((span.first(), span.last()), (1, 1));
        assert_eq!(span.sealed(), 56 + 16_400..56 + 16_400 + 16);
    }

    #[test]
    fn pieces_leave_the_tags_out() {
        let pieces: Vec<_> = plain_pieces(2 * 16_400 + 20).collect();
        assert_eq!(pieces, [0..16_384, 16_400..32_784, 32_800..32_804]);
        assert_eq!(plain_pieces(0).count(), 0);
        assert!(plain_pieces(5).eq([Range::default()]));
    }

    proptest! {
        #[test]
        fn every_length_comes_back_and_only_lengths_of_streams_do(plain in 0..=PLAIN_LEN_BYTES_MAX) {
            let sealed = sealed_len_bytes(plain).expect("short enough");
            prop_assert_eq!(plain_len_bytes(sealed), Ok(plain));
        }

        #[test]
        fn a_stream_length_that_has_a_payload_is_that_of_its_payload(
            chunks in 0..8_u64,
            rest in prop_oneof![0..40_u64, 0..SEALED_CHUNK],
            header in prop_oneof![4 => Just(HEADER), 1 => 0..HEADER],
        ) {
            let sealed = header + chunks * SEALED_CHUNK + rest;
            match plain_len_bytes(sealed) {
                Ok(plain) => prop_assert_eq!(sealed_len_bytes(plain), Ok(sealed)),
                Err(_) => {
                    let near = sealed.saturating_sub(40_000)..sealed;
                    prop_assert!(near.into_iter().all(|plain| sealed_len_bytes(plain) != Ok(sealed)));
                }
            }
        }

        #[test]
        fn runs_cover_the_wanted_bytes_once_and_in_order(
            plain in 0..2_000_000_u64,
            cut in (0.0..=1.0_f64, 0.0..=1.0_f64),
            chunks_max in 1..70_u64,
        ) {
            let at = |part: f64| ((plain as f64) * part) as u64;
            let range = at(cut.0).min(at(cut.1))..at(cut.0).max(at(cut.1));
            let span = chunk_span(range.clone(), plain).expect("within");
            let whole = span.sealed();
            let mut wanted_next = range.start;
            let mut sealed_next = whole.start;
            let mut chunk_next = span.first();
            for run in span.runs(NonZeroU64::new(chunks_max).expect("at least one")) {
                prop_assert_eq!(run.first(), chunk_next);
                prop_assert!(run.last() - run.first() < chunks_max);
                prop_assert_eq!(run.sealed().start, sealed_next);
                prop_assert_eq!(run.wanted().start, wanted_next);
                let chunks = run.last() - run.first() + 1;
                let sealed_len = run.sealed().end - run.sealed().start;
                prop_assert_eq!(sealed_len, run.span_len_bytes() + chunks * TAG);
                prop_assert!(run.wanted_in_span().end <= run.span_len_bytes());
                let pieces = plain_pieces(sealed_len as usize);
                prop_assert_eq!(pieces.map(|piece| piece.len() as u64).sum::<u64>(), run.span_len_bytes());
                (wanted_next, sealed_next, chunk_next) = (run.wanted().end, run.sealed().end, run.last() + 1);
            }
            prop_assert_eq!(wanted_next, range.end);
            prop_assert_eq!(sealed_next, whole.end);
        }
    }
}
