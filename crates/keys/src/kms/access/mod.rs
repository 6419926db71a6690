//! Who may do what with a KMS key: the one place where that is decided.
//!
//! # How it is decided
//!
//! 1. A statement of the key's policy that denies, or a role that forbids, ends it.
//! 2. A statement that allows the caller by name, by role or as one of everybody allows it.
//! 3. A statement that allows the account leaves it to the caller's role.
//! 4. A grant for the caller, for the role or, where the role allows, for the account allows it.
//! 5. Otherwise it is denied.
//!
//! The daemon's own work ([`Standing::Daemon`]) is not asked about. That of a store apart, which
//! re-wraps what is under its keys, is judged as that of the account; with the keys of the service it
//! keeps its own secrets.
//!
//! Source: AWS KMS Developer Guide, "Troubleshooting AWS KMS permissions".

mod condition;
mod facts;
mod pattern;
mod policy;
mod principal;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use strongroom_environment::Monotonic;
use strongroom_meta::Scan;

use self::facts::Facts;
pub(in crate::kms) use self::facts::{KeyFacts, Wish};
use self::policy::PolicyVerdict;
pub(in crate::kms) use self::policy::{Policy, default_document, service_document};
pub use self::principal::Principal;
use self::principal::{RoleVerdict, role_verdict};
use super::{KeyManager, Kms};
use crate::arn::{Home, KeyId, KeyReference};
use crate::caller::{Caller, Standing};
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::names::GrantId;
use crate::rows::{self, KEY_ALIASES, KEY_POLICIES, KEY_TAGS, KEYS, KeyRow, PolicyRow, TagRow};

/// By what a request is allowed, besides policies and roles.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::kms) struct Authority {
    pub(in crate::kms) grant: Option<GrantId>,
}

/// What decides over a key and changes seldom.
#[derive(Clone, Debug)]
pub(in crate::kms) struct Governance {
    policy: Arc<Policy>,
    spec: &'static str,
    usage: &'static str,
    origin: &'static str,
}

/// The governance of keys, read once.
#[derive(Debug)]
pub(in crate::kms) struct Governances {
    of_default: Arc<Policy>,
    of_service: Arc<Policy>,
    read: Mutex<ReadOnes>,
}

#[derive(Debug)]
struct ReadOnes {
    by_key: LruCache<KeyId, (Governance, Monotonic)>,
    /// How often a policy was changed. One that was asked for before a change and comes after it
    /// may be an old one.
    changes: u64,
}

/// What policies and roles say, before grants are looked at.
enum Weighed {
    Allowed,
    Denied(&'static str),
    Open,
}

impl Governances {
    const READ_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("4096 is not 0");

    /// How long a policy that another daemon has changed may still hold here.
    const AGE_MAX: Duration = Duration::from_secs(60);

    pub(in crate::kms) fn new(home: &Home) -> Self {
        let own = |document: String| {
            Arc::new(Policy::parse(&document, home).expect("a policy of our own is sound"))
        };
        Self {
            of_default: own(default_document(home)),
            of_service: own(service_document(home)),
            read: Mutex::new(ReadOnes {
                by_key: LruCache::new(Self::READ_MAX),
                changes: 0,
            }),
        }
    }

    /// Has the policy of a key read again.
    pub(in crate::kms) fn forget(&self, id: KeyId) {
        let mut read = self.read.lock();
        read.changes += 1;
        read.by_key.pop(&id);
    }
}

impl Kms {
    /// Whether a caller may look at a key, or at lists over all keys. Only a refusal is on the log.
    ///
    /// `action` is the operation without `kms:`, such as `DescribeKey`.
    ///
    /// # Errors
    /// [`KeyError::AccessDenied`], [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn authorize_look(
        &self,
        key: Option<&KeyReference>,
        action: &str,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let looked = async {
            let Some(key) = key else {
                return self.check_role(action, caller);
            };
            let (id, _) = self.find(key).await?;
            let wish = Wish::to(action).reference(key);
            self.authorize(id, &wish, caller).await.map(drop)
        }
        .await;
        match looked {
            Err(error @ KeyError::AccessDenied { .. }) => {
                let mut entry = Entry::new(Event::KeyAdministration, "look")
                    .detail(serde_json::json!({ "action": format!("kms:{action}") }));
                if let Some(key) = key {
                    entry = entry.key(KeyNamed::reference(key));
                }
                self.journal.settle(caller, entry, Err(error)).await
            }
            other => other,
        }
    }

    /// Whether a caller may do with a key what `wish` says, and by which grant.
    pub(in crate::kms) async fn authorize(
        &self,
        id: KeyId,
        wish: &Wish<'_>,
        caller: &Caller,
    ) -> Result<Authority, KeyError> {
        let is_daemon = caller.standing == Standing::Daemon;
        if is_daemon && caller.store.is_none() {
            return Ok(Authority::default());
        }
        let governance = self.governance(id).await?;
        let of_store;
        let caller = if is_daemon {
            if Arc::ptr_eq(&governance.policy, &self.governances.of_service) {
                return Ok(Authority::default());
            }
            of_store = Caller {
                standing: Standing::Root,
                ..caller.clone()
            };
            &of_store
        } else {
            caller
        };
        let because = match self
            .weigh(id, &governance, &governance.policy, wish, caller)
            .await?
        {
            Weighed::Allowed => return Ok(Authority::default()),
            Weighed::Denied(because) => because,
            Weighed::Open => {
                let granted = self.granted(id, wish, &self.grantees(wish, caller)).await?;
                if granted.is_some() {
                    return Ok(Authority { grant: granted });
                }
                "because neither the policy of the key nor a grant allows it"
            }
        };
        Err(KeyError::AccessDenied {
            principal: Principal::arn_of(caller, &self.home),
            action: format!("kms:{}", wish.action),
            key: Some(self.home.arn(id)),
            because: because.into(),
        })
    }

    /// Whether `policy` would let the caller do what `wish` says, by itself.
    pub(in crate::kms) async fn would_allow(
        &self,
        id: KeyId,
        facts: KeyFacts,
        policy: &Policy,
        wish: &Wish<'_>,
        caller: &Caller,
    ) -> Result<bool, KeyError> {
        let governance = Governance {
            policy: Arc::clone(&self.governances.of_default),
            spec: facts.spec,
            usage: facts.usage,
            origin: facts.origin,
        };
        let weighed = self.weigh(id, &governance, policy, wish, caller).await?;
        Ok(matches!(weighed, Weighed::Allowed))
    }

    /// Whether the role of a caller allows what concerns no one key.
    pub(in crate::kms) fn check_role(&self, action: &str, caller: &Caller) -> Result<(), KeyError> {
        if role_verdict(caller.standing, action) == RoleVerdict::Allows {
            return Ok(());
        }
        Err(KeyError::AccessDenied {
            principal: Principal::arn_of(caller, &self.home),
            action: format!("kms:{action}"),
            key: None,
            because: "because the role does not allow it".into(),
        })
    }

    async fn weigh(
        &self,
        id: KeyId,
        governance: &Governance,
        policy: &Policy,
        wish: &Wish<'_>,
        caller: &Caller,
    ) -> Result<Weighed, KeyError> {
        let key = KeyFacts {
            spec: governance.spec,
            usage: governance.usage,
            origin: governance.origin,
            tags: if policy.asks_for_tags() {
                self.all_tags(id).await?
            } else {
                Vec::new()
            },
            aliases: if policy.asks_for_aliases() {
                self.all_aliases(id).await?
            } else {
                Vec::new()
            },
        };
        let facts = Facts {
            home: &self.home,
            caller,
            key: &key,
            wish,
            now: self.clock.now(),
        };
        Ok(weigh(policy, self.home.arn(id).as_str(), &facts))
    }

    /// The principals whose grants are the caller's.
    fn grantees(&self, wish: &Wish<'_>, caller: &Caller) -> Vec<Principal> {
        let mut grantees = Principal::all_of(caller);
        if role_verdict(caller.standing, wish.action) != RoleVerdict::Allows {
            grantees.retain(|principal| *principal != Principal::Account);
        }
        grantees
    }

    async fn governance(&self, id: KeyId) -> Result<Governance, KeyError> {
        let asked = self.clock.monotonic();
        let changes = {
            let mut read = self.governances.read.lock();
            if let Some((found, since)) = read.by_key.get(&id)
                && asked.since(*since) < Governances::AGE_MAX
            {
                return Ok(found.clone());
            }
            read.changes
        };
        let row = rows::read::<KeyRow>(&*self.meta, KEYS, id.as_bytes())
            .await?
            .ok_or(KeyError::NoSuchKey {
                reference: KeyReference::Id(id),
            })?
            .row;
        let policy = match row.manager {
            KeyManager::Service => Arc::clone(&self.governances.of_service),
            KeyManager::Customer => match self.policy_row(id).await? {
                None => Arc::clone(&self.governances.of_default),
                Some(row) => Arc::new(Policy::parse(&row.document, &self.home).map_err(|_| {
                    KeyError::Damaged {
                        table: KEY_POLICIES.name(),
                        what: "it is not a policy",
                    }
                })?),
            },
        };
        let facts = Self::facts_of(&row);
        let governance = Governance {
            policy,
            spec: facts.spec,
            usage: facts.usage,
            origin: facts.origin,
        };
        let mut read = self.governances.read.lock();
        if read.changes == changes {
            read.by_key.put(id, (governance.clone(), asked));
        }
        Ok(governance)
    }

    /// What conditions can know of a key by its row.
    pub(in crate::kms) fn facts_of(row: &KeyRow) -> KeyFacts {
        KeyFacts {
            spec: row.spec.as_str(),
            usage: row.spec.usage(),
            origin: row.origin.as_str(),
            ..KeyFacts::default()
        }
    }

    pub(in crate::kms) async fn policy_row(
        &self,
        id: KeyId,
    ) -> Result<Option<PolicyRow>, KeyError> {
        let read = rows::read(&*self.meta, KEY_POLICIES, id.as_bytes()).await?;
        Ok(read.map(|read| read.row))
    }

    async fn all_tags(&self, id: KeyId) -> Result<Vec<(String, String)>, KeyError> {
        let scan = Scan::prefix(id.as_bytes(), Self::TAGS_MAX);
        let found = self.meta.scan(KEY_TAGS, scan).await?;
        found
            .iter()
            .map(|found| {
                let row: TagRow = rows::decoded(KEY_TAGS, &found.row.value)?;
                let name = String::from_utf8_lossy(&found.key[id.as_bytes().len()..]);
                Ok((name.into_owned(), row.value))
            })
            .collect()
    }

    async fn all_aliases(&self, id: KeyId) -> Result<Vec<String>, KeyError> {
        let scan = Scan::prefix(id.as_bytes(), Self::ALIASES_MAX);
        let found = self.meta.scan(KEY_ALIASES, scan).await?;
        found
            .iter()
            .map(|found| {
                Self::alias_in(id.as_bytes(), KEY_ALIASES, &found.key)
                    .map(|alias| alias.to_string())
            })
            .collect()
    }
}

fn weigh(policy: &Policy, resource: &str, facts: &Facts<'_>) -> Weighed {
    let principals = Principal::all_of(facts.caller);
    let role = role_verdict(facts.caller.standing, facts.wish.action);
    match (role, policy.judge(&principals, resource, facts)) {
        (_, PolicyVerdict::Denies) => {
            Weighed::Denied("with an explicit deny in the policy of the key")
        }
        (RoleVerdict::Forbids, _) => Weighed::Denied("with an explicit deny in the role"),
        (_, PolicyVerdict::Allows) | (RoleVerdict::Allows, PolicyVerdict::AllowsAccount) => {
            Weighed::Allowed
        }
        _ => Weighed::Open,
    }
}

/// The action of an act that an entry of the log tells of: `disable-key` is `DisableKey`.
pub(in crate::kms) fn action_of(act: &str) -> Cow<'static, str> {
    match act {
        "rotate-key" => "RotateKeyOnDemand".into(),
        "tag-key" => "TagResource".into(),
        "untag-key" => "UntagResource".into(),
        act => act
            .split('-')
            .flat_map(|word| {
                let (first, rest) = word.split_at(word.len().min(1));
                [first.to_ascii_uppercase(), rest.to_owned()]
            })
            .collect::<String>()
            .into(),
    }
}
