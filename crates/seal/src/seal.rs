//! From plaintext to a sealed stream.

use crate::engine::{Engine, Tag};
use crate::layout::{CHUNKS_MAX, SEALED_CHUNK_LEN_BYTES, TAG_LEN_BYTES};
use crate::payload::{HEADER_LEN_BYTES, PayloadCipher, Salt};
use crate::{DataKey, SEALS};

/// Why nothing was sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The caller gave buffers whose lengths are no run of chunks, or don't belong together.
    #[error("{len_bytes} bytes can't be sealed as {wanted}")]
    Length {
        /// The length of the buffer that does not fit, in bytes.
        len_bytes: usize,
        /// What the buffer should have been.
        wanted: &'static str,
    },
    /// The payload is longer than [`crate::layout::PLAIN_LEN_BYTES_MAX`].
    #[error("the payload has more than 2^38 chunks")]
    TooLong,
    /// The engine refused; it does so only for lengths that no chunk has. The sealer is good for
    /// nothing more than dropping.
    #[error("the cipher refused to seal chunk {chunk}")]
    Engine {
        /// The index of the chunk.
        chunk: u64,
    },
}

/// Seals one payload, from its first byte to its last.
///
/// The header goes first, then the chunks in order: any number of runs of full chunks, then
/// [`seal_last`](Self::seal_last) once. Without that last call the sealed stream is truncated and
/// does not open to its end. In place, a *run* is laid out as its sealed chunks will be: the
/// plaintext of each chunk, then 16 bytes of room for its tag.
#[derive(Debug)]
pub struct Sealer {
    cipher: PayloadCipher,
    next: u64,
}

impl Sealer {
    /// The sealer of a new payload under `key`, and the header that its sealed stream starts with.
    ///
    /// `salt` must be fresh. Whoever opens the payload names the same `context`.
    #[must_use]
    pub fn new(key: &DataKey, salt: &Salt, context: &[u8]) -> (Self, [u8; HEADER_LEN_BYTES]) {
        Self::with_engine(Engine::chosen(), key, salt, context)
    }

    /// As [`Self::new`], by the given engine.
    #[must_use]
    pub fn with_engine(
        engine: Engine,
        key: &DataKey,
        salt: &Salt,
        context: &[u8],
    ) -> (Self, [u8; HEADER_LEN_BYTES]) {
        let (cipher, commitment) = PayloadCipher::derive(engine, key, salt, context);
        let mut header = [0; HEADER_LEN_BYTES];
        let (salt_room, commitment_room) = header.split_at_mut(Salt::LEN_BYTES);
        salt_room.copy_from_slice(salt.as_bytes());
        commitment_room.copy_from_slice(&commitment);
        (Self { cipher, next: 0 }, header)
    }

    /// How many chunks have been sealed.
    #[must_use]
    pub const fn sealed_chunks(&self) -> u64 {
        self.next
    }

    /// Seals the next chunk in place: 16 KiB of plaintext, then room for the tag.
    ///
    /// # Errors
    /// [`SealError::TooLong`].
    pub fn seal_chunk(
        &mut self,
        chunk: &mut [u8; SEALED_CHUNK_LEN_BYTES],
    ) -> Result<(), SealError> {
        self.seal_run(chunk)
    }

    /// Seals the next full chunks in place; `run` is a multiple of 16,400 bytes, or empty.
    ///
    /// # Errors
    /// [`SealError::Length`] and [`SealError::TooLong`], with nothing changed.
    pub fn seal_run(&mut self, run: &mut [u8]) -> Result<(), SealError> {
        if !run.len().is_multiple_of(SEALED_CHUNK_LEN_BYTES) {
            return Err(SealError::Length {
                len_bytes: run.len(),
                wanted: "full chunks with room for their tags",
            });
        }
        self.seal_in_place(run)
    }

    /// Seals the end of the payload in place: any number of full chunks, then the last one, which
    /// is shorter than 16 KiB and may be empty, each with room for its tag.
    ///
    /// # Errors
    /// [`SealError::Length`] and [`SealError::TooLong`], with nothing changed.
    pub fn seal_last(mut self, run: &mut [u8]) -> Result<(), SealError> {
        if run.len() % SEALED_CHUNK_LEN_BYTES < TAG_LEN_BYTES {
            return Err(SealError::Length {
                len_bytes: run.len(),
                wanted: "full chunks and a shorter last one with room for their tags",
            });
        }
        self.seal_in_place(run)
    }

    fn seal_in_place(&mut self, run: &mut [u8]) -> Result<(), SealError> {
        let first = self.take(run.len().div_ceil(SEALED_CHUNK_LEN_BYTES))?;
        for (chunk, index) in run.chunks_mut(SEALED_CHUNK_LEN_BYTES).zip(first..) {
            let (text, tag) = split_tag(chunk);
            if SEALS {
                self.cipher
                    .aead
                    .seal(self.cipher.nonce(index), &[], text, tag)
                    .map_err(|_| SealError::Engine { chunk: index })?;
            } else {
                tag.fill(0);
            }
        }
        Ok(())
    }

    /// Takes the next `chunks` indices, so that none is used twice whatever comes after.
    fn take(&mut self, chunks: usize) -> Result<u64, SealError> {
        let first = self.next;
        let after = u64::try_from(chunks)
            .ok()
            .and_then(|chunks| first.checked_add(chunks))
            .filter(|after| *after <= CHUNKS_MAX)
            .ok_or(SealError::TooLong)?;
        self.next = after;
        Ok(first)
    }
}

fn split_tag(chunk: &mut [u8]) -> (&mut [u8], &mut Tag) {
    chunk
        .split_last_chunk_mut()
        .expect("every chunk of a checked run has room for its tag")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer() -> Sealer {
        let key = DataKey::from_bytes(&[7; 32]);
        Sealer::new(&key, &Salt::from_bytes([9; 24]), b"").0
    }

    #[test]
    fn a_buffer_of_another_length_is_refused_and_left_alone() {
        let mut sealer = sealer();
        for len_bytes in [1, 16, 16_384, 16_399, 16_401, 32_799] {
            let mut run = vec![5; len_bytes];
            assert!(matches!(
                sealer.seal_run(&mut run),
                Err(SealError::Length { .. })
            ));
            assert!(run.iter().all(|byte| *byte == 5));
        }
        assert_eq!(sealer.sealed_chunks(), 0);
        for len_bytes in [0, 15, 16_400, 16_415, 32_800] {
            assert!(matches!(
                self::sealer().seal_last(&mut vec![0; len_bytes]),
                Err(SealError::Length { .. })
            ));
        }
    }

    #[test]
    fn the_chunk_behind_the_longest_payload_is_refused() {
        let mut sealer = sealer();
        sealer.next = CHUNKS_MAX - 1;
        let mut two = vec![0; 2 * SEALED_CHUNK_LEN_BYTES];
        assert_eq!(sealer.seal_run(&mut two), Err(SealError::TooLong));
        assert_eq!(sealer.seal_run(&mut two[..SEALED_CHUNK_LEN_BYTES]), Ok(()));
        assert_eq!(sealer.seal_last(&mut [0; 16]), Err(SealError::TooLong));
    }
}
