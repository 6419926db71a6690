//! Imported material taken away: because somebody asked, or because its time is over.
//!
//! The entry goes on the audit log; then one batch takes the wrapped material out of the row of its
//! version and writes the row of the key, which waits for the material then. **This is the commit
//! point.** After it, whatever was opened with the key is dropped from memory. What is known of the
//! material stays, so that the same can be imported again. Material that waits for a rotation was
//! never used, and goes with all that is known of it.

use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::Batch;

use super::{Kept, settle_origin};
use crate::arn::{KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::kms::access::Wish;
use crate::kms::{KeyDescription, KeyState, Kms};
use crate::names::KeyMaterialId;
use crate::quorum::{GuardedOperation, GuardedRequest};
use crate::rows::{
    self, IMPORTS, KEY_VERSIONS, KeyRow, KeyVersionRow, Material, Read, RowFormat as _,
};

impl Kms {
    /// Takes imported material away: the one that is named, or the current. Gives which it was;
    /// `None` where the key has never had any. Where it is away already nothing is done.
    ///
    /// When this returns, whatever was opened with the key is gone from memory, and what it protects
    /// answers [`KeyError::PendingImport`] until the same material is imported again.
    ///
    /// Source: AWS KMS API Reference, DeleteImportedKeyMaterial.
    ///
    /// # Errors
    /// [`KeyError::IncorrectKeyMaterial`]: the key has had no material of that id.
    /// [`KeyError::ApprovalNeeded`], [`KeyError::ApprovalRejected`], [`KeyError::NotForThisKey`],
    /// [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn delete_imported_key_material(
        self: &Arc<Self>,
        reference: &KeyReference,
        material: Option<KeyMaterialId>,
        caller: &Caller,
    ) -> Result<(KeyDescription, Option<KeyMaterialId>), KeyError> {
        let (kms, reference, caller) = (Arc::clone(self), reference.clone(), caller.clone());
        Self::to_the_end(async move {
            let _alone = kms.administration.lock().await;
            let act = "delete-imported-key-material";
            let entry = Entry::new(Event::KeyAdministration, act);
            let (id, read) = match kms.find(&reference).await {
                Ok(found) => found,
                Err(error) => {
                    let entry = entry.key(KeyNamed::reference(&reference));
                    return kms.journal.settle(&caller, entry, Err(error)).await;
                }
            };
            let (mut approval, mut batch) = (None, Batch::new());
            let chosen = async {
                kms.check_manager(id, &read.row)?;
                let wish = Wish::to("DeleteImportedKeyMaterial").reference(&reference);
                kms.authorize(id, &wish, &caller).await?;
                kms.check_external(id, &read.row)?;
                let kept = kms.kept_material(id).await?;
                let of = |kept: &Kept| match material {
                    Some(material) => kept.row.row.material == material,
                    None => kept.version == read.row.current,
                };
                let chosen = kept.iter().find(|kept| of(kept));
                let chosen = chosen.map(|kept| (kept.version, kept.row.row.material));
                if chosen.is_none() && material.is_some() {
                    return Err(KeyError::IncorrectKeyMaterial {
                        rule: "the key has had no material of that id",
                    });
                }
                // What is the current material today is not what custodians have agreed to tomorrow.
                let meant = chosen.map(|(_, material)| material.to_string());
                let guarded = GuardedRequest::of_key(
                    GuardedOperation::DeleteImportedKeyMaterial,
                    kms.home.arn(id),
                    serde_json::json!({ "key_material_id": meant }),
                );
                kms.quorum
                    .consume(&guarded, &caller, &mut approval, &mut batch)
                    .await?;
                Ok((kept, chosen))
            }
            .await;
            let entry = entry.approval(approval);
            let (kept, chosen) = match chosen {
                Ok(chosen) => chosen,
                Err(error) => {
                    let entry = entry.key(KeyNamed::kms(&kms.home.arn(id)));
                    return kms.journal.settle(&caller, entry, Err(error)).await;
                }
            };
            let versions: Vec<KeyVersion> = chosen.iter().map(|(version, _)| *version).collect();
            let row = kms
                .take_away(id, &read, kept, &versions, (entry, batch), &caller)
                .await?;
            let material = chosen.map(|(_, material)| material);
            Ok((kms.description(id, row), material))
        })
        .await
    }

    /// Takes away the material of a key whose time is over; `false` when by now there is none.
    pub(in crate::kms) async fn expire_due(
        &self,
        id: KeyId,
        caller: &Caller,
    ) -> Result<bool, KeyError> {
        let _alone = self.administration.lock().await;
        let (_, read) = self.find_record(&KeyReference::Id(id)).await?;
        let now = self.clock.now();
        let kept = self.kept_material(id).await?;
        let is_over = |kept: &Kept| {
            kept.is_present() && kept.row.row.expires.is_some_and(|expires| expires <= now)
        };
        let versions: Vec<KeyVersion> = kept
            .iter()
            .filter(|kept| is_over(kept))
            .map(|kept| kept.version)
            .collect();
        if versions.is_empty() || matches!(read.row.state, KeyState::Destroyed { .. }) {
            return Ok(false);
        }
        let entry = Entry::new(Event::KeyAdministration, "expire-key-material");
        self.take_away(id, &read, kept, &versions, (entry, Batch::new()), caller)
            .await?;
        Ok(true)
    }

    async fn take_away(
        &self,
        id: KeyId,
        read: &Read<KeyRow>,
        kept: Vec<Kept>,
        versions: &[KeyVersion],
        (entry, mut batch): (Entry<'_>, Batch),
        caller: &Caller,
    ) -> Result<KeyRow, KeyError> {
        let now = self.clock.now();
        let mut row = read.row.clone();
        let mut left: Vec<(KeyVersion, bool, Option<Timestamp>)> = Vec::new();
        let mut named = Vec::new();
        for kept in &kept {
            let is_taken = versions.contains(&kept.version);
            let place = rows::version_key(id, kept.version);
            if is_taken {
                named.push(serde_json::json!({
                    "key_material_id": kept.row.row.material.to_string(),
                    "version": kept.version.0,
                }));
            }
            if is_taken && kept.version > row.current {
                kept.row.delete(&mut batch, IMPORTS, &place);
                batch.delete(KEY_VERSIONS, place);
                continue;
            }
            if is_taken && kept.is_present() {
                let version_row = KeyVersionRow {
                    origin: kept.version_row.origin,
                    created: kept.version_row.created,
                    material: Material::Absent {
                        date: now,
                        kek: kept.version_row.kek().clone(),
                    },
                };
                kept.row.expect(&mut batch, IMPORTS, &place);
                batch.put(KEY_VERSIONS, place, version_row.encode());
            }
            let is_present = kept.is_present() && !is_taken;
            left.push((kept.version, is_present, kept.row.row.expires));
        }
        if !kept.is_empty() {
            settle_origin(&mut row, left.into_iter());
        }
        let is_suspended = row.state != read.row.state || row.origin != read.row.origin;
        Self::put_key(&mut batch, id, read, &row);
        let entry = entry
            .key(KeyNamed::kms(&self.home.arn(id)))
            .detail(serde_json::json!({ "key_material": named }));
        let changed = self
            .journal
            .change(&*self.meta, caller, entry, Ok(batch))
            .await;
        // Also when it is not known whether the rows were written. The number of material that waits for
        // a rotation is given again to the next.
        self.forget_versions(id);
        if is_suspended {
            self.tell(|observer| observer.suspended(id));
        }
        changed?;
        tracing::info!(key = %id, "imported key material was taken away");
        Ok(row)
    }
}
