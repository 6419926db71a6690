//! Keeps immutable sealed bytes under an id, durable when it says so.
//!
//! This crate knows nothing of keys or buckets: it is handed bytes that are sealed already. See
//! [`BlobStore`] for the contract and `docs/format/volumes.md` for the layout on disk.
//!
//! - [`LocalBlobs`]: volume files on this machine.
//! - [`MemoryBlobs`]: for tests and simulations.
//! - `Faulty`: wraps an engine and fails when told to.
//! - `conformance` (feature `conformance`): the suite that every engine passes.

mod buffers;
mod faulty;
mod local;
mod memory;
mod store;

pub use buffers::BufferPool;
pub use faulty::{Call, Fault, Faulty};
pub use local::{LocalBlobs, LocalBlobsConfig};
pub use memory::MemoryBlobs;
pub use store::{BlobError, BlobOwner, BlobRef, BlobStore, BlobWriter, UnsettledBlob};

/// Counts the bytes of blobs that were handed to an engine, headers and padding not included.
pub const WRITTEN_BYTES: &str = "strongroom_payload_written_bytes_total";
/// Counts the bytes of blobs that an engine gave back.
pub const READ_BYTES: &str = "strongroom_payload_read_bytes_total";
