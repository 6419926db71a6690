//! Dual control: the custodians, and what they have to approve.

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_audit::VerifierKey;
use strongroom_environment::Timestamp;
use strongroom_keys::{
    GuardedOperation, KeyError, NewQuorumRule, Proposal, ProposalId, ProposalState, QuorumRule,
};

use super::Asked;
use crate::problem::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRule {
    threshold: usize,
    custodians: Vec<String>,
    /// Everything that can be guarded, where nothing is named.
    operations: Option<Vec<String>>,
}

/// What a custodian sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    signature: String,
}

/// The rule in force.
pub(super) async fn rule(asked: &Asked<'_>) -> Result<Value, Problem> {
    let quorum = asked.kms()?.quorum();
    let rule = quorum.rule().await?;
    Ok(json!({
        "deployment": quorum.deployment(),
        "rule": rule.map(|(rule, since)| rule_shown(&rule, Some(since))),
    }))
}

/// Puts a rule in the place of the one in force.
pub(super) async fn set_rule(asked: &Asked<'_>) -> Result<Value, Problem> {
    let new: NewRule = asked.read()?;
    let custodians = new
        .custodians
        .iter()
        .map(|text| {
            VerifierKey::parse(text).map_err(|error| {
                Problem::invalid(format!(
                    "{text:?} is not the public key of a custodian: {error}"
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    let operations = match new.operations {
        None => GuardedOperation::ALL.to_vec(),
        Some(named) => named
            .iter()
            .map(|operation| operation.parse())
            .collect::<Result<_, KeyError>>()?,
    };
    let new = NewQuorumRule {
        threshold: new.threshold,
        custodians,
        operations,
    };
    let quorum = asked.kms()?.quorum();
    let rule = quorum.set_rule(&new, &asked.caller).await?;
    Ok(json!({
        "deployment": quorum.deployment(),
        "rule": rule_shown(&rule, None),
    }))
}

/// All proposals, the newest first.
pub(super) async fn list(asked: &Asked<'_>) -> Result<Value, Problem> {
    let page = asked
        .kms()?
        .quorum()
        .proposals(asked.query.cursor(), asked.query.limit()?)
        .await?;
    let proposals: Vec<Value> = page.items.iter().map(shown).collect();
    Ok(json!({ "proposals": proposals, "next": page.next }))
}

pub(super) async fn show(asked: &Asked<'_>, id: &str) -> Result<Value, Problem> {
    let quorum = asked.kms()?.quorum();
    Ok(shown(&quorum.proposal(proposal_id(id)?).await?))
}

pub(super) async fn approve(asked: &Asked<'_>, id: &str) -> Result<Value, Problem> {
    let Signed { signature } = asked.read()?;
    let quorum = asked.kms()?.quorum();
    let approved = quorum.approve(proposal_id(id)?, &signature, &asked.caller);
    Ok(shown(&approved.await?))
}

pub(super) async fn reject(asked: &Asked<'_>, id: &str) -> Result<Value, Problem> {
    let Signed { signature } = asked.read()?;
    let quorum = asked.kms()?.quorum();
    let rejected = quorum.reject(proposal_id(id)?, &signature, &asked.caller);
    Ok(shown(&rejected.await?))
}

fn proposal_id(text: &str) -> Result<ProposalId, Problem> {
    text.parse()
        .map_err(|error| Problem::invalid(format!("{text:?} names no proposal: {error}")))
}

fn rule_shown(rule: &QuorumRule, since: Option<Timestamp>) -> Value {
    let custodians: Vec<Value> = rule
        .custodians()
        .iter()
        .map(|key| json!({ "name": key.origin().as_str(), "verifier_key": key.to_string() }))
        .collect();
    let operations: Vec<&str> = rule.operations().iter().map(|one| one.as_str()).collect();
    json!({
        "generation": rule.generation(),
        "threshold": rule.threshold(),
        "custodians": custodians,
        "operations": operations,
        "sha256": rule.sha256(),
        "since": since.map(|since| since.to_string()),
    })
}

fn shown(proposal: &Proposal) -> Value {
    let statement = &proposal.statement;
    let approvals: Vec<Value> = proposal
        .approvals
        .iter()
        .map(|one| json!({ "custodian": one.custodian, "at": one.at.to_string() }))
        .collect();
    let mut shown = json!({
        "id": proposal.id.to_string(),
        "state": proposal.state.as_str(),
        "operation": statement.operation,
        "key": statement.key,
        "requester": statement.requester,
        "opened": statement.opened,
        "expires": statement.expires,
        "approvals": approvals,
        "request": proposal.request,
        "approval_text": statement.approval_text(),
        "rejection_text": statement.rejection_text(),
    });
    match &proposal.state {
        ProposalState::Rejected { custodian, at } => {
            shown["rejected_by"] = custodian.as_str().into();
            shown["ended"] = at.to_string().into();
        }
        ProposalState::CarriedOut { at } => shown["ended"] = at.to_string().into(),
        _ => {}
    }
    shown
}
