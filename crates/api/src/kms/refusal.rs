//! Refusals in the form and with the names of the AWS KMS protocol.

use http::StatusCode;
use serde_json::{Value, json};
use strongroom_keys::KeyError;
use strongroom_meta::CommitError;

/// A refusal: AWS's exception and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    /// A refusal of the client's own making.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            message: message.into(),
        }
    }

    /// A value of the request is out of its bounds.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// A failure of this side; the request may be sent again.
    fn failure(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "__type": self.code, "message": self.message })
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        let message = error.to_string();
        match error {
            KeyError::NoSuchKey { .. } | KeyError::NoSuchAlias { .. } => {
                Self::new("NotFoundException", message)
            }
            KeyError::AliasExists { .. } => Self::new("AlreadyExistsException", message),
            KeyError::AliasReserved { .. } => Self::new("NotAuthorizedException", message),
            KeyError::Disabled { .. } => Self::new("DisabledException", message),
            KeyError::PendingDeletion { .. }
            | KeyError::NotPendingDeletion { .. }
            | KeyError::PendingImport { .. }
            | KeyError::NoPendingMaterial { .. }
            | KeyError::UseLimited { .. } => Self::new("KMSInvalidStateException", message),
            KeyError::IncorrectKeyMaterial { .. } => {
                Self::new("IncorrectKeyMaterialException", message)
            }
            KeyError::InvalidImportToken => Self::new("InvalidImportTokenException", message),
            KeyError::ExpiredImportToken => Self::new("ExpiredImportTokenException", message),
            KeyError::InvalidTag { .. } => Self::new("TagException", message),
            KeyError::LimitExceeded { .. } => Self::new("LimitExceededException", message),
            KeyError::ManagedByService { .. }
            | KeyError::AccessDenied { .. }
            | KeyError::ApprovalNeeded { .. }
            | KeyError::ApprovalRejected { .. } => Self::new("AccessDeniedException", message),
            KeyError::MalformedPolicy { .. } => {
                Self::new("MalformedPolicyDocumentException", message)
            }
            KeyError::NoSuchPolicy | KeyError::NoSuchGrant { .. } => {
                Self::new("NotFoundException", message)
            }
            KeyError::WrongUsage { .. } => Self::new("InvalidKeyUsageException", message),
            KeyError::NotForThisKey { .. } => Self::new("UnsupportedOperationException", message),
            KeyError::WrongMac => Self::new("KMSInvalidMacException", message),
            KeyError::WrongSignature => Self::new("KMSInvalidSignatureException", message),
            KeyError::InvalidGrantToken => Self::new("InvalidGrantTokenException", message),
            KeyError::InvalidPrincipal { .. } => Self::new("InvalidArnException", message),
            KeyError::IncorrectKey { .. } => Self::new("IncorrectKeyException", message),
            // AWS gives no reason, so that a forged ciphertext teaches nothing.
            KeyError::NotAuthentic => Self::new("InvalidCiphertextException", ""),
            KeyError::InvalidReference { .. }
            | KeyError::InvalidContext { .. }
            | KeyError::InvalidRequest { .. } => Self::validation(message),
            KeyError::NoSuchUser | KeyError::UserDisabled => {
                Self::new("AccessDeniedException", message)
            }
            KeyError::TokenUnavailable(_) => Self::failure("KeyUnavailableException", message),
            KeyError::AuditUnavailable(_) | KeyError::CustodyUnavailable { .. } => {
                Self::failure("DependencyTimeoutException", message)
            }
            KeyError::NotCommitted(CommitError::Conflict { .. }) => {
                Self::new("ConflictException", message)
            }
            _ => {
                tracing::error!(%message, "a KMS request failed");
                Self::failure("KMSInternalException", message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use strongroom_audit::AppendError;

    use super::*;

    #[test]
    fn each_meaning_has_the_name_and_status_of_aws() {
        for (error, status, code) in [
            (KeyError::NotAuthentic, 400, "InvalidCiphertextException"),
            (
                KeyError::InvalidRequest { rule: "rule" },
                400,
                "ValidationException",
            ),
            (KeyError::InvalidTag { rule: "rule" }, 400, "TagException"),
            (
                KeyError::IncorrectKeyMaterial { rule: "rule" },
                400,
                "IncorrectKeyMaterialException",
            ),
            (
                KeyError::InvalidImportToken,
                400,
                "InvalidImportTokenException",
            ),
            (
                KeyError::ExpiredImportToken,
                400,
                "ExpiredImportTokenException",
            ),
            (
                KeyError::LimitExceeded { limit: "limit" },
                400,
                "LimitExceededException",
            ),
            (
                KeyError::NotCommitted(CommitError::Conflict {
                    table: strongroom_meta::Table::new("kms_keys"),
                }),
                400,
                "ConflictException",
            ),
            (
                KeyError::AuditUnavailable(AppendError::Full),
                500,
                "DependencyTimeoutException",
            ),
            (
                KeyError::NotCommitted(CommitError::Full),
                500,
                "KMSInternalException",
            ),
        ] {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.status.as_u16(), refusal.code), (status, code));
        }
        assert_eq!(
            Refusal::validation("why").to_json(),
            json!({ "__type": "ValidationException", "message": "why" })
        );
    }
}
