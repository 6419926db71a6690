//! From a sealed stream to plaintext.

use subtle::ConstantTimeEq;

use crate::engine::Engine;
use crate::layout::{
    CHUNK_LEN_BYTES, CHUNKS_MAX, SEALED_CHUNK_LEN_BYTES, TAG_LEN_BYTES, plain_pieces,
};
use crate::payload::{COMMITMENT_LEN_BYTES, HEADER_LEN_BYTES, PayloadCipher, Salt};
use crate::{DataKey, SEALS};

/// Why sealed bytes were not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The header is not 56 bytes long.
    #[error("a payload header is {HEADER_LEN_BYTES} bytes long, not {len_bytes}")]
    Header {
        /// The length of what was given, in bytes.
        len_bytes: usize,
    },
    /// Key, context and header do not belong together: the key is another one, the payload stands
    /// in the place of another, or the header is damaged.
    #[error("the header does not commit to this key and context")]
    Commitment,
    /// The bytes can't be the chunks asked for: the stream is truncated or extended, or the
    /// caller cut it wrongly.
    #[error("{len_bytes} bytes can't be the chunks from {first} on")]
    Length {
        /// The index of the first chunk asked for.
        first: u64,
        /// The length of what was given, in bytes.
        len_bytes: usize,
    },
    /// The chunk is not what was sealed at this index: damaged, moved, or of another payload.
    #[error("chunk {chunk} is not authentic")]
    NotAuthentic {
        /// The index of the chunk.
        chunk: u64,
    },
    /// The stream goes on behind its last chunk.
    #[error("the stream goes on behind its last chunk")]
    Trailing,
    /// The stream ended before its last chunk.
    #[error("the stream ends after {chunks} chunks, before its last")]
    Truncated {
        /// How many chunks there were.
        chunks: u64,
    },
}

/// Opens the chunks of one payload in any order, from any number of threads.
///
/// No byte of a chunk comes out before the whole chunk is verified. Whether a chunk is the
/// payload's last is the caller's to say ([`ChunkSpan::holds_last`](crate::layout::ChunkSpan::holds_last)
/// knows), and is verified.
#[derive(Debug)]
pub struct Opener {
    cipher: PayloadCipher,
}

impl Opener {
    /// The opener of the payload that starts with `header`.
    ///
    /// # Errors
    /// [`OpenError::Header`], [`OpenError::Commitment`].
    pub fn new(key: &DataKey, context: &[u8], header: &[u8]) -> Result<Self, OpenError> {
        Self::with_engine(Engine::chosen(), key, context, header)
    }

    /// As [`Self::new`], by the given engine.
    ///
    /// # Errors
    /// [`OpenError::Header`], [`OpenError::Commitment`].
    pub fn with_engine(
        engine: Engine,
        key: &DataKey,
        context: &[u8],
        header: &[u8],
    ) -> Result<Self, OpenError> {
        let wrong_length = OpenError::Header {
            len_bytes: header.len(),
        };
        let Some((salt, commitment)) = header.split_first_chunk::<{ Salt::LEN_BYTES }>() else {
            return Err(wrong_length);
        };
        let Ok(commitment) = <&[u8; COMMITMENT_LEN_BYTES]>::try_from(commitment) else {
            return Err(wrong_length);
        };
        let (cipher, derived) =
            PayloadCipher::derive(engine, key, &Salt::from_bytes(*salt), context);
        if !bool::from(derived.ct_eq(commitment)) {
            return Err(OpenError::Commitment);
        }
        Ok(Self { cipher })
    }

    /// Opens chunk `index` in place and gives its plaintext.
    ///
    /// # Errors
    /// [`OpenError::Length`], with nothing changed; [`OpenError::NotAuthentic`], with no plaintext
    /// in the buffer.
    pub fn open_chunk<'chunk>(
        &self,
        index: u64,
        is_last: bool,
        chunk: &'chunk mut [u8],
    ) -> Result<&'chunk mut [u8], OpenError> {
        if chunk.len() > SEALED_CHUNK_LEN_BYTES {
            return Err(OpenError::Length {
                first: index,
                len_bytes: chunk.len(),
            });
        }
        let plain_len_bytes = self.open_run(index, is_last, chunk)?;
        Ok(&mut chunk[..plain_len_bytes])
    }

    /// Opens in place the chunks from `first` on that `run` holds, and gives the length of their
    /// plaintext. It stands where [`plain_pieces`] says, with the tags left between.
    ///
    /// `holds_last` says whether the run ends with the payload's last chunk.
    ///
    /// # Errors
    /// [`OpenError::Length`], with nothing changed; [`OpenError::NotAuthentic`] for the first
    /// chunk that is not: it and those behind it give no plaintext, those before it are open.
    pub fn open_run(
        &self,
        first: u64,
        holds_last: bool,
        run: &mut [u8],
    ) -> Result<usize, OpenError> {
        let plain_len_bytes = check_run(first, holds_last, run.len())?;
        for (chunk, index) in run.chunks_mut(SEALED_CHUNK_LEN_BYTES).zip(first..) {
            let (text, tag) = chunk
                .split_last_chunk_mut::<TAG_LEN_BYTES>()
                .expect("every chunk of a checked run has its tag");
            if SEALS {
                self.cipher
                    .aead
                    .open(self.cipher.nonce(index), &[], text, tag)
                    .map_err(|_| OpenError::NotAuthentic { chunk: index })?;
            }
        }
        Ok(plain_len_bytes)
    }

    /// Opens in place the chunks from `first` on that `run` holds, moves their plaintext together
    /// at the start of `run`, and gives its length, which is `run.len()` less 16 for each chunk.
    /// What stands behind it then means nothing.
    ///
    /// # Errors
    /// [`OpenError::Length`], with nothing changed; [`OpenError::NotAuthentic`] for the first
    /// chunk that is not: it and those behind it give no plaintext.
    pub fn open_run_to_front(
        &self,
        first: u64,
        holds_last: bool,
        run: &mut [u8],
    ) -> Result<usize, OpenError> {
        let plain_len_bytes = check_run(first, holds_last, run.len())?;
        let chunks = run.len().div_ceil(SEALED_CHUNK_LEN_BYTES);
        for (position, index) in (0..chunks).zip(first..) {
            // Every chunk before left the room of its tag behind.
            let gap = position * TAG_LEN_BYTES;
            let rest = &mut run[position * CHUNK_LEN_BYTES..];
            let end = rest.len().min(gap + SEALED_CHUNK_LEN_BYTES);
            let (window, tag) = rest[..end]
                .split_last_chunk_mut::<TAG_LEN_BYTES>()
                .expect("every chunk of a checked run has its tag");
            if SEALS {
                self.cipher
                    .aead
                    .open_to_front(self.cipher.nonce(index), window, gap, tag)
                    .map_err(|_| OpenError::NotAuthentic { chunk: index })?;
            } else {
                window.copy_within(gap.., 0);
            }
        }
        Ok(plain_len_bytes)
    }

    /// Opens the payload from its first chunk to its last, without knowing how long it is.
    #[must_use]
    pub const fn into_stream(self) -> OpenStream {
        OpenStream {
            opener: self,
            state: StreamState::Before { next: 0 },
        }
    }
}

/// The length of the plaintext of a run, if there is such a run.
fn check_run(first: u64, holds_last: bool, len_bytes: usize) -> Result<usize, OpenError> {
    let full = len_bytes / SEALED_CHUNK_LEN_BYTES;
    let rest = len_bytes % SEALED_CHUNK_LEN_BYTES;
    let fits = if holds_last {
        rest >= TAG_LEN_BYTES
    } else {
        rest == 0
    };
    let chunks = full + usize::from(holds_last);
    let within = u64::try_from(chunks)
        .ok()
        .and_then(|chunks| first.checked_add(chunks))
        .is_some_and(|after| after <= CHUNKS_MAX);
    if !fits || !within {
        return Err(OpenError::Length { first, len_bytes });
    }
    Ok(len_bytes - chunks * TAG_LEN_BYTES)
}

/// Opens a payload from its first chunk to its last, as its bytes come.
///
/// The end of the bytes proves nothing: [`finish`](Self::finish) says whether the last chunk was
/// among them. After an error every further call gives one.
#[derive(Debug)]
pub struct OpenStream {
    opener: Opener,
    state: StreamState,
}

#[derive(Clone, Debug)]
enum StreamState {
    /// The chunk `next` and the last one are still to come.
    Before {
        next: u64,
    },
    Ended,
    Failed(OpenError),
}

impl OpenStream {
    /// Opens the next bytes in place, and gives where in `run` their plaintext stands.
    ///
    /// `run` is a multiple of 16,400 bytes, or shorter when the stream is at its end.
    ///
    /// # Errors
    /// [`OpenError::Trailing`]; those of [`Opener::open_run`].
    pub fn open_run<'run>(
        &mut self,
        run: &'run mut [u8],
    ) -> Result<impl Iterator<Item = &'run [u8]> + use<'run>, OpenError> {
        let opened = match &self.state {
            StreamState::Before { next } => {
                let holds_last = !run.len().is_multiple_of(SEALED_CHUNK_LEN_BYTES);
                let after = next + (run.len() / SEALED_CHUNK_LEN_BYTES) as u64;
                self.opener.open_run(*next, holds_last, run).map(|_| {
                    if holds_last {
                        StreamState::Ended
                    } else {
                        StreamState::Before { next: after }
                    }
                })
            }
            StreamState::Ended if run.is_empty() => Ok(StreamState::Ended),
            StreamState::Ended => Err(OpenError::Trailing),
            StreamState::Failed(error) => Err(error.clone()),
        };
        match opened {
            Ok(state) => self.state = state,
            Err(error) => {
                self.state = StreamState::Failed(error.clone());
                return Err(error);
            }
        }
        let run: &'run [u8] = run;
        Ok(plain_pieces(run.len()).map(move |piece| &run[piece]))
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`OpenError::Truncated`] when the last chunk has not come; the error of an earlier call.
    pub fn finish(self) -> Result<(), OpenError> {
        match self.state {
            StreamState::Before { next } => Err(OpenError::Truncated { chunks: next }),
            StreamState::Ended => Ok(()),
            StreamState::Failed(error) => Err(error),
        }
    }
}
