//! What custodians sign.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strongroom_environment::Timestamp;

use super::GuardedRequest;
use crate::names::ProposalId;

/// The first line of the text of an approval.
const APPROVAL: &str = "strongroom/quorum-approval/v1";
/// The first line of the text of a rejection.
const REJECTION: &str = "strongroom/quorum-rejection/v1";

/// What a proposal asks for, for whom, where and until when: all that a custodian agrees to.
///
/// It is signed as a text of one line that says whether it is an approval or a rejection, and this
/// in JSON, so that a signature is never good for the other, for another deployment, another
/// request, another requester or another time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The deployment: the verifier key of its audit log.
    pub deployment: String,
    /// The id of the proposal.
    pub proposal: String,
    /// The operation.
    pub operation: String,
    /// The ARN of the key that it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// The SHA-256 of the request in canonical JSON (RFC 8785), in hexadecimal.
    pub request_sha256: String,
    /// The request; left out when it is long.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<Value>,
    /// Who may have it carried out.
    pub requester: String,
    /// The rule that it takes the approval of: see [`QuorumRule::sha256`](super::QuorumRule::sha256).
    pub rule_sha256: String,
    /// When it was opened.
    pub opened: String,
    /// From when on it can neither be approved nor carried out.
    pub expires: String,
}

impl Statement {
    /// The longest request that stands in the statement itself, in bytes. Of a longer one it is the
    /// hash alone, so that an entry of the audit log has room for it.
    pub const REQUEST_LEN_BYTES_MAX: usize = 4_096;

    pub(super) fn new(
        deployment: String,
        proposal: ProposalId,
        request: &GuardedRequest,
        requester: &str,
        rule_sha256: String,
        [opened, expires]: [Timestamp; 2],
    ) -> Self {
        let canonical = request.to_canonical();
        // A note holds no control characters; JSON escapes all but this one.
        let fits = canonical.len() <= Self::REQUEST_LEN_BYTES_MAX && !canonical.contains('\u{7f}');
        Self {
            deployment,
            proposal: proposal.to_string(),
            operation: request.operation.to_string(),
            key: request.key.as_ref().map(ToString::to_string),
            request_sha256: sha256_of(&canonical),
            request: fits.then(|| request.members.clone()),
            requester: requester.to_owned(),
            rule_sha256,
            opened: opened.to_string(),
            expires: expires.to_string(),
        }
    }

    /// Reads the JSON of a statement, and checks that it is as it would be written.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(json).ok()?;
        (read.to_json() == json).then_some(read)
    }

    /// Reads the text of an approval.
    #[must_use]
    pub fn parse_approval(text: &str) -> Option<Self> {
        let json = text.strip_prefix(APPROVAL)?.strip_prefix('\n')?;
        Self::parse(json.strip_suffix('\n')?)
    }

    /// The statement in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings always serialise")
    }

    /// What a custodian signs who agrees.
    #[must_use]
    pub fn approval_text(&self) -> String {
        format!("{APPROVAL}\n{}\n", self.to_json())
    }

    /// What a custodian signs who does not.
    #[must_use]
    pub fn rejection_text(&self) -> String {
        format!("{REJECTION}\n{}\n", self.to_json())
    }

    /// Whether `request`, in canonical JSON, is the one that it is about.
    #[must_use]
    pub fn is_about(&self, request: &str) -> bool {
        self.request_sha256 == sha256_of(request)
            && self
                .request
                .as_ref()
                .is_none_or(|named| canonical(named) == request)
    }

    /// Whether a moment is past its end.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        // Both are of one length, with the larger units first.
        now.to_string() >= self.expires
    }
}

/// A value in canonical JSON (RFC 8785), as far as requests have values.
pub(super) fn canonical(value: &Value) -> String {
    value.to_string()
}

/// The SHA-256 of a text, in hexadecimal.
pub(crate) fn sha256_of(text: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
}
