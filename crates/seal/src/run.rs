//! A buffer that takes plaintext as it comes and gives sealed runs.

use std::num::NonZeroUsize;

use bytes::BytesMut;

use crate::layout::{CHUNK_LEN_BYTES, SEALED_CHUNK_LEN_BYTES, TAG_LEN_BYTES};
use crate::{SealError, Sealer};

/// Gathers plaintext of whatever lengths into a run of chunks, with the room for the tags between
/// them, so that sealing it in place leaves the very bytes to store.
///
/// The plaintext is copied once, into the buffer. The buffer is the caller's before and after, so
/// that a stream of any length runs on one or two of them.
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

    /// Takes as much of `plain` as there is room for, and says how many bytes that was.
    pub fn fill(&mut self, plain: &[u8]) -> usize {
        let mut rest = plain;
        while !rest.is_empty() && !self.is_full() {
            let room = CHUNK_LEN_BYTES - self.run.len() % SEALED_CHUNK_LEN_BYTES;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.run.extend_from_slice(now);
            if now.len() == room {
                self.run.resize(self.run.len() + TAG_LEN_BYTES, 0);
            }
            rest = later;
        }
        plain.len() - rest.len()
    }

    /// Whether the run takes no more, and is to be sealed.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.run.len() >= self.chunks * SEALED_CHUNK_LEN_BYTES
    }

    /// Seals a full run as the next chunks of the payload.
    ///
    /// # Errors
    /// As [`Sealer::seal_run`]; [`SealError::Length`] when the run is not full.
    pub fn seal(self, sealer: &mut Sealer) -> Result<BytesMut, SealError> {
        let mut run = self.run;
        sealer.seal_run(&mut run)?;
        Ok(run)
    }

    /// Seals what is there, be it nothing, as the end of the payload.
    ///
    /// # Errors
    /// As [`Sealer::seal_last`].
    pub fn seal_last(self, sealer: Sealer) -> Result<BytesMut, SealError> {
        let mut run = self.run;
        run.resize(run.len() + TAG_LEN_BYTES, 0);
        sealer.seal_last(&mut run)?;
        Ok(run)
    }
}
