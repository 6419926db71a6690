//! The policies of keys: reading them and putting them.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use strongroom_meta::Batch;

use super::access::{KeyFacts, Policy, Principal, Wish, default_document, service_document};
use super::{KeyManager, Kms};
use crate::arn::{KeyId, KeyReference};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{Entry, Event, KeyNamed};
use crate::quorum::{GuardedOperation, GuardedRequest};
use crate::rows::{KEY_POLICIES, PolicyRow, RowFormat as _};
use crate::users::USERS;

/// A policy that somebody wants a key to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPolicy {
    /// The document, in JSON.
    pub document: String,
    /// Whether it may shut out whoever puts it.
    pub bypass_lockout_check: bool,
}

impl Kms {
    /// The one name that a policy has.
    pub const POLICY_NAME: &'static str = "default";

    /// The policy of a key.
    ///
    /// Source: AWS KMS API Reference, GetKeyPolicy.
    ///
    /// # Errors
    /// [`KeyError::NoSuchPolicy`]: its name is not [`Kms::POLICY_NAME`]. [`KeyError::AccessDenied`],
    /// [`KeyError::NoSuchKey`], [`KeyError::NoSuchAlias`], [`KeyError::AuditUnavailable`],
    /// [`KeyError::Metadata`], [`KeyError::Damaged`].
    pub async fn key_policy(
        &self,
        reference: &KeyReference,
        name: &str,
        caller: &Caller,
    ) -> Result<String, KeyError> {
        self.authorize_look(Some(reference), "GetKeyPolicy", caller)
            .await?;
        check_name(name)?;
        let (id, read) = self.find(reference).await?;
        Ok(match read.row.manager {
            KeyManager::Service => service_document(&self.home),
            KeyManager::Customer => match self.policy_row(id).await? {
                Some(row) => row.document,
                None => default_document(&self.home),
            },
        })
    }

    /// Puts a policy in the place of the one that a key has. It holds from when this returns, also
    /// where bucket keys are opened.
    ///
    /// Source: AWS KMS API Reference, PutKeyPolicy.
    ///
    /// # Errors
    /// [`KeyError::MalformedPolicy`]: it is none, or would shut out the caller;
    /// [`KeyError::LimitExceeded`]: it is too long. [`KeyError::ApprovalNeeded`],
    /// [`KeyError::ApprovalRejected`], [`KeyError::NoSuchPolicy`],
    /// [`KeyError::AccessDenied`], [`KeyError::ManagedByService`], and as for
    /// [`Kms::describe_key`] and [`Kms::create_key`].
    pub async fn put_key_policy(
        self: &Arc<Self>,
        reference: &KeyReference,
        name: &str,
        policy: &NewPolicy,
        caller: &Caller,
    ) -> Result<(), KeyError> {
        let (kms, reference, name, policy, caller) = (
            Arc::clone(self),
            reference.clone(),
            name.to_owned(),
            policy.clone(),
            caller.clone(),
        );
        Self::to_the_end(async move {
            let _alone = kms.administration.lock().await;
            let entry = Entry::new(Event::KeyAdministration, "put-key-policy").detail(
                named(&policy)
                    .into_iter()
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            );
            let (id, read) = match kms.find(&reference).await {
                Ok(found) => found,
                Err(error) => {
                    let entry = entry.key(KeyNamed::reference(&reference));
                    return kms.journal.settle(&caller, entry, Err(error)).await;
                }
            };
            let arn = kms.home.arn(id);
            let mut approval = None;
            let prepared = async {
                kms.check_manager(id, &read.row)?;
                let wish = put_wish(&policy).reference(&reference);
                kms.authorize(id, &wish, &caller).await?;
                check_name(&name)?;
                let facts = Self::facts_of(&read.row);
                let row = kms.checked_policy(id, facts, &policy, &caller).await?;
                let mut batch = Batch::new();
                // Of two who change a key at once one does it anew.
                Self::put_key(&mut batch, id, &read, &read.row);
                batch.put(KEY_POLICIES, id.as_bytes(), row.encode());
                let guarded = GuardedRequest::of_key(
                    GuardedOperation::PutKeyPolicy,
                    arn.clone(),
                    serde_json::json!({
                        "policy": policy.document,
                        "bypass_lockout_check": policy.bypass_lockout_check,
                    }),
                );
                kms.quorum
                    .consume(&guarded, &caller, &mut approval, &mut batch)
                    .await?;
                Ok(batch)
            }
            .await;
            let is_prepared = prepared.is_ok();
            let entry = entry.key(KeyNamed::kms(&arn)).approval(approval);
            let changed = kms
                .journal
                .change(&*kms.meta, &caller, entry, prepared)
                .await;
            // Also when it is not known whether the row was written.
            if is_prepared {
                kms.governances.forget(id);
            }
            changed
        })
        .await
    }

    /// The row of a policy that a key may have.
    pub(super) async fn checked_policy(
        &self,
        id: KeyId,
        facts: KeyFacts,
        policy: &NewPolicy,
        caller: &Caller,
    ) -> Result<PolicyRow, KeyError> {
        if policy.document.len() > Policy::LEN_BYTES_MAX {
            return Err(KeyError::LimitExceeded {
                limit: "the policy of a key has at most 32768 bytes",
            });
        }
        let parsed = Policy::parse(&policy.document, &self.home)?;
        for principal in parsed.principals() {
            self.check_there(principal)
                .await?
                .map_err(|why| KeyError::MalformedPolicy { why })?;
        }
        let wish = put_wish(policy);
        if !policy.bypass_lockout_check
            && !self.would_allow(id, facts, &parsed, &wish, caller).await?
        {
            return Err(KeyError::MalformedPolicy {
                why:
                    "The new key policy will not allow you to update the key policy in the future."
                        .into(),
            });
        }
        Ok(PolicyRow {
            document: policy.document.clone(),
        })
    }

    /// Whether there is such a principal; the inner error says which one there is not.
    pub(super) async fn check_there(
        &self,
        principal: &Principal,
    ) -> Result<Result<(), String>, KeyError> {
        let Principal::User(id) = principal else {
            return Ok(Ok(()));
        };
        let found = self.meta.get(USERS, id.as_str().as_bytes()).await?;
        Ok(match found {
            Some(_) => Ok(()),
            None => Err(format!(
                "there is no {}: a statement has an invalid principal",
                principal.arn(&self.home)
            )),
        })
    }
}

fn put_wish(policy: &NewPolicy) -> Wish<'static> {
    Wish::to("PutKeyPolicy").with(
        "kms:BypassPolicyLockoutSafetyCheck",
        policy.bypass_lockout_check,
    )
}

fn check_name(name: &str) -> Result<(), KeyError> {
    if name == Kms::POLICY_NAME {
        Ok(())
    } else {
        Err(KeyError::NoSuchPolicy)
    }
}

/// What of a policy goes on the log: the whole might be longer than an entry can be.
pub(super) fn named(policy: &NewPolicy) -> [(String, serde_json::Value); 2] {
    let hash = digest(&SHA256, policy.document.as_bytes());
    [
        (
            "policy_sha256".into(),
            HEXLOWER.encode(hash.as_ref()).into(),
        ),
        (
            "bypass_lockout_check".into(),
            policy.bypass_lockout_check.into(),
        ),
    ]
}
