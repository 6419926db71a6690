//! The requests of the protocol, read strictly.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use strongroom_keys::{EncryptionContext, KeyReference, Kms, NewPolicy, Tags};
use zeroize::Zeroizing;

use super::refusal::Refusal;

/// Bytes that stand in JSON as base64, wiped when they are dropped.
pub(crate) struct Blob(pub(crate) Zeroizing<Vec<u8>>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        STANDARD
            .decode(text.as_bytes())
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .map_err(|_| serde::de::Error::custom("a blob is not base64"))
    }
}

/// Reads a request body as the members of an operation.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        if error.is_syntax() || error.is_eof() {
            Refusal::new("SerializationException", "the body is not JSON")
        } else {
            Refusal::validation(error.to_string())
        }
    })
}

/// Reads the name of a key.
pub(crate) fn key(text: &str) -> Result<KeyReference, Refusal> {
    KeyReference::from_str(text).map_err(|_| {
        if text.starts_with("arn:") {
            invalid_arn(text)
        } else {
            invalid_key_id(text)
        }
    })
}

/// Reads the name of a key where an alias will not do.
pub(crate) fn key_itself(text: &str) -> Result<KeyReference, Refusal> {
    match key(text)? {
        KeyReference::Alias(_) => Err(invalid_key_id(text)),
        KeyReference::AliasArn { .. } => Err(invalid_arn(text)),
        reference => Ok(reference),
    }
}

fn invalid_key_id(text: &str) -> Refusal {
    Refusal::new("NotFoundException", format!("Invalid keyId '{text}'"))
}

fn invalid_arn(text: &str) -> Refusal {
    Refusal::new("InvalidArnException", format!("Invalid arn '{text}'"))
}

/// Reads tags.
pub(crate) fn tags(tags: Vec<Tag>) -> Result<Tags, Refusal> {
    Ok(Tags::new(
        tags.into_iter().map(|tag| (tag.tag_key, tag.tag_value)),
    )?)
}

/// Reads an encryption context.
pub(crate) fn context(
    pairs: Option<BTreeMap<String, String>>,
) -> Result<EncryptionContext, Refusal> {
    EncryptionContext::new(pairs.unwrap_or_default()).map_err(Refusal::from)
}

/// A page size within the bounds of an operation.
pub(crate) fn limit(asked: Option<u64>, default: usize, most: usize) -> Result<usize, Refusal> {
    match asked {
        None => Ok(default),
        Some(asked) => usize::try_from(asked)
            .ok()
            .filter(|asked| (1..=most).contains(asked))
            .ok_or_else(|| Refusal::validation(format!("Limit is 1 to {most}"))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreateKey {
    pub(crate) description: Option<String>,
    pub(crate) key_usage: Option<String>,
    pub(crate) key_spec: Option<String>,
    pub(crate) customer_master_key_spec: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) multi_region: Option<bool>,
    pub(crate) policy: Option<String>,
    pub(crate) bypass_policy_lockout_safety_check: Option<bool>,
    pub(crate) tags: Option<Vec<Tag>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    tag_key: String,
    tag_value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImportParameters {
    pub(crate) key_id: String,
    pub(crate) wrapping_algorithm: String,
    pub(crate) wrapping_key_spec: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImportMaterial {
    pub(crate) key_id: String,
    pub(crate) import_token: Blob,
    pub(crate) encrypted_key_material: Blob,
    pub(crate) valid_to: Option<f64>,
    pub(crate) expiration_model: Option<String>,
    pub(crate) import_type: Option<String>,
    pub(crate) key_material_description: Option<String>,
    pub(crate) key_material_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DeleteMaterial {
    pub(crate) key_id: String,
    pub(crate) key_material_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TagResource {
    pub(crate) key_id: String,
    pub(crate) tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UntagResource {
    pub(crate) key_id: String,
    pub(crate) tag_keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct UpdateDescription {
    pub(crate) key_id: String,
    pub(crate) description: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct EnableRotation {
    pub(crate) key_id: String,
    pub(crate) rotation_period_in_days: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListRotations {
    pub(crate) key_id: String,
    pub(crate) include_key_material: Option<String>,
    pub(crate) limit: Option<u64>,
    pub(crate) marker: Option<String>,
}

/// A page of what belongs to one key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OneListing {
    pub(crate) key_id: String,
    pub(crate) limit: Option<u64>,
    pub(crate) marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OneKey {
    pub(crate) key_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listing {
    pub(crate) key_id: Option<String>,
    pub(crate) limit: Option<u64>,
    pub(crate) marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct AliasAndKey {
    pub(crate) alias_name: String,
    pub(crate) target_key_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OneAlias {
    pub(crate) alias_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ScheduleDeletion {
    pub(crate) key_id: String,
    pub(crate) pending_window_in_days: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Encrypt {
    pub(crate) key_id: String,
    pub(crate) plaintext: Blob,
    pub(crate) encryption_context: Option<BTreeMap<String, String>>,
    pub(crate) encryption_algorithm: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Decrypt {
    pub(crate) ciphertext_blob: Blob,
    pub(crate) encryption_context: Option<BTreeMap<String, String>>,
    pub(crate) key_id: Option<String>,
    pub(crate) encryption_algorithm: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReEncrypt {
    pub(crate) ciphertext_blob: Blob,
    pub(crate) source_encryption_context: Option<BTreeMap<String, String>>,
    pub(crate) source_key_id: Option<String>,
    pub(crate) destination_key_id: String,
    pub(crate) destination_encryption_context: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateDataKey {
    pub(crate) key_id: String,
    pub(crate) key_spec: Option<String>,
    pub(crate) number_of_bytes: Option<u64>,
    pub(crate) encryption_context: Option<BTreeMap<String, String>>,
}

impl GenerateDataKey {
    /// The length that is asked for: by spec or by number, and not by both.
    pub(crate) fn len_bytes(&self) -> Result<usize, Refusal> {
        match (self.key_spec.as_deref(), self.number_of_bytes) {
            (Some("AES_256"), None) => Ok(32),
            (Some("AES_128"), None) => Ok(16),
            (None, Some(count)) => usize::try_from(count)
                .ok()
                .filter(|count| (1..=1_024).contains(count))
                .ok_or_else(|| Refusal::validation("NumberOfBytes is 1 to 1024")),
            (Some(other), None) => Err(Refusal::validation(format!(
                "KeySpec is AES_256 or AES_128, not {other}"
            ))),
            _ => Err(Refusal::validation(
                "Please specify either number of bytes or key spec.",
            )),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateRandom {
    pub(crate) number_of_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateMac {
    pub(crate) key_id: String,
    pub(crate) message: Blob,
    pub(crate) mac_algorithm: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct VerifyMac {
    pub(crate) key_id: String,
    pub(crate) message: Blob,
    pub(crate) mac_algorithm: String,
    pub(crate) mac: Blob,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sign {
    pub(crate) key_id: String,
    pub(crate) message: Blob,
    pub(crate) message_type: Option<String>,
    pub(crate) signing_algorithm: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Verify {
    pub(crate) key_id: String,
    pub(crate) message: Blob,
    pub(crate) message_type: Option<String>,
    pub(crate) signing_algorithm: String,
    pub(crate) signature: Blob,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GenerateDataKeyPair {
    pub(crate) key_id: String,
    pub(crate) key_pair_spec: String,
    pub(crate) encryption_context: Option<BTreeMap<String, String>>,
}

/// Checks the length of what a request calls a ciphertext, a MAC or a signature.
///
/// Source: AWS KMS API Reference, `CiphertextType`.
pub(crate) fn check_ciphertext(name: &str, bytes: &Blob) -> Result<(), Refusal> {
    if (1..=6_144).contains(&bytes.0.len()) {
        Ok(())
    } else {
        Err(Refusal::validation(format!("{name} has 1 to 6144 bytes")))
    }
}

/// Members of the protocol that would change what an operation does, and that this service does
/// not offer. To ignore one would be to pretend.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NotOffered {
    dry_run: Option<bool>,
    recipient: Option<serde_json::Value>,
}

impl NotOffered {
    /// Refuses a request that relies on one of them.
    pub(crate) fn refuse(body: &[u8]) -> Result<(), Refusal> {
        let asked: Self = read(body)?;
        let named = match asked {
            Self {
                dry_run: Some(true),
                ..
            } => "DryRun",
            Self {
                recipient: Some(_), ..
            } => "Recipient",
            _ => return Ok(()),
        };
        Err(Refusal::new(
            "UnsupportedOperationException",
            format!("{named} is not offered"),
        ))
    }
}

/// The tokens of grants that a request of any operation can bring.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GrantTokens {
    grant_tokens: Option<Vec<String>>,
}

impl GrantTokens {
    const COUNT_MAX: usize = 10;
    const LEN_BYTES_MAX: usize = 8_192;

    /// Checks that each is of a grant that there is. A grant holds as soon as it is made, so its
    /// token adds nothing.
    pub(crate) async fn check(kms: &Kms, body: &[u8]) -> Result<(), Refusal> {
        let asked: Self = read(body)?;
        let tokens = asked.grant_tokens.unwrap_or_default();
        if tokens.len() > Self::COUNT_MAX {
            return Err(Refusal::validation("GrantTokens has at most 10 members"));
        }
        for token in tokens {
            if !(1..=Self::LEN_BYTES_MAX).contains(&token.len()) {
                return Err(Refusal::validation(
                    "a grant token has 1 to 8192 characters",
                ));
            }
            kms.check_grant_token(&token).await?;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct OnePolicy {
    pub(crate) key_id: String,
    pub(crate) policy_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PutPolicy {
    pub(crate) key_id: String,
    pub(crate) policy_name: Option<String>,
    pub(crate) policy: String,
    pub(crate) bypass_policy_lockout_safety_check: Option<bool>,
}

/// A policy as the protocol takes it.
///
/// Source: AWS KMS API Reference, `PolicyType`.
pub(crate) fn policy(document: String, bypass: Option<bool>) -> Result<NewPolicy, Refusal> {
    let allowed = |letter: char| matches!(letter, '\t' | '\n' | '\r' | '\u{20}'..='\u{FF}');
    if !(1..=131_072).contains(&document.len()) || !document.chars().all(allowed) {
        return Err(Refusal::validation(
            "Policy has 1 to 131072 characters, from U+0020 to U+00FF",
        ));
    }
    Ok(NewPolicy {
        document,
        bypass_lockout_check: bypass.unwrap_or(false),
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct CreateGrant {
    pub(crate) key_id: String,
    pub(crate) grantee_principal: String,
    pub(crate) retiring_principal: Option<String>,
    pub(crate) operations: Vec<String>,
    pub(crate) constraints: Option<Constraints>,
    pub(crate) name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Constraints {
    pub(crate) encryption_context_subset: Option<BTreeMap<String, String>>,
    pub(crate) encryption_context_equals: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListGrants {
    pub(crate) key_id: String,
    pub(crate) grant_id: Option<String>,
    pub(crate) grantee_principal: Option<String>,
    pub(crate) limit: Option<u64>,
    pub(crate) marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListRetirable {
    pub(crate) retiring_principal: String,
    pub(crate) limit: Option<u64>,
    pub(crate) marker: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RevokeGrant {
    pub(crate) key_id: String,
    pub(crate) grant_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RetireGrant {
    pub(crate) grant_token: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) grant_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_key_is_asked_for_by_spec_or_by_number() {
        let len = |json: &str| {
            read::<GenerateDataKey>(json.as_bytes())
                .expect("a request")
                .len_bytes()
                .ok()
        };
        assert_eq!(len(r#"{"KeyId":"k","KeySpec":"AES_256"}"#), Some(32));
        assert_eq!(len(r#"{"KeyId":"k","NumberOfBytes":1024}"#), Some(1024));
        assert_eq!(len(r#"{"KeyId":"k","NumberOfBytes":1025}"#), None);
        assert_eq!(len(r#"{"KeyId":"k","NumberOfBytes":0}"#), None);
        assert_eq!(len(r#"{"KeyId":"k"}"#), None);
        assert_eq!(
            len(r#"{"KeyId":"k","KeySpec":"AES_256","NumberOfBytes":1}"#),
            None
        );
    }

    #[test]
    fn a_key_is_named_by_itself_where_an_alias_will_not_do() {
        let id = "00000000-0000-4000-8000-000000000000";
        let code = |text: &str| key_itself(text).err().map(|refusal| refusal.code);
        assert_eq!(code(id), None);
        assert_eq!(code(&format!("arn:aws:kms:r:0:key/{id}")), None);
        assert_eq!(code("alias/a"), Some("NotFoundException"));
        assert_eq!(code("nonsense"), Some("NotFoundException"));
        for arn in ["arn:aws:kms:r:0:alias/a", "arn:aws:s3:::b", "arn:"] {
            assert_eq!(code(arn), Some("InvalidArnException"), "{arn}");
        }
        assert!(key("arn:aws:kms:r:0:alias/a").is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let code = |body: &[u8]| read::<Encrypt>(body).expect_err("refused").code;
        assert_eq!(code(b"{"), "SerializationException");
        assert_eq!(code(b"{}"), "ValidationException");
        assert_eq!(
            code(br#"{"KeyId":"k","Plaintext":"not base64!"}"#),
            "ValidationException"
        );
        assert!(NotOffered::refuse(br#"{"DryRun":true}"#).is_err());
        assert!(NotOffered::refuse(br#"{"DryRun":false,"Else":1}"#).is_ok());
    }

    #[test]
    fn a_blob_says_nothing_of_its_bytes() {
        let request: Encrypt = read(br#"{"KeyId":"k","Plaintext":"c2VjcmV0"}"#).expect("a request");
        assert_eq!(request.plaintext.0.as_slice(), b"secret");
        assert!(!format!("{request:?}").contains("secret"));
    }
}
