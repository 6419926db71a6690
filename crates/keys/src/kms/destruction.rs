//! Deletion carried out: the versions of a key are destroyed.
//!
//! # Order of a destruction
//!
//! 1. What is lost with the key is counted in the ledger.
//! 2. The entry goes on the audit log, while everything is still there.
//! 3. In one batch each version's row loses the wrapped key and says since when, the row of the
//!    key says that it is destroyed, its aliases go, and with them what was due; the statement that
//!    is to be certified is written, and that this is due. **This is the commit point**: before it
//!    the deletion can be cancelled, after it nobody opens anything under the key any more.
//! 4. Whatever was opened with the key, and the wrapped versions that were kept, are dropped from
//!    memory.
//! 5. The statement is signed; see [`certificate`](super::certificate).
//!
//! A daemon that stops before 3 finds the key due again and begins at 1; one that stops after it
//! has no memory to drop anything from, and finds the certificate due.
//!
//! What is left of the key, its tags and the ledger stay: they say what was protected by it.

use strongroom_meta::{Batch, Scan};

use super::certificate::{Destroyed, Statement};
use super::{KeyState, Kms};
use crate::arn::{AliasName, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::ledger::impact::impact_of;
use crate::rows::{
    self, ALIASES, DELETIONS, DeletionRow, Due, DueAct, KEY_ALIASES, KEY_VERSIONS, KeyVersionRow,
    Material, RowFormat as _,
};

impl Kms {
    /// Destroys a key whose date has come; `false` when by now there is nothing to do.
    pub(super) async fn destroy_due(&self, id: KeyId, caller: &Caller) -> Result<bool, KeyError> {
        // Before others are kept waiting: a key that waits for its deletion protects nothing new.
        let impact = impact_of(&*self.meta, id).await?;
        let alone = self.administration.lock().await;
        let (_, read) = self.find_record(&KeyReference::Id(id)).await?;
        let now = self.clock.now();
        let due = match read.row.state {
            KeyState::PendingDeletion { date } if date <= now => date,
            _ => return Ok(false),
        };
        let scheduled = rows::read::<DeletionRow>(&*self.meta, DELETIONS, id.as_bytes()).await?;
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
        let statement = Statement::new(
            Destroyed {
                arn: &self.home.arn(id),
                key: &read.row,
                versions: &versions,
                scheduled: scheduled.as_ref().map(|read| &read.row),
                due,
                now,
                by: &caller.principal,
            },
            &impact,
        );
        let total = statement.total();
        let entry = Entry::new(Event::KeyAdministration, "destroy-key")
            .key(KeyNamed::kms(&self.home.arn(id)))
            .detail(serde_json::json!({
                "versions": versions.len(),
                "object_versions": total.versions,
                "size_bytes": total.size_bytes,
            }));
        let changed = self
            .journal
            .change_and_tell(&*self.meta, caller, entry, Ok(batch), |index, batch| {
                Self::put_statement(batch, id, now, index, statement);
            })
            .await;
        // Also when it is not known whether the rows were written.
        self.forget_versions(id);
        self.tell(|observer| observer.suspended(id));
        changed?;
        drop(alone);
        tracing::info!(key = %id, "a key was destroyed: its date had come");
        let due = Due {
            date: now,
            act: DueAct::Certify,
            key: id,
        };
        if let Err(error) = self.certify_due(due, caller).await {
            tracing::error!(key = %id, %error, "the certificate of a destruction is not signed yet");
        }
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
