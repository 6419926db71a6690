//! Making, finding, enabling, disabling and deleting KMS keys.

use std::sync::Arc;
use std::time::Duration;

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, CommitError, Scan};
use strongroom_pkcs11::{KeyLabel, WrappedKey};
use subtle::ConstantTimeEq;

use super::{KeyDescription, KeyManager, KeyState, Kms, Page};
use crate::arn::{AliasName, KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{self, ALIASES, AliasRow, KEY_VERSIONS, KEYS, KeyRow, KeyVersionRow, Read};
use crate::token_keys;

impl Kms {
    /// The longest description, in bytes.
    pub const DESCRIPTION_LEN_BYTES_MAX: usize = 8_192;
    /// For how many days at least a key waits for its deletion.
    pub const DELETION_DAYS_MIN: u32 = 7;
    /// For how many days at most a key waits for its deletion.
    pub const DELETION_DAYS_MAX: u32 = 30;
    /// The most entries on a page of a list.
    pub const PAGE_MAX: usize = 1_000;

    /// Makes a key for encryption and decryption: AES-256, inside the token.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: the description is too long. [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCommitted`].
    pub async fn create_key(
        &self,
        description: &str,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        self.make_key(description, KeyManager::Customer, None, caller)
            .await
    }

    /// Makes a key, and, in the same batch, an alias of it.
    pub(super) async fn make_key(
        &self,
        description: &str,
        manager: KeyManager,
        alias: Option<&AliasName>,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let id = KeyId::random(&*self.entropy);
        let row = KeyRow {
            state: KeyState::Enabled,
            manager,
            current: KeyVersion(1),
            created: self.clock.now(),
            description: description.to_owned(),
        };
        let prepared = self.prepare_key(id, &row, alias).await;
        let entry = Entry::new(Event::KeyAdministration, "create-key")
            .key(KeyNamed::kms(&self.home.arn(id)).with_version(row.current));
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await?;
        Ok(self.description(id, row))
    }

    async fn prepare_key(
        &self,
        id: KeyId,
        row: &KeyRow,
        alias: Option<&AliasName>,
    ) -> Result<Batch, KeyError> {
        if row.description.len() > Self::DESCRIPTION_LEN_BYTES_MAX {
            return Err(KeyError::InvalidRequest {
                rule: "a description has at most 8192 bytes",
            });
        }
        let wrapped = self
            .token
            .generate_wrapped(&KeyLabel(token_keys::ROOT_KEK.into()))
            .await?;
        let message = rows::version_mac_message(id, row.current, &wrapped);
        let mac = self
            .token
            .mac(&KeyLabel(token_keys::MAC_KEY.into()), &message)
            .await?;
        let version = KeyVersionRow {
            created: row.created,
            wrapped,
            mac,
        };
        let mut batch = Batch::new();
        rows::create(&mut batch, KEYS, id.as_bytes(), row);
        rows::create(
            &mut batch,
            KEY_VERSIONS,
            &rows::version_key(id, row.current),
            &version,
        );
        if let Some(alias) = alias {
            Self::put_new_alias(&mut batch, alias, id, row.created);
        }
        Ok(batch)
    }

    /// The key that `reference` names. It may have any state.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`].
    pub async fn describe_key(&self, reference: &KeyReference) -> Result<KeyDescription, KeyError> {
        let (id, read) = self.find(reference).await?;
        Ok(self.description(id, read.row))
    }

    /// All keys, in the order of their ids. A `marker` is the `next` of the page before.
    ///
    /// # Errors
    /// [`KeyError::InvalidReference`]: no page was ever followed by that marker.
    pub async fn list_keys(
        &self,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<KeyDescription>, KeyError> {
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let start = match marker {
            Some(marker) => marker.parse::<KeyId>()?.as_bytes().to_vec(),
            None => Vec::new(),
        };
        let scan = Scan::within(&[], start, limit + 1);
        let mut items = Vec::new();
        for found in self.meta.scan(KEYS, scan).await? {
            let id = found
                .key
                .as_ref()
                .try_into()
                .map(KeyId::from_bytes)
                .map_err(|_| KeyError::Damaged {
                    table: KEYS.name(),
                    what: "a row is not under a key id",
                })?;
            items.push(self.description(id, rows::decoded(KEYS, &found.row.value)?));
        }
        // One row more than asked for: its id is where the next page begins.
        let next = (items.len() > limit)
            .then(|| items.pop())
            .flatten()
            .map(|first| first.id.to_string());
        Ok(Page { items, next })
    }

    /// Lets a disabled key be used again. A key that is enabled stays so.
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

    /// Forbids the use of a key, and says that it is to be deleted `days` days from now.
    ///
    /// # Errors
    /// [`KeyError::PendingDeletion`]: it waits already. [`KeyError::InvalidRequest`]: not 7 to 30
    /// days. [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and
    /// [`Kms::create_key`].
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
        let task = tokio::spawn(async move { kms.make_change(&reference, change, &caller).await });
        match task.await {
            Ok(changed) => changed,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(KeyError::NotCommitted(CommitError::OutcomeUnknown {
                    reason: "the daemon is shutting down".into(),
                })),
            },
        }
    }

    async fn make_change(
        &self,
        reference: &KeyReference,
        change: Change,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let _alone = self.administration.lock().await;
        let entry = Entry::new(Event::KeyAdministration, change.act());
        let (id, read) = match self.find(reference).await {
            Ok(found) => found,
            Err(error) => {
                let entry = entry.key(KeyNamed::reference(reference));
                return self.journal.settle(caller, entry, Err(error)).await;
            }
        };
        let entry = entry.key(KeyNamed::kms(&self.home.arn(id)));
        let mut row = read.row.clone();
        let next = self
            .check_manager(id, &row)
            .and_then(|()| change.apply(row.state, self.clock.now(), || self.home.arn(id)));
        let prepared = next.map(|state| {
            row.state = state;
            let mut batch = Batch::new();
            read.replace(&mut batch, KEYS, id.as_bytes(), &row);
            batch
        });
        let is_refused = prepared.is_err();
        let changed = self
            .journal
            .change(&*self.meta, caller, entry, prepared)
            .await;
        // Told also when it is not known whether the row was written: what is dropped without
        // need is opened again.
        if !is_refused && row.state != KeyState::Enabled {
            self.tell_suspended(id);
        }
        changed?;
        Ok(self.description(id, row))
    }

    fn tell_suspended(&self, id: KeyId) {
        let observers: Vec<_> = {
            let mut observers = self.observers.lock();
            observers.0.retain(|observer| observer.strong_count() > 0);
            observers
                .0
                .iter()
                .filter_map(std::sync::Weak::upgrade)
                .collect()
        };
        for observer in observers {
            observer.suspended(id);
        }
    }

    pub(super) fn check_manager(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        match row.manager {
            KeyManager::Customer => Ok(()),
            KeyManager::Service => Err(KeyError::ManagedByService {
                key: self.home.arn(id),
            }),
        }
    }

    /// The id that `reference` names; whether there is such a key is not looked up.
    pub(super) async fn id_of(&self, reference: &KeyReference) -> Result<KeyId, KeyError> {
        let is_here = |region: &str, account: &str| {
            region == self.home.region && account == self.home.account
        };
        let alias = match reference {
            KeyReference::Id(id) => return Ok(*id),
            KeyReference::Arn {
                region,
                account,
                key,
            } if is_here(region, account) => return Ok(*key),
            KeyReference::Alias(alias) => alias,
            KeyReference::AliasArn {
                region,
                account,
                alias,
            } if is_here(region, account) => alias,
            KeyReference::Arn { .. } | KeyReference::AliasArn { .. } => {
                return Err(KeyError::NoSuchKey {
                    reference: reference.clone(),
                });
            }
        };
        rows::read::<AliasRow>(&*self.meta, ALIASES, alias.as_str().as_bytes())
            .await?
            .map(|read| read.row.key)
            .ok_or_else(|| KeyError::NoSuchAlias {
                alias: alias.clone(),
            })
    }

    pub(super) async fn find(
        &self,
        reference: &KeyReference,
    ) -> Result<(KeyId, Read<KeyRow>), KeyError> {
        let id = self.id_of(reference).await?;
        let read = rows::read(&*self.meta, KEYS, id.as_bytes())
            .await?
            .ok_or_else(|| KeyError::NoSuchKey {
                reference: reference.clone(),
            })?;
        Ok((id, read))
    }

    /// The row of a key that may be used now.
    pub(super) async fn usable(&self, id: KeyId) -> Result<KeyRow, KeyError> {
        let (_, read) = self.find(&KeyReference::Id(id)).await?;
        let key = || self.home.arn(id);
        match read.row.state {
            KeyState::Enabled => Ok(read.row),
            KeyState::Disabled => Err(KeyError::Disabled { key: key() }),
            KeyState::PendingDeletion { .. } => Err(KeyError::PendingDeletion { key: key() }),
        }
    }

    /// A version of a key, still wrapped, as the token's MAC key vouches for it.
    pub(super) async fn wrapped_version(
        &self,
        id: KeyId,
        version: KeyVersion,
    ) -> Result<Arc<WrappedKey>, KeyError> {
        if let Some(wrapped) = self.verified.lock().get(&(id, version)) {
            return Ok(Arc::clone(wrapped));
        }
        let found = self
            .meta
            .get(KEY_VERSIONS, &rows::version_key(id, version))
            .await?
            // A ciphertext that names a version the key never had was not made under it.
            .ok_or(KeyError::NotAuthentic)?;
        let row: KeyVersionRow = rows::decoded(KEY_VERSIONS, &found.value)?;
        let message = rows::version_mac_message(id, version, &row.wrapped);
        let mac = self
            .token
            .mac(&KeyLabel(token_keys::MAC_KEY.into()), &message)
            .await?;
        if !bool::from(mac.ct_eq(&row.mac)) {
            return Err(KeyError::Damaged {
                table: KEY_VERSIONS.name(),
                what: "the token does not vouch for a wrapped key",
            });
        }
        let wrapped = Arc::new(row.wrapped);
        self.verified
            .lock()
            .put((id, version), Arc::clone(&wrapped));
        Ok(wrapped)
    }

    pub(super) fn description(&self, id: KeyId, row: KeyRow) -> KeyDescription {
        KeyDescription {
            id,
            arn: self.home.arn(id),
            state: row.state,
            manager: row.manager,
            current_version: row.current,
            created: row.created,
            description: row.description,
        }
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

    /// The state after this change.
    ///
    /// ```text
    ///             disable              schedule
    ///   Enabled ──────────▶ Disabled ───────────▶ PendingDeletion
    ///      ▲  ◀──────────      ▲  ◀───────────          ▲
    ///      │     enable           cancel                │
    ///      └────────────────────────────────────────────┘ schedule
    /// ```
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
            (_, KeyState::PendingDeletion { .. }) => Err(KeyError::PendingDeletion { key: arn() }),
            (Self::Enable, _) => Ok(KeyState::Enabled),
            (Self::Disable, _) => Ok(KeyState::Disabled),
            (Self::ScheduleDeletion { days }, _) => Ok(KeyState::PendingDeletion {
                date: now + Duration::from_secs(u64::from(days) * 86_400),
            }),
        }
    }
}
