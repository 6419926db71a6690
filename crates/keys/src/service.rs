//! The key service as a whole, and its start.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use strongroom_audit::AuditLog;
use strongroom_environment::{Clock, Entropy};
use strongroom_meta::MetaStore;
use strongroom_pkcs11::Token;

use crate::arn::{AliasName, Home, KeyReference};
use crate::caller::Caller;
use crate::custody::KeyCustody;
use crate::error::KeyError;
use crate::journal::{Entry, Event, Journal};
use crate::kms::Kms;
use crate::objects::ObjectKeys;
use crate::quorum::{Quorum, sha256_of};
use crate::store_keys::StoreKeys;
use crate::users::Users;

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

impl KeyLimits {
    pub(crate) fn check(&self) -> Result<(), KeyError> {
        if self.bucket_key_uses_max > 1 << 32 {
            return Err(KeyError::InvalidRequest {
                rule: "a bucket key wraps at most 2^32 data keys",
            });
        }
        Ok(())
    }
}

impl KeysConfig {
    fn check(&self) -> Result<(), KeyError> {
        let home = Home {
            region: self.region.clone(),
            account: self.account.clone(),
        };
        home.check()?;
        self.limits.check()
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
        for (alias, description) in [
            (
                KeyReference::SYSTEM_ALIAS,
                "Protects the secrets of the service itself",
            ),
            (
                KeyReference::MANAGED_ALIAS,
                "Protects objects when no other key is asked for",
            ),
        ] {
            kms.ensure_service_key(&AliasName::new(alias)?, description)
                .await?;
        }
        let mut started = serde_json::json!({ "token": identity });
        if let Some(rule) = rule {
            started["quorum_rule_sha256"] = rule.sha256().into();
        }
        let custody = Arc::clone(&kms) as Arc<dyn KeyCustody>;
        let StoreKeys {
            objects,
            users,
            journal,
        } = StoreKeys::over(
            custody,
            config.limits,
            meta,
            journal,
            clock,
            entropy,
            started,
        )
        .await?;
        Ok(Self {
            kms,
            objects,
            users,
            journal,
        })
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
        log_event(&self.journal, event, detail, caller).await
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

pub(crate) async fn log_event(
    journal: &Journal,
    event: &'static str,
    detail: serde_json::Value,
    caller: &Caller,
) -> Result<(), KeyError> {
    let entry = Entry::new(Event::Service, event).detail(detail);
    journal.settle(caller, entry, Ok(())).await
}
