//! Users: the access keys that the S3 and the KMS protocol share.
//!
//! A secret access key is stored wrapped under the service's user-secrets key, bound to the rest
//! of its row: a row that was changed by another hand does not open.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use lru::LruCache;
use parking_lot::Mutex;
use secrecy::SecretString;
use strongroom_environment::{Clock, Entropy, Monotonic, Timestamp};
use strongroom_meta::{Batch, Expected, MetaStore, Row, Scan, Table};
use strongroom_seal::{DataKey, KeyWrap, WrappedDataKey, scrub_stack};

use crate::caller::Caller;
use crate::encoding::{Decoder, Encoder};
use crate::error::KeyError;
use crate::journal::{Entry, Event, Journal};
use crate::kms::{Kms, Page};

/// Users, by access key id.
pub(crate) const USERS: Table = Table::new("users");

const VERSION: u8 = 1;

/// The public half of an access key: 20 upper-case letters and digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessKeyId(String);

impl AccessKeyId {
    const PREFIX: &'static str = "SRAK";
    const LEN_BYTES: usize = 20;

    fn random(entropy: &dyn Entropy) -> Self {
        let random = BASE32_NOPAD.encode(&entropy.array::<10>());
        Self(format!("{}{random}", Self::PREFIX))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKeyId {
    type Err = KeyError;

    /// Reads an id. One that cannot be an id is [`KeyError::NoSuchUser`].
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let is_id = text.len() == Self::LEN_BYTES
            && text.starts_with(Self::PREFIX)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !is_id {
            return Err(KeyError::NoSuchUser);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a user may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Everything.
    Admin,
    /// Store objects and use keys.
    User,
    /// Look at the audit log, the ledger and the state of keys; no objects, no use of keys.
    Auditor,
}

impl Role {
    /// The name of the role: `admin`, `user` or `auditor`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::User => "user",
            Self::Auditor => "auditor",
        }
    }
}

impl FromStr for Role {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text {
            "admin" => Ok(Self::Admin),
            "user" => Ok(Self::User),
            "auditor" => Ok(Self::Auditor),
            _ => Err(KeyError::InvalidRequest {
                rule: "a role is admin, user or auditor",
            }),
        }
    }
}

/// A user, without the secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// The access key id.
    pub access_key_id: AccessKeyId,
    /// What people call the user.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// Whether the access key is out of use.
    pub is_disabled: bool,
    /// When the user was made.
    pub created: Timestamp,
}

/// A user and the secret access key that proves requests to be hers.
#[derive(Debug)]
pub struct Credential {
    /// The user.
    pub user: User,
    /// The secret access key.
    pub secret: SecretString,
}

/// A user just made. The secret can be shown to her once.
#[derive(Debug)]
pub struct NewUser {
    /// The user.
    pub user: User,
    /// The secret access key: 40 characters.
    pub secret: SecretString,
}

/// The users. Each change is on the audit log before it is made.
#[derive(Debug)]
pub struct Users {
    meta: Arc<dyn MetaStore>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    wrap: KeyWrap,
    opened: Mutex<Opened>,
    /// Held while a user is changed.
    administration: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Opened {
    credentials: LruCache<AccessKeyId, (Arc<Credential>, Monotonic)>,
    /// How many changes there were. A credential read before one and opened after it may be old.
    changes: u64,
}

/// A row of [`USERS`], whose head the wrapped secret is bound to.
struct UserRow {
    user: User,
    wrapped: WrappedDataKey,
}

impl Users {
    /// The longest name, in bytes.
    pub const NAME_LEN_BYTES_MAX: usize = 128;
    /// How long an opened credential is trusted without looking at its row, which another daemon
    /// on the same metadata may have changed.
    const CREDENTIAL_AGE_MAX: Duration = Duration::from_secs(60);
    /// A secret access key is the base64url of so many bytes, which is 40 characters.
    const SECRET_LEN_BYTES: usize = 30;

    pub(crate) fn new(
        meta: Arc<dyn MetaStore>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        secrets_key: &DataKey,
        opened_max: NonZeroUsize,
    ) -> Self {
        Self {
            meta,
            journal,
            clock,
            entropy,
            wrap: KeyWrap::new(secrets_key.expose()),
            opened: Mutex::new(Opened {
                credentials: LruCache::new(opened_max),
                changes: 0,
            }),
            administration: tokio::sync::Mutex::default(),
        }
    }

    /// Makes a user with a new access key.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: the name is empty or too long.
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCommitted`].
    pub async fn create(
        &self,
        name: &str,
        role: Role,
        caller: &Caller,
    ) -> Result<NewUser, KeyError> {
        let user = User {
            access_key_id: AccessKeyId::random(&*self.entropy),
            name: name.to_owned(),
            role,
            is_disabled: false,
            created: self.clock.now(),
        };
        let seed = DataKey::generate(&*self.entropy);
        let prepared = if (1..=Self::NAME_LEN_BYTES_MAX).contains(&name.len()) {
            let mut batch = Batch::new();
            let key = user.access_key_id.as_str();
            batch.expect(USERS, key, Expected::Absent);
            batch.put(USERS, key, self.row(&user, &seed));
            Ok(batch)
        } else {
            Err(KeyError::InvalidRequest {
                rule: "a user's name has 1 to 128 bytes",
            })
        };
        let entry = entry("create-user", &user.access_key_id, Some(role));
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await?;
        let secret = secret_of_seed(&seed);
        scrub_stack();
        Ok(NewUser { user, secret })
    }

    /// All users, in the order of their access key ids. A `marker` is the `next` of the page
    /// before.
    ///
    /// # Errors
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn list(&self, marker: Option<&str>, limit: usize) -> Result<Page<User>, KeyError> {
        let limit = limit.clamp(1, Kms::PAGE_MAX);
        let start = marker.unwrap_or_default().as_bytes().to_vec();
        let scan = Scan::within(&[], start, limit + 1);
        let mut items = Vec::new();
        for found in self.meta.scan(USERS, scan).await? {
            items.push(read_row(&found.key, &found.row)?.user);
        }
        // One row more than asked for: its id is where the next page begins.
        let next = (items.len() > limit)
            .then(|| items.pop())
            .flatten()
            .map(|first| first.access_key_id.to_string());
        Ok(Page { items, next })
    }

    /// One user.
    ///
    /// # Errors
    /// [`KeyError::NoSuchUser`], [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn get(&self, id: &AccessKeyId) -> Result<User, KeyError> {
        Ok(self.find(id).await?.1.user)
    }

    /// Takes an access key out of use. Requests with it are refused from now on.
    ///
    /// # Errors
    /// [`KeyError::NoSuchUser`], [`KeyError::NotAuthentic`]: the row was changed by another hand;
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCommitted`].
    pub async fn disable(&self, id: &AccessKeyId, caller: &Caller) -> Result<User, KeyError> {
        self.set_disabled(id, true, caller).await
    }

    /// Puts an access key into use again.
    ///
    /// # Errors
    /// As for [`Users::disable`].
    pub async fn enable(&self, id: &AccessKeyId, caller: &Caller) -> Result<User, KeyError> {
        self.set_disabled(id, false, caller).await
    }

    /// Takes a user and her access key away for good. Her objects stay.
    ///
    /// # Errors
    /// [`KeyError::NoSuchUser`], [`KeyError::AuditUnavailable`], [`KeyError::NotCommitted`].
    pub async fn delete(&self, id: &AccessKeyId, caller: &Caller) -> Result<(), KeyError> {
        let _alone = self.administration.lock().await;
        let prepared = self.find(id).await.map(|(row, _)| {
            let mut batch = Batch::new();
            batch.expect_unchanged(USERS, id.as_str(), Some(&row));
            batch.delete(USERS, id.as_str());
            batch
        });
        let entry = entry("delete-user", id, None);
        self.change(id, caller, entry, prepared).await
    }

    /// The secret access key with which a request of this user must be signed.
    ///
    /// # Errors
    /// [`KeyError::NoSuchUser`], [`KeyError::UserDisabled`]; [`KeyError::NotAuthentic`]: the row
    /// was changed by another hand; [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn secret_of(&self, id: &AccessKeyId) -> Result<Arc<Credential>, KeyError> {
        let now = self.clock.monotonic();
        let changes = {
            let mut opened = self.opened.lock();
            match opened.credentials.get(id) {
                Some((credential, since)) if now.since(*since) < Self::CREDENTIAL_AGE_MAX => {
                    return Ok(Arc::clone(credential));
                }
                Some(_) => drop(opened.credentials.pop(id)),
                None => {}
            }
            opened.changes
        };
        let (_, row) = self.find(id).await?;
        let seed = self.seed_of(&row)?;
        if row.user.is_disabled {
            return Err(KeyError::UserDisabled);
        }
        let secret = secret_of_seed(&seed);
        scrub_stack();
        let credential = Arc::new(Credential {
            user: row.user,
            secret,
        });
        let mut opened = self.opened.lock();
        if opened.changes == changes {
            opened
                .credentials
                .put(id.clone(), (Arc::clone(&credential), now));
        }
        Ok(credential)
    }

    async fn set_disabled(
        &self,
        id: &AccessKeyId,
        is_disabled: bool,
        caller: &Caller,
    ) -> Result<User, KeyError> {
        let _alone = self.administration.lock().await;
        let mut changed = None;
        let prepared = self.find(id).await.and_then(|(found, row)| {
            let seed = self.seed_of(&row)?;
            let user = User {
                is_disabled,
                ..row.user
            };
            let mut batch = Batch::new();
            batch.expect_unchanged(USERS, id.as_str(), Some(&found));
            batch.put(USERS, id.as_str(), self.row(&user, &seed));
            changed = Some(user);
            Ok(batch)
        });
        let act = if is_disabled {
            "disable-user"
        } else {
            "enable-user"
        };
        let entry = entry(act, id, None);
        self.change(id, caller, entry, prepared).await?;
        changed.ok_or(KeyError::NoSuchUser)
    }

    async fn change(
        &self,
        id: &AccessKeyId,
        caller: &Caller,
        entry: Entry<'_>,
        prepared: Result<Batch, KeyError>,
    ) -> Result<(), KeyError> {
        // Dropped when the change is over, however it ends and also when it is not waited for:
        // nobody then goes on by what was opened before.
        let _forgotten = Forget { users: self, id };
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await
    }

    async fn find(&self, id: &AccessKeyId) -> Result<(Row, UserRow), KeyError> {
        let found = self
            .meta
            .get(USERS, id.as_str().as_bytes())
            .await?
            .ok_or(KeyError::NoSuchUser)?;
        let row = read_row(id.as_str().as_bytes(), &found)?;
        Ok((found, row))
    }

    fn row(&self, user: &User, seed: &DataKey) -> Vec<u8> {
        let nonce = self.entropy.array();
        let wrapped = self.wrap.wrap(nonce, &bound_bytes(user), seed);
        head(user).fixed(wrapped.as_bytes()).finish()
    }

    fn seed_of(&self, row: &UserRow) -> Result<DataKey, KeyError> {
        self.wrap
            .unwrap(&bound_bytes(&row.user), &row.wrapped)
            .map_err(|_| KeyError::NotAuthentic)
    }
}

/// Drops the opened credential of a user when it is dropped itself.
struct Forget<'a> {
    users: &'a Users,
    id: &'a AccessKeyId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        let mut opened = self.users.opened.lock();
        opened.changes += 1;
        opened.credentials.pop(self.id);
    }
}

fn head(user: &User) -> Encoder {
    let role = match user.role {
        Role::Admin => 1,
        Role::User => 2,
        Role::Auditor => 3,
    };
    Encoder::new(VERSION)
        .u8(role)
        .u8(u8::from(user.is_disabled))
        .i64(user.created.micros())
        .counted(user.name.as_bytes())
}

/// What the wrapped secret is bound to: the access key id, and every byte of the row before it.
fn bound_bytes(user: &User) -> Vec<u8> {
    const DOMAIN: &[u8] = b"strongroom/user-secret/v1\0";
    [
        DOMAIN,
        user.access_key_id.as_str().as_bytes(),
        &head(user).finish(),
    ]
    .concat()
}

fn read_row(key: &[u8], row: &Row) -> Result<UserRow, KeyError> {
    let read = || {
        let access_key_id = std::str::from_utf8(key).ok()?.parse().ok()?;
        let mut fields = Decoder::new(&row.value, VERSION)?;
        let role = match fields.u8()? {
            1 => Role::Admin,
            2 => Role::User,
            3 => Role::Auditor,
            _ => return None,
        };
        let is_disabled = match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let created = Timestamp::from_micros(fields.i64()?);
        let name = fields.text()?;
        let wrapped = WrappedDataKey::from_bytes(fields.rest()).ok()?;
        Some(UserRow {
            user: User {
                access_key_id,
                name,
                role,
                is_disabled,
                created,
            },
            wrapped,
        })
    };
    read().ok_or(KeyError::Damaged {
        table: USERS.name(),
        what: "it is not a row of a version this program knows",
    })
}

/// The secret access key that belongs to a seed.
#[inline(never)]
fn secret_of_seed(seed: &DataKey) -> SecretString {
    // The string is made at its full length: it is not moved while it holds the secret.
    let bytes = &seed.expose()[..Users::SECRET_LEN_BYTES];
    let mut secret = String::with_capacity(BASE64URL_NOPAD.encode_len(bytes.len()));
    BASE64URL_NOPAD.encode_append(bytes, &mut secret);
    secret.into()
}

fn entry<'a>(act: &'static str, id: &AccessKeyId, role: Option<Role>) -> Entry<'a> {
    let mut detail = serde_json::json!({ "access_key_id": id.as_str() });
    if let Some(role) = role {
        detail["role"] = role.as_str().into();
    }
    Entry::new(Event::UserAdministration, act).detail(detail)
}
