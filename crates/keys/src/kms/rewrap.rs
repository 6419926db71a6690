//! Compromised versions of keys, and the re-wrap of what is under an old version.
//!
//! # Order of a compromise
//!
//! 1. Where the version is the one that encrypts, the token makes a new one.
//! 2. The entry goes on the audit log.
//! 3. One batch marks the version, makes the row of the key name the new one, and asks for the
//!    re-wrap. **This is the commit point.**
//! 4. Whoever keeps something opened under the key is told, so that nothing new goes under it.
//!
//! From then on the version decrypts only, and whoever keeps objects finds the re-wrap among
//! [`ObjectKeys::rewrap_jobs`](crate::ObjectKeys::rewrap_jobs) and does it, for as long as anything
//! is under the version.
//!
//! What is re-wrapped depends on why. An old version that is in no doubt is given up at the highest
//! level that suffices: its bucket keys are sealed under the version that encrypts now, and data
//! keys that it sealed directly are sealed anew; no object version behind a bucket key is touched.
//! Whoever has the value of a compromised version may have opened bucket keys with it: they are in
//! doubt too, so each data key behind them goes under another bucket key. See ADR 0016.

use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, Table};

use super::access::Wish;
use super::{KeyDescription, KeyState, Kms};
use crate::arn::{KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{
    self, COMPROMISED, CompromisedRow, KEY_VERSIONS, KeyRow, Material, Origin, REWRAPS, Read,
    RowFormat as _,
};

/// What of the keys under a version is wrapped anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RewrapLevel {
    /// Bucket keys, and data keys directly under the version.
    BucketKeys,
    /// Every data key, also behind a bucket key.
    DataKeys,
}

/// How far a re-wrap is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RewrapState {
    /// It goes on.
    UnderWay,
    /// Nothing was left under the version when it was last looked at. It is looked at again and
    /// again, for uploads that were under way; then it goes on.
    Done {
        /// Since when.
        finished: Timestamp,
    },
}

/// The progress of a re-wrap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewrapProgress {
    /// What is wrapped anew.
    pub level: RewrapLevel,
    /// How far it is.
    pub state: RewrapState,
    /// When it was asked for.
    pub asked: Timestamp,
    /// By whom.
    pub principal: String,
    /// How many object versions there were to be re-wrapped when it began.
    pub versions_expected: u64,
    /// How many object versions were re-wrapped.
    pub versions: u64,
    /// How many bucket keys were sealed anew.
    pub bucket_keys: u64,
    /// How many uploads under way were re-wrapped.
    pub uploads: u64,
    /// How many things were left as they are at the last pass, because they are damaged.
    pub left: u64,
    /// How long was worked on it, in microseconds.
    pub busy_micros: u64,
    /// Why it does not go on, if so.
    pub error: String,
    /// The row of the ledger up to which the pass has come; empty at its beginning.
    pub cursor: Vec<u8>,
}

/// The re-wrap of what is under a version of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RewrapJob {
    /// The key.
    pub key: KeyId,
    /// Its version.
    pub version: KeyVersion,
    /// How far it is.
    pub progress: RewrapProgress,
}

impl RewrapProgress {
    pub(crate) fn new(level: RewrapLevel, asked: Timestamp, caller: &Caller) -> Self {
        Self {
            level,
            state: RewrapState::UnderWay,
            asked,
            principal: caller.principal.clone(),
            versions_expected: 0,
            versions: 0,
            bucket_keys: 0,
            uploads: 0,
            left: 0,
            busy_micros: 0,
            error: String::new(),
            cursor: Vec::new(),
        }
    }

    /// Object versions per second of work; `None` before any work.
    #[must_use]
    pub fn versions_per_second(&self) -> Option<u64> {
        let micros = u128::from(self.busy_micros);
        let rate = (u128::from(self.versions) * 1_000_000).checked_div(micros)?;
        u64::try_from(rate).ok()
    }
}

impl Kms {
    /// The longest reason that is kept of a compromise, in characters.
    pub const REASON_CHARS_MAX: usize = 1_000;
    /// For how many versions of a key a re-wrap is asked for at once.
    const REWRAPS_MAX: usize = 1_000;

    /// Marks a version of a key as compromised: it decrypts only, and everything under it is
    /// re-wrapped. `None` is the version that encrypts, in whose place comes a new one. A version
    /// that is marked already is re-wrapped from the beginning.
    ///
    /// The service's key of SSE-S3 can be marked too; the one that protects its own secrets cannot,
    /// for what those are used for does not change with a re-wrap.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKeyVersion`]; [`KeyError::InvalidRequest`]: the reason is too long.
    /// [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn compromise_version(
        self: &Arc<Self>,
        reference: &KeyReference,
        version: Option<KeyVersion>,
        reason: &str,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let (kms, reference, caller) = (Arc::clone(self), reference.clone(), caller.clone());
        let reason = reason.to_owned();
        Self::to_the_end(async move {
            let _alone = kms.administration.lock().await;
            let act = "compromise-key-version";
            let (id, read) = kms.found(&reference, act, &caller).await?;
            let marked = version.unwrap_or(read.row.current);
            let mut row = read.row.clone();
            let prepared = async {
                kms.check_rewrap(id, &row).await?;
                let wish = Wish::to("CompromiseKeyVersion").reference(&reference);
                kms.authorize(id, &wish, &caller).await?;
                if reason.chars().count() > Self::REASON_CHARS_MAX {
                    return Err(KeyError::InvalidRequest {
                        rule: "the reason of a compromise has up to 1000 characters",
                    });
                }
                kms.check_version(id, &row, marked).await?;
                let now = kms.clock.now();
                let mut batch = Batch::new();
                if marked == row.current {
                    kms.check_made_here(id, &row)?;
                    row.current = kms.put_next_version(&mut batch, id, row.current).await?;
                }
                Self::put_key(&mut batch, id, &read, &row);
                let place = rows::version_key(id, marked);
                let mark = CompromisedRow {
                    marked: now,
                    principal: caller.principal.clone(),
                    reason: reason.clone(),
                };
                batch.put(COMPROMISED, place.clone(), mark.encode());
                let progress = RewrapProgress::new(RewrapLevel::DataKeys, now, &caller);
                batch.put(REWRAPS, place, progress.encode());
                Ok(batch)
            }
            .await;
            let is_prepared = prepared.is_ok();
            let named = KeyNamed::kms(&kms.home.arn(id)).with_version(marked);
            let reason = reason.chars().take(Self::REASON_CHARS_MAX);
            let entry =
                Entry::new(Event::KeyAdministration, act)
                    .key(named)
                    .detail(serde_json::json!({
                        "reason": reason.collect::<String>(),
                        "current_version": row.current.0,
                    }));
            let changed = kms
                .journal
                .change(&*kms.meta, &caller, entry, prepared)
                .await;
            // Told also when it is not known whether the rows were written.
            if is_prepared {
                kms.tell(|observer| observer.rotated(id));
            }
            changed?;
            tracing::warn!(key = %id, version = %marked, "a version of a key is compromised");
            Ok(kms.description(id, row))
        })
        .await
    }

    /// Asks for the re-wrap of what is under an old version of a key, or, with `None`, under all
    /// that are not the one that encrypts. Gives the versions. One that is asked for again begins
    /// from the beginning.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKeyVersion`]; [`KeyError::InvalidRequest`]: it is the version that
    /// encrypts. [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn rewrap_versions(
        &self,
        reference: &KeyReference,
        version: Option<KeyVersion>,
        caller: &Caller,
    ) -> Result<Vec<KeyVersion>, KeyError> {
        let _alone = self.administration.lock().await;
        let act = "rewrap-key-version";
        let (id, read) = self.found(reference, act, caller).await?;
        let mut versions = Vec::new();
        let prepared = async {
            self.check_rewrap(id, &read.row).await?;
            let wish = Wish::to("RewrapKeyVersion").reference(reference);
            self.authorize(id, &wish, caller).await?;
            if version == Some(read.row.current) {
                return Err(KeyError::InvalidRequest {
                    rule: "what is under the version that encrypts is under the newest already",
                });
            }
            versions = match version {
                Some(version) => {
                    self.check_version(id, &read.row, version).await?;
                    vec![version]
                }
                None => {
                    let rows = self.version_rows(id, KeyVersion(1), Self::REWRAPS_MAX);
                    let numbers = rows.await?.into_iter().map(|(version, _)| version);
                    numbers
                        .filter(|version| *version < read.row.current)
                        .collect()
                }
            };
            let mut batch = Batch::new();
            read.expect(&mut batch, rows::KEYS, id.as_bytes());
            for version in &versions {
                let place = rows::version_key(id, *version);
                let mark = self.meta.get(COMPROMISED, &place).await?;
                let level = match mark {
                    Some(_) => RewrapLevel::DataKeys,
                    None => RewrapLevel::BucketKeys,
                };
                let progress = RewrapProgress::new(level, self.clock.now(), caller);
                batch.put(REWRAPS, place, progress.encode());
            }
            Ok(batch)
        }
        .await;
        let numbers: Vec<u32> = versions.iter().map(|version| version.0).collect();
        let entry = Entry::new(Event::KeyAdministration, act)
            .key(KeyNamed::kms(&self.home.arn(id)))
            .detail(serde_json::json!({ "key_versions": numbers }));
        let changed = self.journal.change(&*self.meta, caller, entry, prepared);
        changed.await?;
        Ok(versions)
    }

    /// The re-wraps that were asked for of a key, by version.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::Metadata`],
    /// [`KeyError::Damaged`].
    pub async fn rewraps(&self, reference: &KeyReference) -> Result<Vec<RewrapJob>, KeyError> {
        let (id, _) = self.find_record(reference).await?;
        rewrap_jobs(&*self.meta, id.as_bytes()).await
    }

    /// All versions that are marked as compromised.
    pub(super) async fn compromised_versions(&self) -> Result<Vec<(KeyId, KeyVersion)>, KeyError> {
        let found = rows::scan_all(&*self.meta, COMPROMISED, &[]).await?;
        found
            .iter()
            .map(|row| version_at(COMPROMISED, &row.key))
            .collect()
    }

    /// The key that is to be changed; a refusal is on the log.
    async fn found(
        &self,
        reference: &KeyReference,
        act: &'static str,
        caller: &Caller,
    ) -> Result<(KeyId, Read<KeyRow>), KeyError> {
        match self.find(reference).await {
            Ok(found) => Ok(found),
            Err(error) => {
                let entry = Entry::new(Event::KeyAdministration, act);
                let entry = entry.key(KeyNamed::reference(reference));
                self.journal.settle(caller, entry, Err(error)).await
            }
        }
    }

    /// Whether the versions of a key may be given up. The system key's may not.
    async fn check_rewrap(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        if self.check_manager(id, row).is_err() && self.id_of(&KeyReference::managed()).await? != id
        {
            self.check_manager(id, row)?;
        }
        self.check_rotated(id, row)?;
        match row.state {
            KeyState::Enabled | KeyState::Disabled => Ok(()),
            KeyState::PendingImport => Err(self.pending_import(id)),
            KeyState::PendingDeletion { .. } | KeyState::Destroyed { .. } => {
                Err(KeyError::PendingDeletion {
                    key: self.home.arn(id),
                })
            }
        }
    }

    async fn check_version(
        &self,
        id: KeyId,
        row: &KeyRow,
        version: KeyVersion,
    ) -> Result<(), KeyError> {
        let is_there = version <= row.current
            && self
                .meta
                .get(KEY_VERSIONS, &rows::version_key(id, version))
                .await?
                .is_some();
        if is_there {
            return Ok(());
        }
        Err(KeyError::NoSuchKeyVersion {
            key: self.home.arn(id),
            version,
        })
    }

    /// Has the token make the version after `current`, and writes it.
    pub(super) async fn put_next_version(
        &self,
        batch: &mut Batch,
        id: KeyId,
        current: KeyVersion,
    ) -> Result<KeyVersion, KeyError> {
        let number = current.0.checked_add(1);
        let next = number.map(KeyVersion).ok_or(KeyError::LimitExceeded {
            limit: "a key has at most 2^32 - 1 versions",
        })?;
        let made = self
            .make_version(id, next, Origin::OnDemand, self.clock.now())
            .await?;
        debug_assert!(matches!(made.material, Material::Wrapped { .. }));
        rows::create(batch, KEY_VERSIONS, &rows::version_key(id, next), &made);
        Ok(next)
    }
}

/// The re-wraps whose rows begin with `prefix`.
pub(crate) async fn rewrap_jobs(
    meta: &dyn strongroom_meta::MetaStore,
    prefix: &[u8],
) -> Result<Vec<RewrapJob>, KeyError> {
    let found = rows::scan_all(meta, REWRAPS, prefix).await?;
    found
        .iter()
        .map(|row| {
            let (key, version) = version_at(REWRAPS, &row.key)?;
            Ok(RewrapJob {
                key,
                version,
                progress: rows::decoded(REWRAPS, &row.row.value)?,
            })
        })
        .collect()
}

/// The version of a key that a row is about, by its place.
fn version_at(table: Table, place: &[u8]) -> Result<(KeyId, KeyVersion), KeyError> {
    let damaged = || KeyError::Damaged {
        table: table.name(),
        what: "a row is not under a key id and a version",
    };
    let (key, version) = place.split_first_chunk().ok_or_else(damaged)?;
    let version: [u8; 4] = version.try_into().map_err(|_| damaged())?;
    Ok((
        KeyId::from_bytes(*key),
        KeyVersion(u32::from_be_bytes(version)),
    ))
}
