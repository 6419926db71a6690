//! The rows of dual control.

use strongroom_environment::Timestamp;

use super::{RowFormat, VERSION};
use crate::encoding::{Decoder, Encoder};
use crate::names::ProposalId;
use crate::quorum::QuorumRule;

/// The rule in force, and what vouches for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct QuorumRuleRow {
    /// Since when.
    pub(crate) since: Timestamp,
    /// The rule, in JSON.
    pub(crate) document: String,
    /// A MAC of the token over both, and over which deployment it is.
    pub(crate) mac: [u8; 32],
}

impl RowFormat for QuorumRuleRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION)
            .i64(self.since.micros())
            .long(self.document.as_bytes())
            .fixed(&self.mac)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self {
            since: Timestamp::from_micros(fields.i64()?),
            document: long_text(&mut fields)?,
            mac: fields.fixed()?,
        };
        fields.finish(row)
    }
}

/// What has become of a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ProposalEnd {
    /// Nothing yet; it may have expired.
    None,
    /// A custodian has rejected it.
    Rejected { at: Timestamp, custodian: String },
    /// What it asks for was done.
    CarriedOut { at: Timestamp },
}

/// That a custodian has approved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredApproval {
    pub(crate) at: Timestamp,
    pub(crate) custodian: String,
    /// The signature line of the note, without its newline.
    pub(crate) line: String,
}

/// A proposal for the custodians.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProposalRow {
    pub(crate) end: ProposalEnd,
    /// The statement that custodians sign, in JSON.
    pub(crate) statement: String,
    /// The request, in canonical JSON.
    pub(crate) request: String,
    /// At most as many as there can be custodians.
    pub(crate) approvals: Vec<StoredApproval>,
}

impl RowFormat for ProposalRow {
    fn encode(&self) -> Vec<u8> {
        let (end, at, custodian) = match &self.end {
            ProposalEnd::None => (1, 0, ""),
            ProposalEnd::Rejected { at, custodian } => (2, at.micros(), custodian.as_str()),
            ProposalEnd::CarriedOut { at } => (3, at.micros(), ""),
        };
        let count = u8::try_from(self.approvals.len()).expect("there are few custodians");
        let head = Encoder::new(VERSION)
            .u8(end)
            .i64(at)
            .counted(custodian.as_bytes())
            .long(self.statement.as_bytes())
            .long(self.request.as_bytes())
            .u8(count);
        self.approvals
            .iter()
            .fold(head, |encoder, approval| {
                encoder
                    .i64(approval.at.micros())
                    .counted(approval.custodian.as_bytes())
                    .counted(approval.line.as_bytes())
            })
            .finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let end = fields.u8()?;
        let at = Timestamp::from_micros(fields.i64()?);
        let custodian = fields.text()?;
        let end = match (end, at.micros(), custodian.as_str()) {
            (1, 0, "") => ProposalEnd::None,
            (2, _, _) => ProposalEnd::Rejected { at, custodian },
            (3, _, "") => ProposalEnd::CarriedOut { at },
            _ => return None,
        };
        let statement = long_text(&mut fields)?;
        let request = long_text(&mut fields)?;
        // More than there can be custodians would be written by nobody.
        let count = fields
            .u8()
            .filter(|count| usize::from(*count) <= QuorumRule::CUSTODIANS_MAX)?;
        let approvals = (0..count)
            .map(|_| {
                Some(StoredApproval {
                    at: Timestamp::from_micros(fields.i64()?),
                    custodian: fields.text()?,
                    line: fields.text()?,
                })
            })
            .collect::<Option<_>>()?;
        fields.finish(Self {
            end,
            statement,
            request,
            approvals,
        })
    }
}

/// Which proposal is over a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AskedRow(pub(crate) ProposalId);

impl RowFormat for AskedRow {
    fn encode(&self) -> Vec<u8> {
        Encoder::new(VERSION).fixed(self.0.as_bytes()).finish()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Decoder::new(bytes, VERSION)?;
        let row = Self(ProposalId(fields.fixed()?));
        fields.finish(row)
    }
}

fn long_text(fields: &mut Decoder<'_>) -> Option<String> {
    String::from_utf8(fields.long()?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_with_more_approvals_than_there_can_be_custodians_is_none() {
        let row = |approvals: usize| ProposalRow {
            end: ProposalEnd::None,
            statement: "{}".into(),
            request: "{}".into(),
            approvals: (0..approvals)
                .map(|number| StoredApproval {
                    at: Timestamp::from_seconds(1),
                    custodian: number.to_string(),
                    line: String::new(),
                })
                .collect(),
        };
        let most = row(QuorumRule::CUSTODIANS_MAX);
        assert_eq!(ProposalRow::decode(&most.encode()), Some(most));
        for more in [QuorumRule::CUSTODIANS_MAX + 1, 255] {
            assert_eq!(ProposalRow::decode(&row(more).encode()), None);
        }
    }
}
