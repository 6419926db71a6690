//! The store's end of the link.

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Uri;
use lru::LruCache;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use strongroom_environment::{Clock, Entropy, Monotonic};
use strongroom_keys::{
    AliasName, Caller, CiphertextBlob, CustodyUse, EncryptionContext, GrantId, Home, KeyArn,
    KeyCustody, KeyError, KeyId, KeyReference, KeyVersion, Named, SealedDataKey, Standing,
    StateObserver,
};
use strongroom_seal::DataKey;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use crate::call::{CallError, LinkConfig, body};
use crate::follow::{Follower, Way};
use crate::wire::{
    Authorize, Authorized, Compromised, CompromisedVersions, Decrypt, Decrypted, DescribeKey,
    Described, Encrypt, Encrypted, OnBehalfOf, Operation, Root, RootLabel,
};

/// How many questions are asked at once; others wait their turn.
const CALLS_AT_ONCE: usize = 64;
/// How many permissions, and how many aliases, are remembered.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("16384 is not 0");

/// Whether somebody may use a key for something.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Question {
    key: KeyId,
    opens: bool,
    context: EncryptionContext,
    principal: String,
    standing: &'static str,
    source: Option<std::net::IpAddr>,
}

/// Custody of the KMS keys by a key daemon on another host.
///
/// What is remembered, and for how long: permissions that were given and what an alias names, for
/// [`LinkConfig::decision_age_max`]; refusals never. Keys that were opened are for others to keep,
/// as long as [`KeyCustody::heard`] says that they may.
///
/// Each question is asked twice at most, and the second time only when the key daemon was found
/// again: every one of them may be repeated, since at worst a ciphertext is made that nobody has,
/// and counted as a use of its key.
#[derive(Debug)]
pub struct RemoteCustody {
    follower: Arc<Follower>,
    clock: Arc<dyn Clock>,
    home: Home,
    call_time_max: Duration,
    decision_age_max: Duration,
    permissions: Mutex<LruCache<Question, (Option<GrantId>, Monotonic)>>,
    aliases: Mutex<LruCache<AliasName, (KeyId, Monotonic)>>,
    turns: Semaphore,
    tasks: [AbortHandle; 2],
}

/// How the link is.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    /// The addresses of the key daemon.
    pub urls: Vec<Uri>,
    /// The one at which it was found.
    pub url: Option<Uri>,
    /// Since when it is silent.
    pub silence: Option<Duration>,
    /// What was wrong last; empty when nothing ever was.
    pub trouble: String,
}

impl RemoteCustody {
    /// Finds the key daemon, and follows it from then on.
    ///
    /// # Errors
    /// [`KeyError::CustodyUnavailable`]: at none of its addresses is it, or it knows nothing of this
    /// store.
    pub async fn connect(
        config: LinkConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KeyError> {
        let follower = Follower::new(&config, Arc::clone(&clock), entropy);
        let tasks = [
            tokio::spawn(Arc::clone(&follower).follow()).abort_handle(),
            tokio::spawn(Arc::clone(&follower).listen_to_silence()).abort_handle(),
        ];
        let custody = Self {
            follower,
            clock,
            home: config.home,
            call_time_max: config.call_time_max,
            decision_age_max: config.decision_age_max,
            permissions: Mutex::new(LruCache::new(REMEMBERED_MAX)),
            aliases: Mutex::new(LruCache::new(REMEMBERED_MAX)),
            turns: Semaphore::new(CALLS_AT_ONCE),
            tasks,
        };
        let mut way = custody.follower.way.subscribe();
        let is_known = |way: &Way| way.found.is_some() || way.rounds_in_vain > 0;
        let trouble = match way.wait_for(is_known).await {
            Ok(way) if way.found.is_some() => None,
            Ok(way) => Some(way.trouble.clone()),
            Err(_) => Some("the task that follows it is gone".into()),
        };
        match trouble {
            None => Ok(custody),
            Some(reason) => Err(KeyError::CustodyUnavailable { reason }),
        }
    }

    /// How the link is.
    #[must_use]
    pub fn status(&self) -> LinkStatus {
        let way = self.follower.way.borrow().clone();
        let urls = self.follower.connections.urls.clone();
        LinkStatus {
            url: way.found.map(|found| urls[found.at].clone()),
            urls,
            silence: self.follower.silence(),
            trouble: way.trouble,
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        operation: Operation,
        asked: Bytes,
    ) -> Result<T, KeyError> {
        self.follower.check_heard()?;
        let begun = self.clock.monotonic();
        let result = self.ask_again(operation, asked).await;
        metrics::histogram!("strongroom_custody_call_duration_seconds", "operation" => operation.name())
            .record(self.clock.monotonic().since(begun).as_secs_f64());
        metrics::counter!(
            "strongroom_custody_calls_total",
            "operation" => operation.name(),
            "outcome" => result.as_ref().err().map_or("done", KeyError::code),
        )
        .increment(1);
        result
    }

    async fn ask_again<T: DeserializeOwned>(
        &self,
        operation: Operation,
        asked: Bytes,
    ) -> Result<T, KeyError> {
        let unavailable = |reason: String| KeyError::CustodyUnavailable { reason };
        let turn = tokio::time::timeout(self.call_time_max, self.turns.acquire());
        let Ok(Ok(_turn)) = turn.await else {
            return Err(unavailable("too many wait for it".into()));
        };
        let mut trouble = String::new();
        for _ in 0..2 {
            let mut way = self.follower.way.subscribe();
            let found = way.wait_for(|way| way.found.is_some());
            // The second time it has to be found first, which can take a try at another address.
            let patience = self.call_time_max * if trouble.is_empty() { 1 } else { 2 };
            let known = tokio::time::timeout(patience, found).await;
            let Some((found, lost)) = known.ok().and_then(Result::ok).and_then(|way| {
                let found = way.found?;
                Some((found, way.lost))
            }) else {
                trouble = self.follower.way.borrow().trouble.clone();
                break;
            };
            let answered = self
                .follower
                .connections
                .ask(
                    found.at,
                    operation,
                    Some(found.epoch),
                    asked.clone(),
                    self.call_time_max,
                )
                .await;
            match answered {
                Ok(answer) => return Ok(answer),
                Err(CallError::Refused(error)) => return Err(error),
                Err(CallError::Broken(why)) => {
                    self.follower.doubt(lost, &why);
                    trouble = why;
                }
            }
        }
        Err(unavailable(trouble))
    }

    /// What is remembered under `name`, while it is young enough and the key daemon is heard of.
    fn remembered<K: std::hash::Hash + Eq, V: Clone>(
        &self,
        of: &Mutex<LruCache<K, (V, Monotonic)>>,
        name: &K,
    ) -> Option<V> {
        self.follower.check_heard().ok()?;
        let now = self.clock.monotonic();
        let mut of = of.lock();
        let (value, since) = of.get(name)?;
        (now.since(*since) < self.decision_age_max).then(|| value.clone())
    }

    async fn key_of(&self, alias: &AliasName) -> Result<KeyId, KeyError> {
        if let Some(key) = self.remembered(&self.aliases, alias) {
            return Ok(key);
        }
        let since = self.clock.monotonic();
        let asked = DescribeKey {
            key_id: alias.to_string(),
        };
        let described: Described = self.ask(Operation::DescribeKey, body(&asked)).await?;
        let key = described
            .key_metadata
            .key_id
            .parse()
            .map_err(|_| unreadable())?;
        self.aliases.lock().put(alias.clone(), (key, since));
        Ok(key)
    }
}

impl Drop for RemoteCustody {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[async_trait]
impl KeyCustody for RemoteCustody {
    async fn resolve(&self, reference: &KeyReference) -> Result<KeyId, KeyError> {
        match reference.at(&self.home)? {
            Named::Key(key) => Ok(key),
            Named::Alias(alias) => self.key_of(alias).await,
        }
    }

    fn arn(&self, key: KeyId) -> KeyArn {
        self.home.arn(key)
    }

    async fn authorize(
        &self,
        key: KeyId,
        custody_use: CustodyUse,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<Option<GrantId>, KeyError> {
        let question = Question {
            key,
            opens: custody_use == CustodyUse::Open,
            context: context.clone(),
            principal: caller.principal.clone(),
            standing: match caller.standing {
                Standing::Daemon => "daemon",
                Standing::Root => "root",
                Standing::User(role) => role.as_str(),
            },
            source: caller.source,
        };
        if let Some(grant) = self.remembered(&self.permissions, &question) {
            return Ok(grant);
        }
        let since = self.clock.monotonic();
        let asked = Authorize {
            key: key.to_string(),
            custody_use: custody_use.into(),
            context: pairs(context),
            on_behalf_of: OnBehalfOf::new(caller),
        };
        let authorized: Authorized = self.ask(Operation::Authorize, body(&asked)).await?;
        let grant: Option<GrantId> = authorized
            .grant
            .map(|grant| grant.parse())
            .transpose()
            .map_err(|_| unreadable())?;
        self.permissions.lock().put(question, (grant, since));
        Ok(grant)
    }

    async fn seal(
        &self,
        key: KeyId,
        context: &EncryptionContext,
        data_key: &DataKey,
        caller: &Caller,
    ) -> Result<SealedDataKey, KeyError> {
        let asked = Encrypt {
            key_id: key.to_string(),
            plaintext: Zeroizing::new(BASE64.encode(data_key.expose())),
            encryption_context: pairs(context),
            on_behalf_of: OnBehalfOf::new(caller),
        };
        let encrypted: Encrypted = self.ask(Operation::Encrypt, body(&asked)).await?;
        let blob = BASE64
            .decode(encrypted.ciphertext_blob)
            .ok()
            .and_then(|blob| CiphertextBlob::from_bytes(&blob).ok())
            .filter(|blob| blob.key() == key)
            .ok_or_else(unreadable)?;
        Ok(SealedDataKey {
            blob,
            key: self.home.arn(key),
        })
    }

    async fn open(
        &self,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<DataKey, KeyError> {
        let asked = Decrypt {
            ciphertext_blob: BASE64.encode(blob.to_bytes()),
            encryption_context: pairs(context),
            on_behalf_of: OnBehalfOf::new(caller),
        };
        let decrypted: Decrypted = self.ask(Operation::Decrypt, body(&asked)).await?;
        let plaintext = BASE64
            .decode(decrypted.plaintext.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| unreadable())?;
        plaintext
            .first_chunk()
            .filter(|_| plaintext.len() == DataKey::LEN_BYTES)
            .map(DataKey::from_bytes)
            .ok_or_else(unreadable)
    }

    async fn root_of(&self, key: KeyId, version: KeyVersion) -> Result<String, KeyError> {
        let asked = Root {
            key: key.to_string(),
            version: version.0,
        };
        let root: RootLabel = self.ask(Operation::Root, body(&asked)).await?;
        Ok(root.label)
    }

    async fn compromised(&self) -> Result<Vec<(KeyId, KeyVersion)>, KeyError> {
        let told: CompromisedVersions = self
            .ask(Operation::Compromised, body(&Compromised {}))
            .await?;
        told.versions
            .into_iter()
            .map(|(key, version)| {
                let key = key.parse().map_err(|_| unreadable())?;
                Ok((key, KeyVersion(version)))
            })
            .collect()
    }

    fn heard(&self) -> Result<(), KeyError> {
        self.follower.check_heard()
    }

    fn watch(&self, observer: Weak<dyn StateObserver>) {
        self.follower.watch(observer);
    }
}

fn pairs(context: &EncryptionContext) -> std::collections::BTreeMap<String, String> {
    context
        .pairs()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn unreadable() -> KeyError {
    KeyError::CustodyUnavailable {
        reason: "its answer cannot be read".into(),
    }
}
