//! Making, finding and describing KMS keys.

use strongroom_meta::{Batch, Scan};

use super::change::days;
use super::policies::{NewPolicy, named};
use super::tags::Tags;
use super::{
    KeyDescription, KeyManager, KeyOrigin, KeySpec, KeyState, Kms, Page, RotationSchedule,
};
use crate::arn::{AliasName, KeyId, KeyReference, KeyVersion, Named};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{
    self, ALIASES, AliasRow, DUE, Due, KEY_POLICIES, KEY_VERSIONS, KEYS, KeyRow, Origin, Read,
};

/// What a new key is to be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewKey {
    /// What its maker says of it: up to 8,192 characters.
    pub description: String,
    /// What it is to be, and what for.
    pub spec: KeySpec,
    /// Whether its material is imported; only that of a key for symmetric encryption can be.
    pub is_external: bool,
    /// Its first tags.
    pub tags: Tags,
    /// Its policy; `None` for the one that leaves everything to the account.
    pub policy: Option<NewPolicy>,
}

impl From<&str> for NewKey {
    /// A key with a description and no tags.
    fn from(description: &str) -> Self {
        Self {
            description: description.into(),
            spec: KeySpec::Symmetric,
            is_external: false,
            tags: Tags::default(),
            policy: None,
        }
    }
}

impl Kms {
    /// The longest description, in characters.
    pub const DESCRIPTION_CHARS_MAX: usize = 8_192;
    /// The most entries on a page of a list.
    pub const PAGE_MAX: usize = 1_000;

    /// Makes a key inside the token, or one without material, which is to be imported.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: the description is too long, or the material of such a key is
    /// not imported. [`KeyError::MalformedPolicy`],
    /// [`KeyError::LimitExceeded`]: the policy will not do. [`KeyError::AccessDenied`],
    /// [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCommitted`].
    pub async fn create_key(
        &self,
        new: impl Into<NewKey>,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        self.make_key(&new.into(), KeyManager::Customer, None, caller)
            .await
    }

    /// Makes a key, and, in the same batch, an alias of it. One of the service's own is rotated by
    /// the clock from the beginning.
    pub(super) async fn make_key(
        &self,
        new: &NewKey,
        manager: KeyManager,
        alias: Option<&AliasName>,
        caller: &Caller,
    ) -> Result<KeyDescription, KeyError> {
        let id = KeyId::random(&*self.entropy);
        let created = self.clock.now();
        let period_days = Self::ROTATION_DAYS_DEFAULT;
        let row = KeyRow {
            state: if new.is_external {
                KeyState::PendingImport
            } else {
                KeyState::Enabled
            },
            manager,
            current: KeyVersion(1),
            created,
            rotation: (manager == KeyManager::Service).then(|| RotationSchedule {
                period_days,
                next: created + days(period_days),
            }),
            on_demand_rotations: 0,
            description: new.description.clone(),
            spec: new.spec,
            origin: if new.is_external {
                KeyOrigin::EXTERNAL
            } else {
                KeyOrigin::Token
            },
        };
        let prepared = self.prepare_key(id, &row, new, alias, caller).await;
        let mut entry = Entry::new(Event::KeyAdministration, "create-key")
            .key(KeyNamed::kms(&self.home.arn(id)).with_version(row.current));
        let mut detail = serde_json::Map::new();
        if new.is_external {
            detail.insert("origin".into(), row.origin.as_str().into());
        }
        if !new.tags.is_empty() {
            detail.insert("tags".into(), new.tags.names());
        }
        if let Some(policy) = &new.policy {
            detail.extend(named(policy));
        }
        if !detail.is_empty() {
            entry = entry.detail(detail.into());
        }
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await?;
        Ok(self.description(id, row))
    }

    async fn prepare_key(
        &self,
        id: KeyId,
        row: &KeyRow,
        new: &NewKey,
        alias: Option<&AliasName>,
        caller: &Caller,
    ) -> Result<Batch, KeyError> {
        self.check_role("CreateKey", caller)?;
        check_description(&row.description)?;
        let policy = match &new.policy {
            Some(policy) => {
                let facts = Self::facts_of(row);
                Some(self.checked_policy(id, facts, policy, caller).await?)
            }
            None => None,
        };
        let mut batch = Batch::new();
        if new.is_external {
            if row.spec != KeySpec::Symmetric {
                return Err(KeyError::InvalidRequest {
                    rule: "only the material of keys for symmetric encryption is imported",
                });
            }
        } else if row.spec == KeySpec::Symmetric {
            let version = self
                .make_version(id, row.current, Origin::Creation, row.created)
                .await?;
            rows::create(
                &mut batch,
                KEY_VERSIONS,
                &rows::version_key(id, row.current),
                &version,
            );
        } else {
            self.prepare_special(id, row, &mut batch).await?;
        }
        rows::create(&mut batch, KEYS, id.as_bytes(), row);
        if let Some(due) = Due::of(id, row) {
            batch.put(DUE, due.to_bytes(), []);
        }
        new.tags.put(&mut batch, id);
        if let Some(policy) = policy {
            rows::create(&mut batch, KEY_POLICIES, id.as_bytes(), &policy);
        }
        if let Some(alias) = alias {
            Self::put_new_alias(&mut batch, alias, id, row.created);
        }
        Ok(batch)
    }

    /// Says something else of a key.
    ///
    /// Source: AWS KMS API Reference, UpdateKeyDescription.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: it is too long. [`KeyError::PendingDeletion`],
    /// [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn update_key_description(
        &self,
        reference: &KeyReference,
        description: &str,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let entry = Entry::new(Event::KeyAdministration, "update-key-description");
        self.change_key(reference, entry, caller, |id, row| {
            check_description(description)?;
            self.check_not_pending(id, row)?;
            row.description = description.to_owned();
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// The key that `reference` names. It may have any state but destroyed.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`].
    pub async fn describe_key(&self, reference: &KeyReference) -> Result<KeyDescription, KeyError> {
        let (id, read) = self.find(reference).await?;
        Ok(self.description(id, read.row))
    }

    /// What is known of a key, also of one that was destroyed.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`].
    pub async fn key_record(&self, reference: &KeyReference) -> Result<KeyDescription, KeyError> {
        let (id, read) = self.find_record(reference).await?;
        Ok(self.description(id, read.row))
    }

    /// All keys in the order of their ids, with those that were destroyed. A `marker` is the `next` of the page before.
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
        let alias = match reference.at(&self.home)? {
            Named::Key(key) => return Ok(key),
            Named::Alias(alias) => alias,
        };
        rows::read::<AliasRow>(&*self.meta, ALIASES, alias.as_str().as_bytes())
            .await?
            .map(|read| read.row.key)
            .ok_or_else(|| KeyError::NoSuchAlias {
                alias: alias.clone(),
            })
    }

    /// The row of a key that `reference` names.
    pub(super) async fn find(
        &self,
        reference: &KeyReference,
    ) -> Result<(KeyId, Read<KeyRow>), KeyError> {
        let (id, read) = self.find_record(reference).await?;
        match read.row.state {
            KeyState::Destroyed { .. } => Err(KeyError::NoSuchKey {
                reference: reference.clone(),
            }),
            _ => Ok((id, read)),
        }
    }

    /// As [`Kms::find`], and what is left of a key that was destroyed.
    pub(super) async fn find_record(
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
        self.check_enabled(id, &read.row)?;
        self.check_material(id, &read.row).await?;
        Ok(read.row)
    }

    pub(super) fn check_enabled(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        self.check_not_pending(id, row)?;
        match row.state {
            KeyState::Disabled => Err(KeyError::Disabled {
                key: self.home.arn(id),
            }),
            KeyState::PendingImport => Err(self.pending_import(id)),
            _ => Ok(()),
        }
    }

    pub(super) fn check_not_pending(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        match row.state {
            KeyState::PendingDeletion { .. } => Err(KeyError::PendingDeletion {
                key: self.home.arn(id),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn description(&self, id: KeyId, row: KeyRow) -> KeyDescription {
        KeyDescription {
            id,
            arn: self.home.arn(id),
            state: row.state,
            manager: row.manager,
            spec: row.spec,
            origin: row.origin,
            current_version: row.current,
            created: row.created,
            rotation: row.rotation,
            description: row.description,
        }
    }
}

fn check_description(description: &str) -> Result<(), KeyError> {
    if description.chars().count() > Kms::DESCRIPTION_CHARS_MAX {
        return Err(KeyError::InvalidRequest {
            rule: "a description has at most 8192 characters",
        });
    }
    Ok(())
}
