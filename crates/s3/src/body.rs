//! The body of a request: its framing and what the signature says of it.
//!
//! Bytes are handed on as they come and are never held back: a chunk of an `aws-chunked` body may
//! be as long as the body. What a signature or a digest says is known only at the end, so a body
//! is believed only when it has been read to its end without an error; the store commits nothing
//! before.

mod chunks;
mod document;
mod lender;
mod reader;

pub(crate) use document::read_document;
pub(crate) use lender::{IncomingBody, Lender, LentBody};
pub(crate) use reader::{BodyFault, RequestBody, SharedTrailers};
