//! Rotation of keys.

use serde_json::{Value, json};
use strongroom_keys::{Caller, KeyOrigin, Kms, RotationKind, VersionState};

use super::imports;
use super::keys::{date, paged, wrong_marker};
use super::refusal::Refusal;
use super::request;

pub(super) async fn enable(
    kms: &Kms,
    asked: request::EnableRotation,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let period = asked
        .rotation_period_in_days
        .unwrap_or(Kms::ROTATION_DAYS_DEFAULT.into());
    let period_days = u32::try_from(period)
        .ok()
        .filter(|days| Kms::ROTATION_DAYS.contains(days))
        .ok_or_else(|| Refusal::validation("RotationPeriodInDays is 90 to 2560"))?;
    kms.enable_key_rotation(&key, period_days, caller).await?;
    Ok(json!({}))
}

/// A rotation on demand is done when it is answered, so none is ever in progress.
pub(super) async fn status(
    kms: &Kms,
    asked: request::OneKey,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    kms.authorize_look(Some(&key), "GetKeyRotationStatus", caller)
        .await?;
    let status = kms.rotation_status(&key).await?;
    let mut answer = json!({
        "KeyId": status.key.to_string(),
        "KeyRotationEnabled": status.automatic.is_some(),
    });
    if let Some(schedule) = status.automatic {
        answer["RotationPeriodInDays"] = schedule.period_days.into();
        answer["NextRotationDate"] = date(schedule.next);
    }
    Ok(answer)
}

pub(super) async fn list(
    kms: &Kms,
    asked: request::ListRotations,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let is_whole = match asked.include_key_material.as_deref() {
        None | Some("ROTATIONS_ONLY") => false,
        Some("ALL_KEY_MATERIAL") => true,
        Some(_) => {
            return Err(Refusal::validation(
                "IncludeKeyMaterial is ROTATIONS_ONLY or ALL_KEY_MATERIAL",
            ));
        }
    };
    let limit = request::limit(asked.limit, 100, 1_000)?;
    let key = request::key_itself(&asked.key_id)?;
    kms.authorize_look(Some(&key), "ListKeyRotations", caller)
        .await?;
    let described = kms.describe_key(&key).await?;
    let (id, page) = kms
        .key_rotations(&key, is_whole, asked.marker.as_deref(), limit)
        .await
        .map_err(wrong_marker)?;
    let imported = match described.origin {
        KeyOrigin::External { .. } => kms.imported_material(&key).await?,
        KeyOrigin::Token => Vec::new(),
    };
    let rotations: Vec<Value> = page
        .items
        .iter()
        .map(|version| {
            let mut entry = json!({
                "KeyId": id.to_string(),
                "KeyMaterialState": if version.version == described.current_version {
                    "CURRENT"
                } else {
                    "NON_CURRENT"
                },
            });
            // The first material, and what waits for its rotation, have none.
            if version.version.0 > 1 && version.state != VersionState::PreActive {
                entry["RotationDate"] = date(version.created);
                entry["RotationType"] = match version.rotation {
                    Some(RotationKind::OnDemand) => "ON_DEMAND",
                    Some(RotationKind::Automatic) | None => "AUTOMATIC",
                }
                .into();
            }
            let material = imported
                .iter()
                .find(|material| material.version == version.version);
            if let Some(material) = material {
                imports::put_material(&mut entry, material);
            }
            entry
        })
        .collect();
    Ok(paged("Rotations", rotations, &page))
}
