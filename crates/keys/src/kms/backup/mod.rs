//! Backup of keys for another token of the owner.
//!
//! That token has an escrow key, an RSA pair whose private key never leaves it. A backup has every
//! version of every KMS key wrapped by transport keys, and those encrypted for the escrow key; the
//! token of this service does both, so that no value is in the memory of any machine. The public
//! key to wrap for comes from the configuration of the daemon and not with the request: whoever
//! could name it would get every key.
//!
//! A backup is made page by page. Each page is a text signed by the key of the audit log, with the
//! entry of the log that tells of it and the proof that the entry is there; it names the version
//! after which it begins, so that a page that is missing is noticed.
//!
//! Where custodians have to agree to it they agree once, to the whole. The first page carries their
//! approval out: its entry goes on the log, and one batch marks the proposal and writes the row of
//! the backup. **This is the commit point**, before the page is given out. The other pages are given
//! out to the same requester for a day, as long as the row says so.

mod page;
mod takeover;

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use strongroom_meta::{Batch, Scan};
use strongroom_pkcs11::{CarriedKind, KeyLabel, MacSpec, WrappedKey};
use subtle::ConstantTimeEq as _;

pub use page::{Backup, BackupError, BackupPage, escrow_key_fingerprint};
pub use takeover::{Drill, DrilledKey, RestoreReport, drill_backup, restore_backup};

use self::page::{KeyStated, PageStated, Place};
use super::{KeyManager, KeySpec, KeyState, Kms};
use crate::arn::KeyId;
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event};
use crate::names::ProposalId;
use crate::quorum::{GuardedOperation, GuardedRequest};
use crate::rows::{
    self, BACKUPS, BackupRow, KEY_VERSIONS, KEYS, KeyRow, KeyVersionRow, Material, RowFormat as _,
};
use crate::token_keys;

/// How many versions are looked at for a page.
const VERSIONS_MAX: usize = 100;
/// How many bytes of wrapped keys a page has; a token takes somewhat more at once.
const WRAPPED_LEN_BYTES_MAX: usize = 40 * 1024;

/// How many backups that cannot be gone on with are deleted when one is begun.
const PRUNED_MAX: usize = 100;
const PAGE_AFTER_THE_FIRST: &str = GuardedOperation::BACKUP_GOES_ON;

/// A version that is to be on a page.
struct Chosen {
    key: KeyStated,
    kind: CarriedKind,
    wrapped: WrappedKey,
}

impl Kms {
    /// For how long a backup that was begun can be gone on with.
    pub const BACKUP_TIME_MAX: Duration = Duration::from_secs(86_400);

    /// The page of a backup that comes after the version `after`, or the first. `backup` is what all
    /// pages of a backup share: 16 bytes in hexadecimal, drawn by whoever puts them together.
    ///
    /// `recipient` is the public key (`SubjectPublicKeyInfo` in DER) of the escrow key that the keys
    /// are wrapped for.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`], [`KeyError::AccessDenied`], [`KeyError::ApprovalNeeded`],
    /// [`KeyError::ApprovalRejected`], [`KeyError::Damaged`], [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCertified`], [`KeyError::NotCommitted`],
    /// [`KeyError::Metadata`].
    pub async fn backup_page(
        self: &Arc<Self>,
        recipient: &[u8],
        backup: &str,
        after: Option<&str>,
        caller: &Caller,
    ) -> Result<BackupPage, KeyError> {
        let (kms, caller) = (Arc::clone(self), caller.clone());
        let (recipient, backup) = (recipient.to_vec(), backup.to_owned());
        let after = after.map(str::to_owned);
        Self::to_the_end(async move {
            kms.next_page(&recipient, &backup, after.as_deref(), &caller)
                .await
        })
        .await
    }

    async fn next_page(
        &self,
        recipient: &[u8],
        backup: &str,
        after: Option<&str>,
        caller: &Caller,
    ) -> Result<BackupPage, KeyError> {
        let escrow_key_sha256 = page::fingerprint(recipient);
        let (mut approval, mut batch, mut act) = (None, Batch::new(), PAGE_AFTER_THE_FIRST);
        // An approval is carried out once.
        let _alone = match after {
            None => Some(self.administration.lock().await),
            Some(_) => None,
        };
        let made = async {
            self.check_role("BackupKeys", caller)?;
            let is_id = HEXLOWER
                .decode(backup.as_bytes())
                .is_ok_and(|bytes| bytes.len() == 16);
            if !is_id {
                return Err(KeyError::InvalidRequest {
                    rule: "a backup is named by 16 bytes in lower-case hexadecimal",
                });
            }
            let after = after.map(str::parse::<Place>).transpose()?;
            let begun = self.check_begun(backup, recipient, caller).await;
            // A first page that was lost on its way is given out again.
            match (begun, after) {
                (Ok(()), _) => {}
                (Err(error), Some(_)) => return Err(error),
                (Err(_), None) => {
                    act = GuardedOperation::BackupKeys.act();
                    let guarded = GuardedRequest {
                        operation: GuardedOperation::BackupKeys,
                        key: None,
                        members: serde_json::json!({ "escrow_key_sha256": escrow_key_sha256 }),
                    };
                    self.quorum
                        .consume(&guarded, caller, &mut approval, &mut batch)
                        .await?;
                    let proposal = approval.as_ref().map(|approval| approval.proposal.parse());
                    self.begin_backup(backup, recipient, proposal.transpose()?, caller, &mut batch)
                        .await?;
                }
            }
            self.page_after(recipient, backup, after, caller).await
        }
        .await;
        let named: Vec<String> = made.iter().flat_map(PageStated::named).collect();
        let left_out = made.as_ref().map_or(&[][..], PageStated::left_out);
        let mut detail = serde_json::json!({
            "backup": backup.chars().take(64).collect::<String>(),
            "escrow_key_sha256": escrow_key_sha256,
            "keys": named,
        });
        if !left_out.is_empty() {
            detail["left_out"] = left_out.into();
        }
        let entry = Entry::new(Event::KeyAdministration, act)
            .approval(approval)
            .detail(detail);
        let (made, prepared) = match made {
            Ok(stated) => (Some(stated), Ok(batch)),
            Err(error) => (None, Err(error)),
        };
        let index = self
            .journal
            .change_and_tell(&*self.meta, caller, entry, prepared, |_, _| ())
            .await?;
        let mut stated = made.ok_or(KeyError::Damaged {
            table: BACKUPS.name(),
            what: "a page was not made, and its entry is on the log",
        })?;
        stated.entry = index.0;
        let next = stated.more.then(|| stated.last.clone()).flatten();
        let certified = self.journal.certify(index, &stated.to_text()).await?;
        Ok(BackupPage {
            note: certified.note,
            entry: String::from_utf8(certified.entry).map_err(|_| KeyError::NotCertified {
                reason: "the entry on the log is not text".to_owned(),
            })?,
            proof: certified.proof,
            next,
        })
    }

    /// Writes that a backup is begun, and deletes what tells of those that cannot be gone on with.
    async fn begin_backup(
        &self,
        backup: &str,
        recipient: &[u8],
        proposal: Option<ProposalId>,
        caller: &Caller,
        batch: &mut Batch,
    ) -> Result<(), KeyError> {
        let now = self.clock.now();
        for found in self
            .meta
            .scan(BACKUPS, Scan::prefix(&[], PRUNED_MAX))
            .await?
        {
            let is_over = BackupRow::decode(&found.row.value)
                .is_none_or(|row| row.begun + Self::BACKUP_TIME_MAX <= now);
            if is_over && *found.key != *backup.as_bytes() {
                batch.delete(BACKUPS, &*found.key);
            }
        }
        let mut row = BackupRow {
            begun: now,
            principal: caller.principal.clone(),
            escrow_key_sha256: page::sha256(recipient),
            proposal,
            mac: [0; 32],
        };
        row.mac = self.vouch_for_backup(backup, &row).await?;
        rows::create(batch, BACKUPS, backup.as_bytes(), &row);
        Ok(())
    }

    async fn vouch_for_backup(&self, backup: &str, row: &BackupRow) -> Result<[u8; 32], KeyError> {
        let label = KeyLabel(token_keys::MAC_KEY.into());
        Ok(self.token.mac(&label, &row.mac_message(backup)).await?)
    }

    /// Whether a backup was begun, not long ago, and by the same requester for the same escrow key;
    /// where custodians have to agree, with their approval. The token vouches for what the row says.
    async fn check_begun(
        &self,
        backup: &str,
        recipient: &[u8],
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let not_begun = Err(KeyError::InvalidRequest {
            rule: "a page after the first is of a backup that the same requester has begun within a \
                   day, for the same escrow key",
        });
        let Some(read) = rows::read::<BackupRow>(&*self.meta, BACKUPS, backup.as_bytes()).await?
        else {
            return not_begun;
        };
        let row = read.row;
        let is_it = row.principal == caller.principal
            && row.escrow_key_sha256 == page::sha256(recipient)
            && self.clock.now() < row.begun + Self::BACKUP_TIME_MAX;
        if !is_it {
            return not_begun;
        }
        let expected = self.vouch_for_backup(backup, &row).await?;
        if !bool::from(expected.ct_eq(&row.mac)) {
            return Err(KeyError::Damaged {
                table: BACKUPS.name(),
                what: "the token does not vouch for a backup that was begun",
            });
        }
        if row.proposal.is_none() && self.quorum.guards(GuardedOperation::BackupKeys).await? {
            return Err(KeyError::InvalidRequest {
                rule: "custodians have to agree to a backup now: begin it anew",
            });
        }
        Ok(())
    }

    async fn page_after(
        &self,
        recipient: &[u8],
        backup: &str,
        after: Option<Place>,
        caller: &Caller,
    ) -> Result<PageStated, KeyError> {
        let start = after.map(|after| [&after.row_key()[..], &[0]].concat());
        let scan = Scan::within(&[], start.unwrap_or_default(), VERSIONS_MAX + 1);
        let found = self.meta.scan(KEY_VERSIONS, scan).await?;
        let (mut chosen, mut left_out) = (Vec::<Chosen>::new(), Vec::new());
        let (mut last, mut sum) = (None, 0);
        let mut more = found.len() > VERSIONS_MAX;
        let mut known: Option<(KeyId, KeyRow)> = None;
        for found in found.iter().take(VERSIONS_MAX) {
            let place = Place::of_row_key(&found.key)?;
            let version: KeyVersionRow = rows::decoded(KEY_VERSIONS, &found.row.value)?;
            let row = match known.take() {
                Some((id, row)) if id == place.key => row,
                _ => {
                    let read = rows::read::<KeyRow>(&*self.meta, KEYS, place.key.as_bytes());
                    let read = read.await?.ok_or(KeyError::Damaged {
                        table: KEY_VERSIONS.name(),
                        what: "a version is of no key",
                    })?;
                    read.row
                }
            };
            if let Material::Wrapped { .. } = version.material {
                let one = match self.chosen(place, &row).await {
                    // It was lost with another token, or is damaged: no reason to lose all others.
                    Err(KeyError::Damaged { .. } | KeyError::NotAuthentic) => {
                        tracing::error!(version = %place, "the token does not vouch for it: it is left out of a backup");
                        left_out.push(place);
                        last = Some(place);
                        known = Some((place.key, row));
                        continue;
                    }
                    one => one?,
                };
                if !chosen.is_empty() && sum + one.wrapped.bytes.len() > WRAPPED_LEN_BYTES_MAX {
                    more = true;
                    break;
                }
                sum += one.wrapped.bytes.len();
                chosen.push(one);
            }
            last = Some(place);
            known = Some((place.key, row));
        }
        let transport = if chosen.is_empty() {
            Vec::new()
        } else {
            let keys: Vec<(CarriedKind, &WrappedKey)> = chosen
                .iter()
                .map(|chosen| (chosen.kind, &chosen.wrapped))
                .collect();
            let root = KeyLabel(token_keys::ROOT_KEK.into());
            let exported = self.token.export_wrapped(&root, &keys, recipient).await?;
            for (chosen, (_, bytes)) in chosen.iter_mut().zip(exported.keys) {
                chosen.key.set_wrapped(&bytes);
            }
            exported.transport
        };
        let identity = self.token.identity();
        Ok(PageStated::new(
            backup,
            (after, last, more),
            (&identity.label, &identity.serial),
            (page::fingerprint(recipient), &transport),
            (self.clock.now(), &caller.principal),
            (
                chosen.into_iter().map(|chosen| chosen.key).collect(),
                left_out,
            ),
        ))
    }

    /// A version, after the token has vouched for it, and what it can be checked against.
    async fn chosen(&self, place: Place, row: &KeyRow) -> Result<Chosen, KeyError> {
        let (kind, wrapped, check, public) = match row.spec {
            KeySpec::Symmetric => {
                let wrapped = self.wrapped_version(place.key, place.version).await?;
                let check = check_of(&*self.token, place.key, &wrapped, MacSpec::Sha256).await?;
                (CarriedKind::Aes, (*wrapped).clone(), check, Vec::new())
            }
            KeySpec::Mac(spec) => {
                let (wrapped, _) = self.vouched_parts(place.key, row).await?;
                let check = check_of(&*self.token, place.key, &wrapped, spec).await?;
                (CarriedKind::Mac(spec), wrapped, check, Vec::new())
            }
            KeySpec::Pair(spec, _) => {
                let (wrapped, public) = self.vouched_parts(place.key, row).await?;
                (CarriedKind::Pair(spec), wrapped, Vec::new(), public)
            }
        };
        let state = match row.state {
            KeyState::Enabled => "enabled",
            KeyState::Disabled => "disabled",
            KeyState::PendingImport => "pending-import",
            KeyState::PendingDeletion { .. } => "pending-deletion",
            KeyState::Destroyed { .. } => "destroyed",
        };
        Ok(Chosen {
            key: KeyStated::new(
                place,
                row.spec,
                state,
                row.manager == KeyManager::Service,
                &check,
                &public,
            ),
            kind,
            wrapped,
        })
    }
}

/// What a key whose value is symmetric can be checked against on any token: an HMAC by it of the id of
/// its KMS key. Of imported material it is the id.
async fn check_of(
    token: &dyn strongroom_pkcs11::Token,
    id: KeyId,
    wrapped: &WrappedKey,
    spec: MacSpec,
) -> Result<Vec<u8>, KeyError> {
    let message = rows::material_message(id);
    Ok(token.mac_by(wrapped, spec, &message).await?)
}
