//! What each operation does and answers.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strongroom_environment::Timestamp;
use strongroom_keys::{
    AliasName, Caller, Encrypted, KeyDescription, KeyManager, KeyState, Kms, Page,
};

use super::refusal::Refusal;
use super::request::{self, NotOffered, read};

const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";
/// The bounds and the default of a deletion's waiting period, in days (ScheduleKeyDeletion).
const WINDOW_DAYS: std::ops::RangeInclusive<u64> = 7..=30;
const WINDOW_DAYS_DEFAULT: u64 = 30;

const OPERATIONS: [&str; 18] = [
    "CancelKeyDeletion",
    "CreateAlias",
    "CreateKey",
    "Decrypt",
    "DeleteAlias",
    "DescribeKey",
    "DisableKey",
    "EnableKey",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateRandom",
    "ListAliases",
    "ListKeys",
    "ReEncrypt",
    "ScheduleKeyDeletion",
    "UpdateAlias",
    "ListResourceTags",
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
    match operation {
        "CreateKey" => create_key(kms, read(body)?, caller).await,
        "DescribeKey" => {
            let asked: request::OneKey = read(body)?;
            let key = kms.describe_key(&request::key(&asked.key_id)?).await?;
            Ok(json!({ "KeyMetadata": metadata(kms, &key) }))
        }
        "ListKeys" => list_keys(kms, read(body)?).await,
        "ListAliases" => list_aliases(kms, read(body)?).await,
        "ListResourceTags" => {
            let asked: request::OneKey = read(body)?;
            kms.describe_key(&request::key(&asked.key_id)?).await?;
            Ok(json!({ "Tags": [], "Truncated": false }))
        }
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
        "ScheduleKeyDeletion" => schedule_key_deletion(kms, read(body)?, caller).await,
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

async fn create_key(
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
    for (name, value, offered) in [
        ("KeyUsage", &asked.key_usage, "ENCRYPT_DECRYPT"),
        ("KeySpec", &asked.key_spec, SYMMETRIC_DEFAULT),
        (
            "CustomerMasterKeySpec",
            &asked.customer_master_key_spec,
            SYMMETRIC_DEFAULT,
        ),
        ("Origin", &asked.origin, "AWS_KMS"),
    ] {
        if let Some(value) = value.as_ref().filter(|value| *value != offered) {
            return unsupported(&format!("{name} {value}"));
        }
    }
    if asked.multi_region == Some(true) {
        return unsupported("MultiRegion");
    }
    if asked.policy.is_some() {
        return unsupported("Policy");
    }
    if asked.tags.is_some_and(|tags| !tags.is_empty()) {
        return unsupported("Tags");
    }
    let key = kms
        .create_key(asked.description.as_deref().unwrap_or_default(), caller)
        .await?;
    Ok(json!({ "KeyMetadata": metadata(kms, &key) }))
}

async fn list_keys(kms: &Kms, asked: request::Listing) -> Result<Value, Refusal> {
    let limit = request::limit(asked.limit, 100, 1_000)?;
    let page = kms
        .list_keys(asked.marker.as_deref(), limit)
        .await
        .map_err(|_| invalid_marker())?;
    let keys: Vec<Value> = page
        .items
        .iter()
        .map(|key| json!({ "KeyId": key.id.to_string(), "KeyArn": key.arn.as_str() }))
        .collect();
    Ok(paged("Keys", keys, &page))
}

async fn list_aliases(kms: &Kms, asked: request::Listing) -> Result<Value, Refusal> {
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

async fn schedule_key_deletion(
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

async fn encrypt(kms: &Kms, asked: request::Encrypt, caller: &Caller) -> Result<Value, Refusal> {
    check_algorithm(asked.encryption_algorithm.as_deref())?;
    let key = request::key(&asked.key_id)?;
    let context = request::context(asked.encryption_context)?;
    let done = kms
        .encrypt(&key, &context, &asked.plaintext.0, caller)
        .await?;
    let mut answer = sealed(&done);
    answer["EncryptionAlgorithm"] = SYMMETRIC_DEFAULT.into();
    Ok(answer)
}

async fn decrypt(kms: &Kms, asked: request::Decrypt, caller: &Caller) -> Result<Value, Refusal> {
    check_algorithm(asked.encryption_algorithm.as_deref())?;
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

fn check_algorithm(asked: Option<&str>) -> Result<(), Refusal> {
    match asked {
        None | Some(SYMMETRIC_DEFAULT) => Ok(()),
        Some(other) => Err(Refusal::new(
            "InvalidKeyUsageException",
            format!("{other} is not an algorithm of this key"),
        )),
    }
}

fn sealed(done: &Encrypted) -> Value {
    json!({
        "KeyId": done.key.as_str(),
        "CiphertextBlob": STANDARD.encode(done.blob.to_bytes()),
    })
}

fn metadata(kms: &Kms, key: &KeyDescription) -> Value {
    let state = match key.state {
        KeyState::Enabled => "Enabled",
        KeyState::Disabled => "Disabled",
        KeyState::PendingDeletion { .. } => "PendingDeletion",
    };
    let mut metadata = json!({
        "AWSAccountId": kms.home().account,
        "Arn": key.arn.as_str(),
        "CreationDate": date(key.created),
        "CustomerMasterKeySpec": SYMMETRIC_DEFAULT,
        "Description": key.description,
        "Enabled": key.state == KeyState::Enabled,
        "EncryptionAlgorithms": [SYMMETRIC_DEFAULT],
        "KeyId": key.id.to_string(),
        "KeyManager": match key.manager {
            KeyManager::Customer => "CUSTOMER",
            KeyManager::Service => "AWS",
        },
        "KeySpec": SYMMETRIC_DEFAULT,
        "KeyState": state,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": false,
        "Origin": "AWS_KMS",
    });
    if let KeyState::PendingDeletion { date: at } = key.state {
        metadata["DeletionDate"] = date(at);
    }
    metadata
}

fn paged<T>(name: &str, items: Vec<Value>, page: &Page<T>) -> Value {
    let mut answer = json!({ name: items, "Truncated": page.next.is_some() });
    if let Some(next) = &page.next {
        answer["NextMarker"] = next.as_str().into();
    }
    answer
}

fn invalid_marker() -> Refusal {
    Refusal::new("InvalidMarkerException", "the marker is not one of a page")
}

/// A date as the protocol has it: seconds with a fraction, as a number.
fn date(moment: Timestamp) -> Value {
    json!(moment.micros() as f64 / 1e6)
}
