//! Rotation: a new version of a key takes the place of the one before.
//!
//! # Order of a rotation
//!
//! 1. The token makes the new version, wrapped.
//! 2. The entry goes on the audit log.
//! 3. The row of the version and that of the key, which now names it, are written in one batch.
//!    **This is the commit point.** With an automatic rotation the same batch moves the date of
//!    the next one.
//! 4. Whoever keeps something opened under the key is told, so that nothing new goes under the
//!    old version.
//!
//! What was made under older versions stays readable: they are not touched.

use std::ops::RangeInclusive;
use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::Batch;

use super::access::Wish;
use super::change::days;
use super::{KeyDescription, KeyOrigin, KeySpec, KeyState, Kms};
use crate::arn::{KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{self, KEY_VERSIONS, KeyRow, Origin, Read, RowFormat as _};

/// When a key is rotated by the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotationSchedule {
    /// After how many days again.
    pub period_days: u32,
    /// When next. While the key is disabled the date may pass; it is then rotated when enabled.
    pub next: Timestamp,
}

/// Whether and when a key is rotated by the clock.
///
/// Source: AWS KMS API Reference, GetKeyRotationStatus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RotationStatus {
    /// The key.
    pub key: KeyId,
    /// `None` where it is not rotated, and while it waits for its deletion.
    pub automatic: Option<RotationSchedule>,
}

impl RotationSchedule {
    /// The first date of the schedule after `now`. Dates that were missed are not made up for: one
    /// rotation stands for all of them.
    fn after(self, now: Timestamp) -> Self {
        let period = days(self.period_days);
        let missed = now.since(self.next).as_secs() / period.as_secs();
        let span = period.saturating_mul(u32::try_from(missed + 1).unwrap_or(u32::MAX));
        Self {
            next: self.next + span,
            ..self
        }
    }
}

impl Kms {
    /// Between how many days a key is rotated by the clock.
    ///
    /// Source: AWS KMS API Reference, EnableKeyRotation.
    pub const ROTATION_DAYS: RangeInclusive<u32> = 90..=2_560;
    /// After how many days a key is rotated when nothing is said.
    pub const ROTATION_DAYS_DEFAULT: u32 = 365;
    /// How often a key is rotated because somebody asked.
    ///
    /// Source: AWS KMS API Reference, RotateKeyOnDemand.
    pub const ON_DEMAND_ROTATIONS_MAX: u32 = 25;

    /// Makes a new version of a key now, or takes the imported material that waits for it. The schedule of automatic rotations stays as it is.
    ///
    /// Source: AWS KMS API Reference, RotateKeyOnDemand.
    ///
    /// # Errors
    /// [`KeyError::LimitExceeded`]: it was done 25 times. [`KeyError::NoPendingMaterial`]: the key is
    /// rotated to imported material, and none waits for it. [`KeyError::Disabled`],
    /// [`KeyError::PendingImport`], [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn rotate_key(
        self: &Arc<Self>,
        reference: &KeyReference,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let (kms, reference, caller) = (Arc::clone(self), reference.clone(), caller.clone());
        Self::to_the_end(async move {
            let _alone = kms.administration.lock().await;
            let entry = entry_of(Origin::OnDemand);
            let (id, read) = match kms.find(&reference).await {
                Ok(found) => found,
                Err(error) => {
                    let entry = entry.key(KeyNamed::reference(&reference));
                    return kms.journal.settle(&caller, entry, Err(error)).await;
                }
            };
            let mut row = read.row.clone();
            let allowed = async {
                kms.check_manager(id, &row)?;
                let wish = Wish::to("RotateKeyOnDemand").reference(&reference);
                kms.authorize(id, &wish, &caller).await?;
                kms.check_rotated(id, &row)?;
                kms.check_enabled(id, &row)?;
                kms.check_material(id, &row).await?;
                if row.on_demand_rotations >= Self::ON_DEMAND_ROTATIONS_MAX {
                    return Err(KeyError::LimitExceeded {
                        limit: "a key is rotated at most 25 times on demand",
                    });
                }
                row.on_demand_rotations += 1;
                Ok(())
            }
            .await;
            if let Err(error) = allowed {
                let entry = entry.key(KeyNamed::kms(&kms.home.arn(id)));
                return kms.journal.settle(&caller, entry, Err(error)).await;
            }
            let row = kms
                .put_version(id, &read, row, Origin::OnDemand, &caller)
                .await?;
            Ok(kms.description(id, row))
        })
        .await
    }

    /// Has a key rotated by the clock every `period_days` days from now on. A key that is already
    /// rotated with that period keeps its dates.
    ///
    /// Source: AWS KMS API Reference, EnableKeyRotation.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: not 90 to 2,560 days. [`KeyError::Disabled`],
    /// [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn enable_key_rotation(
        &self,
        reference: &KeyReference,
        period_days: u32,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let entry = Entry::new(Event::KeyAdministration, "enable-key-rotation")
            .detail(serde_json::json!({ "rotation_period_days": period_days }));
        let now = self.clock.now();
        let wish = Wish::to("EnableKeyRotation")
            .reference(reference)
            .with("kms:RotationPeriodInDays", period_days);
        self.change_key_as(&wish, reference, entry, caller, |id, row| {
            self.check_rotated(id, row)?;
            self.check_made_here(id, row)?;
            self.check_enabled(id, row)?;
            if !Self::ROTATION_DAYS.contains(&period_days) {
                return Err(KeyError::InvalidRequest {
                    rule: "a key is rotated every 90 to 2560 days",
                });
            }
            let kept = row
                .rotation
                .filter(|rotation| rotation.period_days == period_days);
            row.rotation = Some(kept.unwrap_or(RotationSchedule {
                period_days,
                next: now + days(period_days),
            }));
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Has a key no longer rotated by the clock.
    ///
    /// Source: AWS KMS API Reference, DisableKeyRotation.
    ///
    /// # Errors
    /// As for [`Kms::enable_key_rotation`].
    pub async fn disable_key_rotation(
        &self,
        reference: &KeyReference,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let entry = Entry::new(Event::KeyAdministration, "disable-key-rotation");
        self.change_key(reference, entry, caller, |id, row| {
            self.check_rotated(id, row)?;
            self.check_made_here(id, row)?;
            self.check_enabled(id, row)?;
            row.rotation = None;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Whether and when a key is rotated by the clock.
    ///
    /// Source: AWS KMS API Reference, GetKeyRotationStatus.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`].
    pub async fn rotation_status(
        &self,
        reference: &KeyReference,
    ) -> Result<RotationStatus, KeyError> {
        let (key, read) = self.find(reference).await?;
        self.check_rotated(key, &read.row)?;
        let automatic = match read.row.state {
            KeyState::PendingDeletion { .. } => None,
            _ => read.row.rotation,
        };
        Ok(RotationStatus { key, automatic })
    }

    /// HMAC keys and key pairs keep their value: what they made names no version.
    pub(super) fn check_rotated(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        if row.spec == KeySpec::Symmetric {
            return Ok(());
        }
        Err(KeyError::NotForThisKey {
            key: self.home.arn(id),
            rule: "only keys for symmetric encryption are rotated",
        })
    }

    /// Rotates a key whose date has come, and gives its new version; `None` when by now there is
    /// nothing to do.
    pub(super) async fn rotate_due(
        &self,
        id: KeyId,
        caller: &Caller,
    ) -> Result<Option<KeyVersion>, KeyError> {
        let _alone = self.administration.lock().await;
        let (_, read) = self.find_record(&KeyReference::Id(id)).await?;
        let now = self.clock.now();
        let due = read
            .row
            .rotation
            .filter(|rotation| read.row.state == KeyState::Enabled && rotation.next <= now);
        let Some(rotation) = due else {
            return Ok(None);
        };
        let mut row = read.row.clone();
        row.rotation = Some(rotation.after(now));
        let row = self
            .put_version(id, &read, row, Origin::Automatic, caller)
            .await?;
        Ok(Some(row.current))
    }

    /// Makes the next version of a key and writes it, with `row` in the place of what was `read`.
    async fn put_version(
        &self,
        id: KeyId,
        read: &Read<KeyRow>,
        mut row: KeyRow,
        origin: Origin,
        caller: &Caller,
    ) -> Result<KeyRow, KeyError> {
        let prepared = async {
            let mut batch = Batch::new();
            if let KeyOrigin::External { .. } = row.origin {
                let version = self.pending_version(id, &mut row).await?;
                let place = rows::version_key(id, row.current);
                batch.put(KEY_VERSIONS, place, version.encode());
            } else {
                let number = row.current.0.checked_add(1);
                row.current = number.map(KeyVersion).ok_or(KeyError::LimitExceeded {
                    limit: "a key has at most 2^32 - 1 versions",
                })?;
                let version = self
                    .make_version(id, row.current, origin, self.clock.now())
                    .await?;
                let place = rows::version_key(id, row.current);
                rows::create(&mut batch, KEY_VERSIONS, &place, &version);
            }
            Self::put_key(&mut batch, id, read, &row);
            Ok(batch)
        }
        .await;
        let is_prepared = prepared.is_ok();
        let named = KeyNamed::kms(&self.home.arn(id)).with_version(row.current);
        let entry = entry_of(origin).key(named);
        let changed = self
            .journal
            .change(&*self.meta, caller, entry, prepared)
            .await;
        // Told also when it is not known whether the rows were written.
        if is_prepared {
            self.tell(|observer| observer.rotated(id));
        }
        changed?;
        tracing::info!(key = %id, version = %row.current, "a key was rotated");
        Ok(row)
    }
}

fn entry_of(origin: Origin) -> Entry<'static> {
    let rotation = match origin {
        Origin::OnDemand => "on-demand",
        Origin::Creation | Origin::Automatic => "automatic",
    };
    Entry::new(Event::KeyAdministration, "rotate-key")
        .detail(serde_json::json!({ "rotation": rotation }))
}
