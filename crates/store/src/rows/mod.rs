//! The rows: how they are keyed, what they hold, how they are written.
//!
//! A value is a format version byte, then postcard (<https://postcard.jamesmunns.com/wire-format>)
//! of one of the structures here. See `docs/format/store-rows.md`.

#[cfg(test)]
mod examples;
pub(crate) mod keys;
mod value;

pub(crate) use value::{
    BucketRow, ColdGarbageRow, Content, GarbageBlobs, GarbageRow, ObjectRow, Part, Parts,
    PayloadRow, PendingRow, SegmentIndex, SegmentRow, UploadRow, UploadedPartRow, VersionRow,
    WholePart, decode, encode,
};
