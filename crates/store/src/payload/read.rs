//! A payload on its way out: read, verified and opened piece by piece.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU64;
use std::pin::Pin as StdPin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use metrics::counter;
use strongroom_blobs::{BlobError, BlobRef, BlobStore};
use strongroom_seal::layout::{ChunkSpan, chunk_span};
use strongroom_seal::{DataKey, HEADER_LEN_BYTES, Opener, PayloadContext};

use super::{PartSlice, Pin};
use crate::{PayloadId, StoreError};

/// How many chunks are read and opened at a time: 128 KiB of plaintext. Two such runs, that which
/// is read ahead and that which is opened and sent, fit a second-level cache together.
const RUN_CHUNKS: NonZeroU64 = NonZeroU64::new(8).expect("8 is not 0");

/// How many pieces are remembered for their buffers to come back.
const GIVEN_MAX: usize = 4;

/// The plaintext of an object, or of a range of it.
///
/// No byte comes out before the chunk it stands in is verified. One piece is read ahead while
/// another is opened. Damage in the middle ends the stream with an error; a stream that ends
/// without one has given every byte. The data key is wiped as soon as the last piece is open.
pub struct ObjectStream {
    blobs: Arc<dyn BlobStore>,
    payload: PayloadId,
    /// Gone once the opener of the last part is made.
    key: Option<DataKey>,
    /// That of the part that is being opened.
    opener: Option<Opener>,
    parts: VecDeque<PartSlice>,
    /// What is left of the part at the front of `parts`.
    spans: Option<Spans>,
    reading: Option<Reading>,
    opened: Option<Bytes>,
    /// Runs that were given out, whose buffers come back when the receiver has dropped them.
    given: VecDeque<Bytes>,
    left_bytes: u64,
    _pin: Pin,
}

type Spans = Box<dyn Iterator<Item = ChunkSpan> + Send>;

/// A run that is being read.
struct Reading {
    run: Run,
    read: ReadState,
}

/// A run of chunks of one part.
struct Run {
    span: ChunkSpan,
    /// What it is the first run of.
    begins: Option<PartSlice>,
    /// Whether no run comes after it.
    is_last: bool,
    /// Whether it is the first run of the last part.
    begins_last_part: bool,
}

enum ReadState {
    Pending(StdPin<Box<dyn Future<Output = Result<SealedRun, BlobError>> + Send>>),
    Ready(Result<SealedRun, BlobError>),
}

/// A run as it was read.
struct SealedRun {
    /// The header of the part, when the run is the first that is read of it.
    header: Option<[u8; HEADER_LEN_BYTES]>,
    bytes: BytesMut,
    /// How many bytes stand before the first chunk.
    skip: usize,
}

impl ObjectStream {
    /// The plaintext of `parts` of a payload, in order.
    pub(crate) fn new(
        blobs: Arc<dyn BlobStore>,
        payload: PayloadId,
        key: DataKey,
        parts: Vec<PartSlice>,
        pin: Pin,
    ) -> Self {
        let left_bytes = parts
            .iter()
            .map(|part| part.range.end.saturating_sub(part.range.start))
            .fold(0_u64, u64::saturating_add);
        Self {
            blobs,
            payload,
            key: Some(key),
            opener: None,
            parts: parts.into(),
            spans: None,
            reading: None,
            opened: None,
            given: VecDeque::new(),
            left_bytes,
            _pin: pin,
        }
    }

    /// How many bytes are still to come.
    #[must_use]
    pub const fn left_bytes(&self) -> u64 {
        self.left_bytes
    }

    /// Reads and opens the first piece, so that what is damaged at its beginning is refused before
    /// anything is answered.
    pub(crate) async fn open_first(&mut self) -> Result<(), StoreError> {
        self.opened = std::future::poll_fn(|context| self.poll_piece(context))
            .await
            .transpose()?;
        Ok(())
    }

    /// Begins to read the next run, if there is one.
    fn read_next(&mut self, context: &mut Context<'_>) -> Result<(), StoreError> {
        if self.reading.is_some() {
            return Ok(());
        }
        let mut begins = None;
        let span = loop {
            if let Some(span) = self.spans.as_mut().and_then(Iterator::next) {
                break span;
            }
            if self.spans.take().is_some() {
                self.parts.pop_front();
            }
            let Some(part) = self.parts.front() else {
                return Ok(());
            };
            let span = chunk_span(part.range.clone(), part.plain_len_bytes)
                .map_err(|error| self.damaged(&error))?;
            begins = Some(part.clone());
            self.spans = Some(Box::new(span.runs(RUN_CHUNKS)));
        };
        let buffer = self.buffer();
        let Some(part) = self.parts.front() else {
            return Ok(());
        };
        let wanted = part.range.end;
        let is_last_part = self.parts.len() == 1;
        let blob = part.blob.clone();
        let read = read_run(
            Arc::clone(&self.blobs),
            blob,
            span.clone(),
            begins.is_some(),
            buffer,
        );
        let mut read: StdPin<Box<dyn Future<Output = _> + Send>> = Box::pin(read);
        // Polling it once sets the engine to work while the run before is being opened.
        let read = match read.as_mut().poll(context) {
            Poll::Ready(run) => ReadState::Ready(run),
            Poll::Pending => ReadState::Pending(read),
        };
        let run = Run {
            is_last: is_last_part && span.wanted().end >= wanted,
            begins_last_part: is_last_part && begins.is_some(),
            span,
            begins,
        };
        self.reading = Some(Reading { run, read });
        Ok(())
    }

    /// The next piece, which may be empty for an empty payload; `None` at the end.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        if let Err(error) = self.read_next(context) {
            return self.fail(error);
        }
        let Some(Reading { run, read }) = self.reading.take() else {
            self.wipe();
            return Poll::Ready(None);
        };
        let sealed = match read {
            ReadState::Ready(sealed) => sealed,
            ReadState::Pending(mut read) => match read.as_mut().poll(context) {
                Poll::Ready(sealed) => sealed,
                Poll::Pending => {
                    let read = ReadState::Pending(read);
                    self.reading = Some(Reading { run, read });
                    return Poll::Pending;
                }
            },
        };
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => return self.fail(error.into()),
        };
        if let Err(error) = self.read_next(context) {
            return self.fail(error);
        }
        match self.open(&run, sealed) {
            Ok(piece) => Poll::Ready(Some(Ok(piece))),
            Err(error) => self.fail(error),
        }
    }

    fn open(&mut self, run: &Run, sealed: SealedRun) -> Result<Bytes, StoreError> {
        if let (Some(part), Some(header)) = (&run.begins, sealed.header) {
            let key = self
                .key
                .as_ref()
                .ok_or_else(|| self.damaged(&"it goes on"))?;
            let context = PayloadContext::new(&self.payload.0, &part.id.0);
            let opener = Opener::new(key, context.as_bytes(), &header)
                .map_err(|error| self.damaged(&error))?;
            self.opener = Some(opener);
            if run.begins_last_part {
                self.key = None;
            }
        }
        let span = &run.span;
        let SealedRun {
            mut bytes, skip, ..
        } = sealed;
        let plain_len_bytes = self
            .opener
            .as_ref()
            .ok_or_else(|| self.damaged(&"it has no header"))?
            .open_run_to_front(
                span.first(),
                span.holds_last(),
                bytes.get_mut(skip..).unwrap_or_default(),
            )
            .map_err(|error| self.damaged(&error))?;
        if run.is_last {
            self.wipe();
        }
        let wanted = span.wanted_in_span();
        let whole = bytes.freeze();
        // The span is no longer than the run, whose length is a `usize`.
        let piece = usize::try_from(wanted.start)
            .ok()
            .zip(usize::try_from(wanted.end).ok())
            .filter(|(start, end)| start <= end && *end <= plain_len_bytes)
            .map(|(start, end)| whole.slice(skip + start..skip + end))
            .ok_or_else(|| self.damaged(&"a range is outside its run"))?;
        // Nothing comes after the last run that could use its buffer.
        if !run.is_last && self.given.len() < GIVEN_MAX {
            self.given.push_back(whole);
        }
        self.left_bytes = self.left_bytes.saturating_sub(piece.len() as u64);
        Ok(piece)
    }

    /// A buffer: one that the receiver is done with, or a new one.
    fn buffer(&mut self) -> BytesMut {
        for _ in 0..self.given.len() {
            let Some(given) = self.given.pop_front() else {
                break;
            };
            match given.try_into_mut() {
                Ok(buffer) => return buffer,
                Err(still_used) => self.given.push_back(still_used),
            }
        }
        BytesMut::new()
    }

    fn damaged(&self, error: &dyn fmt::Display) -> StoreError {
        StoreError::damaged(format!("payload {}: {error}", self.payload))
    }

    fn wipe(&mut self) {
        self.key = None;
        self.opener = None;
    }

    fn fail<T>(&mut self, error: StoreError) -> Poll<Option<Result<T, StoreError>>> {
        self.wipe();
        self.reading = None;
        self.spans = None;
        self.parts.clear();
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for ObjectStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(
        mut self: StdPin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        if let Some(piece) = self.opened.take()
            && !piece.is_empty()
        {
            return Poll::Ready(Some(Ok(piece)));
        }
        self.poll_piece(context)
    }
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ObjectStream(payload {}, {} bytes left)",
            self.payload, self.left_bytes
        )
    }
}

/// Reads a run of a part, with the header of the part where that is wanted.
async fn read_run(
    blobs: Arc<dyn BlobStore>,
    blob: BlobRef,
    span: ChunkSpan,
    with_header: bool,
    buffer: BytesMut,
) -> Result<SealedRun, BlobError> {
    let sealed = span.sealed();
    // The header stands right before chunk 0, and is read with it.
    let joined = with_header && span.first() == 0;
    let offset = if joined { 0 } else { sealed.start };
    let len_bytes = usize::try_from(sealed.end - offset).map_err(|_| BlobError::Length {
        expected: sealed.end - offset,
        actual: u64::MAX,
    })?;
    let mut buffer = buffer;
    buffer.resize(len_bytes, 0);
    let (header, bytes) = if with_header && !joined {
        let head = BytesMut::zeroed(HEADER_LEN_BYTES);
        let (head, bytes) = futures::try_join!(
            blobs.read(&blob, 0, head),
            blobs.read(&blob, offset, buffer)
        )?;
        (head.first_chunk().copied(), bytes)
    } else {
        let bytes = blobs.read(&blob, offset, buffer).await?;
        let header = joined.then(|| bytes.first_chunk().copied()).flatten();
        (header, bytes)
    };
    counter!("strongroom_payload_read_bytes_total").increment(bytes.len() as u64);
    Ok(SealedRun {
        header,
        bytes,
        skip: if joined { HEADER_LEN_BYTES } else { 0 },
    })
}
