//! The half of the key service that is beside the objects, and the keys of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use strongroom_audit::{AuditLog, CheckpointSigner, SignError};
use strongroom_environment::{Clock, Entropy};
use strongroom_meta::{Batch, CommitError, MetaStore, Scan, Table};
use strongroom_seal::{DataKey, scrub_stack};

use crate::arn::{KeyId, KeyReference};
use crate::bucket_keys::{Bounds, BucketKeys};
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::custody::KeyCustody;
use crate::error::KeyError;
use crate::journal::Journal;
use crate::ledger::{LEDGER, UNDER_CUSTOMER_KEY};
use crate::objects::ObjectKeys;
use crate::rows::{self, SERVICE_KEYS, ServiceKeyRow};
use crate::service::{KeyLimits, log_event};
use crate::users::{USERS, Users};

/// What of the key service is beside the objects: their keys, and the users. Custody of the KMS keys
/// may be in this process or on another host.
#[derive(Debug)]
pub struct StoreKeys {
    /// The object half.
    pub objects: Arc<ObjectKeys>,
    /// The users.
    pub users: Arc<Users>,
    pub(crate) journal: Arc<Journal>,
}

impl StoreKeys {
    /// Starts the object half over a custody that is elsewhere. `started` goes on the log with the
    /// start, and says where.
    ///
    /// # Errors
    /// [`KeyError::CustodyUnavailable`], [`KeyError::AccessDenied`]: custody does not know this
    /// store, or what the store has was sealed for another one; and as for [`KeyService::start`](crate::KeyService::start).
    pub async fn start(
        limits: KeyLimits,
        custody: Arc<dyn KeyCustody>,
        meta: Arc<dyn MetaStore>,
        audit: Arc<dyn AuditLog>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        started: serde_json::Value,
    ) -> Result<Self, KeyError> {
        limits.check()?;
        let journal = Arc::new(Journal::new(audit, Arc::clone(&clock)));
        Self::over(custody, limits, meta, journal, clock, entropy, started).await
    }

    pub(crate) async fn over(
        custody: Arc<dyn KeyCustody>,
        limits: KeyLimits,
        meta: Arc<dyn MetaStore>,
        journal: Arc<Journal>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        started: serde_json::Value,
    ) -> Result<Self, KeyError> {
        let managed = custody.resolve(&KeyReference::managed()).await?;
        let own = ServiceKeys::new(&*custody, &*meta, &*clock, &*entropy).await?;
        let ledger_key = own.get("ledger", LEDGER, &[UNDER_CUSTOMER_KEY]).await?;
        let secrets_key = own.get("user-secrets", USERS, &[]).await?;
        let bucket_keys = BucketKeys::new(
            Arc::clone(&custody),
            Arc::clone(&meta),
            Arc::clone(&clock),
            Arc::clone(&entropy),
            Bounds {
                age_max: limits.bucket_key_age_max,
                uses_max: limits.bucket_key_uses_max,
                opened_max: limits.bucket_keys_opened_max,
            },
        );
        expire_in_the_background(&bucket_keys, limits.bucket_key_age_max);
        let users = Arc::new(Users::new(
            Arc::clone(&meta),
            Arc::clone(&journal),
            clock,
            Arc::clone(&entropy),
            &secrets_key,
            limits.credentials_opened_max,
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
        log_event(&journal, "start", started, &Caller::daemon("start")).await?;
        Ok(Self {
            objects,
            users,
            journal,
        })
    }
}

/// Signs the checkpoints of an audit log with a key that custody keeps sealed and that is opened at
/// the start: for a store that has no token of its own.
pub struct SealedSigner {
    pair: Ed25519KeyPair,
    public_key: [u8; 32],
}

impl SealedSigner {
    /// The signer of this store, whose key is made at the first start.
    ///
    /// # Errors
    /// [`KeyError::CustodyUnavailable`]; [`KeyError::Damaged`]: the key is not there, though there
    /// are users already; and as for [`StoreKeys::start`].
    pub async fn open(
        custody: &dyn KeyCustody,
        meta: &dyn MetaStore,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeyError> {
        let own = ServiceKeys::new(custody, meta, clock, entropy).await?;
        let seed = own.get("audit-signing", USERS, &[]).await?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| KeyError::Damaged {
                table: SERVICE_KEYS.name(),
                what: "the key that signs the audit log is none",
            })?;
        scrub_stack();
        let public_key = *pair
            .public_key()
            .as_ref()
            .first_chunk()
            .expect("a public key of Ed25519 has 32 bytes");
        Ok(Self { pair, public_key })
    }
}

impl fmt::Debug for SealedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedSigner")
    }
}

#[async_trait]
impl CheckpointSigner for SealedSigner {
    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let signature = self.pair.sign(message);
        let signature = signature.as_ref().first_chunk();
        Ok(*signature.expect("a signature of Ed25519 has 64 bytes"))
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

impl<'a> ServiceKeys<'a> {
    async fn new(
        custody: &'a dyn KeyCustody,
        meta: &'a dyn MetaStore,
        clock: &'a dyn Clock,
        entropy: &'a dyn Entropy,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            system: custody.resolve(&KeyReference::system()).await?,
            custody,
            meta,
            clock,
            entropy,
        })
    }

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
