//! Append-only transparency log: leaves, tiles, checkpoints, proofs.
//!
//! The log is an RFC 6962 Merkle tree, laid out as C2SP tlog-tiles and committed to by a C2SP
//! signed-note checkpoint. This crate knows nothing of what an entry means. See [`AuditLog`] for
//! the contract and `docs/format/audit-log.md` for the layout on disk.
//!
//! An entry's way: [`Log::append`](AuditLog::append) writes it to the journal; [`Log::publish`]
//! carries it into tiles and bundles and signs the new tree. [`verify`] and [`verify_tlog_proof`]
//! check all of that with nothing but the files and the public key.

mod disk;
mod handover;
mod journal;
mod log;
mod memory;
mod note;
mod proof;
mod reader;
mod seam;
mod sequencer;
mod signer;
mod tile;
mod tile_files;
mod tree;
pub mod verify;

pub use disk::DiskError;
pub use handover::{HandOverError, HandedOver, hand_over};
pub use journal::JournalError;
pub use log::{Durability, Log, LogConfig, OpenError, PublishError};
pub use memory::{FaultyLog, LogFault, MemoryLog};
pub use note::{
    Checkpoint, CheckpointError, NoteError, Origin, OriginError, VerifierKey, VerifierKeyError,
    verify_note,
};
pub use proof::{ProofError, Proven, verify_consistency, verify_inclusion, verify_tlog_proof};
pub use reader::{ReadError, Reader};
pub use seam::{
    AppendError, AuditLog, Certified, CertifyError, CheckpointSigner, LeafIndex, SignError,
};
pub use signer::{NoteSigner, note_of, note_signers};
pub use tile::ENTRY_LEN_BYTES_MAX;
pub use tile_files::TileError;
pub use tree::TreeHash;

#[cfg(test)]
mod tests;
