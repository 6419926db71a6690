//! The key service as a whole, and its start.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::AuditLog;
use strongroom_environment::{Clock, Entropy};
use strongroom_meta::{Batch, CommitError, MetaStore, Scan, Table};
use strongroom_pkcs11::Token;
use strongroom_seal::DataKey;

use crate::arn::{AliasName, Home, KeyId, KeyReference};
use crate::bucket_keys::{Bounds, BucketKeys};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::custody::KeyCustody;
use crate::error::KeyError;
use crate::journal::{Entry, Event, Journal};
use crate::kms::Kms;
use crate::ledger::{LEDGER, UNDER_CUSTOMER_KEY};
use crate::objects::ObjectKeys;
use crate::quorum::{Quorum, sha256_of};
use crate::rows::{self, SERVICE_KEYS, ServiceKeyRow};
use crate::users::{USERS, Users};

/// What the key service is told at its start.
#[derive(Clone, Debug)]
pub struct KeysConfig {
    /// The region of the ARNs of keys, such as `us-east-1`.
    pub region: String,
    /// The account of the ARNs of keys: twelve digits.
    pub account: String,
    /// What is kept opened, and for how long.
    pub limits: KeyLimits,
}

/// How much of what is secret is in memory, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct KeyLimits {
    /// How long a bucket key stays opened. It is then wiped.
    pub bucket_key_age_max: Duration,
    /// How many data keys an opened bucket key wraps or unwraps. At most 2^32 (NIST SP 800-38D,
    /// section 8.3).
    pub bucket_key_uses_max: u64,
    /// How many bucket keys are opened at once.
    pub bucket_keys_opened_max: NonZeroUsize,
    /// How many secret access keys are opened at once.
    pub credentials_opened_max: NonZeroUsize,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            bucket_key_age_max: Duration::from_secs(300),
            bucket_key_uses_max: 1 << 20,
            bucket_keys_opened_max: NonZeroUsize::new(4_096).expect("4096 is not 0"),
            credentials_opened_max: NonZeroUsize::new(1_024).expect("1024 is not 0"),
        }
    }
}

impl KeysConfig {
    fn check(&self) -> Result<(), KeyError> {
        let home = Home {
            region: self.region.clone(),
            account: self.account.clone(),
        };
        home.check()?;
        if self.limits.bucket_key_uses_max > 1 << 32 {
            return Err(KeyError::InvalidRequest {
                rule: "a bucket key wraps at most 2^32 data keys",
            });
        }
        Ok(())
    }
}

/// The key service: custody of the KMS keys, the keys of objects, and the users.
#[derive(Debug)]
pub struct KeyService {
    /// The custody half.
    pub kms: Arc<Kms>,
    /// The object half.
    pub objects: Arc<ObjectKeys>,
    /// The users.
    pub users: Arc<Users>,
    journal: Arc<Journal>,
}

impl KeyService {
    /// Starts the service on a token on which
    /// [`ensure_token_keys`](crate::ensure_token_keys) has been. What the first start needs (the
    /// KMS keys and data keys of the service's own) is made unless it is there, so a start that
    /// was cut short is simply repeated.
    ///
    /// # Errors
    /// [`KeyError::InvalidRequest`]: the configuration is not valid.
    /// [`KeyError::TokenUnavailable`], [`KeyError::AuditUnavailable`], [`KeyError::Metadata`],
    /// [`KeyError::NotCommitted`]; [`KeyError::NotAuthentic`] and [`KeyError::Damaged`]: the rows
    /// are not of this token, or were changed.
    pub async fn start(
        config: KeysConfig,
        token: Arc<dyn Token>,
        meta: Arc<dyn MetaStore>,
        audit: Arc<dyn AuditLog>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KeyError> {
        config.check()?;
        let identity = token.identity();
        let journal = Arc::new(Journal::new(audit, Arc::clone(&clock)));
        let quorum = Arc::new(Quorum::new(
            Arc::clone(&token),
            Arc::clone(&meta),
            Arc::clone(&journal),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        ));
        let rule = quorum.start().await?;
        let kms = Arc::new(Kms::new(
            quorum,
            Home {
                region: config.region,
                account: config.account,
            },
            token,
            Arc::clone(&meta),
            Arc::clone(&journal),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        ));
        let system = kms
            .ensure_service_key(
                &AliasName::new(KeyReference::SYSTEM_ALIAS)?,
                "Protects the secrets of the service itself",
            )
            .await?;
        let managed = kms
            .ensure_service_key(
                &AliasName::new(KeyReference::MANAGED_ALIAS)?,
                "Protects objects when no other key is asked for",
            )
            .await?;
        let own = ServiceKeys {
            custody: &*kms,
            meta: &*meta,
            clock: &*clock,
            entropy: &*entropy,
            system,
        };
        let ledger_key = own.get("ledger", LEDGER, &[UNDER_CUSTOMER_KEY]).await?;
        let secrets_key = own.get("user-secrets", USERS, &[]).await?;

        let custody: Arc<dyn KeyCustody> = Arc::clone(&kms) as _;
        let bucket_keys = BucketKeys::new(
            Arc::clone(&custody),
            Arc::clone(&meta),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            Bounds {
                age_max: config.limits.bucket_key_age_max,
                uses_max: config.limits.bucket_key_uses_max,
                opened_max: config.limits.bucket_keys_opened_max,
            },
        );
        expire_in_the_background(&bucket_keys, config.limits.bucket_key_age_max);
        let users = Arc::new(Users::new(
            Arc::clone(&meta),
            Arc::clone(&journal),
            clock,
            Arc::clone(&entropy),
            &secrets_key,
            config.limits.credentials_opened_max,
        ));
        let objects = Arc::new(ObjectKeys::new(
            custody,
            meta,
            bucket_keys,
            Arc::clone(&journal),
            entropy,
            managed,
            ledger_key,
        ));
        let service = Self {
            kms,
            objects,
            users,
            journal,
        };
        let mut detail = serde_json::json!({ "token": identity });
        if let Some(rule) = rule {
            detail["quorum_rule_sha256"] = rule.sha256().into();
        }
        service
            .log_event("start", detail, &Caller::daemon("start"))
            .await?;
        Ok(service)
    }

    /// Puts an event on the log that is not a use of a key: the result of a token's conformance
    /// test, or a change of configuration.
    ///
    /// # Errors
    /// [`KeyError::AuditUnavailable`].
    pub async fn log_event(
        &self,
        event: &'static str,
        detail: serde_json::Value,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let entry = Entry::new(Event::Service, event).detail(detail);
        self.journal.settle(caller, entry, Ok(())).await
    }

    /// Has the key of the audit log sign a text, once an event with the text's hash is on the log:
    /// gives the C2SP signed note, to which others can add their signatures.
    ///
    /// # Errors
    /// [`KeyError::AuditUnavailable`], [`KeyError::NotCertified`].
    pub async fn certify(
        &self,
        event: &'static str,
        text: &str,
        caller: &Caller,
    ) -> Result<String, KeyError> {
        let detail = serde_json::json!({ "note_sha256": sha256_of(text) });
        let entry = Entry::new(Event::Service, event).detail(detail);
        let index = self.journal.tell(caller, &entry).await?;
        Ok(self.journal.certify(index, text).await?.note)
    }
}

/// Wipes bucket keys that nobody asks for any more, for as long as there is a service.
fn expire_in_the_background(bucket_keys: &Arc<BucketKeys>, age_max: Duration) {
    let bucket_keys = Arc::downgrade(bucket_keys);
    let interval = (age_max / 10).clamp(Duration::from_millis(100), Duration::from_secs(10));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let Some(bucket_keys) = bucket_keys.upgrade() else {
                return;
            };
            bucket_keys.expire();
        }
    });
}

/// The data keys of the service's own.
struct ServiceKeys<'a> {
    custody: &'a dyn KeyCustody,
    meta: &'a dyn MetaStore,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
    system: KeyId,
}

impl ServiceKeys<'_> {
    /// The key for `purpose`, made when it is not there yet.
    ///
    /// It was there if there are rows of `dependents` under `prefix`, which take it to make. Another
    /// one made in its place would shut out what it protects, and what is written from then on
    /// when the lost row is put back: that is refused.
    async fn get(
        &self,
        purpose: &'static str,
        dependents: Table,
        prefix: &[u8],
    ) -> Result<DataKey, KeyError> {
        let caller = Caller::daemon("start");
        let context = EncryptionContext::empty().with("strongroom:purpose", purpose.to_owned());
        if let Some(key) = self.stored(purpose, &context, &caller).await? {
            return Ok(key);
        }
        let made = self.meta.scan(dependents, Scan::prefix(prefix, 1)).await?;
        if !made.is_empty() {
            // Or another daemon made both since the first look.
            return self
                .stored(purpose, &context, &caller)
                .await?
                .ok_or(KeyError::Damaged {
                    table: SERVICE_KEYS.name(),
                    what: "a key that other rows need is not there",
                });
        }
        let key = DataKey::generate(self.entropy);
        let sealed = self
            .custody
            .seal(self.system, &context, &key, &caller)
            .await?;
        let row = ServiceKeyRow {
            created: self.clock.now(),
            blob: sealed.blob,
        };
        let mut batch = Batch::new();
        rows::create(&mut batch, SERVICE_KEYS, purpose.as_bytes(), &row);
        match self.meta.commit(batch).await {
            Ok(()) => Ok(key),
            // Another daemon on the same metadata was faster.
            Err(CommitError::Conflict { table }) => self
                .stored(purpose, &context, &caller)
                .await?
                .ok_or(KeyError::NotCommitted(CommitError::Conflict { table })),
            Err(error) => Err(error.into()),
        }
    }

    async fn stored(
        &self,
        purpose: &str,
        context: &EncryptionContext,
        caller: &Caller,
    ) -> Result<Option<DataKey>, KeyError> {
        match rows::read::<ServiceKeyRow>(self.meta, SERVICE_KEYS, purpose.as_bytes()).await? {
            Some(read) => self
                .custody
                .open(&read.row.blob, context, caller)
                .await
                .map(Some),
            None => Ok(None),
        }
    }
}
