//! A small ordered key-value seam with compare-and-set batches, and its engines.
//!
//! This crate knows nothing of what the rows mean. It promises order, atomic batches and
//! durability; see [`MetaStore`] for the contract and `docs/format/metadata.md` for the layout on
//! disk.
//!
//! - [`RedbStore`]: one file on this machine.
//! - [`MemoryStore`]: for tests and simulations.
//! - `Faulty`: wraps an engine and fails when told to.
//! - `conformance` (feature `conformance`): the suite that every engine passes.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod embedded;
mod faulty;
mod memory;
mod store;

pub use embedded::{OpenError, RedbStore};
pub use faulty::{CommitFault, Faulty, ReadFault};
pub use memory::MemoryStore;
pub use store::{
    Batch, CommitError, Expectation, Expected, MetaStore, ReadError, Revision, Row, Scan,
    ScannedRow, Seer, Table, Write,
};
