//! What goes on the audit log: one JSON object for each use of a key and each change to one.
//!
//! The fields are described in `docs/format/keys.md`, section "Log entries".

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use strongroom_audit::{AuditLog, Certified, LeafIndex};
use strongroom_environment::Clock;
use strongroom_meta::{Batch, MetaStore};

use crate::arn::{KeyArn, KeyReference, KeyVersion};
use crate::caller::{Caller, StoreName};
use crate::context::EncryptionContext;
use crate::error::KeyError;
use crate::names::{BucketKeyId, CustomerFingerprint, GrantId, ObjectName};

/// The version of the form of an entry.
const VERSION: u8 = 1;

/// What an entry tells of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A key was used, or its use refused.
    KeyUse,
    /// A KMS key or an alias was made or changed.
    KeyAdministration,
    /// A user was made or changed.
    UserAdministration,
    /// Custodians were named, or said what they think of a request.
    Quorum,
    /// Something of the service as a whole, such as its start.
    Service,
}

/// How an object's data key is protected, as entries and metrics name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) enum Mode {
    #[serde(rename = "SSE-C")]
    CustomerKey,
    #[serde(rename = "SSE-KMS")]
    Kms,
    #[serde(rename = "SSE-S3")]
    Managed,
}

/// A key as an entry names it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct KeyNamed {
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    /// The ARN; or what the caller said, where it names no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// The fingerprint of the customer's key that came with the request and was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    offered: Option<String>,
}

impl KeyNamed {
    pub(crate) fn mode(mode: Mode) -> Self {
        Self {
            mode: Some(mode),
            ..Self::default()
        }
    }

    pub(crate) fn kms(key: &KeyArn) -> Self {
        Self::default().with_arn(key)
    }

    /// What the caller said names a key.
    pub(crate) fn reference(reference: &KeyReference) -> Self {
        Self::default().with_reference(reference)
    }

    /// What the caller said names a key.
    pub(crate) fn with_reference(mut self, reference: &KeyReference) -> Self {
        self.arn = Some(reference.to_string());
        self
    }

    pub(crate) fn with_arn(mut self, key: &KeyArn) -> Self {
        self.arn = Some(key.to_string());
        self
    }

    pub(crate) fn with_version(mut self, version: KeyVersion) -> Self {
        self.version = Some(version.0);
        self
    }

    pub(crate) fn with_bucket_key(mut self, id: BucketKeyId) -> Self {
        self.bucket_key = Some(id.to_string());
        self
    }

    pub(crate) fn with_fingerprint(mut self, fingerprint: &CustomerFingerprint) -> Self {
        self.fingerprint = Some(fingerprint.to_string());
        self
    }

    pub(crate) fn with_offered(mut self, fingerprint: &CustomerFingerprint) -> Self {
        self.offered = Some(fingerprint.to_string());
        self
    }

    pub(crate) fn mode_label(&self) -> &'static str {
        match self.mode {
            Some(Mode::CustomerKey) => "SSE-C",
            Some(Mode::Kms) => "SSE-KMS",
            Some(Mode::Managed) => "SSE-S3",
            None => "none",
        }
    }
}

#[derive(Debug, Serialize)]
struct ObjectNamed<'a> {
    bucket: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    binding: Option<String>,
}

/// The approval by custodians under which something was done, or without which it was not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct ApprovalNamed {
    pub(crate) proposal: String,
    /// What the custodians have signed, with their signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// One entry, but for who asked, when, and with what outcome.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    event: Event,
    /// What was done with the key: `create`, `open`, `encrypt`, `disable-key`, and so on.
    #[serde(rename = "use")]
    pub(crate) act: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyNamed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectNamed<'a>>,
    /// The key that protected until now, where one key takes the place of another.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_key: Option<KeyNamed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_object: Option<ObjectNamed<'a>>,
    /// The grant that allowed it, where neither the policy of the key nor the role did.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    /// The grant that allowed the use of the key that protected until now.
    #[serde(skip_serializing_if = "Option::is_none")]
    from_grant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a std::collections::BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_context: Option<&'a std::collections::BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<ApprovalNamed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<serde_json::Value>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(event: Event, act: &'static str) -> Self {
        Self {
            event,
            act,
            key: None,
            object: None,
            from_key: None,
            from_object: None,
            grant: None,
            from_grant: None,
            context: None,
            from_context: None,
            approval: None,
            detail: None,
        }
    }

    pub(crate) fn key(mut self, key: KeyNamed) -> Self {
        self.key = Some(key);
        self
    }

    pub(crate) fn object(mut self, object: &'a ObjectName) -> Self {
        self.object = Some(ObjectNamed::from(object));
        self
    }

    /// An object of which no version is known.
    pub(crate) fn object_at(mut self, bucket: &'a str, key: &'a str) -> Self {
        self.object = Some(ObjectNamed::new(bucket, key, None));
        self
    }

    pub(crate) fn from(mut self, key: KeyNamed, object: Option<&'a ObjectName>) -> Self {
        self.from_key = Some(key);
        self.from_object = object.map(ObjectNamed::from);
        self
    }

    pub(crate) fn grant(mut self, grant: Option<GrantId>) -> Self {
        self.grant = grant.map(|grant| grant.to_string());
        self
    }

    pub(crate) fn source_grant(mut self, grant: Option<GrantId>) -> Self {
        self.from_grant = grant.map(|grant| grant.to_string());
        self
    }

    pub(crate) fn context(mut self, context: &'a EncryptionContext) -> Self {
        self.context = Some(context.as_map()).filter(|pairs| !pairs.is_empty());
        self
    }

    pub(crate) fn source_context(mut self, context: &'a EncryptionContext) -> Self {
        self.from_context = Some(context.as_map()).filter(|pairs| !pairs.is_empty());
        self
    }

    pub(crate) fn approval(mut self, approval: Option<ApprovalNamed>) -> Self {
        self.approval = approval;
        self
    }

    pub(crate) fn detail(mut self, detail: serde_json::Value) -> Self {
        self.detail = Some(detail);
        self
    }
}

impl<'a> ObjectNamed<'a> {
    /// Of a name that is longer than a name can be, and is refused for it, the beginning is told:
    /// the whole might be more than the log has room for.
    fn new(bucket: &'a str, key: &'a str, binding: Option<String>) -> Self {
        let shortened =
            |name: &'a str, len_bytes_max| &name[..name.floor_char_boundary(len_bytes_max)];
        Self {
            bucket: shortened(bucket, ObjectName::BUCKET_LEN_BYTES_MAX),
            key: shortened(key, ObjectName::KEY_LEN_BYTES_MAX),
            binding,
        }
    }
}

impl<'a> From<&'a ObjectName> for ObjectNamed<'a> {
    fn from(object: &'a ObjectName) -> Self {
        let binding = object.binding.to_string();
        Self::new(&object.bucket, &object.key, Some(binding))
    }
}

#[derive(Serialize)]
struct Whole<'a> {
    v: u8,
    time: String,
    principal: &'a str,
    request_id: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    /// The store apart that asked on behalf of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<&'a str>,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// Writes entries and holds results back until they are written.
#[derive(Debug)]
pub(crate) struct Journal {
    log: Arc<dyn AuditLog>,
    clock: Arc<dyn Clock>,
}

impl Journal {
    pub(crate) fn new(log: Arc<dyn AuditLog>, clock: Arc<dyn Clock>) -> Self {
        Self { log, clock }
    }

    /// Which log this is, and so which deployment: the verifier key of the log.
    pub(crate) fn deployment(&self) -> String {
        self.log.identity()
    }

    /// Lets `result` out once it is on the log. When the log does not take it the result is
    /// dropped, which wipes what keys it holds, and the answer is [`KeyError::AuditUnavailable`].
    pub(crate) async fn settle<T>(
        &self,
        caller: &Caller,
        entry: Entry<'_>,
        result: Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let error = result.as_ref().err();
        self.append(caller, &entry, error).await?;
        result
    }

    /// Puts a refusal on the log that somebody else decided.
    pub(crate) async fn refuse(
        &self,
        caller: &Caller,
        entry: &Entry<'_>,
        refusal: &KeyError,
    ) -> Result<(), KeyError> {
        self.append(caller, entry, Some(refusal)).await?;
        Ok(())
    }

    /// Puts on the log that something is so. Gives the place of the entry.
    pub(crate) async fn tell(
        &self,
        caller: &Caller,
        entry: &Entry<'_>,
    ) -> Result<LeafIndex, KeyError> {
        self.append(caller, entry, None).await
    }

    /// Makes a change of keys or users: its entry first, then `prepared` in one batch.
    ///
    /// A refusal to prepare it is on the log and is the answer. A batch that is not acknowledged
    /// gets an entry of its own, so that the log does not claim what may not have happened.
    pub(crate) async fn change(
        &self,
        meta: &dyn MetaStore,
        caller: &Caller,
        entry: Entry<'_>,
        prepared: Result<Batch, KeyError>,
    ) -> Result<(), KeyError> {
        self.change_and_tell(meta, caller, entry, prepared, |_, _| ())
            .await?;
        Ok(())
    }

    /// As [`Journal::change`], where the batch tells of its own entry: `finish` learns its place on
    /// the log and may write more. Gives that place.
    pub(crate) async fn change_and_tell(
        &self,
        meta: &dyn MetaStore,
        caller: &Caller,
        entry: Entry<'_>,
        prepared: Result<Batch, KeyError>,
        finish: impl FnOnce(LeafIndex, &mut Batch) + Send,
    ) -> Result<LeafIndex, KeyError> {
        let mut batch = match prepared {
            Ok(batch) => batch,
            Err(error) => return self.settle(caller, entry, Err(error)).await,
        };
        let index = self.append(caller, &entry, None).await?;
        finish(index, &mut batch);
        // The commit point of the change.
        let Err(error) = meta.commit(batch).await else {
            return Ok(index);
        };
        let error = KeyError::from(error);
        if let Err(unwritten) = self.append(caller, &entry, Some(&error)).await {
            // Nothing follows from this for the caller: the change was not acknowledged.
            tracing::error!(%unwritten, "a change of keys failed and its entry could not be written");
        }
        Err(error)
    }

    /// Has the log sign `text` and prove that an entry is on it.
    pub(crate) async fn certify(
        &self,
        index: LeafIndex,
        text: &str,
    ) -> Result<Certified, KeyError> {
        self.log
            .certify(index, text)
            .await
            .map_err(|error| KeyError::NotCertified {
                reason: error.to_string(),
            })
    }

    async fn append(
        &self,
        caller: &Caller,
        entry: &Entry<'_>,
        error: Option<&KeyError>,
    ) -> Result<LeafIndex, KeyError> {
        let outcome = match error {
            None => "granted",
            Some(error) if error.is_failure() => "failed",
            Some(_) => "refused",
        };
        let whole = Whole {
            v: VERSION,
            time: self.clock.now().to_string(),
            principal: &caller.principal,
            request_id: &caller.request_id,
            operation: &caller.operation,
            source: caller.source,
            store: caller.store.as_ref().map(StoreName::as_str),
            entry,
            outcome,
            reason: error.map(KeyError::code),
        };
        let bytes = serde_json::to_vec(&whole).expect("strings and numbers always serialise");
        let appended = self.log.append(bytes).await;
        metrics::counter!(
            "strongroom_key_uses_total",
            "use" => entry.act,
            "mode" => entry.key.as_ref().map_or("none", KeyNamed::mode_label),
            "outcome" => if appended.is_ok() { outcome } else { "not-logged" },
        )
        .increment(1);
        Ok(appended?)
    }
}
