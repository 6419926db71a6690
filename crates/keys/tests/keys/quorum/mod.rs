//! Dual control: what custodians have to approve is done with their approval only.

mod elsewhere;
mod log;
mod refusals;
mod requests;
mod sequences;

use std::time::Duration;

use strongroom_audit::{NoteSigner, Origin};
use strongroom_environment::{Clock as _, SystemEntropy};
use strongroom_keys::{
    AliasName, Backup, Caller, GuardedOperation, KeyDescription, KeyError, KeyLimits, KeyReference,
    KeyService, KeyState, KeyUseLimits, Kms, NewPolicy, NewQuorumRule, Proposal, ProposalId,
    ProposalState, Quorum, QuorumHistory, QuorumReport, Role, Standing, ensure_escrow_key,
    ensure_token_keys, restore_backup, restore_quorum_rule,
};
use strongroom_meta::{CommitFault, MetaStore, Table};
use strongroom_pkcs11::{KeyLabel, MemoryToken, Token as _};
use strongroom_testkit::FaultyToken;

use crate::imports::{external_key, import, import_until};
use crate::world::{Ground, World, caller, open_policy};

pub(crate) const RULE: Table = Table::new("quorum_rule");
pub(crate) const PROPOSALS: Table = Table::new("quorum_proposals");
const BACKUPS: Table = Table::new("kms_backups");
pub(crate) const ASKED: Table = Table::new("quorum_asked");
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn custodian(name: &str, seed: u8) -> NoteSigner {
    NoteSigner::from_seed(Origin::new(name).expect("a name"), &[seed; 32]).expect("a key")
}

/// Ada, Ben and Cleo.
pub(crate) fn custodians() -> [NoteSigner; 3] {
    [
        custodian("ada", 1),
        custodian("ben", 2),
        custodian("cleo", 3),
    ]
}

pub(crate) fn two_of(custodians: &[NoteSigner]) -> NewQuorumRule {
    NewQuorumRule {
        threshold: 2,
        custodians: custodians
            .iter()
            .map(|one| one.verifier_key().clone())
            .collect(),
        operations: GuardedOperation::ALL.to_vec(),
    }
}

/// A world in which two of three custodians have to agree.
async fn guarded() -> (World, [NoteSigner; 3]) {
    let world = World::new().await;
    let custodians = custodians();
    let set = quorum(&world.service)
        .set_rule(&two_of(&custodians), &caller())
        .await;
    set.expect("the first rule takes no approval");
    (world, custodians)
}

fn quorum(service: &KeyService) -> &std::sync::Arc<Quorum> {
    service.kms.quorum()
}

async fn schedule(service: &KeyService, key: &KeyDescription) -> Result<KeyDescription, KeyError> {
    service
        .kms
        .schedule_key_deletion(&key.id.into(), 7, &caller())
        .await
}

fn waiting<T: std::fmt::Debug>(result: Result<T, KeyError>) -> (ProposalId, usize) {
    match result {
        Err(KeyError::ApprovalNeeded {
            proposal,
            approvals,
            threshold,
            ..
        }) => {
            assert_eq!(threshold, 2);
            (proposal, approvals)
        }
        other => panic!("{other:?}"),
    }
}

async fn found(service: &KeyService, id: ProposalId) -> Proposal {
    quorum(service).proposal(id).await.expect("a proposal")
}

/// What a custodian sends who agrees.
async fn approval(service: &KeyService, id: ProposalId, custodian: &NoteSigner) -> String {
    custodian.sign(&found(service, id).await.statement.approval_text())
}

async fn approve(
    service: &KeyService,
    id: ProposalId,
    custodian: &NoteSigner,
) -> Result<Proposal, KeyError> {
    let line = approval(service, id, custodian).await;
    quorum(service).approve(id, &line, &caller()).await
}

async fn reject(
    service: &KeyService,
    id: ProposalId,
    custodian: &NoteSigner,
) -> Result<Proposal, KeyError> {
    let line = custodian.sign(&found(service, id).await.statement.rejection_text());
    quorum(service).reject(id, &line, &caller()).await
}

/// What the log says of it to somebody who has nothing but the log.
fn history(world: &World) -> QuorumReport {
    report_of(&world.entries.entries())
}

fn report_of(entries: &[Vec<u8>]) -> QuorumReport {
    let mut history = QuorumHistory::new(&strongroom_audit::MemoryLog::verifier_key());
    for (index, entry) in (0..).zip(entries) {
        history.see(index, entry);
    }
    history.finish()
}
