//! The lifecycle of objects: rules, storage classes, archive and restore, cold tier, simulator.
//!
//! - [`rules`]: what a client may ask for, checked as AWS checks it.
//! - [`decide()`] and [`RestoreState`]: what is due, and what becomes of a restore; pure functions
//!   of values, without a clock, a store or a tier.
//! - [`cold`]: the seam to the cold tier and its engines.
//! - [`Lifecycle`]: the above at work on a store, job by job, across restarts.
//! - [`simulate`]: the above at work on a described population, years in seconds.
//!
//! Nothing here has or needs a key: sealed bytes move as they are. This crate does not depend on
//! the key service, and what it knows of the payload's format is how long its parts are.
//! Rows and directories are described in `docs/format/lifecycle.md`.

mod class;
pub mod cold;
mod decide;
mod jobs;
mod restore;
mod retrieval;
pub mod rules;
mod service;
pub mod simulate;

pub use class::Waterfall;
pub use decide::{
    Action, Decision, ExpirationNotice, OnExpiry, Standing, VersionFacts, decide, due_at,
    expiration_notice, http_date, midnight_after, next_due, upload_abort_due,
};
pub use jobs::{Job, JobError, JobOrigin};
pub use restore::{
    IllegalStep, RestoreAnswer, RestoreDays, RestoreRefusal, RestoreRequest, RestoreState, offers,
};
pub use retrieval::{RetrievalSpan, RetrievalTimes};
pub use service::{
    Lifecycle, LifecycleError, LifecycleSeams, LifecycleSettings, RestoreOutcome, RunReport,
};
pub use strongroom_store::{RetrievalTier, StorageClass};
