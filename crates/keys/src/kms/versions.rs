//! The versions of KMS keys: made in the token, kept wrapped, never changed until destroyed.

use std::sync::Arc;

use strongroom_environment::Timestamp;
use strongroom_meta::Scan;
use strongroom_pkcs11::{KeyLabel, WrappedKey};
use subtle::ConstantTimeEq;

use super::{KeyState, Kms, Page};
use crate::arn::{KeyId, KeyReference, KeyVersion};
use crate::error::KeyError;
use crate::rows::{
    self, COMPROMISED, CompromisedRow, KEY_VERSIONS, KeyRow, KeyVersionRow, Material, Origin,
};
use crate::token_keys;

/// What may be done with a version of a key.
///
/// Source: NIST SP 800-57 Part 1 Rev. 5, section 7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VersionState {
    /// It encrypts and decrypts.
    Active,
    /// It decrypts only, since a newer version was made.
    Deactivated,
    /// Nothing yet: it was imported, and the key is not rotated to it.
    PreActive,
    /// Nothing, until the key is enabled, or its material imported again.
    Suspended,
    /// It decrypts only, while what is under it is re-wrapped: somebody else may know its value.
    Compromised {
        /// Since when that is known.
        date: Timestamp,
    },
    /// Nothing any more: its value is gone.
    Destroyed {
        /// Since when.
        date: Timestamp,
        /// Whether it was compromised before.
        was_compromised: bool,
    },
}

/// Why a version of a key took the place of the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RotationKind {
    /// Its date had come.
    Automatic,
    /// Somebody asked.
    OnDemand,
}

/// What there is to know of a version of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionDescription {
    /// Which version.
    pub version: KeyVersion,
    /// When it was made.
    pub created: Timestamp,
    /// What may be done with it.
    pub state: VersionState,
    /// The rotation that made it; `None` for the version that was made with the key.
    pub rotation: Option<RotationKind>,
    /// When it was last used, if it was.
    pub last_used: Option<Timestamp>,
}

impl Kms {
    /// The versions of a key, oldest first, also of one that was destroyed. A `marker` is the
    /// `next` of the page before.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`]; [`KeyError::InvalidReference`]: no page
    /// was ever followed by that marker. [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn key_versions(
        &self,
        reference: &KeyReference,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<VersionDescription>, KeyError> {
        let (id, read) = self.find_record(reference).await?;
        self.versions_from(id, &read.row, KeyVersion(1), marker, limit)
            .await
    }

    /// The versions that rotations made, oldest first; or, of a key that `is_whole`, all with the first
    /// and with imported material that waits for a rotation. A `marker` is the `next` of the page before.
    ///
    /// Source: AWS KMS API Reference, ListKeyRotations.
    ///
    /// # Errors
    /// As for [`Kms::key_versions`]; of a destroyed key [`KeyError::NoSuchKey`].
    pub async fn key_rotations(
        &self,
        reference: &KeyReference,
        is_whole: bool,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<(KeyId, Page<VersionDescription>), KeyError> {
        let (id, read) = self.find(reference).await?;
        let first = KeyVersion(if is_whole { 1 } else { 2 });
        let mut page = self
            .versions_from(id, &read.row, first, marker, limit)
            .await?;
        if !is_whole {
            // What waits for its rotation is the last, and none of the rotations.
            page.items
                .retain(|version| version.version <= read.row.current);
            page.next = page.next.filter(|next| {
                next.parse()
                    .is_ok_and(|next: u32| next <= read.row.current.0)
            });
        }
        Ok((id, page))
    }

    async fn versions_from(
        &self,
        id: KeyId,
        row: &KeyRow,
        first: KeyVersion,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<VersionDescription>, KeyError> {
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let start = match marker {
            Some(marker) => marker
                .parse()
                .ok()
                .map(KeyVersion)
                .filter(|version| *version >= first)
                .ok_or(KeyError::InvalidReference {
                    rule: "a marker is one that a page of the same list gave",
                })?,
            None => first,
        };
        let mut items = Vec::new();
        let uses = self.last_uses(id).await?;
        let marks = rows::scan_all(&*self.meta, COMPROMISED, id.as_bytes()).await?;
        for (version, found) in self.version_rows(id, start, limit + 1).await? {
            let place = rows::version_key(id, version);
            let mark = marks.iter().find(|mark| mark.key == place);
            let mark = mark
                .map(|mark| rows::decoded::<CompromisedRow>(COMPROMISED, &mark.row.value))
                .transpose()?;
            items.push(VersionDescription {
                version,
                created: found.created,
                state: state_of(version, &found, row, mark.as_ref()),
                last_used: uses.get(&version).map(|used| used.at),
                rotation: match found.origin {
                    Origin::Creation => None,
                    Origin::Automatic => Some(RotationKind::Automatic),
                    Origin::OnDemand => Some(RotationKind::OnDemand),
                },
            });
        }
        // One row more than asked for: its number is where the next page begins.
        let next = (items.len() > limit)
            .then(|| items.pop())
            .flatten()
            .map(|first| first.version.to_string());
        Ok(Page { items, next })
    }

    /// The rows of the versions of a key from `start` on, at most `limit` of them.
    pub(super) async fn version_rows(
        &self,
        id: KeyId,
        start: KeyVersion,
        limit: usize,
    ) -> Result<Vec<(KeyVersion, KeyVersionRow)>, KeyError> {
        let scan = Scan::within(id.as_bytes(), rows::version_key(id, start), limit);
        let found = self.meta.scan(KEY_VERSIONS, scan).await?;
        found
            .iter()
            .map(|found| {
                let number = found.key.get(id.as_bytes().len()..);
                let number =
                    number
                        .and_then(|number| number.try_into().ok())
                        .ok_or(KeyError::Damaged {
                            table: KEY_VERSIONS.name(),
                            what: "a row is not under a key id and a version",
                        })?;
                let row = rows::decoded(KEY_VERSIONS, &found.row.value)?;
                Ok((KeyVersion(u32::from_be_bytes(number)), row))
            })
            .collect()
    }

    /// Has the token make a version of a key, and vouch for it.
    pub(super) async fn make_version(
        &self,
        id: KeyId,
        version: KeyVersion,
        origin: Origin,
        created: Timestamp,
    ) -> Result<KeyVersionRow, KeyError> {
        let wrapped = self
            .token
            .generate_wrapped(&KeyLabel(token_keys::ROOT_KEK.into()))
            .await?;
        let mac = self.vouch_for_version(id, version, &wrapped).await?;
        Ok(KeyVersionRow {
            origin,
            created,
            material: Material::Wrapped { wrapped, mac },
        })
    }

    /// The MAC by which the token knows a wrapped version again.
    pub(super) async fn vouch_for_version(
        &self,
        id: KeyId,
        version: KeyVersion,
        wrapped: &WrappedKey,
    ) -> Result<[u8; 32], KeyError> {
        let message = rows::version_mac_message(id, version, wrapped);
        let label = KeyLabel(token_keys::MAC_KEY.into());
        Ok(self.token.mac(&label, &message).await?)
    }

    /// The row of a version that a ciphertext or an envelope names.
    pub(super) async fn version_row(
        &self,
        id: KeyId,
        version: KeyVersion,
    ) -> Result<KeyVersionRow, KeyError> {
        let found = self
            .meta
            .get(KEY_VERSIONS, &rows::version_key(id, version))
            .await?
            // A ciphertext that names a version the key never had was not made under it.
            .ok_or(KeyError::NotAuthentic)?;
        rows::decoded(KEY_VERSIONS, &found.value)
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
        let (wrapped, mac) = match self.version_row(id, version).await?.material {
            Material::Wrapped { wrapped, mac } => (wrapped, mac),
            Material::Absent { .. } => return Err(self.pending_import(id)),
            Material::Destroyed { .. } => {
                return Err(KeyError::NoSuchKey {
                    reference: KeyReference::Id(id),
                });
            }
        };
        let expected = self.vouch_for_version(id, version, &wrapped).await?;
        if !bool::from(expected.ct_eq(&mac)) {
            return Err(KeyError::Damaged {
                table: KEY_VERSIONS.name(),
                what: "the token does not vouch for a wrapped key",
            });
        }
        let wrapped = Arc::new(wrapped);
        self.verified
            .lock()
            .put((id, version), Arc::clone(&wrapped));
        Ok(wrapped)
    }

    /// Forgets the wrapped versions of a key.
    pub(super) fn forget_versions(&self, id: KeyId) {
        self.vouched.lock().pop(&id);
        let mut verified = self.verified.lock();
        let over: Vec<_> = verified
            .iter()
            .map(|(place, _)| *place)
            .filter(|(key, _)| *key == id)
            .collect();
        for place in over {
            verified.pop(&place);
        }
    }
}

/// The state of a version: what its own row, that of its key and its mark make it.
fn state_of(
    version: KeyVersion,
    found: &KeyVersionRow,
    key: &KeyRow,
    mark: Option<&CompromisedRow>,
) -> VersionState {
    match (&found.material, key.state, mark) {
        (Material::Destroyed { date, .. }, _, _) => VersionState::Destroyed {
            date: *date,
            was_compromised: mark.is_some(),
        },
        (_, _, Some(mark)) => VersionState::Compromised { date: mark.marked },
        (_, _, None) if version > key.current => VersionState::PreActive,
        (_, KeyState::Enabled, None) if version == key.current => VersionState::Active,
        (_, KeyState::Enabled, None) => VersionState::Deactivated,
        _ => VersionState::Suspended,
    }
}
