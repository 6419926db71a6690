//! Keys whose material is imported.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_environment::Timestamp;
use strongroom_keys::{
    Caller, ImportKind, ImportedMaterial, KeyError, KeyMaterialId, KeyReference, Kms,
    MaterialState, NewMaterial, WrappingMethod,
};

use super::keys::date;
use super::refusal::Refusal;
use super::request;

pub(super) async fn parameters(
    kms: &Kms,
    asked: request::ImportParameters,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let (algorithm, key_spec) = (&asked.wrapping_algorithm, &asked.wrapping_key_spec);
    let Some(method) = WrappingMethod::named(algorithm, key_spec) else {
        let is_known = |known: &[&str], name: &str| known.contains(&name);
        let not_offered = [
            (
                algorithm,
                is_known(&["RSAES_PKCS1_V1_5", "SM2PKE"], algorithm),
            ),
            (key_spec, is_known(&["SM2"], key_spec)),
        ];
        if let Some((name, _)) = not_offered.iter().find(|(_, is_known)| *is_known) {
            return Err(Refusal::new(
                "UnsupportedOperationException",
                format!("{name} is not offered"),
            ));
        }
        return Err(Refusal::validation(
            "WrappingAlgorithm or WrappingKeySpec is not one that there is",
        ));
    };
    let made = kms.parameters_for_import(&key, method, caller).await?;
    Ok(json!({
        "KeyId": made.key.as_str(),
        "ImportToken": STANDARD.encode(&made.import_token),
        "PublicKey": STANDARD.encode(&made.public_key),
        "ParametersValidTo": date(made.valid_to),
    }))
}

pub(super) async fn import(
    kms: &Arc<Kms>,
    asked: request::ImportMaterial,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let expires = match (asked.expiration_model.as_deref(), asked.valid_to) {
        (None | Some("KEY_MATERIAL_EXPIRES"), Some(seconds)) => Some(moment(seconds)?),
        (None | Some("KEY_MATERIAL_EXPIRES"), None) => {
            return Err(Refusal::validation(
                "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
            ));
        }
        (Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), None) => None,
        (Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), Some(_)) => {
            return Err(Refusal::validation(
                "validTo must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
            ));
        }
        (Some(other), _) => {
            return Err(Refusal::validation(format!(
                "{other} is not an expiration model"
            )));
        }
    };
    let kind = match asked.import_type.as_deref() {
        None => None,
        Some("NEW_KEY_MATERIAL") => Some(ImportKind::New),
        Some("EXISTING_KEY_MATERIAL") => Some(ImportKind::Existing),
        Some(other) => {
            return Err(Refusal::validation(format!(
                "{other} is not an import type"
            )));
        }
    };
    let new = NewMaterial {
        import_token: asked.import_token.0.to_vec(),
        encrypted: asked.encrypted_key_material.0.to_vec(),
        expires,
        kind,
        material: material_id(asked.key_material_id.as_deref())?,
        description: asked.key_material_description,
    };
    let (key, material) = kms.import_key_material(&key, new, caller).await?;
    Ok(json!({ "KeyId": key.arn.as_str(), "KeyMaterialId": material.to_string() }))
}

pub(super) async fn delete(
    kms: &Arc<Kms>,
    asked: request::DeleteMaterial,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let key = request::key_itself(&asked.key_id)?;
    let material = material_id(asked.key_material_id.as_deref())?;
    let (key, material) = kms
        .delete_imported_key_material(&key, material, caller)
        .await
        .map_err(|error| match error {
            KeyError::IncorrectKeyMaterial { .. } => {
                Refusal::new("NotFoundException", "the key has no such key material")
            }
            other => other.into(),
        })?;
    let mut answer = json!({ "KeyId": key.arn.as_str() });
    if let Some(material) = material {
        answer["KeyMaterialId"] = material.to_string().into();
    }
    Ok(answer)
}

/// What is told of imported material among the rotations of a key.
pub(super) fn put_material(entry: &mut Value, material: &ImportedMaterial) {
    entry["KeyMaterialId"] = material.material.to_string().into();
    entry["ImportState"] = match material.is_present {
        true => "IMPORTED",
        false => "PENDING_IMPORT",
    }
    .into();
    entry["KeyMaterialState"] = match material.state {
        MaterialState::Current => "CURRENT",
        MaterialState::NonCurrent => "NON_CURRENT",
        MaterialState::PendingRotation => "PENDING_ROTATION",
    }
    .into();
    put_expiry(entry, material.expires);
    if !material.description.is_empty() {
        entry["KeyMaterialDescription"] = material.description.as_str().into();
    }
}

pub(super) fn put_expiry(answer: &mut Value, expires: Option<Timestamp>) {
    match expires {
        Some(expires) => {
            answer["ExpirationModel"] = "KEY_MATERIAL_EXPIRES".into();
            answer["ValidTo"] = date(expires);
        }
        None => answer["ExpirationModel"] = "KEY_MATERIAL_DOES_NOT_EXPIRE".into(),
    }
}

/// Puts into the metadata of a key which material it encrypts with.
pub(super) async fn put_current(
    kms: &Kms,
    key: &KeyReference,
    metadata: &mut Value,
) -> Result<(), Refusal> {
    let material = kms.imported_material(key).await?;
    let mut permanent = material
        .iter()
        .filter(|material| material.state != MaterialState::PendingRotation);
    if let Some(current) = permanent.clone().next_back() {
        metadata["CurrentKeyMaterialId"] = current.material.to_string().into();
        if permanent.all(|material| material.is_present) {
            let expires = material
                .iter()
                .filter(|material| material.state != MaterialState::PendingRotation)
                .filter_map(|material| material.expires);
            put_expiry(metadata, expires.min());
        }
    }
    Ok(())
}

fn material_id(text: Option<&str>) -> Result<Option<KeyMaterialId>, Refusal> {
    text.map(|text| {
        text.parse().map_err(|_| {
            Refusal::validation("KeyMaterialId has 64 hexadecimal digits in lower case")
        })
    })
    .transpose()
}

/// A date as the protocol has it: seconds with a fraction.
fn moment(seconds: f64) -> Result<Timestamp, Refusal> {
    // As far as dates in years of four digits go.
    if !(0.0..253_402_300_800.0).contains(&seconds) {
        return Err(Refusal::validation("ValidTo is no date"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is in the bounds that were checked"
    )]
    let micros = (seconds * 1e6).round() as i64;
    Ok(Timestamp::from_micros(micros))
}
