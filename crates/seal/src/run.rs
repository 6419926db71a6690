//! A buffer that takes plaintext as it comes and gives sealed runs.

use std::num::NonZeroUsize;

use bytes::BytesMut;

use crate::layout::{CHUNK_LEN_BYTES, SEALED_CHUNK_LEN_BYTES, TAG_LEN_BYTES};
use crate::{SealError, Sealer};

/// Gathers plaintext of whatever lengths into a run of chunks, and seals each chunk as soon as it
/// is full, while its bytes are still in the processor's nearest cache.
///
/// The plaintext is copied once, into the buffer; a full run is the very bytes to store. The
/// buffer is the caller's before and after, so that a stream of any length runs on one or two of
/// them.
#[derive(Debug)]
pub struct RunBuffer {
    run: BytesMut,
    chunks: usize,
}

impl RunBuffer {
    /// A run of up to `chunks` chunks in `buffer`, whose contents are given up. 64 chunks are a
    /// run of 1 MiB.
    #[must_use]
    pub fn new(buffer: BytesMut, chunks: NonZeroUsize) -> Self {
        let mut run = buffer;
        run.clear();
        // The last run of a payload may be full chunks and an empty last one.
        run.reserve(chunks.get() * SEALED_CHUNK_LEN_BYTES + TAG_LEN_BYTES);
        Self {
            run,
            chunks: chunks.get(),
        }
    }

    /// How many bytes are wanted next: those that fill a chunk, or 0 when the run is full.
    #[must_use]
    pub fn wanted_len_bytes(&self) -> usize {
        if self.is_full() {
            0
        } else {
            CHUNK_LEN_BYTES - self.run.len() % SEALED_CHUNK_LEN_BYTES
        }
    }

    /// Takes as much of `plain` as there is room for, seals the chunks that it fills as the next
    /// of the payload, and says how many bytes that was.
    ///
    /// # Errors
    /// [`SealError::TooLong`] and [`SealError::Engine`]; the run is then good for nothing.
    pub fn fill(&mut self, plain: &[u8], sealer: &mut Sealer) -> Result<usize, SealError> {
        let mut rest = plain;
        while !rest.is_empty() && !self.is_full() {
            let room = self.wanted_len_bytes();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.run.extend_from_slice(now);
            if now.len() == room {
                self.run.resize(self.run.len() + TAG_LEN_BYTES, 0);
                let chunk = self.run.len() - SEALED_CHUNK_LEN_BYTES;
                sealer.seal_run(&mut self.run[chunk..])?;
            }
            rest = later;
        }
        Ok(plain.len() - rest.len())
    }

    /// Whether the run takes no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.run.len() >= self.chunks * SEALED_CHUNK_LEN_BYTES
    }

    /// The full run, sealed.
    ///
    /// # Errors
    /// [`SealError::Length`] when the run is not full.
    pub fn into_sealed(self) -> Result<BytesMut, SealError> {
        if !self.is_full() {
            return Err(SealError::Length {
                len_bytes: self.run.len(),
                wanted: "a full run",
            });
        }
        Ok(self.run)
    }

    /// Seals what is left over, be it nothing, as the end of the payload, and gives the run.
    ///
    /// # Errors
    /// As [`Sealer::seal_last`].
    pub fn into_last_sealed(self, sealer: Sealer) -> Result<BytesMut, SealError> {
        let mut run = self.run;
        let last = run.len() / SEALED_CHUNK_LEN_BYTES * SEALED_CHUNK_LEN_BYTES;
        run.resize(run.len() + TAG_LEN_BYTES, 0);
        sealer.seal_last(&mut run[last..])?;
        Ok(run)
    }
}
