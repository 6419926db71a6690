//! Proposals: how they are opened, what custodians do with them, and how they are carried out.

use std::time::Duration;

use strongroom_audit::{note_of, note_signers};
use strongroom_environment::Timestamp;
use strongroom_meta::{Batch, Expected, Scan};

use super::custodians::{Found, Quorum, approval_named};
use super::statement::sha256_of;
use super::{GuardedRequest, Statement};
use crate::caller::Caller;
use crate::error::KeyError;
use crate::journal::{ApprovalNamed, Entry, Event, KeyNamed};
use crate::kms::Page;
use crate::names::ProposalId;
use crate::rows::{
    self, AskedRow, ProposalEnd, ProposalRow, QUORUM_ASKED, QUORUM_PROPOSALS, QUORUM_RULE,
    QUORUM_RULE_KEY, Read, StoredApproval,
};

/// What has become of a proposal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProposalState {
    /// It waits for approvals.
    Open,
    /// Enough custodians have approved: the requester can have it carried out.
    Approved,
    /// A custodian has rejected it.
    Rejected {
        /// Who.
        custodian: String,
        /// When.
        at: Timestamp,
    },
    /// Its time is over.
    Expired,
    /// The rule that it was opened under is not in force any more.
    Void,
    /// It was carried out.
    CarriedOut {
        /// When.
        at: Timestamp,
    },
}

impl ProposalState {
    /// One stable word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Rejected { .. } => "rejected",
            Self::Expired => "expired",
            Self::Void => "void",
            Self::CarriedOut { .. } => "carried-out",
        }
    }
}

/// That a custodian has approved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approval {
    /// Who.
    pub custodian: String,
    /// When.
    pub at: Timestamp,
}

/// A request that waits for custodians, or did.
#[derive(Clone, PartialEq, Debug)]
pub struct Proposal {
    /// The id.
    pub id: ProposalId,
    /// What has become of it.
    pub state: ProposalState,
    /// What custodians sign.
    pub statement: Statement,
    /// The request in canonical JSON.
    pub request: String,
    /// Who has approved.
    pub approvals: Vec<Approval>,
}

/// What a custodian does with a proposal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    Approve,
    Reject,
}

impl Quorum {
    /// For how long a proposal can be approved and carried out.
    pub const PROPOSAL_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
    /// The most proposals on a page of a list.
    pub const PAGE_MAX: usize = 100;
    /// The longest signature line, in bytes.
    const LINE_LEN_BYTES_MAX: usize = 512;

    /// Lets a request pass that no rule guards, or that enough custodians have approved: then what
    /// marks the proposal as carried out is put into `batch`, which must make the change too, and
    /// `approval` says under which it is.
    ///
    /// To be called when everything else about the request was found right, by whoever holds the
    /// lock of the administration. `approval` is also set when it is refused.
    pub(crate) async fn consume(
        &self,
        asked: &GuardedRequest,
        caller: &Caller,
        approval: &mut Option<ApprovalNamed>,
        batch: &mut Batch,
    ) -> Result<(), KeyError> {
        let Some(found) = self.found().await? else {
            batch.expect(QUORUM_RULE, QUORUM_RULE_KEY, Expected::Absent);
            return Ok(());
        };
        found.read.expect(batch, QUORUM_RULE, QUORUM_RULE_KEY);
        let rule = &found.rule;
        if !rule.guards(asked.operation) {
            return Ok(());
        }
        let now = self.clock.now();
        let request = asked.to_canonical();
        let place = place_of(asked, &request, &caller.principal, &rule.sha256());
        let index = rows::read::<AskedRow>(&*self.meta, QUORUM_ASKED, &place).await?;
        let earlier = match &index {
            Some(index) => Some(self.proposal_row(index.row.0).await?),
            None => None,
        };
        let (read, statement) = match earlier {
            Some((read, statement)) if !statement.is_expired(now) => (read, statement),
            _ => {
                return self
                    .open(asked, &request, &place, index, &found, caller, approval)
                    .await;
            }
        };
        let id = proposal_id(&statement)?;
        *approval = Some(approval_named(id, None));
        let is_as_asked = statement.operation == asked.operation.as_str()
            && statement.key.as_deref() == asked.key.as_ref().map(|key| key.as_str())
            && statement.is_about(&request)
            && statement.requester == caller.principal
            && statement.rule_sha256 == rule.sha256();
        if !is_as_asked {
            return Err(CHANGED);
        }
        match &read.row.end {
            ProposalEnd::None => {}
            ProposalEnd::Rejected { custodian, .. } => {
                count(asked.operation.as_str(), "refused");
                return Err(KeyError::ApprovalRejected {
                    proposal: id,
                    custodian: custodian.clone(),
                    expires: statement.expires,
                });
            }
            // The batch that marks it takes it out of the index.
            ProposalEnd::CarriedOut { .. } => return Err(CHANGED),
        }
        let lines = read.row.approvals.iter().map(|one| one.line.as_str());
        let note = note_of(&statement.approval_text(), lines);
        let approvals = match read.row.approvals.len() {
            0 => 0,
            _ => note_signers(&note, rule.custodians())
                .map_err(|_| CHANGED)?
                .1
                .len(),
        };
        if approvals < rule.threshold() {
            count(asked.operation.as_str(), "refused");
            return Err(KeyError::ApprovalNeeded {
                proposal: id,
                approvals,
                threshold: rule.threshold(),
                expires: statement.expires,
            });
        }
        let done = ProposalRow {
            end: ProposalEnd::CarriedOut { at: now },
            ..read.row.clone()
        };
        read.replace(batch, QUORUM_PROPOSALS, id.as_bytes(), &done);
        if let Some(index) = index {
            index.delete(batch, QUORUM_ASKED, &place);
        }
        *approval = Some(approval_named(id, Some(note)));
        count(asked.operation.as_str(), "approved");
        Ok(())
    }

    /// Opens a proposal over a request, and so refuses the request.
    #[expect(clippy::too_many_arguments, reason = "all that was found on the way")]
    async fn open(
        &self,
        asked: &GuardedRequest,
        request: &str,
        place: &[u8],
        earlier: Option<Read<AskedRow>>,
        found: &Found,
        caller: &Caller,
        approval: &mut Option<ApprovalNamed>,
    ) -> Result<(), KeyError> {
        let now = self.clock.now();
        let id = ProposalId::new(now, &*self.entropy);
        *approval = Some(approval_named(id, None));
        let statement = Statement::new(
            self.deployment(),
            id,
            asked,
            &caller.principal,
            found.rule.sha256(),
            [now, now + Self::PROPOSAL_AGE_MAX],
        );
        let row = ProposalRow {
            end: ProposalEnd::None,
            statement: statement.to_json(),
            request: request.to_owned(),
            approvals: Vec::new(),
        };
        let mut batch = Batch::new();
        rows::create(&mut batch, QUORUM_PROPOSALS, id.as_bytes(), &row);
        match earlier {
            Some(earlier) => earlier.replace(&mut batch, QUORUM_ASKED, place, &AskedRow(id)),
            None => rows::create(&mut batch, QUORUM_ASKED, place, &AskedRow(id)),
        }
        let mut entry = Entry::new(Event::Quorum, "propose")
            .approval(approval.clone())
            .detail(serde_json::json!({ "statement": row.statement }));
        if let Some(key) = &asked.key {
            entry = entry.key(KeyNamed::kms(key));
        }
        self.journal
            .change(&*self.meta, caller, entry, Ok(batch))
            .await?;
        count(asked.operation.as_str(), "proposed");
        Err(KeyError::ApprovalNeeded {
            proposal: id,
            approvals: 0,
            threshold: found.rule.threshold(),
            expires: statement.expires,
        })
    }

    /// Takes the approval of a custodian: `line` is the signature line of a note over
    /// [`Statement::approval_text`].
    ///
    /// # Errors
    /// [`KeyError::NoSuchProposal`]; [`KeyError::ProposalClosed`]; [`KeyError::ApprovalInvalid`]: it
    /// is not a signature of that text by a custodian; [`KeyError::ApprovedAlready`].
    /// [`KeyError::Damaged`], [`KeyError::TokenUnavailable`], [`KeyError::AuditUnavailable`],
    /// [`KeyError::NotCommitted`].
    pub async fn approve(
        &self,
        id: ProposalId,
        line: &str,
        caller: &Caller,
    ) -> Result<Proposal, KeyError> {
        self.decide(id, line, Decision::Approve, caller).await
    }

    /// Takes the rejection of a custodian, which is final: `line` is the signature line of a note
    /// over [`Statement::rejection_text`]. A custodian who has approved can still reject.
    ///
    /// # Errors
    /// As for [`Quorum::approve`].
    pub async fn reject(
        &self,
        id: ProposalId,
        line: &str,
        caller: &Caller,
    ) -> Result<Proposal, KeyError> {
        self.decide(id, line, Decision::Reject, caller).await
    }

    async fn decide(
        &self,
        id: ProposalId,
        line: &str,
        decision: Decision,
        caller: &Caller,
    ) -> Result<Proposal, KeyError> {
        let _alone = self.administration.lock().await;
        let mut told = None;
        let mut after = None;
        let mut operation = "none";
        let prepared = async {
            let found = self.found().await?.ok_or(KeyError::NoSuchProposal)?;
            let (read, statement) = self.proposal_row(id).await?;
            let proposal = proposal_of(id, &read.row, statement, Some(&found), self.clock.now());
            operation = known_operation(&proposal.statement);
            if let Some(why) = closed(&proposal.state) {
                return Err(KeyError::ProposalClosed { proposal: id, why });
            }
            let line = line.trim_end_matches('\n');
            if line.len() > Self::LINE_LEN_BYTES_MAX || line.contains('\n') {
                return Err(KeyError::ApprovalInvalid {
                    why: "it is not one signature line of a note",
                });
            }
            let text = match decision {
                Decision::Approve => proposal.statement.approval_text(),
                Decision::Reject => proposal.statement.rejection_text(),
            };
            let note = note_of(&text, [line]);
            let custodians = found.rule.custodians();
            let (_, signers) =
                note_signers(&note, custodians).map_err(|_| KeyError::ApprovalInvalid {
                    why: "the signature is not one of this proposal",
                })?;
            let [signer] = signers[..] else {
                return Err(KeyError::ApprovalInvalid {
                    why: "the signature is not by a custodian of the rule in force",
                });
            };
            let custodian = custodians[signer].origin().to_string();
            told = Some((custodian.clone(), note));
            let mut row = read.row.clone();
            let at = self.clock.now();
            match decision {
                Decision::Reject => row.end = ProposalEnd::Rejected { at, custodian },
                Decision::Approve => {
                    if row.approvals.iter().any(|one| one.custodian == custodian) {
                        return Err(KeyError::ApprovedAlready {
                            proposal: id,
                            custodian,
                        });
                    }
                    row.approvals.push(StoredApproval {
                        at,
                        custodian,
                        line: line.to_owned(),
                    });
                }
            }
            let mut batch = Batch::new();
            read.replace(&mut batch, QUORUM_PROPOSALS, id.as_bytes(), &row);
            found.read.expect(&mut batch, QUORUM_RULE, QUORUM_RULE_KEY);
            after = Some(proposal_of(id, &row, proposal.statement, Some(&found), at));
            Ok(batch)
        }
        .await;
        let act = match decision {
            Decision::Approve => "approve-proposal",
            Decision::Reject => "reject-proposal",
        };
        let (custodian, note) = told.unzip();
        let entry = Entry::new(Event::Quorum, act)
            .approval(Some(approval_named(id, note)))
            .detail(serde_json::json!({ "custodian": custodian }));
        let outcome = match (&prepared, decision) {
            (Err(_), _) => "invalid",
            (Ok(_), Decision::Approve) => "approval",
            (Ok(_), Decision::Reject) => "rejection",
        };
        self.journal
            .change(&*self.meta, caller, entry, prepared)
            .await?;
        count(operation, outcome);
        after.ok_or(KeyError::NoSuchProposal)
    }

    /// A proposal.
    ///
    /// # Errors
    /// [`KeyError::NoSuchProposal`], [`KeyError::Damaged`], [`KeyError::Metadata`],
    /// [`KeyError::TokenUnavailable`].
    pub async fn proposal(&self, id: ProposalId) -> Result<Proposal, KeyError> {
        let found = self.found().await?;
        let (read, statement) = self.proposal_row(id).await?;
        let now = self.clock.now();
        Ok(proposal_of(id, &read.row, statement, found.as_ref(), now))
    }

    /// All proposals, the newest first, at most [`Quorum::PAGE_MAX`] at once. A `marker` is the
    /// `next` of the page before.
    ///
    /// # Errors
    /// [`KeyError::InvalidReference`]: no page was ever followed by that marker. As for
    /// [`Quorum::proposal`].
    pub async fn proposals(
        &self,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<Page<Proposal>, KeyError> {
        let limit = limit.clamp(1, Self::PAGE_MAX);
        let found = self.found().await?;
        let now = self.clock.now();
        let mut scan = Scan::prefix(&[], limit + 1).reversed();
        if let Some(marker) = marker {
            let first: ProposalId = marker.parse()?;
            scan.end = Some([first.as_bytes().as_slice(), &[0]].concat());
        }
        let mut items = Vec::new();
        for row in self.meta.scan(QUORUM_PROPOSALS, scan).await? {
            let id = <[u8; ProposalId::LEN_BYTES]>::try_from(row.key.as_ref());
            let id = id.map(ProposalId).map_err(|_| CHANGED)?;
            let row: ProposalRow = rows::decoded(QUORUM_PROPOSALS, &row.row.value)?;
            let statement = self.checked(id, &row)?;
            items.push(proposal_of(id, &row, statement, found.as_ref(), now));
        }
        let next = (items.len() > limit)
            .then(|| items.pop())
            .flatten()
            .map(|first| first.id.to_string());
        Ok(Page { items, next })
    }

    async fn proposal_row(
        &self,
        id: ProposalId,
    ) -> Result<(Read<ProposalRow>, Statement), KeyError> {
        let read = rows::read::<ProposalRow>(&*self.meta, QUORUM_PROPOSALS, id.as_bytes())
            .await?
            .ok_or(KeyError::NoSuchProposal)?;
        let statement = self.checked(id, &read.row)?;
        Ok((read, statement))
    }

    /// The statement of a row, which is one of this deployment, this proposal and this request.
    fn checked(&self, id: ProposalId, row: &ProposalRow) -> Result<Statement, KeyError> {
        Statement::parse(&row.statement)
            .filter(|statement| {
                statement.proposal == id.to_string()
                    && statement.deployment == self.deployment()
                    && statement.is_about(&row.request)
            })
            .ok_or(CHANGED)
    }
}

const CHANGED: KeyError = KeyError::Damaged {
    table: QUORUM_PROPOSALS.name(),
    what: "a proposal was changed past the service",
};

/// Where the proposal over a request is found: only the same request by the same requester under
/// the same rule has that place.
fn place_of(asked: &GuardedRequest, request: &str, requester: &str, rule_sha256: &str) -> Vec<u8> {
    let whole = serde_json::json!([asked.operation.as_str(), request, requester, rule_sha256]);
    data_encoding::HEXLOWER
        .decode(sha256_of(&whole.to_string()).as_bytes())
        .expect("it is hexadecimal")
}

fn proposal_id(statement: &Statement) -> Result<ProposalId, KeyError> {
    statement.proposal.parse().map_err(|_| CHANGED)
}

fn proposal_of(
    id: ProposalId,
    row: &ProposalRow,
    statement: Statement,
    found: Option<&Found>,
    now: Timestamp,
) -> Proposal {
    let state = match &row.end {
        ProposalEnd::Rejected { at, custodian } => ProposalState::Rejected {
            custodian: custodian.clone(),
            at: *at,
        },
        ProposalEnd::CarriedOut { at } => ProposalState::CarriedOut { at: *at },
        ProposalEnd::None => match found {
            Some(found) if found.rule.sha256() == statement.rule_sha256 => {
                if statement.is_expired(now) {
                    ProposalState::Expired
                } else if row.approvals.len() >= found.rule.threshold() {
                    ProposalState::Approved
                } else {
                    ProposalState::Open
                }
            }
            _ => ProposalState::Void,
        },
    };
    Proposal {
        id,
        state,
        statement,
        request: row.request.clone(),
        approvals: row
            .approvals
            .iter()
            .map(|one| Approval {
                custodian: one.custodian.clone(),
                at: one.at,
            })
            .collect(),
    }
}

/// Why custodians can do nothing about a proposal any more.
fn closed(state: &ProposalState) -> Option<&'static str> {
    match state {
        ProposalState::Open | ProposalState::Approved => None,
        ProposalState::Rejected { .. } => Some("a custodian has rejected it"),
        ProposalState::Expired => Some("its time is over"),
        ProposalState::Void => Some("the rule that it was opened under is not in force any more"),
        ProposalState::CarriedOut { .. } => Some("it was carried out"),
    }
}

fn known_operation(statement: &Statement) -> &'static str {
    statement
        .operation
        .parse::<super::GuardedOperation>()
        .map_or("none", super::GuardedOperation::as_str)
}

fn count(operation: &'static str, outcome: &'static str) {
    metrics::counter!(
        "strongroom_quorum_total", "operation" => operation, "outcome" => outcome
    )
    .increment(1);
}
