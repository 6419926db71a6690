//! The cold tier: where sealed payloads lie that are asked for in hours, not in milliseconds.
//!
//! [`ColdTier`] is the seam. Its engines are [`DirectoryTier`] for real use, [`MemoryTier`] for
//! simulations and tests, and [`FaultyTier`], which stands before another one and fails on demand.
//! All pass one suite, `tests/cold_tier.rs`.

mod directory;
mod faulty;
mod manifest;
mod memory;
mod retrievals;
mod seam;

pub use directory::{DirectoryTier, OpenError};
pub use faulty::{Fault, FaultyTier, TierCall};
pub use manifest::{ArchiveDescription, ManifestError, PartDescription};
pub use memory::MemoryTier;
pub use retrievals::TierSettings;
pub use seam::{
    ArchiveId, ArchiveSource, ColdError, ColdTier, Holding, Retrieval, SourceError, Submission,
    SubmitOutcome,
};
