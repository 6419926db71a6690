//! Key material that is imported, for the custodian.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_keys::{
    ImportKind, ImportedMaterial, KeyMaterialId, MaterialState, NewMaterial, WrappingMethod,
};

use super::Asked;
use super::keys::{moment, reference, shown};
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    wrapping_algorithm: String,
    wrapping_key_spec: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    import_token: String,
    encrypted_key_material: String,
    expires: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    key_material_id: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    key_material_id: Option<String>,
}

/// The imported material of a key.
pub(super) async fn list(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let kms = asked.kms()?;
    let material = kms.imported_material(&reference(key)?).await?;
    let material: Vec<Value> = material.iter().map(material_shown).collect();
    Ok(json!({ "material": material }))
}

/// A public key to wrap material with, and the token that comes back with it.
pub(super) async fn parameters(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let asks: Parameters = asked.read()?;
    let kms = asked.kms()?;
    let method = WrappingMethod::named(&asks.wrapping_algorithm, &asks.wrapping_key_spec)
        .ok_or_else(|| {
            Problem::invalid(format!(
                "`wrapping_algorithm` is one of {}, and `wrapping_key_spec` one of {}",
                WrappingMethod::ALGORITHMS.join(", "),
                WrappingMethod::KEY_SPECS.join(", ")
            ))
        })?;
    let made = kms
        .parameters_for_import(&reference(key)?, method, &asked.caller)
        .await?;
    Ok(json!({
        "key": made.key.as_str(),
        "wrapping_algorithm": asks.wrapping_algorithm,
        "public_key": STANDARD.encode(&made.public_key),
        "import_token": STANDARD.encode(&made.import_token),
        "valid_to": made.valid_to.to_string(),
    }))
}

/// Imports material that was wrapped so.
pub(super) async fn import(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let asks: Import = asked.read()?;
    let kms = asked.kms()?;
    let decoded = |name: &str, text: &str| {
        STANDARD
            .decode(text)
            .map_err(|_| Problem::invalid(format!("`{name}` is not base64")))
    };
    let new = NewMaterial {
        import_token: decoded("import_token", &asks.import_token)?,
        encrypted: decoded("encrypted_key_material", &asks.encrypted_key_material)?,
        expires: moment("expires", asks.expires.as_deref())?,
        kind: match asks.kind.as_deref() {
            None => None,
            Some("new") => Some(ImportKind::New),
            Some("existing") => Some(ImportKind::Existing),
            Some(_) => return Err(Problem::invalid("`type` is `new` or `existing`")),
        },
        material: material_id(asks.key_material_id.as_deref())?,
        description: asks.description,
    };
    let imported = kms
        .import_key_material(&reference(key)?, new, &asked.caller)
        .await;
    let (key, material) = imported.map_err(|error| match error {
        strongroom_keys::KeyError::NotAuthentic => Problem::invalid(
            "the material is not wrapped for this import: use the public key, the wrapping \
             algorithm and the import token of one answer",
        ),
        other => other.into(),
    })?;
    let known = kms.imported_material(&key.id.into()).await?;
    let material = known.iter().find(|known| known.material == material);
    Ok(json!({ "key": shown(&key), "material": material.map(material_shown) }))
}

/// Takes imported material away.
pub(super) async fn delete(asked: &Asked<'_>, key: &str) -> Result<Value, Problem> {
    let asks: Which = asked.read()?;
    let kms = asked.kms()?;
    let which = material_id(asks.key_material_id.as_deref())?;
    let (key, _) = kms
        .delete_imported_key_material(&reference(key)?, which, &asked.caller)
        .await?;
    Ok(shown(&key))
}

fn material_id(text: Option<&str>) -> Result<Option<KeyMaterialId>, Problem> {
    text.map(|text| {
        text.parse()
            .map_err(|_| Problem::invalid("`key_material_id` has 64 hexadecimal digits"))
    })
    .transpose()
}

fn material_shown(material: &ImportedMaterial) -> Value {
    json!({
        "key_material_id": material.material.to_string(),
        "version": material.version.0,
        "state": match material.state {
            MaterialState::Current => "current",
            MaterialState::NonCurrent => "non-current",
            MaterialState::PendingRotation => "pending-rotation",
        },
        "present": material.is_present,
        "imported": material.imported.to_string(),
        "expires": material.expires.map(|expires| expires.to_string()),
        "unwrapped": material.unwrapped(),
        "description": material.description,
    })
}
