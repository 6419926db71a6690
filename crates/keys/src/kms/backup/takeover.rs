//! What another token of the owner does with a backup: take the keys over, to see that it can, or for
//! good.
//!
//! # Order of a restore
//!
//! The daemon is stopped. Page by page the token takes the keys over, each is proved against its check
//! value, and one batch puts it in the place of what the lost token had wrapped, vouched for by the MAC
//! key of this one. Keys of customers come first and the service's own last: **the last batch of these
//! is the commit point**, before which the service does not start on this token. A restore that was cut
//! short is done again from the beginning; it writes the same.

use std::collections::HashSet;
use std::sync::Arc;

use strongroom_meta::{Batch, MetaStore, Scan};
use strongroom_pkcs11::{ExportedKeys, KeyLabel, MacSpec, Token, TokenError, WrappedKey};
use subtle::ConstantTimeEq;

use super::check_of;
use super::page::{Backup, KeyStated, Place};
use crate::error::KeyError;
use crate::kms::KeySpec;
use crate::kms::pairs::try_out;
use crate::rows::{
    self, IMPORTS, ImportRow, KEY_VERSIONS, KeyVersionRow, Material, RowFormat as _,
    version_mac_message, wrapped_mac_message,
};
use crate::token_keys;

/// What a token did with one version of a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrilledKey {
    /// The version: key id and number.
    pub version: String,
    /// Why it could not be taken over, or is not what it was; nothing where all is well.
    pub failure: Option<String>,
}

/// What came of a drill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drill {
    /// Each version.
    pub keys: Vec<DrilledKey>,
}

impl Drill {
    /// Whether every version could be taken over.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.keys.iter().all(|key| key.failure.is_none())
    }
}

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RestoreReport {
    /// How many versions this token has taken over.
    pub restored: usize,
    /// Versions that the backup has and the rows do not need any more: destroyed, or expired.
    pub not_needed: Vec<String>,
    /// Versions that the rows have and the backup does not: they are lost with the other token.
    pub lost: Vec<String>,
    /// Versions that are in the backup and are not what they were: a drill would have told.
    pub failed: Vec<String>,
}

/// Has the token with the escrow key take every key of a backup over, proves each against its check
/// value, and keeps nothing.
///
/// # Errors
/// [`KeyError::TokenUnavailable`]: the token cannot serve, or has no escrow key.
/// [`KeyError::InvalidRequest`]: the backup is for another. What is wrong with single keys is in the
/// answer.
pub async fn drill_backup(token: &dyn Token, backup: &Backup) -> Result<Drill, KeyError> {
    let (escrow, kek) = token_keys::escrow_keys();
    check_escrow_key(token, &escrow, backup).await?;
    let mut keys = Vec::new();
    for page in backup.pages() {
        for (stated, taken) in taken_over(token, &escrow, &kek, page).await? {
            let failure = match taken {
                Ok(wrapped) => proven(token, stated, &wrapped).await.err(),
                Err(error) => Some(error),
            };
            if let Some(error @ KeyError::TokenUnavailable(_)) = failure {
                return Err(error);
            }
            keys.push(DrilledKey {
                version: stated
                    .place()
                    .map_or_else(String::new, |place| place.to_string()),
                failure: failure.map(|error| error.to_string()),
            });
        }
    }
    Ok(Drill { keys })
}

/// Puts the keys of a backup in the place of those that a lost token had wrapped. The token has the
/// escrow key, and the service's own keys ([`ensure_token_keys`](crate::ensure_token_keys)).
///
/// # Errors
/// [`KeyError::InvalidRequest`]: the backup is for another token. [`KeyError::TokenUnavailable`],
/// [`KeyError::Metadata`], [`KeyError::Damaged`],
/// [`KeyError::NotCommitted`].
pub async fn restore_backup(
    token: &dyn Token,
    meta: &Arc<dyn MetaStore>,
    backup: &Backup,
) -> Result<RestoreReport, KeyError> {
    let (escrow, _) = token_keys::escrow_keys();
    check_escrow_key(token, &escrow, backup).await?;
    let root = KeyLabel(token_keys::ROOT_KEK.into());
    let mut report = RestoreReport::default();
    let mut last = Batch::new();
    let mut taken_places = HashSet::new();
    for page in backup.pages() {
        let mut batch = Batch::new();
        for (stated, taken) in taken_over(token, &escrow, &root, page).await? {
            let (Some(place), Some(spec)) = (stated.place(), stated.spec()) else {
                return Err(KeyError::NotAuthentic);
            };
            taken_places.insert(place);
            let proved = match taken {
                Ok(wrapped) => proven(token, stated, &wrapped).await.map(|()| wrapped),
                Err(error) => Err(error),
            };
            // One that is not sound keeps the others from nothing.
            let wrapped = match proved {
                Err(KeyError::NotAuthentic) => {
                    report.failed.push(place.to_string());
                    continue;
                }
                proved => proved?,
            };
            let found =
                rows::read::<KeyVersionRow>(&**meta, KEY_VERSIONS, &place.row_key()).await?;
            let Some(read) =
                found.filter(|read| matches!(read.row.material, Material::Wrapped { .. }))
            else {
                report.not_needed.push(place.to_string());
                continue;
            };
            // Material that was imported later under the same number is another.
            let import = rows::read::<ImportRow>(&**meta, IMPORTS, &place.row_key()).await?;
            if import.is_some_and(|import| import.row.material.to_string() != stated.check) {
                report.failed.push(place.to_string());
                continue;
            }
            let message = match spec {
                KeySpec::Symmetric => version_mac_message(place.key, place.version, &wrapped),
                _ => wrapped_mac_message(
                    place.key,
                    place.version,
                    spec,
                    &wrapped,
                    &stated.public_key(),
                ),
            };
            let label = KeyLabel(token_keys::MAC_KEY.into());
            let row = KeyVersionRow {
                origin: read.row.origin,
                created: read.row.created,
                material: Material::Wrapped {
                    mac: token.mac(&label, &message).await?,
                    wrapped,
                },
            };
            let batch = if stated.is_service {
                &mut last
            } else {
                &mut batch
            };
            batch.put(KEY_VERSIONS, place.row_key(), row.encode());
            report.restored += 1;
        }
        meta.commit(batch).await?;
    }
    report.lost = lost(&**meta, &taken_places).await?;
    // The commit point.
    meta.commit(last).await?;
    Ok(report)
}

/// The wrapped versions that are in no page.
async fn lost(meta: &dyn MetaStore, taken: &HashSet<Place>) -> Result<Vec<String>, KeyError> {
    const ROWS_AT_ONCE: usize = 10_000;
    let (mut lost, mut start) = (Vec::new(), Vec::new());
    loop {
        let found = meta
            .scan(KEY_VERSIONS, Scan::within(&[], start, ROWS_AT_ONCE))
            .await?;
        for found in &found {
            let place = Place::of_row_key(&found.key)?;
            let row: KeyVersionRow = rows::decoded(KEY_VERSIONS, &found.row.value)?;
            if matches!(row.material, Material::Wrapped { .. }) && !taken.contains(&place) {
                lost.push(place.to_string());
            }
        }
        match found.last() {
            Some(last) if found.len() == ROWS_AT_ONCE => start = [&last.key[..], &[0]].concat(),
            _ => return Ok(lost),
        }
    }
}

async fn check_escrow_key(
    token: &dyn Token,
    escrow: &KeyLabel,
    backup: &Backup,
) -> Result<(), KeyError> {
    let public = token.escrow_public_key(escrow).await?;
    if super::page::fingerprint(&public) == backup.escrow_key_sha256() {
        return Ok(());
    }
    Err(KeyError::InvalidRequest {
        rule: "the backup is for the escrow key of another token",
    })
}

type Taken<'a> = (&'a KeyStated, Result<WrappedKey, KeyError>);

/// The keys of a page as the token has taken them over: all at once, or, where one is not sound, one
/// by one, so that the others are.
async fn taken_over<'a>(
    token: &dyn Token,
    escrow: &KeyLabel,
    kek: &KeyLabel,
    page: &'a super::page::PageStated,
) -> Result<Vec<Taken<'a>>, KeyError> {
    if page.keys.is_empty() {
        return Ok(Vec::new());
    }
    let exported = page.exported();
    match token.take_over(escrow, &exported, kek).await {
        Ok(keys) => Ok(page.keys.iter().zip(keys.into_iter().map(Ok)).collect()),
        Err(TokenError::NotAuthentic) => {
            let mut taken = Vec::new();
            for (stated, key) in page.keys.iter().zip(&exported.keys) {
                let alone = ExportedKeys {
                    transport: exported.transport.clone(),
                    keys: vec![key.clone()],
                };
                let one = token.take_over(escrow, &alone, kek).await;
                let one = one.map_err(KeyError::from);
                taken.push((
                    stated,
                    one.and_then(|mut one| one.pop().ok_or(KeyError::NotAuthentic)),
                ));
            }
            Ok(taken)
        }
        Err(error) => Err(error.into()),
    }
}

/// That a wrapped key is what it was on the other token.
async fn proven(
    token: &dyn Token,
    stated: &KeyStated,
    wrapped: &WrappedKey,
) -> Result<(), KeyError> {
    let (Some(place), Some(spec)) = (stated.place(), stated.spec()) else {
        return Err(KeyError::NotAuthentic);
    };
    let mac = match spec {
        KeySpec::Symmetric => MacSpec::Sha256,
        KeySpec::Mac(mac) => mac,
        KeySpec::Pair(..) => {
            // A pair that does not do what its public key undoes shows like a token that is not well.
            return match try_out(token, spec, wrapped, &stated.public_key()).await {
                Err(KeyError::TokenUnavailable(_)) if token.health().await.is_ok() => {
                    Err(KeyError::NotAuthentic)
                }
                tried => tried,
            };
        }
    };
    let check = check_of(token, place.key, wrapped, mac).await?;
    let is_it = data_encoding::HEXLOWER
        .encode(&check)
        .as_bytes()
        .ct_eq(stated.check.as_bytes());
    if bool::from(is_it) {
        Ok(())
    } else {
        Err(KeyError::NotAuthentic)
    }
}
