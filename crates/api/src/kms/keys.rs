//! Keys, aliases and tags: what is answered of them.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_environment::Timestamp;
use strongroom_keys::{
    Caller, KeyDescription, KeyError, KeyManager, KeySpec, KeyState, Kms, NewKey, Page,
};

use super::operations::SYMMETRIC_DEFAULT;
use super::refusal::Refusal;
use super::request;

/// The bounds and the default of a deletion's waiting period, in days (ScheduleKeyDeletion).
const WINDOW_DAYS: std::ops::RangeInclusive<u64> = 7..=30;
const WINDOW_DAYS_DEFAULT: u64 = 30;

pub(super) async fn create(
    kms: &Kms,
    asked: request::CreateKey,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let unsupported = |what: &str| {
        Err(Refusal::new(
            "UnsupportedOperationException",
            format!("{what} is not offered"),
        ))
    };
    let is_external = match asked.origin.as_deref() {
        None | Some("AWS_KMS") => false,
        Some("EXTERNAL") => true,
        Some(origin) => return unsupported(&format!("Origin {origin}")),
    };
    let spec = match (&asked.key_spec, &asked.customer_master_key_spec) {
        (Some(spec), Some(same)) if spec != same => {
            return Err(Refusal::validation(
                "KeySpec and CustomerMasterKeySpec name two specs",
            ));
        }
        (Some(spec), _) | (None, Some(spec)) => spec.as_str(),
        (None, None) => SYMMETRIC_DEFAULT,
    };
    let usage = match asked.key_usage.as_deref() {
        Some("KEY_AGREEMENT") => return unsupported("KeyUsage KEY_AGREEMENT"),
        Some(usage) => usage,
        None if spec == SYMMETRIC_DEFAULT => "ENCRYPT_DECRYPT",
        None => {
            return Err(Refusal::validation(
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
            ));
        }
    };
    let spec = match KeySpec::named(spec, usage) {
        Some(spec) => spec,
        None if KeySpec::is_named(spec) => {
            return Err(Refusal::validation(format!(
                "KeyUsage {usage} is not compatible with KeySpec {spec}"
            )));
        }
        None => return unsupported(&format!("KeySpec {spec}")),
    };
    if is_external && spec != KeySpec::Symmetric {
        return unsupported(&format!("Origin EXTERNAL with KeySpec {}", spec.as_str()));
    }
    if asked.multi_region == Some(true) {
        return unsupported("MultiRegion");
    }
    let bypass = asked.bypass_policy_lockout_safety_check;
    let policy = asked
        .policy
        .map(|document| request::policy(document, bypass))
        .transpose()?;
    let new = NewKey {
        description: asked.description.unwrap_or_default(),
        tags: request::tags(asked.tags.unwrap_or_default())?,
        spec,
        is_external,
        policy,
    };
    let key = kms.create_key(new, caller).await?;
    Ok(json!({ "KeyMetadata": metadata(kms, &key) }))
}

/// The last use that is noted; what objects do with an opened bucket key is none of the KMS key.
pub(super) async fn last_usage(
    kms: &Kms,
    asked: request::OneKey,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    kms.authorize_look(Some(&key), "GetKeyLastUsage", caller)
        .await?;
    let usage = kms.key_usage(&key).await?;
    let mut answer = json!({
        "KeyId": usage.key.as_str(),
        "TrackingStartDate": date(usage.created),
        "KeyCreationDate": date(usage.created),
        "KeyLastUsage": {},
    });
    if let Some(last) = usage.last {
        answer["KeyLastUsage"] = json!({
            "Operation": last.operation.as_str(),
            "Timestamp": date(last.at),
            "KmsRequestId": last.request_id,
        });
    }
    Ok(answer)
}

pub(super) async fn list(
    kms: &Kms,
    asked: request::Listing,
    caller: &Caller,
) -> Result<Value, Refusal> {
    kms.authorize_look(None, "ListKeys", caller).await?;
    let limit = request::limit(asked.limit, 100, 1_000)?;
    let page = kms
        .list_keys(asked.marker.as_deref(), limit)
        .await
        .map_err(wrong_marker)?;
    let keys: Vec<Value> = page
        .items
        .iter()
        // What is left of a destroyed key is no key in this protocol.
        .filter(|key| !matches!(key.state, KeyState::Destroyed { .. }))
        .map(|key| json!({ "KeyId": key.id.to_string(), "KeyArn": key.arn.as_str() }))
        .collect();
    Ok(paged("Keys", keys, &page))
}

pub(super) async fn list_aliases(
    kms: &Kms,
    asked: request::Listing,
    caller: &Caller,
) -> Result<Value, Refusal> {
    kms.authorize_look(None, "ListAliases", caller).await?;
    let limit = request::limit(asked.limit, 50, 100)?;
    let key = asked.key_id.as_deref().map(request::key).transpose()?;
    let page = kms
        .list_aliases(key.as_ref(), asked.marker.as_deref(), limit)
        .await?;
    let aliases: Vec<Value> = page
        .items
        .iter()
        .map(|alias| {
            json!({
                "AliasName": alias.name.as_str(),
                "AliasArn": alias.arn,
                "TargetKeyId": alias.key.to_string(),
                "CreationDate": date(alias.created),
                "LastUpdatedDate": date(alias.updated),
            })
        })
        .collect();
    Ok(paged("Aliases", aliases, &page))
}

pub(super) async fn list_tags(
    kms: &Kms,
    asked: request::OneListing,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let limit = request::limit(asked.limit, 50, 50)?;
    let key = request::key_itself(&asked.key_id)?;
    kms.authorize_look(Some(&key), "ListResourceTags", caller)
        .await?;
    let page = kms
        .list_tags(&key, asked.marker.as_deref(), limit)
        .await
        .map_err(wrong_marker)?;
    let tags: Vec<Value> = page
        .items
        .iter()
        .map(|(key, value)| json!({ "TagKey": key, "TagValue": value }))
        .collect();
    Ok(paged("Tags", tags, &page))
}

pub(super) async fn schedule_deletion(
    kms: &Arc<Kms>,
    asked: request::ScheduleDeletion,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let days = asked.pending_window_in_days.unwrap_or(WINDOW_DAYS_DEFAULT);
    let days = u32::try_from(days)
        .ok()
        .filter(|days| WINDOW_DAYS.contains(&u64::from(*days)))
        .ok_or_else(|| Refusal::validation("PendingWindowInDays is 7 to 30"))?;
    let key = kms
        .schedule_key_deletion(&request::key(&asked.key_id)?, days, caller)
        .await?;
    let mut answer = json!({
        "KeyId": key.arn.as_str(),
        "KeyState": "PendingDeletion",
        "PendingWindowInDays": days,
    });
    if let KeyState::PendingDeletion { date: at } = key.state {
        answer["DeletionDate"] = date(at);
    }
    Ok(answer)
}

pub(super) fn metadata(kms: &Kms, key: &KeyDescription) -> Value {
    let state = match key.state {
        KeyState::Enabled => "Enabled",
        KeyState::Disabled => "Disabled",
        KeyState::PendingImport => "PendingImport",
        // One that is destroyed is not described.
        KeyState::PendingDeletion { .. } | KeyState::Destroyed { .. } => "PendingDeletion",
    };
    let mut metadata = json!({
        "AWSAccountId": kms.home().account,
        "Arn": key.arn.as_str(),
        "CreationDate": date(key.created),
        "CustomerMasterKeySpec": key.spec.as_str(),
        "Description": key.description,
        "Enabled": key.state == KeyState::Enabled,
        "KeyId": key.id.to_string(),
        "KeyManager": match key.manager {
            KeyManager::Customer => "CUSTOMER",
            KeyManager::Service => "AWS",
        },
        "KeySpec": key.spec.as_str(),
        "KeyState": state,
        "KeyUsage": key.spec.usage(),
        "MultiRegion": false,
        "Origin": key.origin.as_str(),
    });
    if let KeyState::PendingDeletion { date: at } = key.state {
        metadata["DeletionDate"] = date(at);
    }
    put_algorithms(&mut metadata, key.spec);
    metadata
}

/// Puts into an answer by which algorithms a key does what it is for.
pub(super) fn put_algorithms(answer: &mut Value, spec: KeySpec) {
    let (encryption, signing) = (spec.encryption_algorithms(), spec.signing_algorithms());
    if !encryption.is_empty() {
        answer["EncryptionAlgorithms"] = json!(encryption);
    }
    if !signing.is_empty() {
        answer["SigningAlgorithms"] = json!(signing);
    }
    if let Some(mac) = spec.mac_algorithm() {
        answer["MacAlgorithms"] = json!([mac]);
    }
}

pub(super) fn paged<T>(name: &str, items: Vec<Value>, page: &Page<T>) -> Value {
    let mut answer = json!({ name: items, "Truncated": page.next.is_some() });
    if let Some(next) = &page.next {
        answer["NextMarker"] = next.as_str().into();
    }
    answer
}

/// A marker that no page gave has a name of its own in this protocol.
pub(super) fn wrong_marker(error: KeyError) -> Refusal {
    match error {
        KeyError::InvalidReference { .. } => {
            Refusal::new("InvalidMarkerException", "the marker is not one of a page")
        }
        other => other.into(),
    }
}

/// A date as the protocol has it: seconds with a fraction, as a number.
pub(super) fn date(moment: Timestamp) -> Value {
    json!(moment.micros() as f64 / 1e6)
}
