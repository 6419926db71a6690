//! KMS keys, for the custodian.

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_keys::{KeyDescription, KeyManager, KeyReference, KeyState};

use super::Asked;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    #[serde(default)]
    description: String,
}

pub(super) async fn list(asked: &Asked<'_>) -> Result<Value, Problem> {
    let kms = &asked.state.config.kms;
    let page = kms
        .list_keys(asked.query.cursor(), asked.query.limit()?)
        .await?;
    let keys: Vec<Value> = page.items.iter().map(shown).collect();
    Ok(json!({ "keys": keys, "next": page.next }))
}

pub(super) async fn create(asked: &Asked<'_>) -> Result<Value, Problem> {
    let new: NewKey = asked.read()?;
    let kms = &asked.state.config.kms;
    Ok(shown(
        &kms.create_key(&new.description, &asked.caller).await?,
    ))
}

pub(super) async fn describe(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    Ok(shown(
        &asked
            .state
            .config
            .kms
            .describe_key(&reference(key)?)
            .await?,
    ))
}

pub(super) async fn enable(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = &asked.state.config.kms;
    Ok(shown(
        &kms.enable_key(&reference(key)?, &asked.caller).await?,
    ))
}

pub(super) async fn disable(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = &asked.state.config.kms;
    Ok(shown(
        &kms.disable_key(&reference(key)?, &asked.caller).await?,
    ))
}

/// A key as it is named in a path.
pub(super) fn reference(key: &str) -> Result<KeyReference, Problem> {
    key.parse()
        .map_err(|error| Problem::invalid(format!("{key:?} names no key: {error}")))
}

fn shown(key: &KeyDescription) -> Value {
    let mut shown = json!({
        "id": key.id.to_string(),
        "arn": key.arn.as_str(),
        "state": match key.state {
            KeyState::Enabled => "enabled",
            KeyState::Disabled => "disabled",
            KeyState::PendingDeletion { .. } => "pending-deletion",
        },
        "manager": match key.manager {
            KeyManager::Customer => "customer",
            KeyManager::Service => "service",
        },
        "current_version": key.current_version.0,
        "created": key.created.to_string(),
        "description": key.description,
    });
    if let KeyState::PendingDeletion { date } = key.state {
        shown["deletion_date"] = date.to_string().into();
    }
    shown
}
