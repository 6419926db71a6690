//! The object half: the data key of every object, made, opened and wrapped anew in one place.

use std::sync::Arc;

use aws_lc_rs::hmac;
use strongroom_environment::Entropy;
use strongroom_meta::MetaStore;
use strongroom_seal::{CheckValue, DataKey, KeyWrap, customer_kek, scrub_stack};
use subtle::ConstantTimeEq;

use crate::arn::{KeyId, KeyReference};
use crate::bucket_keys::BucketKeys;
use crate::caller::Caller;
use crate::context::EncryptionContext;
use crate::custody::{CustodyUse, KeyCustody};
use crate::customer::CustomerKey;
use crate::envelope::{
    BucketLock, CustomerLock, EncryptionMode, KeyEnvelope, Protection, Wrapping,
};
use crate::error::KeyError;
use crate::journal::{Entry, Event, Journal, KeyNamed};
use crate::names::{CustomerFingerprint, GrantId, ObjectName};

/// The one place where the data key of an object is resolved.
///
/// Each call that touches a key puts an entry on the audit log before it answers, whether it
/// grants or refuses. It holds no data key itself; what it returns is wiped when dropped.
#[derive(Debug)]
pub struct ObjectKeys {
    pub(crate) custody: Arc<dyn KeyCustody>,
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) bucket_keys: Arc<BucketKeys>,
    pub(crate) journal: Arc<Journal>,
    entropy: Arc<dyn Entropy>,
    /// The KMS key of SSE-S3.
    managed: KeyId,
    /// Under which customers' keys are fingerprinted.
    ledger_key: DataKey,
}

impl ObjectKeys {
    pub(crate) fn new(
        custody: Arc<dyn KeyCustody>,
        meta: Arc<dyn MetaStore>,
        bucket_keys: Arc<BucketKeys>,
        journal: Arc<Journal>,
        entropy: Arc<dyn Entropy>,
        managed: KeyId,
        ledger_key: DataKey,
    ) -> Self {
        Self {
            custody,
            meta,
            bucket_keys,
            journal,
            entropy,
            managed,
            ledger_key,
        }
    }

    /// Draws a data key for a new upload and wraps it as `protection` says.
    ///
    /// # Errors
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::AccessDenied`],
    /// [`KeyError::Disabled`], [`KeyError::PendingDeletion`], [`KeyError::TokenUnavailable`],
    /// [`KeyError::AuditUnavailable`], [`KeyError::Metadata`], [`KeyError::NotCommitted`].
    pub async fn create(
        &self,
        protection: &Protection,
        object: &ObjectName,
        caller: &Caller,
    ) -> Result<(DataKey, KeyEnvelope), KeyError> {
        let mut grant = None;
        let result = async {
            let data_key = DataKey::generate(&*self.entropy);
            let envelope;
            (envelope, grant) = self.wrap(&data_key, protection, object, caller).await?;
            Ok((data_key, envelope))
        }
        .await;
        let named = match &result {
            Ok((_, envelope)) => self.named(envelope),
            Err(_) => self.named_wish(protection),
        };
        let entry = Entry::new(Event::KeyUse, "create")
            .key(named)
            .grant(grant)
            .object(object);
        self.journal.settle(caller, entry, result).await
    }

    /// Opens the data key of an object.
    ///
    /// # Errors
    /// [`KeyError::CustomerKeyRequired`], [`KeyError::CustomerKeyMismatch`],
    /// [`KeyError::CustomerKeyNotApplicable`]; [`KeyError::NotAuthentic`]: the envelope was
    /// changed or is another object's; and as for [`ObjectKeys::create`].
    pub async fn open(
        &self,
        envelope: &KeyEnvelope,
        object: &ObjectName,
        customer_key: Option<&CustomerKey>,
        caller: &Caller,
    ) -> Result<DataKey, KeyError> {
        let unwrapped = self.unwrap(envelope, object, customer_key, caller).await;
        let (result, grant) = split(unwrapped);
        let named = self.named_with_offer(envelope, customer_key, result.as_ref().err());
        let entry = Entry::new(Event::KeyUse, "open")
            .key(named)
            .grant(grant)
            .object(object);
        self.journal.settle(caller, entry, result).await
    }

    /// Checks that a request may learn of an object (HEAD), without opening its data key: a
    /// customer's key is compared. Where no key comes and none is needed, no key is used, and
    /// there is no entry on the log.
    ///
    /// # Errors
    /// [`KeyError::CustomerKeyRequired`], [`KeyError::CustomerKeyMismatch`],
    /// [`KeyError::CustomerKeyNotApplicable`], [`KeyError::NotAuthentic`],
    /// [`KeyError::AuditUnavailable`].
    pub async fn check(
        &self,
        envelope: &KeyEnvelope,
        object: &ObjectName,
        customer_key: Option<&CustomerKey>,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let result = match (&envelope.0, customer_key) {
            (Wrapping::Customer { lock, .. }, Some(customer_key)) => {
                object.check().and_then(|()| {
                    self.unlock(lock, object, customer_key)?;
                    Ok(())
                })
            }
            (Wrapping::Customer { .. }, None) => Err(KeyError::CustomerKeyRequired),
            (_, Some(_)) => Err(KeyError::CustomerKeyNotApplicable),
            (_, None) => return Ok(()),
        };
        let named = self.named_with_offer(envelope, customer_key, result.as_ref().err());
        let entry = Entry::new(Event::KeyUse, "check").key(named).object(object);
        self.journal.settle(caller, entry, result).await
    }

    /// Opens the data key of an object and wraps it for another object, or under another key. No
    /// byte of payload is read or written.
    ///
    /// # Errors
    /// As for [`ObjectKeys::open`] and [`ObjectKeys::create`].
    pub async fn rewrap(
        &self,
        from: (&KeyEnvelope, &ObjectName, Option<&CustomerKey>),
        to: (&Protection, &ObjectName),
        caller: &Caller,
    ) -> Result<KeyEnvelope, KeyError> {
        let (from_envelope, from_object, from_customer_key) = from;
        let (protection, object) = to;
        let unwrapped = self
            .unwrap(from_envelope, from_object, from_customer_key, caller)
            .await;
        let (opened, source_grant) = split(unwrapped);
        let refused = opened.as_ref().err();
        let named_from = self.named_with_offer(from_envelope, from_customer_key, refused);
        let wrapped = match opened {
            Ok(data_key) => self.wrap(&data_key, protection, object, caller).await,
            Err(error) => Err(error),
        };
        let (result, grant) = split(wrapped);
        let named = match &result {
            Ok(envelope) => self.named(envelope),
            Err(_) => self.named_wish(protection),
        };
        let entry = Entry::new(Event::KeyUse, "rewrap")
            .key(named)
            .grant(grant)
            .object(object)
            .from(named_from, Some(from_object))
            .source_grant(source_grant);
        self.journal.settle(caller, entry, result).await
    }

    /// Puts on the log that a request with a key was refused before its key came here: because
    /// the key was malformed, or came over a connection that is not safe, or for no such object.
    ///
    /// # Errors
    /// [`KeyError::AuditUnavailable`], in place of `refusal`.
    pub async fn log_refusal(
        &self,
        bucket: &str,
        key: &str,
        refusal: &KeyError,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let entry = Entry::new(Event::KeyUse, "refuse").object_at(bucket, key);
        self.journal.refuse(caller, &entry, refusal).await
    }

    /// What an object is protected with.
    #[must_use]
    pub fn mode_of(&self, envelope: &KeyEnvelope) -> EncryptionMode {
        match &envelope.0 {
            Wrapping::Customer { lock, .. } => EncryptionMode::CustomerKey {
                fingerprint: lock.fingerprint,
            },
            Wrapping::Kms { context, blob } => EncryptionMode::Kms {
                key: self.custody.arn(blob.key()),
                context: context.clone(),
                bucket_key: false,
            },
            Wrapping::Bucket { lock, .. } if lock.managed => EncryptionMode::Managed,
            Wrapping::Bucket { lock, .. } => EncryptionMode::Kms {
                key: self.custody.arn(lock.key),
                context: lock.context.clone(),
                bucket_key: true,
            },
        }
    }

    /// By what a customer's key is told from others in the ledger.
    #[must_use]
    pub fn fingerprint_of(&self, customer_key: &CustomerKey) -> CustomerFingerprint {
        let fingerprint = fingerprint(&self.ledger_key, customer_key);
        scrub_stack();
        fingerprint
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        protection: &Protection,
        object: &ObjectName,
        caller: &Caller,
    ) -> Result<(KeyEnvelope, Option<GrantId>), KeyError> {
        object.check()?;
        let mut grant = None;
        let wrapping = match protection {
            Protection::CustomerKey(customer_key) => {
                let salt = self.entropy.array();
                let (wrap, check) = kek_of(customer_key, &salt, object);
                let lock = CustomerLock {
                    salt,
                    check,
                    fingerprint: self.fingerprint_of(customer_key),
                };
                let bound = lock.bound_bytes(object);
                let wrapped = wrap.wrap(self.entropy.array(), &bound, data_key);
                Wrapping::Customer { lock, wrapped }
            }
            Protection::Kms {
                key,
                context,
                bucket_key: false,
            } => {
                let key = self.custody.resolve(key).await?;
                self.wrap_by_kms_key(data_key, key, context, object, caller)
                    .await?
            }
            Protection::Kms {
                key,
                context,
                bucket_key: true,
            } => {
                let key = self.custody.resolve(key).await?;
                // A bucket key may be open for others already.
                grant = self
                    .bucket_keys
                    .authorize(key, CustodyUse::Seal, &object.bucket, caller)
                    .await?;
                self.wrap_by_bucket_key(data_key, key, context.clone(), false, object, caller)
                    .await?
            }
            Protection::Managed => {
                let context = EncryptionContext::empty();
                self.wrap_by_bucket_key(data_key, self.managed, context, true, object, caller)
                    .await?
            }
        };
        Ok((KeyEnvelope(wrapping), grant))
    }

    pub(crate) async fn wrap_by_kms_key(
        &self,
        data_key: &DataKey,
        key: KeyId,
        context: &EncryptionContext,
        object: &ObjectName,
        caller: &Caller,
    ) -> Result<Wrapping, KeyError> {
        let bound = bound_context(context, object);
        let sealed = self.custody.seal(key, &bound, data_key, caller).await?;
        Ok(Wrapping::Kms {
            context: context.clone(),
            blob: sealed.blob,
        })
    }

    pub(crate) async fn wrap_by_bucket_key(
        &self,
        data_key: &DataKey,
        key: KeyId,
        context: EncryptionContext,
        managed: bool,
        object: &ObjectName,
        caller: &Caller,
    ) -> Result<Wrapping, KeyError> {
        let bucket_key = self
            .bucket_keys
            .for_writing(key, &object.bucket, caller)
            .await?;
        let lock = BucketLock {
            managed,
            bucket_key: bucket_key.id,
            key: bucket_key.key,
            version: bucket_key.version,
            context,
        };
        let bound = lock.bound_bytes(object);
        let wrapped = bucket_key.wrap.wrap(self.entropy.array(), &bound, data_key);
        Ok(Wrapping::Bucket { lock, wrapped })
    }

    pub(crate) async fn unwrap(
        &self,
        envelope: &KeyEnvelope,
        object: &ObjectName,
        customer_key: Option<&CustomerKey>,
        caller: &Caller,
    ) -> Result<(DataKey, Option<GrantId>), KeyError> {
        object.check()?;
        let mut grant = None;
        let data_key = match (&envelope.0, customer_key) {
            (Wrapping::Customer { .. }, None) => Err(KeyError::CustomerKeyRequired),
            (Wrapping::Customer { lock, wrapped }, Some(customer_key)) => self
                .unlock(lock, object, customer_key)?
                .unwrap(&lock.bound_bytes(object), wrapped)
                .map_err(|_| KeyError::NotAuthentic),
            (_, Some(_)) => Err(KeyError::CustomerKeyNotApplicable),
            (Wrapping::Kms { context, blob }, None) => {
                let bound = bound_context(context, object);
                self.custody.open(blob, &bound, caller).await
            }
            (Wrapping::Bucket { lock, wrapped }, None) => {
                if !lock.managed {
                    // The bucket key may be open for others already.
                    grant = self
                        .bucket_keys
                        .authorize(lock.key, CustodyUse::Open, &object.bucket, caller)
                        .await?;
                }
                self.bucket_keys
                    .for_reading(lock, &object.bucket, caller)
                    .await?
                    .wrap
                    .unwrap(&lock.bound_bytes(object), wrapped)
                    .map_err(|_| KeyError::NotAuthentic)
            }
        }?;
        Ok((data_key, grant))
    }

    /// The wrap under a customer's key, once it is shown to be the right one.
    ///
    /// The check value depends on the key, the salt and the object, the fingerprint on the key
    /// alone. Where both differ it is another key; where only one does, the envelope is damaged
    /// or in another object's place.
    fn unlock(
        &self,
        lock: &CustomerLock,
        object: &ObjectName,
        customer_key: &CustomerKey,
    ) -> Result<KeyWrap, KeyError> {
        let (wrap, check) = kek_of(customer_key, &lock.salt, object);
        let fingerprint = self.fingerprint_of(customer_key);
        let is_checked: bool = check.ct_eq(&lock.check).into();
        let is_known: bool = fingerprint
            .as_bytes()
            .ct_eq(lock.fingerprint.as_bytes())
            .into();
        match (is_checked, is_known) {
            (true, true) => Ok(wrap),
            (false, false) => Err(KeyError::CustomerKeyMismatch),
            (true, false) | (false, true) => Err(KeyError::NotAuthentic),
        }
    }

    pub(crate) fn named(&self, envelope: &KeyEnvelope) -> KeyNamed {
        let named = KeyNamed::mode(envelope.mode());
        match &envelope.0 {
            Wrapping::Customer { lock, .. } => named.with_fingerprint(&lock.fingerprint),
            Wrapping::Kms { blob, .. } => named
                .with_arn(&self.custody.arn(blob.key()))
                .with_version(blob.version()),
            Wrapping::Bucket { lock, .. } => named
                .with_arn(&self.custody.arn(lock.key))
                .with_version(lock.version)
                .with_bucket_key(lock.bucket_key),
        }
    }

    /// As [`ObjectKeys::named`], and the fingerprint of a customer's key that was not the one.
    fn named_with_offer(
        &self,
        envelope: &KeyEnvelope,
        customer_key: Option<&CustomerKey>,
        error: Option<&KeyError>,
    ) -> KeyNamed {
        let named = self.named(envelope);
        match (customer_key, error) {
            (Some(customer_key), Some(_)) => named.with_offered(&self.fingerprint_of(customer_key)),
            _ => named,
        }
    }

    /// What was asked for and not given.
    fn named_wish(&self, protection: &Protection) -> KeyNamed {
        let named = KeyNamed::mode(protection.mode());
        match protection {
            Protection::CustomerKey(customer_key) => {
                named.with_fingerprint(&self.fingerprint_of(customer_key))
            }
            Protection::Kms {
                key: KeyReference::Id(key),
                ..
            } => named.with_arn(&self.custody.arn(*key)),
            Protection::Kms { key, .. } => named.with_reference(key),
            Protection::Managed => named.with_arn(&self.custody.arn(self.managed)),
        }
    }
}

/// The result by itself, and the grant that allowed it.
fn split<T>(
    result: Result<(T, Option<GrantId>), KeyError>,
) -> (Result<T, KeyError>, Option<GrantId>) {
    match result {
        Ok((done, grant)) => (Ok(done), grant),
        Err(error) => (Err(error), None),
    }
}

fn kek_of(
    customer_key: &CustomerKey,
    salt: &[u8; 32],
    object: &ObjectName,
) -> (KeyWrap, CheckValue) {
    customer_kek(customer_key.expose(), salt, &object.to_bound_bytes())
}

#[inline(never)]
fn fingerprint(ledger_key: &DataKey, customer_key: &CustomerKey) -> CustomerFingerprint {
    let key = hmac::Key::new(hmac::HMAC_SHA256, ledger_key.expose());
    let tag = hmac::sign(&key, customer_key.expose());
    CustomerFingerprint(*tag.as_ref().first_chunk().expect("SHA-256 gives 32 bytes"))
}

/// What a data key that stands directly under a KMS key is bound to: what the caller says, the ARN
/// of the object as S3 adds it unless the caller did, which of the two it was, and, so that nothing
/// the caller says loosens it, the object and its binding. No two contexts of callers give the same.
fn bound_context(context: &EncryptionContext, object: &ObjectName) -> EncryptionContext {
    const ARN: &str = "aws:s3:arn";
    let path = format!("{}/{}", object.bucket, object.key);
    let with_arn = if context.has(ARN) {
        context.clone().with("strongroom:arn", "given".into())
    } else {
        context.clone().with(ARN, format!("arn:aws:s3:::{path}"))
    };
    with_arn
        .with("strongroom:object", path)
        .with("strongroom:binding", object.binding.to_string())
}
