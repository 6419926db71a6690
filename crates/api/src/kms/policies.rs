//! The policies of keys.

use std::sync::Arc;

use serde_json::{Value, json};
use strongroom_keys::{Caller, Kms};

use super::refusal::Refusal;
use super::request;

pub(super) async fn get(
    kms: &Kms,
    asked: request::OnePolicy,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let name = asked.policy_name.as_deref().unwrap_or(Kms::POLICY_NAME);
    let document = kms.key_policy(&key, name, caller).await?;
    Ok(json!({ "Policy": document, "PolicyName": name }))
}

pub(super) async fn put(
    kms: &Arc<Kms>,
    asked: request::PutPolicy,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let name = asked.policy_name.as_deref().unwrap_or(Kms::POLICY_NAME);
    let policy = request::policy(asked.policy, asked.bypass_policy_lockout_safety_check)?;
    kms.put_key_policy(&key, name, &policy, caller).await?;
    Ok(json!({}))
}

/// Every key has one policy, so the first page is the last.
pub(super) async fn list(
    kms: &Kms,
    asked: request::OneListing,
    caller: &Caller,
) -> Result<Value, Refusal> {
    request::limit(asked.limit, 100, 1_000)?;
    let key = request::key_itself(&asked.key_id)?;
    kms.authorize_look(Some(&key), "ListKeyPolicies", caller)
        .await?;
    if asked.marker.is_some() {
        return Err(Refusal::new(
            "InvalidMarkerException",
            "the marker is not one of a page",
        ));
    }
    Ok(json!({ "PolicyNames": [Kms::POLICY_NAME], "Truncated": false }))
}
