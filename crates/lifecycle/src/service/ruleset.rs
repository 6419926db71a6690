//! The rules of a bucket: stored, read, deleted, and told of in headers.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use strongroom_store::{BucketInfo, BucketName, Caller, ConfigName};

use super::{Inner, Lifecycle, LifecycleError};
use crate::decide::expiration_notice;
use crate::rules::{Expiration, RequestedConfiguration, RuleError, RuleSet};

/// The version of the stored form: this byte, then JSON.
const FORMAT_VERSION: u8 = 1;

/// Rules as they are followed.
#[derive(Debug)]
pub(super) struct StoredRules {
    pub(super) rules: RuleSet,
    /// The digest of the stored form, by which a change is noticed.
    pub(super) sha256: [u8; 32],
}

fn encode(requested: &RequestedConfiguration) -> Vec<u8> {
    let mut bytes = vec![FORMAT_VERSION];
    serde_json::to_writer(&mut bytes, requested)
        .expect("strings and integers serialise to memory without fail");
    bytes
}

fn decode(bytes: &[u8]) -> Result<RequestedConfiguration, LifecycleError> {
    let damaged = |reason: String| LifecycleError::DamagedRules { reason };
    match bytes.split_first() {
        Some((&FORMAT_VERSION, json)) => {
            serde_json::from_slice(json).map_err(|error| damaged(error.to_string()))
        }
        Some((version, _)) => Err(damaged(format!("its format version is {version}"))),
        None => Err(damaged("it is empty".to_owned())),
    }
}

/// Rules that were read already, by bucket, with the stored form that they were read from.
pub(super) type ReadRules = HashMap<BucketName, (Vec<u8>, Arc<StoredRules>)>;

/// How many buckets' rules are remembered at most. All are forgotten when there are more.
const REMEMBERED_MAX: usize = 10_000;

impl Inner {
    /// The rules of a bucket, if it has any.
    pub(super) fn rules_of(
        &self,
        bucket: &BucketInfo,
    ) -> Result<Option<Arc<StoredRules>>, LifecycleError> {
        let Some(bytes) = bucket.configs.get(&ConfigName::lifecycle()) else {
            return Ok(None);
        };
        if let Some((read_from, stored)) = self.read_rules.lock().get(&bucket.bucket)
            && read_from == bytes
        {
            return Ok(Some(Arc::clone(stored)));
        }
        let rules = decode(bytes)?
            .validate()
            .map_err(|error| LifecycleError::DamagedRules {
                reason: error.to_string(),
            })?;
        let stored = Arc::new(StoredRules {
            rules,
            sha256: Sha256::digest(bytes).into(),
        });
        let mut remembered = self.read_rules.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(bucket.bucket.clone(), (bytes.clone(), Arc::clone(&stored)));
        Ok(Some(stored))
    }
}

/// What is valid but not carried out here is refused rather than passed over.
fn check_is_carried_out(rules: &RuleSet) -> Result<(), RuleError> {
    for rule in rules.rules() {
        let features = [
            (
                !rule.filter.tags.is_empty(),
                "a lifecycle filter by object tag",
            ),
            (
                !rule.noncurrent_transitions.is_empty(),
                "NoncurrentVersionTransition",
            ),
            (
                rule.noncurrent_expiration.is_some(),
                "NoncurrentVersionExpiration",
            ),
            (
                rule.expiration == Some(Expiration::LoneDeleteMarker),
                "ExpiredObjectDeleteMarker",
            ),
        ];
        if let Some((_, feature)) = features.into_iter().find(|(is_asked, _)| *is_asked) {
            return Err(RuleError::NotImplemented { feature });
        }
    }
    Ok(())
}

impl Lifecycle {
    /// Checks the rules of a bucket and puts them in force, in place of those there were.
    ///
    /// # Errors
    /// [`LifecycleError::Rule`], [`LifecycleError::Store`].
    pub async fn put_rules(
        &self,
        bucket: &BucketName,
        mut requested: RequestedConfiguration,
        caller: &Caller,
    ) -> Result<RuleSet, LifecycleError> {
        requested.name_rules(&*self.inner.entropy);
        let rules = requested.validate()?;
        check_is_carried_out(&rules)?;
        self.inner
            .store
            .set_config(
                bucket,
                &ConfigName::lifecycle(),
                Some(encode(&requested)),
                caller,
            )
            .await?;
        self.inner.wake.notify_one();
        Ok(rules)
    }

    /// The rules of a bucket, as they were put.
    ///
    /// # Errors
    /// [`LifecycleError::NoRules`], [`LifecycleError::Store`].
    pub async fn rules(
        &self,
        bucket: &BucketName,
    ) -> Result<RequestedConfiguration, LifecycleError> {
        let info = self.inner.store.bucket(bucket).await?;
        let bytes = info
            .configs
            .get(&ConfigName::lifecycle())
            .ok_or(LifecycleError::NoRules)?;
        decode(bytes)
    }

    /// Puts the rules of a bucket out of force. That there are none is no error, as in S3.
    ///
    /// # Errors
    /// [`LifecycleError::Store`].
    pub async fn delete_rules(
        &self,
        bucket: &BucketName,
        caller: &Caller,
    ) -> Result<(), LifecycleError> {
        self.inner
            .store
            .set_config(bucket, &ConfigName::lifecycle(), None, caller)
            .await?;
        Ok(())
    }

    /// The value of the header `x-amz-expiration` for a current version, if a rule ends it.
    ///
    /// # Errors
    /// [`LifecycleError::Store`], [`LifecycleError::DamagedRules`].
    pub async fn expiration_header(
        &self,
        bucket: &BucketName,
        key: &str,
        len_bytes: u64,
        created: strongroom_environment::Timestamp,
    ) -> Result<Option<String>, LifecycleError> {
        let info = self.inner.store.bucket(bucket).await?;
        Ok(self.inner.rules_of(&info)?.and_then(|stored| {
            expiration_notice(&stored.rules, key, &[], len_bytes, created)
                .map(|notice| notice.header_value())
        }))
    }
}

impl Inner {
    /// The buckets that have rules.
    pub(super) async fn buckets_with_rules(&self) -> Result<Vec<BucketInfo>, LifecycleError> {
        const PAGE: usize = 1_000;
        let mut found = Vec::new();
        let mut after: Option<BucketName> = None;
        loop {
            let page = self.store.list_buckets("", after.as_ref(), PAGE).await?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|bucket| bucket.bucket.clone());
            found.extend(
                page.into_iter()
                    .filter(|bucket| bucket.configs.contains_key(&ConfigName::lifecycle())),
            );
            if is_last {
                return Ok(found);
            }
        }
    }
}
