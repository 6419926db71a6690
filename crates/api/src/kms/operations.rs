//! What each operation does and answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_keys::{AliasName, Caller, Encrypted, KeyOrigin, Kms};

use super::refusal::Refusal;
use super::request::{self, GrantTokens, NotOffered, read};
use super::{grants, imports, keys, pairs, policies, rotation};

pub(super) const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";

const OPERATIONS: [&str; 45] = [
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateGrant",
    "CreateKey",
    "Decrypt",
    "DeleteAlias",
    "DeleteImportedKeyMaterial",
    "DescribeKey",
    "DisableKey",
    "DisableKeyRotation",
    "EnableKey",
    "EnableKeyRotation",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GenerateRandom",
    "GetKeyLastUsage",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "GetParametersForImport",
    "GetPublicKey",
    "ImportKeyMaterial",
    "ListAliases",
    "ListGrants",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListKeys",
    "ListResourceTags",
    "ListRetirableGrants",
    "PutKeyPolicy",
    "ReEncrypt",
    "RetireGrant",
    "RevokeGrant",
    "RotateKeyOnDemand",
    "ScheduleKeyDeletion",
    "Sign",
    "TagResource",
    "UntagResource",
    "UpdateAlias",
    "UpdateKeyDescription",
    "Verify",
    "VerifyMac",
];

/// The operation's own name when there is such an operation; clients cannot invent metric labels.
pub(crate) fn known_name(operation: &str) -> &'static str {
    OPERATIONS
        .iter()
        .find(|known| **known == operation)
        .copied()
        .unwrap_or("other")
}

/// Performs an operation and gives the members of its answer.
pub(crate) async fn perform(
    kms: &Arc<Kms>,
    operation: &str,
    body: &[u8],
    caller: &Caller,
) -> Result<Value, Refusal> {
    NotOffered::refuse(body)?;
    GrantTokens::check(kms, body).await?;
    match operation {
        "CreateKey" => keys::create(kms, read(body)?, caller).await,
        "DescribeKey" => {
            let asked: request::OneKey = read(body)?;
            let key = request::key(&asked.key_id)?;
            kms.authorize_look(Some(&key), "DescribeKey", caller)
                .await?;
            let described = kms.describe_key(&key).await?;
            let mut metadata = keys::metadata(kms, &described);
            if let KeyOrigin::External { .. } = described.origin {
                imports::put_current(kms, &described.id.into(), &mut metadata).await?;
            }
            Ok(json!({ "KeyMetadata": metadata }))
        }
        "ListKeys" => keys::list(kms, read(body)?, caller).await,
        "ListAliases" => keys::list_aliases(kms, read(body)?, caller).await,
        "GetKeyPolicy" => policies::get(kms, read(body)?, caller).await,
        "PutKeyPolicy" => policies::put(kms, read(body)?, caller).await,
        "ListKeyPolicies" => policies::list(kms, read(body)?, caller).await,
        "CreateGrant" => grants::create(kms, read(body)?, caller).await,
        "ListGrants" => grants::list(kms, read(body)?, caller).await,
        "ListRetirableGrants" => grants::list_retirable(kms, read(body)?, caller).await,
        "RevokeGrant" => grants::revoke(kms, read(body)?, caller).await,
        "RetireGrant" => grants::retire(kms, read(body)?, caller).await,
        "UpdateKeyDescription" => {
            let asked: request::UpdateDescription = read(body)?;
            let key = request::key_itself(&asked.key_id)?;
            kms.update_key_description(&key, &asked.description, caller)
                .await?;
            Ok(json!({}))
        }
        "RotateKeyOnDemand" => {
            let asked: request::OneKey = read(body)?;
            let key = request::key_itself(&asked.key_id)?;
            let rotated = kms.rotate_key(&key, caller).await?;
            Ok(json!({ "KeyId": rotated.id.to_string() }))
        }
        "EnableKeyRotation" => rotation::enable(kms, read(body)?, caller).await,
        "DisableKeyRotation" => {
            let asked: request::OneKey = read(body)?;
            let key = request::key_itself(&asked.key_id)?;
            kms.disable_key_rotation(&key, caller).await?;
            Ok(json!({}))
        }
        "GetKeyLastUsage" => keys::last_usage(kms, read(body)?, caller).await,
        "GetKeyRotationStatus" => rotation::status(kms, read(body)?, caller).await,
        "ListKeyRotations" => rotation::list(kms, read(body)?, caller).await,
        "GetParametersForImport" => imports::parameters(kms, read(body)?, caller).await,
        "ImportKeyMaterial" => imports::import(kms, read(body)?, caller).await,
        "DeleteImportedKeyMaterial" => imports::delete(kms, read(body)?, caller).await,
        "TagResource" => {
            let asked: request::TagResource = read(body)?;
            let key = request::key_itself(&asked.key_id)?;
            kms.tag_key(&key, &request::tags(asked.tags)?, caller)
                .await?;
            Ok(json!({}))
        }
        "UntagResource" => {
            let asked: request::UntagResource = read(body)?;
            let key = request::key_itself(&asked.key_id)?;
            kms.untag_key(&key, &asked.tag_keys, caller).await?;
            Ok(json!({}))
        }
        "ListResourceTags" => keys::list_tags(kms, read(body)?, caller).await,
        "CreateAlias" | "UpdateAlias" => {
            let asked: request::AliasAndKey = read(body)?;
            let alias = AliasName::new(asked.alias_name)?;
            let key = request::key(&asked.target_key_id)?;
            if operation == "CreateAlias" {
                kms.create_alias(&alias, &key, caller).await?;
            } else {
                kms.update_alias(&alias, &key, caller).await?;
            }
            Ok(json!({}))
        }
        "DeleteAlias" => {
            let asked: request::OneAlias = read(body)?;
            kms.delete_alias(&AliasName::new(asked.alias_name)?, caller)
                .await?;
            Ok(json!({}))
        }
        "EnableKey" => {
            let asked: request::OneKey = read(body)?;
            kms.enable_key(&request::key(&asked.key_id)?, caller)
                .await?;
            Ok(json!({}))
        }
        "DisableKey" => {
            let asked: request::OneKey = read(body)?;
            kms.disable_key(&request::key(&asked.key_id)?, caller)
                .await?;
            Ok(json!({}))
        }
        "ScheduleKeyDeletion" => keys::schedule_deletion(kms, read(body)?, caller).await,
        "CancelKeyDeletion" => {
            let asked: request::OneKey = read(body)?;
            let key = kms
                .cancel_key_deletion(&request::key(&asked.key_id)?, caller)
                .await?;
            Ok(json!({ "KeyId": key.arn.as_str() }))
        }
        "Encrypt" => encrypt(kms, read(body)?, caller).await,
        "Decrypt" => decrypt(kms, read(body)?, caller).await,
        "ReEncrypt" => re_encrypt(kms, read(body)?, caller).await,
        "GenerateDataKey" => {
            let asked: request::GenerateDataKey = read(body)?;
            let len_bytes = asked.len_bytes()?;
            let key = request::key(&asked.key_id)?;
            let context = request::context(asked.encryption_context)?;
            let made = kms
                .generate_data_key(&key, &context, len_bytes, caller)
                .await?;
            let mut answer = sealed(&Encrypted {
                blob: made.blob,
                key: made.key,
            });
            answer["Plaintext"] = STANDARD.encode(&*made.plaintext).into();
            Ok(answer)
        }
        "GenerateDataKeyWithoutPlaintext" => {
            let asked: request::GenerateDataKey = read(body)?;
            let len_bytes = asked.len_bytes()?;
            let key = request::key(&asked.key_id)?;
            let context = request::context(asked.encryption_context)?;
            let made = kms
                .generate_data_key_without_plaintext(&key, &context, len_bytes, caller)
                .await?;
            Ok(sealed(&made))
        }
        "GenerateDataKeyPair" => {
            pairs::generate_data_key_pair(kms, read(body)?, true, caller).await
        }
        "GenerateDataKeyPairWithoutPlaintext" => {
            pairs::generate_data_key_pair(kms, read(body)?, false, caller).await
        }
        "GenerateMac" => pairs::generate_mac(kms, read(body)?, caller).await,
        "VerifyMac" => pairs::verify_mac(kms, read(body)?, caller).await,
        "Sign" => pairs::sign(kms, read(body)?, caller).await,
        "Verify" => pairs::verify(kms, read(body)?, caller).await,
        "GetPublicKey" => pairs::public_key(kms, read(body)?, caller).await,
        "GenerateRandom" => {
            let asked: request::GenerateRandom = read(body)?;
            let len_bytes = asked
                .number_of_bytes
                .and_then(|count| usize::try_from(count).ok())
                .ok_or_else(|| Refusal::validation("NumberOfBytes is 1 to 1024"))?;
            let bytes = kms.generate_random(len_bytes, caller).await?;
            Ok(json!({ "Plaintext": STANDARD.encode(&*bytes) }))
        }
        "" => Err(Refusal::new(
            "UnknownOperationException",
            "X-Amz-Target does not name an operation of this service",
        )),
        other => Err(Refusal::new(
            "UnsupportedOperationException",
            format!("{other} is not offered"),
        )),
    }
}

async fn encrypt(kms: &Kms, asked: request::Encrypt, caller: &Caller) -> Result<Value, Refusal> {
    let algorithm = algorithm(asked.encryption_algorithm.as_deref())?;
    let key = request::key(&asked.key_id)?;
    if algorithm != SYMMETRIC_DEFAULT {
        check_no_context(asked.encryption_context.as_ref())?;
        let (arn, ciphertext) = kms
            .encrypt_by_pair(&key, algorithm, &asked.plaintext.0, caller)
            .await?;
        return Ok(json!({
            "KeyId": arn.as_str(),
            "CiphertextBlob": STANDARD.encode(ciphertext),
            "EncryptionAlgorithm": algorithm,
        }));
    }
    let context = request::context(asked.encryption_context)?;
    let done = kms
        .encrypt(&key, &context, &asked.plaintext.0, caller)
        .await?;
    let mut answer = sealed(&done);
    answer["EncryptionAlgorithm"] = SYMMETRIC_DEFAULT.into();
    Ok(answer)
}

async fn decrypt(kms: &Kms, asked: request::Decrypt, caller: &Caller) -> Result<Value, Refusal> {
    let algorithm = algorithm(asked.encryption_algorithm.as_deref())?;
    if algorithm != SYMMETRIC_DEFAULT {
        check_no_context(asked.encryption_context.as_ref())?;
        let key = asked.key_id.as_deref().ok_or_else(|| {
            Refusal::validation("KeyId names the key pair that a ciphertext is for")
        })?;
        let (arn, plaintext) = kms
            .decrypt_by_pair(
                &request::key(key)?,
                algorithm,
                &asked.ciphertext_blob.0,
                caller,
            )
            .await?;
        return Ok(json!({
            "KeyId": arn.as_str(),
            "Plaintext": STANDARD.encode(&*plaintext),
            "EncryptionAlgorithm": algorithm,
        }));
    }
    let context = request::context(asked.encryption_context)?;
    let expected = asked.key_id.as_deref().map(request::key).transpose()?;
    let done = kms
        .decrypt(
            &asked.ciphertext_blob.0,
            &context,
            expected.as_ref(),
            caller,
        )
        .await?;
    Ok(json!({
        "KeyId": done.key.as_str(),
        "Plaintext": STANDARD.encode(&*done.plaintext),
        "EncryptionAlgorithm": SYMMETRIC_DEFAULT,
    }))
}

async fn re_encrypt(
    kms: &Kms,
    asked: request::ReEncrypt,
    caller: &Caller,
) -> Result<Value, Refusal> {
    let source = asked
        .source_key_id
        .as_deref()
        .map(request::key)
        .transpose()?;
    let done = kms
        .re_encrypt(
            &asked.ciphertext_blob.0,
            &request::context(asked.source_encryption_context)?,
            source.as_ref(),
            &request::key(&asked.destination_key_id)?,
            &request::context(asked.destination_encryption_context)?,
            caller,
        )
        .await?;
    let mut answer = sealed(&Encrypted {
        blob: done.blob,
        key: done.key,
    });
    answer["SourceKeyId"] = done.source_key.as_str().into();
    answer["SourceEncryptionAlgorithm"] = SYMMETRIC_DEFAULT.into();
    answer["DestinationEncryptionAlgorithm"] = SYMMETRIC_DEFAULT.into();
    Ok(answer)
}

fn algorithm(asked: Option<&str>) -> Result<&str, Refusal> {
    match asked {
        None => Ok(SYMMETRIC_DEFAULT),
        Some(known @ (SYMMETRIC_DEFAULT | "RSAES_OAEP_SHA_1" | "RSAES_OAEP_SHA_256")) => Ok(known),
        Some("SM2PKE") => Err(Refusal::new(
            "UnsupportedOperationException",
            "EncryptionAlgorithm SM2PKE is not offered",
        )),
        Some(other) => Err(Refusal::validation(format!(
            "{other} is not an encryption algorithm"
        ))),
    }
}

/// Encryption under a public key binds nothing.
fn check_no_context(context: Option<&BTreeMap<String, String>>) -> Result<(), Refusal> {
    if context.is_none_or(BTreeMap::is_empty) {
        Ok(())
    } else {
        Err(Refusal::validation(
            "only encryption under a symmetric key has an encryption context",
        ))
    }
}

fn sealed(done: &Encrypted) -> Value {
    json!({
        "KeyId": done.key.as_str(),
        "CiphertextBlob": STANDARD.encode(done.blob.to_bytes()),
    })
}
