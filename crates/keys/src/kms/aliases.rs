//! Aliases of KMS keys.

use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, CommitError, Scan, Table};

use super::access::Wish;
use super::{Alias, KeyManager, Kms, Page};
use crate::arn::{AliasName, KeyId, KeyReference};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{self, ALIASES, AliasRow, KEY_ALIASES, KEYS, KeyRow};

impl Kms {
    /// The most aliases of a key.
    ///
    /// Source: AWS KMS Developer Guide, "Resource quotas".
    pub const ALIASES_MAX: usize = 50;

    /// Gives a key a second name.
    ///
    /// # Errors
    /// [`KeyError::AliasExists`], [`KeyError::AliasReserved`], [`KeyError::NoSuchKey`],
    /// [`KeyError::LimitExceeded`]: it has 50. [`KeyError::PendingDeletion`],
    /// [`KeyError::ManagedByService`], [`KeyError::AuditUnavailable`],
    /// [`KeyError::NotCommitted`].
    pub async fn create_alias(
        &self,
        alias: &AliasName,
        key: &KeyReference,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let prepared = async {
            let (id, target) = self.alias_target(alias, key, "CreateAlias", caller).await?;
            if self.alias_row(alias).await?.is_some() {
                return Err(KeyError::AliasExists {
                    alias: alias.clone(),
                });
            }
            self.check_alias_count(id).await?;
            let mut batch = Batch::new();
            target.expect(&mut batch, KEYS, id.as_bytes());
            Self::put_new_alias(&mut batch, alias, id, self.clock.now());
            Ok(batch)
        }
        .await;
        let entry = Self::entry("create-alias", alias).key(KeyNamed::reference(key));
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// Makes an alias name another key.
    ///
    /// # Errors
    /// [`KeyError::NoSuchAlias`], and as for [`Kms::create_alias`].
    pub async fn update_alias(
        &self,
        alias: &AliasName,
        key: &KeyReference,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let prepared = async {
            let (id, target) = self.alias_target(alias, key, "UpdateAlias", caller).await?;
            let read = self.existing_alias(alias).await?;
            let mut row = read.row.clone();
            let mut batch = Batch::new();
            target.expect(&mut batch, KEYS, id.as_bytes());
            // A batch names a row once: to its own key an alias stays where it is.
            if row.key != id {
                self.authorize_alias(row.key, "UpdateAlias", caller).await?;
                self.check_alias_count(id).await?;
                batch.delete(KEY_ALIASES, Self::key_alias_key(row.key, alias));
            }
            row.key = id;
            row.updated = self.clock.now();
            read.replace(&mut batch, ALIASES, alias.as_str().as_bytes(), &row);
            batch.put(KEY_ALIASES, Self::key_alias_key(id, alias), []);
            Ok(batch)
        }
        .await;
        let entry = Self::entry("update-alias", alias).key(KeyNamed::reference(key));
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// Takes an alias away. The key stays.
    ///
    /// # Errors
    /// [`KeyError::NoSuchAlias`], [`KeyError::AliasReserved`], [`KeyError::AuditUnavailable`],
    /// [`KeyError::NotCommitted`].
    pub async fn delete_alias(&self, alias: &AliasName, caller: &Caller) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let prepared = async {
            Self::check_not_reserved(alias)?;
            let read = self.existing_alias(alias).await?;
            self.authorize_alias(read.row.key, "DeleteAlias", caller)
                .await?;
            let mut batch = Batch::new();
            read.delete(&mut batch, ALIASES, alias.as_str().as_bytes());
            batch.delete(KEY_ALIASES, Self::key_alias_key(read.row.key, alias));
            Ok(batch)
        }
        .await;
        let entry = Self::entry("delete-alias", alias);
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    /// All aliases in the order of their names, or those of one key.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`]; [`KeyError::InvalidReference`]: no page was ever followed by that
    /// marker.
    pub async fn list_aliases(
        &self,
        key: Option<&KeyReference>,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<Alias>, KeyError> {
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let (table, prefix) = match key {
            Some(key) => (KEY_ALIASES, self.find(key).await?.0.as_bytes().to_vec()),
            None => (ALIASES, Vec::new()),
        };
        let start = match marker {
            Some(marker) => [
                prefix.as_slice(),
                AliasName::new(marker)?.as_str().as_bytes(),
            ]
            .concat(),
            None => prefix.clone(),
        };
        let scan = Scan::within(&prefix, start, limit + 1);
        let mut names = Vec::new();
        for found in self.meta.scan(table, scan).await? {
            names.push(Self::alias_in(&prefix, table, &found.key)?);
        }
        // One row more than asked for: its name is where the next page begins.
        let next = (names.len() > limit)
            .then(|| names.pop())
            .flatten()
            .map(|first| first.to_string());
        let mut items = Vec::with_capacity(names.len());
        for name in names {
            // Between the scan and this look the alias may have been taken away.
            if let Some(read) = self.alias_row(&name).await? {
                items.push(Alias {
                    arn: self.home.alias_arn(&name),
                    name,
                    key: read.row.key,
                    created: read.row.created,
                    updated: read.row.updated,
                });
            }
        }
        Ok(Page { items, next })
    }

    /// Makes sure that a key of the service's own is there under its alias.
    pub(crate) async fn ensure_service_key(
        &self,
        alias: &AliasName,
        description: &str,
    ) -> Result<KeyId, KeyError> {
        let reference = KeyReference::Alias(alias.clone());
        match self.id_of(&reference).await {
            Err(KeyError::NoSuchAlias { .. }) => {}
            found => return found,
        }
        let made = self
            .make_key(
                &description.into(),
                KeyManager::Service,
                Some(alias),
                &Caller::daemon("start"),
            )
            .await;
        match made {
            Ok(key) => Ok(key.id),
            // Another daemon on the same metadata was faster.
            Err(KeyError::NotCommitted(CommitError::Conflict { .. })) => {
                self.id_of(&reference).await
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn put_new_alias(
        batch: &mut Batch,
        alias: &AliasName,
        key: KeyId,
        created: Timestamp,
    ) {
        let row = AliasRow {
            key,
            created,
            updated: created,
        };
        rows::create(batch, ALIASES, alias.as_str().as_bytes(), &row);
        batch.put(KEY_ALIASES, Self::key_alias_key(key, alias), []);
    }

    /// The key of a row in [`KEY_ALIASES`].
    pub(super) fn key_alias_key(key: KeyId, alias: &AliasName) -> Vec<u8> {
        [key.as_bytes().as_slice(), alias.as_str().as_bytes()].concat()
    }

    /// The alias in the key of a row, after `prefix`.
    pub(super) fn alias_in(
        prefix: &[u8],
        table: Table,
        row_key: &[u8],
    ) -> Result<AliasName, KeyError> {
        row_key
            .get(prefix.len()..)
            .and_then(|name| std::str::from_utf8(name).ok())
            .and_then(|name| AliasName::new(name).ok())
            .ok_or(KeyError::Damaged {
                table: table.name(),
                what: "a row is not under the name of an alias",
            })
    }

    /// Refuses one alias more than a key may have.
    async fn check_alias_count(&self, key: KeyId) -> Result<(), KeyError> {
        let scan = Scan::prefix(key.as_bytes(), Self::ALIASES_MAX);
        if self.meta.scan(KEY_ALIASES, scan).await?.len() == Self::ALIASES_MAX {
            return Err(KeyError::LimitExceeded {
                limit: "a key has at most 50 aliases",
            });
        }
        Ok(())
    }

    async fn alias_row(&self, alias: &AliasName) -> Result<Option<rows::Read<AliasRow>>, KeyError> {
        rows::read(&*self.meta, ALIASES, alias.as_str().as_bytes()).await
    }

    async fn existing_alias(&self, alias: &AliasName) -> Result<rows::Read<AliasRow>, KeyError> {
        self.alias_row(alias)
            .await?
            .ok_or_else(|| KeyError::NoSuchAlias {
                alias: alias.clone(),
            })
    }

    /// The key that a caller's alias is to name, if it may name it.
    async fn alias_target(
        &self,
        alias: &AliasName,
        key: &KeyReference,
        action: &str,
        caller: &Caller,
    ) -> Result<(KeyId, rows::Read<KeyRow>), KeyError> {
        Self::check_not_reserved(alias)?;
        let (id, read) = self.find(key).await?;
        self.check_manager(id, &read.row)?;
        self.authorize_alias(id, action, caller).await?;
        self.check_not_pending(id, &read.row)?;
        Ok((id, read))
    }

    /// An alias is the account's and names a key: the role has to allow it, and the key.
    async fn authorize_alias(
        &self,
        key: KeyId,
        action: &str,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        self.check_role(action, caller)?;
        self.authorize(key, &Wish::to(action), caller)
            .await
            .map(drop)
    }

    fn check_not_reserved(alias: &AliasName) -> Result<(), KeyError> {
        if alias.is_reserved() {
            return Err(KeyError::AliasReserved {
                alias: alias.clone(),
            });
        }
        Ok(())
    }

    fn entry(act: &'static str, alias: &AliasName) -> Entry<'static> {
        Entry::new(Event::KeyAdministration, act)
            .detail(serde_json::json!({ "alias": alias.as_str() }))
    }
}
