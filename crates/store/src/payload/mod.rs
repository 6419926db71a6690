//! Payloads: sealed on their way in, opened on their way out, and moved as they are.

mod parts;
mod pins;
mod read;
mod sealed;
mod write;

pub(crate) use parts::{PartSlice, plain_len_bytes, range_of_part, segments_of, slices};
pub(crate) use pins::{Pin, Pins};
pub use read::ObjectStream;
pub(crate) use sealed::sealed_payload;
pub use sealed::{SealedStream, WarmCopy};
pub(crate) use write::{SealedPart, write_part};
