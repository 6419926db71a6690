//! The restore of an archived object: a state machine without a clock, a store or a tier.
//!
//! ```text
//!              request                 retrieved                 expired
//!  Archived ────────────▶ InProgress ────────────▶ Restored ────────────▶ Archived
//!                          │     ▲                  │     ▲
//!                          └─────┘                  └─────┘
//!                    request, faster tier      request: new period
//! ```
//!
//! The storage class does not change on the way: a restored object is an archived object with a
//! copy that goes away again. Source: Amazon S3 API Reference, `RestoreObject`.

use strongroom_environment::Timestamp;

use crate::decide::midnight_after;
use crate::{RetrievalTier, StorageClass};

/// How long a restored copy is kept: at least one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RestoreDays(u32);

impl RestoreDays {
    /// So many days; `None` for less than one or more than the API's 32-bit integer holds.
    #[must_use]
    pub fn new(days: i64) -> Option<Self> {
        let days = i32::try_from(days).ok().filter(|days| *days >= 1)?;
        Some(Self(days.unsigned_abs()))
    }

    /// The number of days.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// When a copy ends whose days are counted from `from`: after that many days, at the next
    /// midnight UTC.
    #[must_use]
    pub fn end(self, from: Timestamp) -> Timestamp {
        midnight_after(from, self.0)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreRequest {
    /// How long the copy is kept.
    pub days: RestoreDays,
    /// How fast it is wanted.
    pub tier: RetrievalTier,
}

/// Where the restore of an archived version stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreState {
    /// It lies in the cold tier only.
    Archived,
    /// A retrieval is under way.
    InProgress(RestoreRequest),
    /// There is a warm copy.
    Restored {
        /// When the copy goes away.
        until: Timestamp,
    },
}

/// What became of a request that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreAnswer {
    /// A retrieval was begun: HTTP 202.
    Started,
    /// The retrieval under way goes on in a faster tier: HTTP 202.
    Upgraded,
    /// There is a warm copy, and its period now ends then: HTTP 200.
    AlreadyRestored {
        /// When the copy goes away.
        until: Timestamp,
    },
}

/// Why a request was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreRefusal {
    /// The class is not an archive class: S3 code `InvalidObjectState`, HTTP 403.
    #[error("restore is not allowed for the object's current storage class")]
    NotArchived {
        /// The class it has.
        class: StorageClass,
    },
    /// A retrieval is under way: S3 code `RestoreAlreadyInProgress`, HTTP 409.
    #[error("object restore is already in progress")]
    InProgress,
    /// The class does not offer the tier: S3 code `InvalidArgument`, HTTP 400.
    #[error("retrieval option {} is not supported by storage class {}", .tier.as_str(), .class.as_str())]
    TierNotOffered {
        /// The tier asked for.
        tier: RetrievalTier,
        /// The class of the object.
        class: StorageClass,
    },
}

/// A step the state does not allow. The caller has mixed up its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a restore that is {state:?} cannot be {step}")]
pub struct IllegalStep {
    /// Where the restore stands.
    pub state: RestoreState,
    /// What was to happen.
    pub step: &'static str,
}

/// Whether a class offers a retrieval tier.
#[must_use]
pub fn offers(class: StorageClass, tier: RetrievalTier) -> bool {
    match class {
        StorageClass::Glacier => true,
        StorageClass::DeepArchive => tier != RetrievalTier::Expedited,
        _ => false,
    }
}

impl RestoreState {
    /// Answers a request made at `now`, and gives the state after it.
    ///
    /// A request while a retrieval is under way is accepted only if it asks for a faster tier and
    /// changes nothing else. A request for a restored object moves the end of its copy, counted
    /// from `now`.
    ///
    /// # Errors
    /// [`RestoreRefusal`].
    pub fn request(
        self,
        class: StorageClass,
        request: RestoreRequest,
        now: Timestamp,
    ) -> Result<(Self, RestoreAnswer), RestoreRefusal> {
        if !class.is_archived() {
            return Err(RestoreRefusal::NotArchived { class });
        }
        if !offers(class, request.tier) {
            return Err(RestoreRefusal::TierNotOffered {
                tier: request.tier,
                class,
            });
        }
        match self {
            Self::Archived => Ok((Self::InProgress(request), RestoreAnswer::Started)),
            Self::InProgress(running)
                if request.tier.is_faster_than(running.tier) && request.days == running.days =>
            {
                Ok((Self::InProgress(request), RestoreAnswer::Upgraded))
            }
            Self::InProgress(_) => Err(RestoreRefusal::InProgress),
            Self::Restored { until } if until <= now => {
                // The copy is over and only waits to be cleared away; its time is not revived.
                Ok((Self::InProgress(request), RestoreAnswer::Started))
            }
            Self::Restored { .. } => {
                let until = request.days.end(now);
                Ok((
                    Self::Restored { until },
                    RestoreAnswer::AlreadyRestored { until },
                ))
            }
        }
    }

    /// The warm copy is there and readable since `now`; its days begin.
    ///
    /// # Errors
    /// [`IllegalStep`] unless a retrieval was under way.
    pub fn retrieved(self, now: Timestamp) -> Result<Self, IllegalStep> {
        match self {
            Self::InProgress(request) => Ok(Self::Restored {
                until: request.days.end(now),
            }),
            state => Err(IllegalStep {
                state,
                step: "retrieved",
            }),
        }
    }

    /// The warm copy's days are over at `now`.
    ///
    /// # Errors
    /// [`IllegalStep`] unless there is a copy and its time has come.
    pub fn expired(self, now: Timestamp) -> Result<Self, IllegalStep> {
        match self {
            Self::Restored { until } if until <= now => Ok(Self::Archived),
            state => Err(IllegalStep {
                state,
                step: "expired",
            }),
        }
    }

    /// Whether the object can be read at `now`.
    #[must_use]
    pub fn is_readable(self, now: Timestamp) -> bool {
        matches!(self, Self::Restored { until } if now < until)
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
