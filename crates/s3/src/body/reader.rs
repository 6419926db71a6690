//! Reading a body from the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use futures::Stream;
use parking_lot::Mutex;
use strongroom_sigv4::ChunkChain;
use strongroom_store::BodyError;
use subtle::ConstantTimeEq;
use tokio::time::Sleep;

use super::chunks::{ChunkDecoder, Trailers};
use crate::signature::Payload;

/// How long a client may send nothing while we wait for its body.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What is wrong with a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    /// A signature within it does not match.
    #[error("a signature within the body does not match")]
    Signature,
    /// Its SHA-256 is not the one that was signed.
    #[error("the SHA-256 of the body is not the one that was signed")]
    Sha256 {
        /// What was signed.
        stated: [u8; 32],
        /// What came.
        computed: [u8; 32],
    },
    /// The framing is not `aws-chunked`.
    #[error("the body is not framed as aws-chunked")]
    Framing,
    /// The trailers are not well-formed, or not those that were announced.
    #[error("the trailers of the body are malformed")]
    Trailer,
    /// It ended too early.
    #[error("the body ended too early")]
    Incomplete,
}

impl From<BodyFault> for BodyError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Signature | BodyFault::Sha256 { .. } => Self::Signature(Box::new(fault)),
            BodyFault::Framing | BodyFault::Trailer | BodyFault::Incomplete => {
                Self::Malformed(Box::new(fault))
            }
        }
    }
}

/// The trailers of a body, there once it has been read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedTrailers(Arc<Mutex<Option<Trailers>>>);

impl SharedTrailers {
    /// The value of a trailer; `None` when there is none of this name.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let trailers = self.0.lock();
        let (_, value) = trailers.as_ref()?.iter().find(|(known, _)| known == name)?;
        Some(value.clone())
    }
}

enum Framing {
    Plain,
    Hashed {
        context: Option<digest::Context>,
        stated: [u8; 32],
    },
    Chunked {
        decoder: Option<Box<ChunkDecoder>>,
        trailers: SharedTrailers,
    },
}

/// The content of a body, as it comes.
pub(crate) struct RequestBody<B> {
    inner: B,
    framing: Framing,
    input: Bytes,
    silence: Option<Pin<Box<Sleep>>>,
    silence_max: Duration,
    ended: bool,
}

impl<B> RequestBody<B> {
    /// The body of a request whose signature says `payload` of it.
    ///
    /// `signatures` makes the chain that signed chunks are checked with.
    pub(crate) fn new(
        inner: B,
        payload: Payload,
        signatures: impl FnOnce() -> ChunkChain,
    ) -> (Self, SharedTrailers) {
        let trailers = SharedTrailers::default();
        let chunked = |signatures, trailer_expected| Framing::Chunked {
            decoder: Some(Box::new(ChunkDecoder::new(signatures, trailer_expected))),
            trailers: trailers.clone(),
        };
        let framing = match payload {
            Payload::Unsigned => Framing::Plain,
            Payload::Sha256(stated) => Framing::Hashed {
                context: Some(digest::Context::new(&digest::SHA256)),
                stated,
            },
            Payload::UnsignedChunks => chunked(None, true),
            Payload::SignedChunks { trailer } => chunked(Some(signatures()), trailer),
        };
        let body = Self {
            inner,
            framing,
            input: Bytes::new(),
            silence: None,
            silence_max: SILENCE_MAX,
            ended: false,
        };
        (body, trailers)
    }

    /// Waits less long for a client.
    #[cfg(test)]
    pub(crate) fn with_silence_max(self, silence_max: Duration) -> Self {
        Self {
            silence_max,
            ..self
        }
    }
}

impl<B> RequestBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(frame) => {
                    self.silence = None;
                    match frame {
                        None => return Poll::Ready(None),
                        Some(Err(error)) => {
                            return Poll::Ready(Some(Err(BodyError::Broken(error.into()))));
                        }
                        // HTTP trailers mean nothing in the protocol.
                        Some(Ok(frame)) => {
                            if let Ok(data) = frame.into_data() {
                                return Poll::Ready(Some(Ok(data)));
                            }
                        }
                    }
                }
                Poll::Pending => {
                    let silence_max = self.silence_max;
                    let silence = self
                        .silence
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
                    ready!(silence.as_mut().poll(context));
                    return Poll::Ready(Some(Err(BodyError::Timeout)));
                }
            }
        }
    }

    fn poll_content(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Framing::Chunked {
                decoder: Some(decoder),
                ..
            } = &mut self.framing
            {
                match decoder.take(&mut self.input) {
                    Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
                }
            }
            let Some(input) = ready!(self.poll_input(context)) else {
                return Poll::Ready(self.end().err().map(|fault| Err(fault.into())));
            };
            let input = input?;
            match &mut self.framing {
                Framing::Plain => return Poll::Ready(Some(Ok(input))),
                Framing::Hashed { context, .. } => {
                    if let Some(context) = context {
                        context.update(&input);
                    }
                    return Poll::Ready(Some(Ok(input)));
                }
                Framing::Chunked { .. } => self.input = input,
            }
        }
    }

    fn end(&mut self) -> Result<(), BodyFault> {
        match &mut self.framing {
            Framing::Plain => Ok(()),
            Framing::Hashed { context, stated } => {
                let Some(context) = context.take() else {
                    return Ok(());
                };
                let mut computed = [0; 32];
                computed.copy_from_slice(context.finish().as_ref());
                if bool::from(computed.ct_eq(stated)) {
                    Ok(())
                } else {
                    Err(BodyFault::Sha256 {
                        stated: *stated,
                        computed,
                    })
                }
            }
            Framing::Chunked { decoder, trailers } => {
                if let Some(decoder) = decoder.take() {
                    *trailers.0.lock() = Some(decoder.end()?);
                }
                Ok(())
            }
        }
    }
}

impl<B> Stream for RequestBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.poll_content(context));
        self.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
