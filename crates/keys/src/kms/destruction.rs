//! Deletion carried out: the versions of a key are destroyed.
//!
//! # Order of a destruction
//!
//! 1. The entry goes on the audit log, while everything is still there.
//! 2. In one batch each version's row loses the wrapped key and says since when, the row of the
//!    key says that it is destroyed, its aliases go, and with them what was due. **This is the
//!    commit point**: before it the deletion can be cancelled, after it nobody opens anything
//!    under the key any more.
//! 3. Whatever was opened with the key, and the wrapped versions that were kept, are dropped from
//!    memory.
//!
//! A daemon that stops between 1 and 2 finds the key due again and begins at 1; one that stops
//! after 2 has no memory to drop anything from.
//!
//! What is left of the key, its tags and the ledger stay: they say what was protected by it.

use strongroom_meta::{Batch, Scan};

use super::{KeyState, Kms};
use crate::arn::{AliasName, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::rows::{
    self, ALIASES, KEY_ALIASES, KEY_VERSIONS, KeyVersionRow, Material, RowFormat as _,
};

impl Kms {
    /// Destroys a key whose date has come; `false` when by now there is nothing to do.
    pub(super) async fn destroy_due(&self, id: KeyId, caller: &Caller) -> Result<bool, KeyError> {
        let _alone = self.administration.lock().await;
        let (_, read) = self.find_record(&KeyReference::Id(id)).await?;
        let now = self.clock.now();
        match read.row.state {
            KeyState::PendingDeletion { date } if date <= now => {}
            _ => return Ok(false),
        }
        let mut row = read.row.clone();
        row.state = KeyState::Destroyed { date: now };
        row.rotation = None;
        let mut batch = Batch::new();
        Self::put_key(&mut batch, id, &read, &row);
        // As many as there can be: some for each year, and those on demand.
        let versions = self
            .version_rows(id, KeyVersion(1), Batch::WRITES_MAX)
            .await?;
        for (version, found) in &versions {
            let tombstone = KeyVersionRow {
                origin: found.origin,
                created: found.created,
                material: Material::Destroyed {
                    date: now,
                    kek: found.kek().clone(),
                },
            };
            let place = rows::version_key(id, *version);
            batch.put(KEY_VERSIONS, place, tombstone.encode());
        }
        for alias in self.aliases_of(id).await? {
            batch.delete(ALIASES, alias.as_str().as_bytes());
            batch.delete(KEY_ALIASES, Self::key_alias_key(id, &alias));
        }
        let entry = Entry::new(Event::KeyAdministration, "destroy-key")
            .key(KeyNamed::kms(&self.home.arn(id)))
            .detail(serde_json::json!({ "versions": versions.len() }));
        let changed = self
            .journal
            .change(&*self.meta, caller, entry, Ok(batch))
            .await;
        // Also when it is not known whether the rows were written.
        self.forget_versions(id);
        self.tell(|observer| observer.suspended(id));
        changed?;
        tracing::info!(key = %id, "a key was destroyed: its date had come");
        Ok(true)
    }

    async fn aliases_of(&self, id: KeyId) -> Result<Vec<AliasName>, KeyError> {
        let scan = Scan::prefix(id.as_bytes(), Batch::WRITES_MAX);
        let found = self.meta.scan(KEY_ALIASES, scan).await?;
        found
            .iter()
            .map(|found| Self::alias_in(id.as_bytes(), KEY_ALIASES, &found.key))
            .collect()
    }
}
