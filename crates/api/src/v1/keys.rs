//! KMS keys, for the custodian.

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_keys::{
    KeyDescription, KeyManager, KeyReference, KeyState, RotationKind, VersionDescription,
    VersionState,
};

use super::Asked;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    #[serde(default)]
    description: String,
}

/// How long a key waits for its deletion.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    days: u32,
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
        &kms.create_key(new.description.as_str(), &asked.caller)
            .await?,
    ))
}

pub(super) async fn describe(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    Ok(shown(
        &asked.state.config.kms.key_record(&reference(key)?).await?,
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

/// Makes a new version of a key now.
pub(super) async fn rotate(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = &asked.state.config.kms;
    Ok(shown(
        &kms.rotate_key(&reference(key)?, &asked.caller).await?,
    ))
}

pub(super) async fn schedule_deletion(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let window: Window = asked.read()?;
    let kms = &asked.state.config.kms;
    Ok(shown(
        &kms.schedule_key_deletion(&reference(key)?, window.days, &asked.caller)
            .await?,
    ))
}

pub(super) async fn cancel_deletion(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = &asked.state.config.kms;
    Ok(shown(
        &kms.cancel_key_deletion(&reference(key)?, &asked.caller)
            .await?,
    ))
}

/// The versions of a key, oldest first, each with its state.
pub(super) async fn versions(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = &asked.state.config.kms;
    let page = kms
        .key_versions(&reference(key)?, asked.query.cursor(), asked.query.limit()?)
        .await?;
    let versions: Vec<Value> = page.items.iter().map(version_shown).collect();
    Ok(json!({ "versions": versions, "next": page.next }))
}

/// Does what is due with keys now: rotations, and deletions whose date has come.
pub(super) async fn run(asked: &Asked<'_>) -> Result<Value, Problem> {
    let report = asked.state.config.kms.run_due(&asked.caller).await?;
    let rotated: Vec<Value> = report
        .rotated
        .iter()
        .map(|(key, version)| json!({ "arn": key.as_str(), "version": version.0 }))
        .collect();
    let destroyed: Vec<&str> = report.destroyed.iter().map(|key| key.as_str()).collect();
    let failed: Vec<Value> = report
        .failed
        .iter()
        .map(|(key, reason)| json!({ "arn": key.as_str(), "reason": reason }))
        .collect();
    Ok(json!({
        "rotated": rotated,
        "destroyed": destroyed,
        "failed": failed,
        "next": report.next.map(|next| next.to_string()),
    }))
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
            KeyState::Destroyed { .. } => "destroyed",
        },
        "manager": match key.manager {
            KeyManager::Customer => "customer",
            KeyManager::Service => "service",
        },
        "current_version": key.current_version.0,
        "created": key.created.to_string(),
        "description": key.description,
    });
    if let KeyState::PendingDeletion { date } | KeyState::Destroyed { date } = key.state {
        shown["deletion_date"] = date.to_string().into();
    }
    if let Some(schedule) = key.rotation {
        shown["rotation_period_days"] = schedule.period_days.into();
        shown["next_rotation"] = schedule.next.to_string().into();
    }
    shown
}

fn version_shown(version: &VersionDescription) -> Value {
    let mut shown = json!({
        "version": version.version.0,
        "state": match version.state {
            VersionState::Active => "active",
            VersionState::Deactivated => "deactivated",
            VersionState::Suspended => "suspended",
            VersionState::Destroyed { .. } => "destroyed",
        },
        "created": version.created.to_string(),
        "rotation": version.rotation.map(|kind| match kind {
            RotationKind::Automatic => "automatic",
            RotationKind::OnDemand => "on-demand",
        }),
    });
    if let VersionState::Destroyed { date } = version.state {
        shown["destroyed"] = date.to_string().into();
    }
    shown
}
