//! What can go wrong with keys, by meaning.

use std::borrow::Cow;

use strongroom_audit::AppendError;
use strongroom_meta::{CommitError, ReadError};
use strongroom_pkcs11::TokenError;

use crate::arn::{AliasName, KeyArn, KeyReference, KeyVersion};
use crate::kms::UseLimit;
use crate::names::{BucketKeyId, GrantId, ProposalId};

/// Why a key was not used, or a key or user not changed.
///
/// Unless a variant says otherwise nothing was done, and no key left the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    // --- Customer keys: the caller's to put right.
    /// The object is protected by a customer's key, and none came with the request.
    #[error("the object is protected by a customer's key, which the request does not carry")]
    CustomerKeyRequired,
    /// The customer's key is not the one that protects the object.
    #[error("the customer's key is not the one that protects the object")]
    CustomerKeyMismatch,
    /// A customer's key came with the request, but the object is not protected by one.
    #[error("the object is not protected by a customer's key, but the request carries one")]
    CustomerKeyNotApplicable,
    /// What came as a customer's key is not one.
    #[error("the customer's key is not one: {rule}")]
    CustomerKeyMalformed {
        /// The rule that is broken.
        rule: &'static str,
    },

    // --- KMS keys: the caller's to put right.
    /// There is no such key.
    #[error("there is no key {reference}")]
    NoSuchKey {
        /// As the caller named it.
        reference: KeyReference,
    },
    /// The key has no such version.
    #[error("{key} has no version {version}")]
    NoSuchKeyVersion {
        /// The key.
        key: KeyArn,
        /// The version that the caller named.
        version: KeyVersion,
    },
    /// There is no such alias.
    #[error("there is no {alias}")]
    NoSuchAlias {
        /// As the caller named it.
        alias: AliasName,
    },
    /// There is no such bucket key.
    #[error("there is no bucket key {id}")]
    NoSuchBucketKey {
        /// As the caller named it.
        id: BucketKeyId,
    },
    /// There is such an alias already.
    #[error("there is an {alias} already")]
    AliasExists {
        /// As the caller named it.
        alias: AliasName,
    },
    /// The alias is one that only the service itself may make or change.
    #[error("{alias} is reserved")]
    AliasReserved {
        /// As the caller named it.
        alias: AliasName,
    },
    /// The key is disabled.
    #[error("{key} is disabled")]
    Disabled {
        /// The key.
        key: KeyArn,
    },
    /// The key protects nothing more, by one of its limits. What it has protected is still opened.
    #[error("{key} {limit}")]
    UseLimited {
        /// The key.
        key: KeyArn,
        /// Which limit.
        limit: UseLimit,
    },
    /// The key waits for material that is to be imported: it has had none yet, or some has expired or
    /// was deleted.
    #[error("{key} is pending import")]
    PendingImport {
        /// The key.
        key: KeyArn,
    },
    /// No imported material waits for the key to be rotated to it.
    #[error("{key} has no new key material: import it before the key is rotated to it")]
    NoPendingMaterial {
        /// The key.
        key: KeyArn,
    },
    /// What is to be imported is not the material that it is to be.
    #[error("the key material is not the right one: {rule}")]
    IncorrectKeyMaterial {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// What is to be an import token is none, or one of another key.
    #[error("the import token is none of this key")]
    InvalidImportToken,
    /// The import token was given out too long ago.
    #[error("the import token has expired: get new parameters for the import")]
    ExpiredImportToken,
    /// The key waits for its deletion.
    #[error("{key} is pending deletion")]
    PendingDeletion {
        /// The key.
        key: KeyArn,
    },
    /// The key does not wait for its deletion, so there is nothing to cancel.
    #[error("{key} is not pending deletion")]
    NotPendingDeletion {
        /// The key.
        key: KeyArn,
    },
    /// The key belongs to the service; a caller can look at it, and no more.
    #[error("{key} is managed by the service and cannot be used or changed from outside")]
    ManagedByService {
        /// The key.
        key: KeyArn,
    },
    /// Neither the policy of the key nor the role nor a grant lets the caller do it.
    #[error(
        "User: {principal} is not authorized to perform: {action}{} {because}",
        key.as_ref().map(|key| format!(" on resource: {key}")).unwrap_or_default()
    )]
    AccessDenied {
        /// The ARN of the caller.
        principal: String,
        /// What was to be done, such as `kms:Decrypt`.
        action: String,
        /// The key, where it concerns one.
        key: Option<KeyArn>,
        /// What denies it, or that nothing allows it.
        because: Cow<'static, str>,
    },
    /// What is to be the policy of a key is none, or would shut out whoever puts it.
    #[error("{why}")]
    MalformedPolicy {
        /// What is wrong with it.
        why: String,
    },
    /// A key has no policy of that name.
    #[error("No such policy exists")]
    NoSuchPolicy,
    /// The key has no such grant.
    #[error("Grant ID {id} not found")]
    NoSuchGrant {
        /// As the caller named it.
        id: GrantId,
    },
    /// What is to be the token of a grant is none, or the grant is gone.
    #[error("Invalid grant token")]
    InvalidGrantToken,
    /// What is to name a principal names nobody of the account.
    #[error("{why}")]
    InvalidPrincipal {
        /// What is wrong with it.
        why: String,
    },
    /// The key is not for this use, or not by this algorithm.
    #[error("{key} key usage or key spec is not valid for this operation")]
    WrongUsage {
        /// The key.
        key: KeyArn,
    },
    /// The operation is not one for keys of this kind.
    #[error("{key}: {rule}")]
    NotForThisKey {
        /// The key.
        key: KeyArn,
        /// For which it is.
        rule: &'static str,
    },
    /// The MAC is not that of the message under this key.
    #[error("the MAC is not the one of the message")]
    WrongMac,
    /// The signature is not one of the message by this key.
    #[error("the signature is not one of the message")]
    WrongSignature,
    /// The ciphertext is under another key than the caller said.
    #[error("the ciphertext is not under {key}")]
    IncorrectKey {
        /// The key the caller said.
        key: KeyArn,
    },
    /// What names a key, an alias or a page is not well-formed.
    #[error("not well-formed: {rule}")]
    InvalidReference {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The encryption context is not a valid one.
    #[error("not valid: {rule}")]
    InvalidContext {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A tag is not a valid one.
    #[error("not valid: {rule}")]
    InvalidTag {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// There are as many as there may be.
    #[error("{limit}")]
    LimitExceeded {
        /// The limit, in words.
        limit: &'static str,
    },
    /// A length or number of the request is out of bounds.
    #[error("not valid: {rule}")]
    InvalidRequest {
        /// The rule that is broken.
        rule: &'static str,
    },

    // --- Dual control: for the custodians to decide.
    /// What was asked needs the approval of custodians, and has not enough of it.
    #[error(
        "this needs the approval of {threshold} custodians, and {approvals} have approved: proposal \
         {proposal} over exactly this request is open until {expires}; have it approved (strongroom \
         quorum approve {proposal}), and then send the same request again"
    )]
    ApprovalNeeded {
        /// The proposal over the request.
        proposal: ProposalId,
        /// How many custodians have approved it.
        approvals: usize,
        /// How many must.
        threshold: usize,
        /// Until when they can.
        expires: String,
    },
    /// A custodian has rejected what was asked.
    #[error(
        "custodian {custodian} has rejected exactly this request (proposal {proposal}); it can be \
         proposed again after {expires}"
    )]
    ApprovalRejected {
        /// The proposal over the request.
        proposal: ProposalId,
        /// Who has rejected it.
        custodian: String,
        /// Until when that holds.
        expires: String,
    },
    /// There is no such proposal.
    #[error("there is no such proposal")]
    NoSuchProposal,
    /// The proposal takes no approvals and rejections any more.
    #[error("proposal {proposal} is closed: {why}")]
    ProposalClosed {
        /// The proposal.
        proposal: ProposalId,
        /// Why.
        why: &'static str,
    },
    /// What came as an approval or a rejection is none.
    #[error("not an approval or rejection by a custodian: {why}")]
    ApprovalInvalid {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The custodian has approved the proposal already; one custodian counts once.
    #[error("custodian {custodian} has approved proposal {proposal} already, and counts once")]
    ApprovedAlready {
        /// The proposal.
        proposal: ProposalId,
        /// Who.
        custodian: String,
    },

    // --- Users.
    /// There is no user with such an access key.
    #[error("there is no such user")]
    NoSuchUser,
    /// The user is disabled.
    #[error("the user is disabled")]
    UserDisabled,

    // --- What was kept is not what is found.
    /// A ciphertext or wrapped key does not open under the right key and context: it was changed,
    /// or belongs elsewhere. Asking again gives the same answer.
    #[error("the wrapped key or ciphertext was changed, or belongs to another place or context")]
    NotAuthentic,
    /// A row of the key service is not one that it wrote.
    #[error("a row of {table} is damaged: {what}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },

    // --- What the service stands on. May be asked again.
    /// The token cannot serve.
    #[error(transparent)]
    TokenUnavailable(TokenError),
    /// The key daemon that has custody of the keys does not answer, or was not heard of for longer
    /// than what was opened may be trusted.
    #[error("the key daemon is not available: {reason}")]
    CustodyUnavailable {
        /// What is wrong with it or the way to it.
        reason: String,
    },
    /// The audit log does not take the record of this use. Nothing is done that is not on it.
    #[error("the use could not be put on the audit log: {0}")]
    AuditUnavailable(#[source] AppendError),
    /// The audit log does not sign a statement, or does not prove an entry.
    #[error("{reason}")]
    NotCertified {
        /// What the log said.
        reason: String,
    },
    /// The metadata cannot be read.
    #[error(transparent)]
    Metadata(#[from] ReadError),
    /// A change was not acknowledged. It was certainly not made unless the source is
    /// [`CommitError::OutcomeUnknown`].
    #[error(transparent)]
    NotCommitted(#[from] CommitError),
}

impl KeyError {
    /// One stable word for the audit log and for metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::CustomerKeyRequired => "customer-key-required",
            Self::CustomerKeyMismatch => "customer-key-mismatch",
            Self::CustomerKeyNotApplicable => "customer-key-not-applicable",
            Self::CustomerKeyMalformed { .. } => "customer-key-malformed",
            Self::NoSuchKey { .. } => "no-such-key",
            Self::NoSuchKeyVersion { .. } => "no-such-key-version",
            Self::NoSuchAlias { .. } => "no-such-alias",
            Self::NoSuchBucketKey { .. } => "no-such-bucket-key",
            Self::AliasExists { .. } => "alias-exists",
            Self::AliasReserved { .. } => "alias-reserved",
            Self::Disabled { .. } => "disabled",
            Self::UseLimited { .. } => "use-limited",
            Self::PendingImport { .. } => "pending-import",
            Self::NoPendingMaterial { .. } => "no-pending-material",
            Self::IncorrectKeyMaterial { .. } => "incorrect-key-material",
            Self::InvalidImportToken => "invalid-import-token",
            Self::ExpiredImportToken => "expired-import-token",
            Self::PendingDeletion { .. } => "pending-deletion",
            Self::NotPendingDeletion { .. } => "not-pending-deletion",
            Self::ManagedByService { .. } => "managed-by-service",
            Self::AccessDenied { .. } => "access-denied",
            Self::MalformedPolicy { .. } => "malformed-policy",
            Self::NoSuchPolicy => "no-such-policy",
            Self::NoSuchGrant { .. } => "no-such-grant",
            Self::InvalidGrantToken => "invalid-grant-token",
            Self::InvalidPrincipal { .. } => "invalid-principal",
            Self::WrongUsage { .. } => "wrong-usage",
            Self::NotForThisKey { .. } => "not-for-this-key",
            Self::WrongMac => "wrong-mac",
            Self::WrongSignature => "wrong-signature",
            Self::IncorrectKey { .. } => "incorrect-key",
            Self::InvalidReference { .. } => "invalid-reference",
            Self::InvalidContext { .. } => "invalid-context",
            Self::InvalidTag { .. } => "invalid-tag",
            Self::LimitExceeded { .. } => "limit-exceeded",
            Self::InvalidRequest { .. } => "invalid-request",
            Self::ApprovalNeeded { .. } => "approval-needed",
            Self::ApprovalRejected { .. } => "approval-rejected",
            Self::NoSuchProposal => "no-such-proposal",
            Self::ProposalClosed { .. } => "proposal-closed",
            Self::ApprovalInvalid { .. } => "approval-invalid",
            Self::ApprovedAlready { .. } => "approved-already",
            Self::NoSuchUser => "no-such-user",
            Self::UserDisabled => "user-disabled",
            Self::NotAuthentic => "not-authentic",
            Self::Damaged { .. } => "damaged",
            Self::TokenUnavailable(_) => "token-unavailable",
            Self::CustodyUnavailable { .. } => "custody-unavailable",
            Self::AuditUnavailable(_) => "audit-unavailable",
            Self::NotCertified { .. } => "not-certified",
            Self::Metadata(_) => "metadata-unavailable",
            Self::NotCommitted(_) => "not-committed",
        }
    }

    /// Whether the service itself could not serve, as against refusing what it was asked.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::TokenUnavailable(_)
                | Self::CustodyUnavailable { .. }
                | Self::AuditUnavailable(_)
                | Self::NotCertified { .. }
                | Self::Metadata(_)
                | Self::NotCommitted(_)
        )
    }
}

impl From<TokenError> for KeyError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NotAuthentic => Self::NotAuthentic,
            other => Self::TokenUnavailable(other),
        }
    }
}

impl From<AppendError> for KeyError {
    fn from(error: AppendError) -> Self {
        Self::AuditUnavailable(error)
    }
}
