//! Why the lifecycle did not do what was asked.

use strongroom_store::StoreError;

use crate::StorageClass;
use crate::cold::ColdError;
use crate::jobs::JobError;
use crate::restore::RestoreRefusal;
use crate::rules::RuleError;

/// Why the lifecycle did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// The rules were refused.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The bucket has no rules: S3 code `NoSuchLifecycleConfiguration`, HTTP 404.
    #[error("the lifecycle configuration does not exist")]
    NoRules,
    /// The rules that are stored cannot be read.
    #[error("the stored lifecycle configuration is damaged: {reason}")]
    DamagedRules {
        /// What was found.
        reason: String,
    },
    /// A restore was refused.
    #[error(transparent)]
    Restore(#[from] RestoreRefusal),
    /// A copy is kept for at least a day: S3 code `InvalidArgument`, HTTP 400.
    #[error("restoration days should be at least 1")]
    RestoreDays {
        /// What was asked for.
        days: i64,
    },
    /// There is no room for an expedited retrieval: S3 code `GlacierExpeditedRetrievalNotAvailable`,
    /// HTTP 503.
    #[error("Glacier expedited retrievals are currently not available, please try again later")]
    ExpeditedUnavailable,
    /// Objects go to colder classes only.
    #[error("an object of class {from} does not go to {to}")]
    NoWay {
        /// The class it has.
        from: StorageClass,
        /// The class asked for.
        to: StorageClass,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cold tier refused or failed.
    #[error(transparent)]
    Cold(#[from] ColdError),
    /// The jobs cannot be read or written.
    #[error(transparent)]
    Jobs(#[from] JobError),
    /// The store refers to an archive in a form that is not known here.
    #[error("a payload refers to the cold tier in an unknown form")]
    UnknownLocator,
}
