//! Enabling and disabling keys, and saying that one is to be deleted.

use std::sync::Arc;

use strongroom_audit::LeafIndex;
use strongroom_environment::Timestamp;
use strongroom_meta::Batch;

use super::access::{Wish, action_of};
use super::change::days;
use super::{KeyDescription, KeyOrigin, KeyState, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event};
use crate::quorum::{GuardedOperation, GuardedRequest};
use crate::rows::{DELETIONS, DeletionRow, RowFormat as _};

impl Kms {
    /// For how many days at least a key waits for its deletion.
    pub const DELETION_DAYS_MIN: u32 = 7;
    /// For how many days at most a key waits for its deletion.
    pub const DELETION_DAYS_MAX: u32 = 30;

    /// Lets a disabled key be used again, or, where material of it is missing, wait for that. A key that
    /// is enabled stays so.
    ///
    /// # Errors
    /// [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn enable_key(
        self: &Arc<Self>,
        reference: &KeyReference,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        self.change_state(reference, Change::Enable, caller).await
    }

    /// Forbids the use of a key until it is enabled. When this returns, whatever was opened with
    /// the key is gone from memory, and what it protects answers [`KeyError::Disabled`].
    ///
    /// # Errors
    /// [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn disable_key(
        self: &Arc<Self>,
        reference: &KeyReference,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        self.change_state(reference, Change::Disable, caller).await
    }

    /// Forbids the use of a key, and says that it is to be deleted `days` days from now. From then
    /// on [`Kms::run_due`] destroys it.
    ///
    /// # Errors
    /// [`KeyError::PendingDeletion`]: it waits already. [`KeyError::InvalidRequest`]: not 7 to 30
    /// days. [`KeyError::ApprovalNeeded`], [`KeyError::ApprovalRejected`],
    /// [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn schedule_key_deletion(
        self: &Arc<Self>,
        reference: &KeyReference,
        days: u32,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let change = Change::ScheduleDeletion { days };
        self.change_state(reference, change, caller).await
    }

    /// Takes back that a key is to be deleted. The key is then disabled.
    ///
    /// # Errors
    /// [`KeyError::NotPendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn cancel_key_deletion(
        self: &Arc<Self>,
        reference: &KeyReference,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        self.change_state(reference, Change::CancelDeletion, caller)
            .await
    }

    /// Changes a state in a task of its own: once the row may be written, the observers are told,
    /// also when whoever asked has gone away meanwhile.
    async fn change_state(
        self: &Arc<Self>,
        reference: &KeyReference,
        change: Change,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let (kms, reference, caller) = (Arc::clone(self), reference.clone(), caller.clone());
        Self::to_the_end(async move {
            let mut entry = Entry::new(Event::KeyAdministration, change.act());
            if let Change::ScheduleDeletion { days } = change {
                entry = entry.detail(serde_json::json!({ "days": days }));
            }
            let now = kms.clock.now();
            let action = action_of(change.act());
            let mut wish = Wish::to(&action).reference(&reference);
            if let Change::ScheduleDeletion { days } = change {
                wish = wish.with("kms:ScheduleKeyDeletionPendingWindowInDays", days);
            }
            let (id, row) = kms
                .change_key_and(
                    &wish,
                    &reference,
                    entry,
                    &caller,
                    |key| change.guarded(key),
                    |id, row| {
                        let state = change.apply(row.state, now, || kms.home.arn(id))?;
                        row.state = match (state, row.origin) {
                            (
                                KeyState::Enabled,
                                KeyOrigin::External {
                                    is_complete: false, ..
                                },
                            ) => KeyState::PendingImport,
                            (state, _) => state,
                        };
                        Ok(())
                    },
                    |id, entry, batch| change.write(id, now, entry, &caller, batch),
                )
                .await?;
            Ok(kms.description(id, row))
        })
        .await
    }
}

/// What an administrator does to the state of a key.
#[derive(Clone, Copy, Debug)]
enum Change {
    Enable,
    Disable,
    ScheduleDeletion { days: u32 },
    CancelDeletion,
}

impl Change {
    fn act(self) -> &'static str {
        match self {
            Self::Enable => "enable-key",
            Self::Disable => "disable-key",
            Self::ScheduleDeletion { .. } => "schedule-key-deletion",
            Self::CancelDeletion => "cancel-key-deletion",
        }
    }

    /// What custodians may have to approve.
    fn guarded(self, key: &KeyArn) -> Option<GuardedRequest> {
        match self {
            Self::ScheduleDeletion { days } => Some(GuardedRequest::of_key(
                GuardedOperation::ScheduleKeyDeletion,
                key.clone(),
                serde_json::json!({ "days": days }),
            )),
            Self::Enable | Self::Disable | Self::CancelDeletion => None,
        }
    }

    /// Writes who asked for a deletion, for its certificate.
    fn write(
        self,
        id: KeyId,
        now: Timestamp,
        entry: LeafIndex,
        caller: &Caller,
        batch: &mut Batch,
    ) {
        match self {
            Self::ScheduleDeletion { .. } => {
                let row = DeletionRow {
                    scheduled: now,
                    entry,
                    principal: caller.principal.clone(),
                };
                batch.put(DELETIONS, id.as_bytes(), row.encode());
            }
            Self::CancelDeletion => {
                batch.delete(DELETIONS, id.as_bytes());
            }
            Self::Enable | Self::Disable => {}
        }
    }

    /// The state after this change.
    ///
    /// ```text
    ///             disable              schedule
    ///   Enabled ──────────▶ Disabled ───────────▶ PendingDeletion
    ///      ▲  ◀──────────      ▲  ◀───────────          ▲
    ///      │     enable           cancel                │
    ///      └────────────────────────────────────────────┘ schedule
    /// ```
    ///
    /// A key that waits for material to be imported is neither enabled nor disabled; its deletion
    /// can be scheduled.
    fn apply(
        self,
        state: KeyState,
        now: Timestamp,
        arn: impl FnOnce() -> KeyArn,
    ) -> Result<KeyState, KeyError> {
        let days_allowed = Kms::DELETION_DAYS_MIN..=Kms::DELETION_DAYS_MAX;
        match (self, state) {
            (Self::ScheduleDeletion { days }, _) if !days_allowed.contains(&days) => {
                Err(KeyError::InvalidRequest {
                    rule: "a key waits for its deletion for 7 to 30 days",
                })
            }
            (Self::CancelDeletion, KeyState::PendingDeletion { .. }) => Ok(KeyState::Disabled),
            (Self::CancelDeletion, _) => Err(KeyError::NotPendingDeletion { key: arn() }),
            (_, KeyState::PendingDeletion { .. } | KeyState::Destroyed { .. }) => {
                Err(KeyError::PendingDeletion { key: arn() })
            }
            (Self::Enable | Self::Disable, KeyState::PendingImport) => {
                Err(KeyError::PendingImport { key: arn() })
            }
            (Self::Enable, _) => Ok(KeyState::Enabled),
            (Self::Disable, _) => Ok(KeyState::Disabled),
            (Self::ScheduleDeletion { days: wait }, _) => Ok(KeyState::PendingDeletion {
                date: now + days(wait),
            }),
        }
    }
}
