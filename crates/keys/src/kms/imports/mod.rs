//! Keys whose material is made elsewhere and imported.
//!
//! Such a key is made without material. Whoever has the material is given a public key of a pair
//! that the token has made, and an import token, which holds the private key of the pair as the
//! token wrapped it; so nothing is kept here of an import that was only begun. What comes back is
//! unwrapped in the token and wrapped by the root KEK like any version of a key.
//!
//! Material is known again by its id: an HMAC that the token makes with it of the key's id. The
//! same material has the same id in one key and another in the next, and the id says nothing of it.
//!
//! # Order of an import
//!
//! 1. The token takes the material in and gives it out wrapped, and tells its id.
//! 2. The entry goes on the audit log.
//! 3. One batch writes the row of the version, what is known of the material, the row of the key,
//!    and what is due. **This is the commit point.**
//!
//! Source: AWS KMS Developer Guide, "Importing key material for AWS KMS keys".

mod import_token;
mod removal;
mod wrapping;

use std::sync::Arc;
use std::time::Duration;

use strongroom_environment::Timestamp;
use strongroom_meta::Batch;
use strongroom_pkcs11::{ImportPath, ImportedKey, KeyLabel, MacSpec, TokenError, WrappedKey};

use self::import_token::ImportToken;
pub use self::wrapping::WrappingMethod;
use super::access::Wish;
use super::{KeyDescription, KeyState, Kms};
use crate::arn::{KeyArn, KeyId, KeyReference, KeyVersion};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::names::KeyMaterialId;
use crate::rows::{
    self, IMPORTS, ImportRow, KEY_VERSIONS, KeyRow, KeyVersionRow, Material, Origin, Read,
    RowFormat as _,
};
use crate::token_keys;

/// Where the material of a key comes from. It never changes.
///
/// Source: AWS KMS API Reference, `OriginType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KeyOrigin {
    /// The token makes it.
    #[default]
    Token,
    /// It is made elsewhere and imported.
    External {
        /// Whether all material that the key has had is there.
        is_complete: bool,
        /// When the first of it is taken away again, if any.
        expires: Option<Timestamp>,
    },
}

impl KeyOrigin {
    /// That of a new key whose material is yet to come.
    pub const EXTERNAL: Self = Self::External {
        is_complete: false,
        expires: None,
    };

    /// Its name in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "AWS_KMS",
            Self::External { .. } => "EXTERNAL",
        }
    }
}

/// What material is wrapped with on its way to the token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportParameters {
    /// The key that it is for.
    pub key: KeyArn,
    /// The public key to wrap it with: `SubjectPublicKeyInfo` (RFC 5280) in DER.
    pub public_key: Vec<u8>,
    /// What comes back with it.
    pub import_token: Vec<u8>,
    /// Until when it may come.
    pub valid_to: Timestamp,
}

/// Whether a key has had the material before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImportKind {
    /// It has not: it is the first, or the next that the key is rotated to.
    New,
    /// It has, and it expired or was deleted, or its expiry changes.
    Existing,
}

/// Material that is to be imported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewMaterial {
    /// The import token that came with the public key.
    pub import_token: Vec<u8>,
    /// The material, wrapped for the public key.
    pub encrypted: Vec<u8>,
    /// When it is to be taken away again; at most 365 days from now.
    pub expires: Option<Timestamp>,
    /// Whether it is new. `None`: it is, where the key has never had any.
    pub kind: Option<ImportKind>,
    /// Which it must be.
    pub material: Option<KeyMaterialId>,
    /// What is said of it, up to 256 characters; `None` leaves what was said before.
    pub description: Option<String>,
}

/// What a version whose material is imported is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaterialState {
    /// It encrypts and decrypts.
    Current,
    /// It decrypts.
    NonCurrent,
    /// It waits for the key to be rotated to it.
    PendingRotation,
}

/// What there is to know of imported material.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImportedMaterial {
    /// The version of the key.
    pub version: KeyVersion,
    /// Which material it is.
    pub material: KeyMaterialId,
    /// What it is for.
    pub state: MaterialState,
    /// Whether it is there.
    pub is_present: bool,
    /// When it was last imported.
    pub imported: Timestamp,
    /// When it is taken away again.
    pub expires: Option<Timestamp>,
    path: ImportPath,
    /// What was said of it.
    pub description: String,
    /// When the key was rotated to it; `None` for the first, and while it waits.
    pub rotated: Option<Timestamp>,
}

impl ImportedMaterial {
    /// Where its value has been on its way in, as the log and the HTTP API name it: unwrapped in the
    /// token, or in the process of the module.
    #[must_use]
    pub fn unwrapped(&self) -> &'static str {
        Self::path_name(self.path)
    }

    fn path_name(path: ImportPath) -> &'static str {
        match path {
            ImportPath::Token => "in-token",
            ImportPath::Process => "in-module-process",
        }
    }
}

/// Imported material as its rows have it.
pub(super) struct Kept {
    pub(super) version: KeyVersion,
    pub(super) row: Read<ImportRow>,
    pub(super) version_row: KeyVersionRow,
}

impl Kept {
    pub(super) fn is_present(&self) -> bool {
        matches!(self.version_row.material, Material::Wrapped { .. })
    }

    /// Whether it is there and its time is not over.
    fn is_good(&self, now: Timestamp) -> bool {
        self.is_present() && self.row.row.expires.is_none_or(|expires| now < expires)
    }
}

/// What was found out of an import before anything of it is written.
struct Prepared {
    batch: Batch,
    row: KeyRow,
    version: KeyVersion,
    material: KeyMaterialId,
    path: ImportPath,
    method: WrappingMethod,
    kind: ImportKind,
}

impl Kms {
    /// How long a public key and its import token may be used.
    ///
    /// Source: AWS KMS API Reference, GetParametersForImport.
    pub const IMPORT_TOKEN_LIFE: Duration = Duration::from_secs(86_400);
    /// After how many days at most imported material expires, if it does.
    ///
    /// Source: AWS KMS API Reference, ImportKeyMaterial.
    pub const IMPORT_DAYS_MAX: u32 = 365;
    /// The longest description of material, in characters.
    pub const MATERIAL_DESCRIPTION_CHARS_MAX: usize = 256;

    /// Has the token make a key pair for which material of a key is then wrapped.
    ///
    /// Source: AWS KMS API Reference, GetParametersForImport.
    ///
    /// # Errors
    /// [`KeyError::NotForThisKey`]: the token makes its material. [`KeyError::PendingDeletion`],
    /// [`KeyError::ManagedByService`], and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn parameters_for_import(
        &self,
        reference: &KeyReference,
        method: WrappingMethod,
        caller: &Caller,
    ) -> Result<ImportParameters, KeyError> {
        let mut named = KeyNamed::reference(reference);
        let made = async {
            let (id, read) = self.find(reference).await?;
            named = KeyNamed::kms(&self.home.arn(id));
            self.check_manager(id, &read.row)?;
            let wish = Wish::to("GetParametersForImport")
                .reference(reference)
                .with("kms:WrappingAlgorithm", method.algorithm())
                .with("kms:WrappingKeySpec", method.key_spec());
            self.authorize(id, &wish, caller).await?;
            self.check_external(id, &read.row)?;
            self.check_not_pending(id, &read.row)?;
            let root = KeyLabel(token_keys::ROOT_KEK.into());
            let pair = self.token.generate_wrapped_pair(&root, method.spec).await?;
            let valid_to = self.clock.now() + Self::IMPORT_TOKEN_LIFE;
            let import_token = ImportToken {
                key: id,
                method,
                valid_to,
                private: pair.private,
            };
            Ok(ImportParameters {
                key: self.home.arn(id),
                public_key: pair.public,
                import_token: import_token.vouched(&*self.token).await?,
                valid_to,
            })
        }
        .await;
        let entry = Entry::new(Event::KeyAdministration, "get-parameters-for-import")
            .key(named)
            .detail(serde_json::json!({
                "wrapping_algorithm": method.algorithm(),
                "wrapping_key_spec": method.key_spec(),
            }));
        self.journal.settle(caller, entry, made).await
    }

    /// Imports material into a key: the first, one to rotate the key to, or one again that it has
    /// had. Gives which material it is.
    ///
    /// A key that waits for its material may be used when all that it has had is there. One that is
    /// disabled stays so.
    ///
    /// Source: AWS KMS API Reference, ImportKeyMaterial.
    ///
    /// # Errors
    /// [`KeyError::InvalidImportToken`], [`KeyError::ExpiredImportToken`];
    /// [`KeyError::NotAuthentic`]: the material was not wrapped for this import;
    /// [`KeyError::IncorrectKeyMaterial`]: it is not of the right length, or not the one that it is to
    /// be. [`KeyError::NotForThisKey`]: the token makes the material of this key.
    /// [`KeyError::InvalidRequest`], [`KeyError::PendingDeletion`], [`KeyError::ManagedByService`],
    /// and as for [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn import_key_material(
        self: &Arc<Self>,
        reference: &KeyReference,
        new: NewMaterial,
        caller: &Caller,
    ) -> Result<(KeyDescription, KeyMaterialId), KeyError> {
        let (kms, reference, caller) = (Arc::clone(self), reference.clone(), caller.clone());
        Self::to_the_end(async move {
            let _alone = kms.administration.lock().await;
            let entry = Entry::new(Event::KeyAdministration, "import-key-material");
            let (id, read) = match kms.find(&reference).await {
                Ok(found) => found,
                Err(error) => {
                    let entry = entry.key(KeyNamed::reference(&reference));
                    return kms.journal.settle(&caller, entry, Err(error)).await;
                }
            };
            let named = KeyNamed::kms(&kms.home.arn(id));
            let prepared = kms.prepare_import(id, &reference, &read, &new, &caller);
            let done = match prepared.await {
                Ok(done) => done,
                Err(error) => {
                    let entry = entry.key(named);
                    return kms.journal.settle(&caller, entry, Err(error)).await;
                }
            };
            let entry = entry
                .key(named.with_version(done.version))
                .detail(serde_json::json!({
                    "key_material_id": done.material.to_string(),
                    "import_type": match done.kind {
                        ImportKind::New => "NEW_KEY_MATERIAL",
                        ImportKind::Existing => "EXISTING_KEY_MATERIAL",
                    },
                    "wrapping_algorithm": done.method.algorithm(),
                    "unwrapped": ImportedMaterial::path_name(done.path),
                    "valid_to": new.expires.map(|expires| expires.to_string()),
                }));
            let changed = kms
                .journal
                .change(&*kms.meta, &caller, entry, Ok(done.batch))
                .await;
            // Also when it is not known whether the rows were written.
            kms.forget_versions(id);
            changed?;
            tracing::info!(key = %id, version = %done.version, "key material was imported");
            Ok((kms.description(id, done.row), done.material))
        })
        .await
    }

    async fn prepare_import(
        &self,
        id: KeyId,
        reference: &KeyReference,
        read: &Read<KeyRow>,
        new: &NewMaterial,
        caller: &Caller,
    ) -> Result<Prepared, KeyError> {
        let mut row = read.row.clone();
        self.check_manager(id, &row)?;
        self.authorize(id, &import_wish(reference, new), caller)
            .await?;
        self.check_external(id, &row)?;
        self.check_not_pending(id, &row)?;
        let now = self.clock.now();
        check_new(new, now)?;
        let import_token = ImportToken::read(&new.import_token, &*self.token).await?;
        if import_token.key != id {
            return Err(KeyError::InvalidImportToken);
        }
        if import_token.valid_to <= now {
            return Err(KeyError::ExpiredImportToken);
        }
        let method = import_token.method;
        let imported = self
            .token
            .import_wrapped(
                &import_token.private,
                method.spec,
                method.wrapping,
                &new.encrypted,
            )
            .await;
        let ImportedKey { key: wrapped, path } = match imported {
            Err(TokenError::WrongLength) => {
                return Err(KeyError::IncorrectKeyMaterial {
                    rule: "the material of a key for symmetric encryption has 32 bytes",
                });
            }
            imported => imported?,
        };
        let material = self.material_id(id, &wrapped).await?;
        let mut kept = self.kept_material(id).await?;
        let (version, kind) = place(new, material, &kept, row.current)?;
        let known = kept.iter().position(|kept| kept.version == version);
        let known = known.map(|at| kept.remove(at));
        let (origin, created) = match &known {
            Some(known) => (known.version_row.origin, known.version_row.created),
            None if version == KeyVersion(1) => (Origin::Creation, now),
            None => (Origin::OnDemand, now),
        };
        let mac = self.vouch_for_version(id, version, &wrapped).await?;
        let version_row = KeyVersionRow {
            origin,
            created,
            material: Material::Wrapped { wrapped, mac },
        };
        let said = known.as_ref().map(|known| &known.row.row.description);
        let import = ImportRow {
            material,
            imported: now,
            expires: new.expires,
            path,
            description: new
                .description
                .as_ref()
                .or(said)
                .cloned()
                .unwrap_or_default(),
        };
        let mut batch = Batch::new();
        let place = rows::version_key(id, version);
        match &known {
            Some(known) => {
                known.row.replace(&mut batch, IMPORTS, &place, &import);
                batch.put(KEY_VERSIONS, place, version_row.encode());
            }
            None => {
                rows::create(&mut batch, IMPORTS, &place, &import);
                rows::create(&mut batch, KEY_VERSIONS, &place, &version_row);
            }
        }
        let others = kept
            .iter()
            .map(|kept| (kept.version, kept.is_present(), kept.row.row.expires));
        settle_origin(&mut row, others.chain([(version, true, new.expires)]));
        Self::put_key(&mut batch, id, read, &row);
        Ok(Prepared {
            batch,
            row,
            version,
            material,
            path,
            method,
            kind,
        })
    }

    /// The imported material of a key, oldest first; nothing for a key whose material the token makes.
    ///
    /// Source: AWS KMS API Reference, ListKeyRotations.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::Metadata`],
    /// [`KeyError::Damaged`].
    pub async fn imported_material(
        &self,
        reference: &KeyReference,
    ) -> Result<Vec<ImportedMaterial>, KeyError> {
        let (id, read) = self.find_record(reference).await?;
        let kept = self.kept_material(id).await?;
        let described = kept.into_iter().map(|kept| ImportedMaterial {
            version: kept.version,
            material: kept.row.row.material,
            state: match kept.version.cmp(&read.row.current) {
                std::cmp::Ordering::Less => MaterialState::NonCurrent,
                std::cmp::Ordering::Equal => MaterialState::Current,
                std::cmp::Ordering::Greater => MaterialState::PendingRotation,
            },
            is_present: kept.is_present(),
            imported: kept.row.row.imported,
            expires: kept.row.row.expires,
            path: kept.row.row.path,
            rotated: (kept.version > KeyVersion(1) && kept.version <= read.row.current)
                .then_some(kept.version_row.created),
            description: kept.row.row.description,
        });
        Ok(described.collect())
    }

    /// Makes the row of a key name the material that waits for it, and gives the row of its version.
    pub(super) async fn pending_version(
        &self,
        id: KeyId,
        row: &mut KeyRow,
    ) -> Result<KeyVersionRow, KeyError> {
        let now = self.clock.now();
        let kept = self.kept_material(id).await?;
        let next = kept
            .into_iter()
            .find(|kept| kept.version > row.current && kept.is_good(now));
        let next = next.ok_or_else(|| KeyError::NoPendingMaterial {
            key: self.home.arn(id),
        })?;
        row.current = next.version;
        Ok(KeyVersionRow {
            created: now,
            ..next.version_row
        })
    }

    /// Whether all material that a key needs is there at this moment, also when what has expired was
    /// not taken away yet.
    pub(super) async fn check_material(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        let now = self.clock.now();
        match row.origin {
            KeyOrigin::External {
                expires: Some(expires),
                ..
            } if expires <= now => {}
            _ => return Ok(()),
        }
        let kept = self.kept_material(id).await?;
        let is_good = kept
            .iter()
            .all(|kept| kept.version > row.current || kept.is_good(now));
        if is_good {
            return Ok(());
        }
        Err(self.pending_import(id))
    }

    pub(super) fn pending_import(&self, id: KeyId) -> KeyError {
        KeyError::PendingImport {
            key: self.home.arn(id),
        }
    }

    /// Which material a wrapped key is, for one KMS key.
    async fn material_id(
        &self,
        id: KeyId,
        wrapped: &WrappedKey,
    ) -> Result<KeyMaterialId, KeyError> {
        let message = rows::material_message(id);
        let mac = self
            .token
            .mac_by(wrapped, MacSpec::Sha256, &message)
            .await?;
        let bytes = mac.try_into().map_err(|_| {
            KeyError::TokenUnavailable(TokenError::Unavailable {
                reason: "a MAC is not of its length".into(),
            })
        })?;
        Ok(KeyMaterialId(bytes))
    }

    async fn kept_material(&self, id: KeyId) -> Result<Vec<Kept>, KeyError> {
        let mut kept = Vec::new();
        for found in rows::scan_all(&*self.meta, IMPORTS, id.as_bytes()).await? {
            let damaged = KeyError::Damaged {
                table: IMPORTS.name(),
                what: "a row is not under a version of a key",
            };
            let number = found.key.get(id.as_bytes().len()..);
            let Some(number) = number.and_then(|number| number.try_into().ok()) else {
                return Err(damaged);
            };
            let version = KeyVersion(u32::from_be_bytes(number));
            let version_row = match self.version_row(id, version).await {
                Err(KeyError::NotAuthentic) => return Err(damaged),
                found => found?,
            };
            kept.push(Kept {
                version,
                row: Read::of(IMPORTS, &found.row)?,
                version_row,
            });
        }
        Ok(kept)
    }

    /// The material of other keys is made in the token.
    pub(super) fn check_external(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        match row.origin {
            KeyOrigin::External { .. } => Ok(()),
            KeyOrigin::Token => Err(KeyError::NotForThisKey {
                key: self.home.arn(id),
                rule: "its material is made in the token, and none is imported",
            }),
        }
    }

    /// What is made elsewhere is not rotated by the clock.
    pub(super) fn check_made_here(&self, id: KeyId, row: &KeyRow) -> Result<(), KeyError> {
        match row.origin {
            KeyOrigin::Token => Ok(()),
            KeyOrigin::External { .. } => Err(KeyError::NotForThisKey {
                key: self.home.arn(id),
                rule: "its material is imported: import new material, and rotate the key to it",
            }),
        }
    }
}

fn import_wish<'a>(reference: &'a KeyReference, new: &NewMaterial) -> Wish<'a> {
    let wish = Wish::to("ImportKeyMaterial").reference(reference);
    match new.expires {
        Some(expires) => wish
            .with("kms:ExpirationModel", "KEY_MATERIAL_EXPIRES")
            .with("kms:ValidTo", expires),
        None => wish.with("kms:ExpirationModel", "KEY_MATERIAL_DOES_NOT_EXPIRE"),
    }
}

fn check_new(new: &NewMaterial, now: Timestamp) -> Result<(), KeyError> {
    let invalid = |rule| Err(KeyError::InvalidRequest { rule });
    if let Some(expires) = new.expires {
        if expires <= now {
            return invalid("material expires in the future");
        }
        if expires > now + super::change::days(Kms::IMPORT_DAYS_MAX) {
            return invalid("material expires within 365 days");
        }
    }
    if new.kind == Some(ImportKind::New) && new.material.is_some() {
        return invalid("new material has no id yet that it could be named by");
    }
    let is_allowed = |letter: char| {
        letter.is_ascii_alphanumeric() || letter.is_ascii_whitespace() || ":/_.-".contains(letter)
    };
    if let Some(description) = &new.description
        && (description.chars().count() > Kms::MATERIAL_DESCRIPTION_CHARS_MAX
            || !description.chars().all(is_allowed))
    {
        return invalid(
            "a description of material has at most 256 letters, digits, spaces and :/_.-",
        );
    }
    Ok(())
}

/// Which version material is of, and whether it is new.
fn place(
    new: &NewMaterial,
    material: KeyMaterialId,
    kept: &[Kept],
    current: KeyVersion,
) -> Result<(KeyVersion, ImportKind), KeyError> {
    let incorrect = |rule| Err(KeyError::IncorrectKeyMaterial { rule });
    let kind = new.kind.unwrap_or(if kept.is_empty() {
        ImportKind::New
    } else {
        ImportKind::Existing
    });
    let known = kept.iter().find(|kept| kept.row.row.material == material);
    if new.material.is_some_and(|expected| expected != material) {
        return incorrect("it is not the material with the id that was named");
    }
    match (kind, known) {
        (ImportKind::Existing, Some(known)) => Ok((known.version, kind)),
        (ImportKind::Existing, None) => incorrect("it is not material that the key has had"),
        (ImportKind::New, Some(_)) => incorrect("the key has had this material already"),
        (ImportKind::New, None) if kept.is_empty() => Ok((current, kind)),
        (ImportKind::New, None) if kept.iter().any(|kept| kept.version > current) => incorrect(
            "new material waits for the key to be rotated to it: rotate the key, or delete that first",
        ),
        (ImportKind::New, None) => current
            .0
            .checked_add(1)
            .map(|next| (KeyVersion(next), kind))
            .ok_or(KeyError::LimitExceeded {
                limit: "a key has at most 2^32 - 1 versions",
            }),
    }
}

/// Makes the row of a key say what there is of its material: for each version whether it is there,
/// and when it expires.
fn settle_origin(
    row: &mut KeyRow,
    versions: impl Iterator<Item = (KeyVersion, bool, Option<Timestamp>)>,
) {
    let (mut is_complete, mut first) = (true, None::<Timestamp>);
    for (version, is_present, expires) in versions {
        is_complete &= is_present || version > row.current;
        if let Some(expires) = expires.filter(|_| is_present) {
            first = Some(first.map_or(expires, |first| first.min(expires)));
        }
    }
    row.origin = KeyOrigin::External {
        is_complete,
        expires: first,
    };
    row.state = match row.state {
        KeyState::PendingImport if is_complete => KeyState::Enabled,
        // What is disabled stays so: whoever may import may not release the brake.
        KeyState::Enabled if !is_complete => KeyState::PendingImport,
        state => state,
    };
}
