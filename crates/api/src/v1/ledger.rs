//! Which key protects which object version, both ways.

use serde_json::{Value, json};
use strongroom_keys::{ChainLink, EncryptionMode, KeyCustody as _, KeyId, KeyReference, LedgerKey};
use strongroom_store::{BucketName, ObjectKey, StorageClass, VersionKeys};

use super::{Asked, keys};
use crate::Custody;
use crate::problem::Problem;

/// The versions under a KMS key, whatever its version and the bucket key between.
pub(super) async fn under_kms_key(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let reference = keys::reference(key)?;
    under(asked, LedgerKey::KmsKey(key_id(asked, &reference).await?)).await
}

/// The versions under a customer's key, which is named by its fingerprint.
pub(super) async fn under_customer_key(
    asked: &Asked<'_>,
    fingerprint: &str,
) -> Result<Value, Problem> {
    let fingerprint = fingerprint.parse().map_err(Problem::invalid)?;
    under(asked, LedgerKey::CustomerKey(fingerprint)).await
}

async fn under(asked: &Asked<'_>, key: LedgerKey) -> Result<Value, Problem> {
    let store = &asked.objects()?.store;
    let page = store
        .versions_under(key, asked.query.cursor(), asked.query.limit()?)
        .await?;
    let versions: Vec<Value> = page.versions.iter().map(shown).collect();
    Ok(json!({ "versions": versions, "next": page.next }))
}

/// What would become unreadable without a KMS key.
pub(super) async fn impact_of_kms_key(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let reference = keys::reference(key)?;
    impact(asked, LedgerKey::KmsKey(key_id(asked, &reference).await?)).await
}

/// The id of a key, also of one that is destroyed. Where custody is elsewhere, an id is taken for
/// one: what is under it is known here.
async fn key_id(asked: &Asked<'_>, reference: &KeyReference) -> Result<KeyId, Problem> {
    match &asked.state.config.custody {
        Custody::Here(kms) => Ok(kms.key_record(reference).await?.id),
        Custody::Apart(custody) => Ok(custody.resolve(reference).await?),
    }
}

/// What would become unreadable without a customer's key.
pub(super) async fn impact_of_customer_key(
    asked: &Asked<'_>,
    fingerprint: &str,
) -> Result<Value, Problem> {
    let fingerprint = fingerprint.parse().map_err(Problem::invalid)?;
    impact(asked, LedgerKey::CustomerKey(fingerprint)).await
}

async fn impact(asked: &Asked<'_>, key: LedgerKey) -> Result<Value, Problem> {
    let store = &asked.objects()?.store;
    let impact = store.impact(key, asked.query.cursor()).await?;
    let groups: Vec<Value> = impact
        .page
        .groups
        .iter()
        .map(|(group, tally)| {
            let class = group.class.name();
            let is_cold = StorageClass::parse(class).is_some_and(StorageClass::is_archived);
            json!({
                "key_version": group.key_version.map(|version| version.0),
                "bucket": group.bucket,
                "storage_class": class,
                "tier": if is_cold { "cold" } else { "warm" },
                "versions": tally.versions,
                "size_bytes": tally.size_bytes,
            })
        })
        .collect();
    let total = impact.page.total();
    Ok(json!({
        "groups": groups,
        "versions": total.versions,
        "size_bytes": total.size_bytes,
        "uploads": impact.uploads,
        "next": impact.page.next,
    }))
}

/// The versions of an object, newest first, each with its keys.
pub(super) async fn of_object(asked: &Asked<'_>) -> Result<Value, Problem> {
    let store = &asked.objects()?.store;
    let bucket = BucketName::new(asked.query.need("bucket")?).map_err(Problem::invalid)?;
    let key = ObjectKey::new(asked.query.need("key")?).map_err(Problem::invalid)?;
    let versions = store.keys_of(&bucket, &key).await?;
    let versions: Vec<Value> = versions.iter().map(shown).collect();
    Ok(json!({ "versions": versions }))
}

fn shown(version: &VersionKeys) -> Value {
    json!({
        "bucket": version.name.bucket.as_str(),
        "key": version.name.key.as_str(),
        "version_id": version.version.to_string(),
        "is_latest": version.is_latest,
        "storage_class": version.class.to_string(),
        "size_bytes": version.size_bytes,
        "modified": version.modified.to_string(),
        "protection": protection(version),
    })
}

fn protection(version: &VersionKeys) -> Value {
    let chain: Vec<Value> = version
        .chain
        .iter()
        .map(|link| match link {
            ChainLink::BucketKey(id) => json!({ "bucket_key": id.to_string() }),
            ChainLink::KmsKey { key, version } => {
                json!({ "kms_key": key.as_str(), "version": version.0 })
            }
            ChainLink::TokenKey { label } => json!({ "token_key": label }),
            ChainLink::CustomerKey(fingerprint) => {
                json!({ "customer_key": fingerprint.to_string() })
            }
        })
        .collect();
    match &version.encryption {
        EncryptionMode::CustomerKey { fingerprint } => json!({
            "mode": "SSE-C",
            "name": format!("customer key {fingerprint}"),
            "fingerprint": fingerprint.to_string(),
            "chain": chain,
        }),
        EncryptionMode::Kms {
            key, bucket_key, ..
        } => json!({
            "mode": "SSE-KMS",
            "name": key.as_str(),
            "version": kms_version(version),
            "through_bucket_key": bucket_key,
            "chain": chain,
        }),
        EncryptionMode::Managed => json!({
            "mode": "SSE-S3",
            "name": "managed by the service",
            "version": kms_version(version),
            "chain": chain,
        }),
    }
}

fn kms_version(version: &VersionKeys) -> Option<u32> {
    version.chain.iter().find_map(|link| match link {
        ChainLink::KmsKey { version, .. } => Some(version.0),
        _ => None,
    })
}
