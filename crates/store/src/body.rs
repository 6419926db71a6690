//! The body of a request, as the store takes it.

use bytes::Bytes;
use futures::Stream;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A signature within the body, or the digest that the request was signed with, does not match.
    #[error("the body does not match its signature")]
    Signature(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The framing of the body is not valid.
    #[error("the body is malformed: {0}")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The body is another object, and that could not be read.
    #[error(transparent)]
    Source(Box<crate::StoreError>),
    /// The body came too slowly.
    #[error("the body came too slowly")]
    Timeout,
}

/// A body: pieces of plaintext, as they come.
pub trait BodyStream: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin {}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Send + Unpin> BodyStream for S {}

/// A body and how long its sender says it is.
pub struct Body {
    pub(crate) stream: Box<dyn BodyStream>,
    pub(crate) len_bytes: u64,
}

impl Body {
    /// A body of `len_bytes` bytes of plaintext: `Content-Length`, or for `aws-chunked` bodies
    /// `x-amz-decoded-content-length`.
    pub fn new(stream: impl BodyStream + 'static, len_bytes: u64) -> Self {
        Self {
            stream: Box::new(stream),
            len_bytes,
        }
    }

    /// The declared length in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let len_bytes = bytes.len() as u64;
        Self::new(futures::stream::iter([Ok(bytes)]), len_bytes)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({} bytes)", self.len_bytes)
    }
}
