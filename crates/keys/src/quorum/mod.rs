//! Dual control: what one administrator alone cannot do.
//!
//! Custodians are people with a signing key each. A [rule](QuorumRule) says who they are, how many
//! of them have to agree, and to what. A request that the rule guards is refused at first, and
//! opens a [`Proposal`] over exactly this request; custodians sign the proposal's [`Statement`],
//! and when enough have, the same request by the same requester is carried out, once.
//!
//! ```text
//! request ──▶ refused; proposal open ──▶ approved by M custodians ──▶ same request ──▶ carried out
//!                       │
//!                       └─▶ rejected by one custodian, expired, or the rule was changed
//! ```
//!
//! # What keeps it
//!
//! - A custodian's private key is never here. An approval is a signature over the statement, and is
//!   checked again when the request is carried out, so rows that somebody has changed approve
//!   nothing.
//! - The rule carries a MAC of the token, and the token a mark that there is one: a rule that was
//!   changed or taken away past the service guards nothing, and so nothing that it may have guarded
//!   is done.
//! - A change of the rule takes the approval of custodians by the rule as it is.
//!
//! # Order of carrying out
//!
//! 1. The approvals are checked, and the act prepared.
//! 2. The entry of the act goes on the audit log, with the note that the custodians have signed.
//! 3. One batch makes the change and marks the proposal as carried out. **This is the commit
//!    point.** It expects rule and proposal to be as they were read.
//!
//! A daemon that stops before 3 has done nothing: the proposal is still approved, and the same
//! request is carried out when it is sent again. The log then has two entries with one proposal, and
//! a start of the service between them.
//!
//! The rows and the form of the statement are described in `docs/format/quorum.md`.

mod custodians;
mod history;
mod proposals;
mod rule;
mod statement;
mod takeover;

use std::fmt;
use std::str::FromStr;

use crate::arn::KeyArn;
use crate::error::KeyError;

pub use custodians::Quorum;
pub use history::{GuardedAct, QuorumFinding, QuorumHistory, QuorumReport};
pub use proposals::{Approval, Proposal, ProposalState};
pub use rule::{NewQuorumRule, QuorumRule};
pub use statement::Statement;
pub(crate) use statement::sha256_of;
pub use takeover::restore_quorum_rule;

/// What a rule can guard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GuardedOperation {
    /// A key is to be deleted.
    ScheduleKeyDeletion,
    /// A key gets another policy.
    PutKeyPolicy,
    /// A key gets other limits, or none.
    SetKeyLimits,
    /// Imported material of a key is taken away.
    DeleteImportedKeyMaterial,
    /// All keys are given out, wrapped for an escrow key.
    BackupKeys,
    /// Other custodians, another threshold, other guarded operations. A rule always guards it.
    ChangeQuorumRule,
}

impl GuardedOperation {
    /// All of them, in the order in which a rule names them.
    pub const ALL: [Self; 6] = [
        Self::ScheduleKeyDeletion,
        Self::PutKeyPolicy,
        Self::SetKeyLimits,
        Self::DeleteImportedKeyMaterial,
        Self::BackupKeys,
        Self::ChangeQuorumRule,
    ];

    /// The `use` of the entry of each page of a backup but the first, which carries the approval.
    pub(crate) const BACKUP_GOES_ON: &'static str = "backup-keys-page";

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScheduleKeyDeletion => "ScheduleKeyDeletion",
            Self::PutKeyPolicy => "PutKeyPolicy",
            Self::SetKeyLimits => "SetKeyLimits",
            Self::DeleteImportedKeyMaterial => "DeleteImportedKeyMaterial",
            Self::BackupKeys => "BackupKeys",
            Self::ChangeQuorumRule => "ChangeQuorumRule",
        }
    }

    /// The `use` of the entry on the audit log that says that it was done.
    #[must_use]
    pub const fn act(self) -> &'static str {
        match self {
            Self::ScheduleKeyDeletion => "schedule-key-deletion",
            Self::PutKeyPolicy => "put-key-policy",
            Self::SetKeyLimits => "set-key-limits",
            Self::DeleteImportedKeyMaterial => "delete-imported-key-material",
            Self::BackupKeys => "backup-keys",
            Self::ChangeQuorumRule => "change-quorum-rule",
        }
    }
}

impl fmt::Display for GuardedOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for GuardedOperation {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == text)
            .ok_or(KeyError::InvalidRequest {
                rule: "a rule guards ScheduleKeyDeletion, PutKeyPolicy, SetKeyLimits, \
                       DeleteImportedKeyMaterial, BackupKeys and ChangeQuorumRule",
            })
    }
}

/// A request as a rule may guard it: with everything that makes a difference to what it does, and
/// keys by their ARN, so that no alias can be turned to another key in between.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct GuardedRequest {
    pub(crate) operation: GuardedOperation,
    pub(crate) key: Option<KeyArn>,
    /// An object of strings, whole numbers, truth values, lists of them and nulls.
    pub(crate) members: serde_json::Value,
}

impl GuardedRequest {
    pub(crate) fn of_key(
        operation: GuardedOperation,
        key: KeyArn,
        mut members: serde_json::Value,
    ) -> Self {
        members["key"] = key.as_str().into();
        Self {
            operation,
            key: Some(key),
            members,
        }
    }

    /// The request in canonical JSON (RFC 8785): members in the order of their names, which are
    /// ASCII, no white space, and no numbers but whole ones.
    pub(crate) fn to_canonical(&self) -> String {
        statement::canonical(&self.members)
    }
}
