//! Refusals on the link: the error names of the AWS KMS protocol for whoever looks at it, and the
//! word of the audit log with what belongs to it, from which the store makes the same error again.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use strongroom_keys::{Home, KeyArn, KeyError, KeyReference, KeyVersion, UseLimit};

/// A refusal as it is sent.
#[derive(Serialize, Deserialize, Debug, Default)]
pub(crate) struct Refusal {
    #[serde(rename = "__type")]
    pub(crate) kind: String,
    pub(crate) message: String,
    /// The word for it on the audit log.
    pub(crate) reason: String,
    /// The key, alias or version that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    /// Of a use that is not allowed: whose, and which, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    denied: Option<Denied>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
}

#[derive(Serialize, Deserialize, Debug)]
struct Denied {
    principal: String,
    action: String,
    because: String,
}

const LIMITS: [(UseLimit, &str); 5] = [
    (UseLimit::Uses, "uses"),
    (UseLimit::Bytes, "bytes"),
    (UseLimit::NotYetValid, "not-yet-valid"),
    (UseLimit::NoLongerValid, "no-longer-valid"),
    (UseLimit::Nonces, "nonces"),
];

impl Refusal {
    /// A refusal that concerns no key.
    pub(crate) fn new(kind: &str, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            reason: reason.into(),
            message: message.into(),
            ..Self::default()
        }
    }
}

/// How an error is told to a store.
pub(crate) fn refusal(error: &KeyError) -> (StatusCode, Refusal) {
    let kind = match error {
        KeyError::NoSuchKey { .. }
        | KeyError::NoSuchAlias { .. }
        | KeyError::NoSuchKeyVersion { .. } => "NotFoundException",
        KeyError::Disabled { .. } => "DisabledException",
        KeyError::PendingDeletion { .. }
        | KeyError::PendingImport { .. }
        | KeyError::UseLimited { .. } => "KMSInvalidStateException",
        KeyError::ManagedByService { .. } | KeyError::AccessDenied { .. } => {
            "AccessDeniedException"
        }
        KeyError::WrongUsage { .. } => "InvalidKeyUsageException",
        KeyError::NotAuthentic => "InvalidCiphertextException",
        KeyError::InvalidReference { .. }
        | KeyError::InvalidContext { .. }
        | KeyError::InvalidRequest { .. } => "ValidationException",
        KeyError::TokenUnavailable(_) => "KeyUnavailableException",
        KeyError::AuditUnavailable(_) | KeyError::CustodyUnavailable { .. } => {
            "DependencyTimeoutException"
        }
        _ => "KMSInternalException",
    };
    let status = if error.is_failure() {
        StatusCode::INTERNAL_SERVER_ERROR
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut told = Refusal::new(kind, error.code(), error.to_string());
    match error {
        KeyError::NoSuchKey { reference } => told.subject = Some(reference.to_string()),
        KeyError::NoSuchAlias { alias } => told.subject = Some(alias.to_string()),
        KeyError::NoSuchKeyVersion { key, version } => {
            told.subject = Some(key.to_string());
            told.version = Some(version.0);
        }
        KeyError::Disabled { key }
        | KeyError::PendingDeletion { key }
        | KeyError::PendingImport { key }
        | KeyError::ManagedByService { key }
        | KeyError::WrongUsage { key } => told.subject = Some(key.to_string()),
        KeyError::UseLimited { key, limit } => {
            told.subject = Some(key.to_string());
            let named = LIMITS.iter().find(|(known, _)| known == limit);
            told.limit = named.map(|(_, name)| (*name).to_owned());
        }
        KeyError::AccessDenied {
            principal,
            action,
            key,
            because,
        } => {
            told.subject = key.as_ref().map(ToString::to_string);
            told.denied = Some(Denied {
                principal: principal.clone(),
                action: action.clone(),
                because: because.to_string(),
            });
        }
        _ => {}
    }
    (status, told)
}

/// The error that a refusal tells of.
pub(crate) fn error(told: Refusal, home: &Home) -> KeyError {
    let message = told.message;
    let reference: Option<KeyReference> = told.subject.and_then(|subject| subject.parse().ok());
    let key: Option<KeyArn> = match &reference {
        Some(KeyReference::Id(key) | KeyReference::Arn { key, .. }) => Some(home.arn(*key)),
        _ => None,
    };
    let limit = LIMITS
        .into_iter()
        .find(|(_, name)| Some(*name) == told.limit.as_deref())
        .map(|(limit, _)| limit);
    if let ("access-denied", Some(denied)) = (told.reason.as_str(), told.denied) {
        return KeyError::AccessDenied {
            principal: denied.principal,
            action: denied.action,
            key,
            because: denied.because.into(),
        };
    }
    if let ("use-limited", Some(key), Some(limit)) = (told.reason.as_str(), &key, limit) {
        let key = key.clone();
        return KeyError::UseLimited { key, limit };
    }
    match (told.reason.as_str(), reference, key) {
        ("no-such-key", Some(reference), _) => KeyError::NoSuchKey { reference },
        ("no-such-alias", Some(KeyReference::Alias(alias)), _) => KeyError::NoSuchAlias { alias },
        ("no-such-key-version", _, Some(key)) => KeyError::NoSuchKeyVersion {
            key,
            version: KeyVersion(told.version.unwrap_or_default()),
        },
        ("disabled", _, Some(key)) => KeyError::Disabled { key },
        ("pending-deletion", _, Some(key)) => KeyError::PendingDeletion { key },
        ("pending-import", _, Some(key)) => KeyError::PendingImport { key },
        ("managed-by-service", _, Some(key)) => KeyError::ManagedByService { key },
        ("wrong-usage", _, Some(key)) => KeyError::WrongUsage { key },
        ("not-authentic", ..) => KeyError::NotAuthentic,
        ("invalid-context", ..) => KeyError::InvalidContext {
            rule: "the key daemon does not take this encryption context",
        },
        ("invalid-reference", ..) => KeyError::InvalidReference {
            rule: "the key daemon does not know this as the name of a key",
        },
        ("invalid-request", ..) => {
            // The error has room for no words of another host, and whoever runs the store needs them.
            tracing::warn!(reason = %message, "the key daemon takes a question for one that is none");
            KeyError::InvalidRequest {
                rule: "the key daemon does not take this request",
            }
        }
        _ => KeyError::CustodyUnavailable { reason: message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_custody_comes_back_as_it_was() {
        let home = Home {
            region: "test-1".into(),
            account: "000000000000".into(),
        };
        let id = "00112233-4455-4677-8899-aabbccddeeff";
        let key = || home.arn(id.parse().expect("an id"));
        let reference = |text: &str| text.parse::<KeyReference>().expect("a reference");
        let mut errors = vec![
            KeyError::NoSuchKey {
                reference: reference(id),
            },
            KeyError::NoSuchKey {
                reference: reference("arn:aws:kms:other-1:000000000000:alias/x"),
            },
            KeyError::NoSuchAlias {
                alias: strongroom_keys::AliasName::new("alias/x").expect("an alias"),
            },
            KeyError::NoSuchKeyVersion {
                key: key(),
                version: KeyVersion(7),
            },
            KeyError::Disabled { key: key() },
            KeyError::PendingDeletion { key: key() },
            KeyError::PendingImport { key: key() },
            KeyError::ManagedByService { key: key() },
            KeyError::WrongUsage { key: key() },
            KeyError::AccessDenied {
                principal: "arn:aws:iam::000000000000:user/SRAK".into(),
                action: "kms:Decrypt".into(),
                key: Some(key()),
                because: "because of a test".into(),
            },
            KeyError::NotAuthentic,
            KeyError::InvalidRequest {
                rule: "the key daemon does not take this request",
            },
            KeyError::CustodyUnavailable {
                reason: "it is away".into(),
            },
        ];
        errors.extend(LIMITS.map(|(limit, _)| KeyError::UseLimited { key: key(), limit }));
        for was in errors {
            let (status, told) = refusal(&was);
            let sent = serde_json::to_vec(&told).expect("JSON");
            let read = error(serde_json::from_slice(&sent).expect("the same"), &home);
            assert_eq!(read.code(), was.code());
            if !was.is_failure() {
                assert_eq!(read.to_string(), was.to_string());
            }
            assert_eq!(status.is_server_error(), was.is_failure());
        }
        let (_, told) = refusal(&KeyError::PendingImport { key: key() });
        assert_eq!(told.kind, "KMSInvalidStateException");
    }

    #[test]
    fn a_failure_of_the_key_daemon_is_told_as_one_and_nothing_panics() {
        let home = Home {
            region: "test-1".into(),
            account: "000000000000".into(),
        };
        for reason in ["token-unavailable", "disabled", "access-denied", "", "x"] {
            let told = Refusal::new("KMSInternalException", reason, "why");
            let read = error(told, &home);
            assert!(
                read.is_failure() && read.to_string().contains("why"),
                "{reason}"
            );
        }
    }
}
