//! Dual control: what custodians have to approve is done with their approval only.

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

#[tokio::test]
async fn without_custodians_nothing_takes_an_approval() {
    let world = World::new().await;
    let key = world.kms_key().await;
    assert_eq!(quorum(&world.service).rule().await.expect("no rule"), None);
    schedule(&world.service, &key).await.expect("scheduled");
    assert!(world.rows_of(PROPOSALS).await.is_empty());
    let entries = world.entries_since(0);
    assert!(entries.iter().all(|entry| entry.get("approval").is_none()));
    assert_eq!(history(&world), QuorumReport::default());
}

#[tokio::test]
async fn a_guarded_request_is_carried_out_once_when_enough_have_approved() {
    let (world, [ada, ben, _]) = guarded().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let (id, approvals) = waiting(schedule(service, &key).await);
    assert_eq!(approvals, 0);
    // Asked again it is the same proposal, and asking is no approval.
    assert_eq!(waiting(schedule(service, &key).await), (id, 0));
    let one = approve(service, id, &ada).await.expect("taken");
    assert_eq!((one.state, one.approvals.len()), (ProposalState::Open, 1));
    assert_eq!(waiting(schedule(service, &key).await), (id, 1));
    let twice = approve(service, id, &ada).await;
    assert!(
        matches!(twice, Err(KeyError::ApprovedAlready { .. })),
        "{twice:?}"
    );
    assert_eq!(waiting(schedule(service, &key).await), (id, 1));
    let two = approve(service, id, &ben).await.expect("taken");
    assert_eq!(two.state, ProposalState::Approved);
    let described = service.kms.describe_key(&key.id.into()).await;
    assert_eq!(described.expect("a key").state, KeyState::Enabled);

    let done = schedule(service, &key).await.expect("it is carried out");
    assert!(matches!(done.state, KeyState::PendingDeletion { .. }));
    let at = world.clock.now();
    let state = found(service, id).await.state;
    assert_eq!(state, ProposalState::CarriedOut { at });
    // Once: the same request is a new proposal.
    let canceled = service
        .kms
        .cancel_key_deletion(&key.id.into(), &caller())
        .await;
    canceled.expect("canceled");
    world.clock.pass(Duration::from_secs(1));
    let (next, approvals) = waiting(schedule(service, &key).await);
    assert_eq!((next != id, approvals), (true, 0));
    let closed = approve(service, id, &ben).await;
    assert!(
        matches!(closed, Err(KeyError::ProposalClosed { .. })),
        "{closed:?}"
    );
    let listed = quorum(service).proposals(None, 1).await.expect("a page");
    assert_eq!(listed.items[0].id, next);
    let rest = quorum(service).proposals(listed.next.as_deref(), 1).await;
    let rest = rest.expect("a page");
    assert_eq!((rest.items[0].id, rest.next), (id, None));

    let report = history(&world);
    assert_eq!(
        (&report.findings[..], &report.remarks[..]),
        (&[][..], &[][..])
    );
    let [act] = &report.acts[..] else {
        panic!("{report:#?}");
    };
    assert_eq!(act.operation, GuardedOperation::ScheduleKeyDeletion);
    assert_eq!(act.key.as_deref(), Some(key.arn.as_str()));
    assert_eq!(
        (&*act.requester, &act.custodians[..]),
        ("SRAKTEST", &["ada".to_owned(), "ben".to_owned()][..])
    );
    assert_eq!(
        report.rule,
        quorum(service)
            .rule()
            .await
            .expect("a rule")
            .map(|(rule, _)| rule)
    );
}

#[tokio::test]
async fn every_guarded_operation_waits_for_custodians() {
    let (world, [ada, ben, cleo]) = guarded().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let policy = NewPolicy {
        // Long enough that the statement has its hash alone.
        document: open_policy() + &" ".repeat(5_000),
        bypass_lockout_check: false,
    };
    let put = async || {
        let name = Kms::POLICY_NAME;
        service
            .kms
            .put_key_policy(&key.id.into(), name, &policy, &caller())
            .await
    };
    let (id, _) = waiting(put().await);
    let proposal = found(service, id).await;
    assert_eq!(proposal.statement.request, None);
    assert!(proposal.request.contains(&" ".repeat(5_000)));
    approve(service, id, &cleo).await.expect("taken");
    approve(service, id, &ben).await.expect("taken");
    put().await.expect("the policy is put");

    let limits = KeyUseLimits {
        uses_max: Some(7),
        ..KeyUseLimits::default()
    };
    let limit = async || {
        service
            .kms
            .set_limits(&key.id.into(), limits, &caller())
            .await
    };
    let (id, _) = waiting(limit().await);
    approve(service, id, &ada).await.expect("taken");
    approve(service, id, &ben).await.expect("taken");
    limit().await.expect("the limits are set");

    // The rule itself, by the rule as it is. Open proposals end with it.
    let (left, _) = waiting(schedule(service, &key).await);
    approve(service, left, &ada).await.expect("taken");
    approve(service, left, &ben).await.expect("taken");
    let dora = custodian("dora", 4);
    let mut fewer = two_of(&[ada, dora]);
    fewer.operations = vec![GuardedOperation::ScheduleKeyDeletion];
    let change = async || quorum(service).set_rule(&fewer, &caller()).await;
    let (id, _) = waiting(change().await);
    approve(service, id, &ben).await.expect("taken");
    let line = approval(service, id, &custodian("dora", 4)).await;
    let foreign = quorum(service).approve(id, &line, &caller()).await;
    assert!(
        matches!(foreign, Err(KeyError::ApprovalInvalid { .. })),
        "{foreign:?}"
    );
    approve(service, id, &cleo).await.expect("taken");
    let rule = change().await.expect("the rule is changed");
    assert_eq!(rule.generation(), 2);
    assert_eq!(
        rule.operations(),
        [
            GuardedOperation::ScheduleKeyDeletion,
            GuardedOperation::ChangeQuorumRule
        ]
    );
    assert_eq!(found(service, left).await.state, ProposalState::Void);
    assert_ne!(waiting(schedule(service, &key).await).0, left);
    put().await.expect("nobody guards policies any more");
    // The same again changes nothing, whoever asks.
    let again = change().await.expect("it is in force");
    assert_eq!(again, rule);

    let report = history(&world);
    assert!(
        report.findings.is_empty() && report.remarks.is_empty(),
        "{report:#?}"
    );
    assert_eq!((report.acts.len(), report.rule), (3, Some(rule)));
}

#[tokio::test]
async fn imported_material_is_taken_away_when_custodians_agree() {
    let (world, [ada, ben, _]) = guarded().await;
    let service = &world.service;
    let key: KeyReference = external_key(&service.kms).await.id.into();
    let material = import(&world, &key, 7).await;
    let delete = async |named| {
        let who = caller();
        let deleted = service.kms.delete_imported_key_material(&key, named, &who);
        deleted.await.map(|(described, _)| described.state)
    };
    let (id, _) = waiting(delete(Some(material)).await);
    let members: serde_json::Value =
        serde_json::from_str(&found(service, id).await.request).expect("JSON");
    assert_eq!(members["key_material_id"], material.to_string());
    // The current one is meant, whichever that is at the time.
    assert_eq!(waiting(delete(None).await).0, id);
    approve(service, id, &ada).await.expect("taken");
    assert_eq!(waiting(delete(Some(material)).await), (id, 1));
    let described = service.kms.describe_key(&key).await.expect("a key");
    assert_eq!(described.state, KeyState::Enabled);
    approve(service, id, &ben).await.expect("taken");
    let deleted = delete(Some(material)).await.expect("deleted");
    assert_eq!(deleted, KeyState::PendingImport);
    let told = history(&world);
    assert_eq!((told.acts.len(), told.findings), (1, Vec::new()));
    // The clock asks nobody.
    let expires = world.ground.clock.now() + DAY;
    import_until(&world, &key, 7, expires).await;
    world.ground.clock.pass(2 * DAY);
    let done = service.kms.run_due(&Caller::daemon("due")).await;
    assert_eq!(done.expect("it ran").expired.len(), 1);
    assert_eq!(history(&world).findings, Vec::new());
}

#[tokio::test]
async fn a_backup_is_approved_once_and_gone_on_with_by_who_has_begun_it() {
    let (world, [ada, ben, _]) = guarded().await;
    for _ in 0..105 {
        world.kms_key().await;
    }
    let escrow = MemoryToken::new();
    let recipient = ensure_escrow_key(&escrow).await.expect("an escrow key");
    let kms = &world.service.kms;
    let page = async |recipient: &[u8], backup: &str, after: Option<&str>, who: &Caller| {
        kms.backup_page(recipient, backup, after, who).await
    };
    let id = Backup::new_id(&SystemEntropy);
    let (proposal, _) = waiting(page(&recipient, &id, None, &caller()).await);
    for custodian in [&ada, &ben] {
        let taken = approve(&world.service, proposal, custodian).await;
        taken.expect("taken");
    }
    // Nobody begins in the middle.
    let middle = format!("{}/1", world.kms_key().await.id);
    let refused = page(&recipient, &id, Some(&middle), &caller()).await;
    assert_eq!(refused.expect_err("not begun").code(), "invalid-request");
    // They have agreed to this escrow key, and not to another one.
    let other = ensure_escrow_key(&MemoryToken::new()).await.expect("a key");
    assert_ne!(
        waiting(page(&other, &id, None, &caller()).await).0,
        proposal
    );
    let first = page(&recipient, &id, None, &caller())
        .await
        .expect("a page");
    let after = first.next.as_deref();
    assert!(after.is_some());
    let stranger = Caller {
        principal: "SRAKOTHER".into(),
        ..caller()
    };
    let another = Backup::new_id(&SystemEntropy);
    for (recipient, backup, who) in [
        (&recipient, &id, &stranger),
        (&other, &id, &caller()),
        (&recipient, &another, &caller()),
    ] {
        let refused = page(recipient, backup, after, who).await;
        assert_eq!(refused.expect_err("not begun so").code(), "invalid-request");
    }
    let second = page(&recipient, &id, after, &caller()).await;
    let pages = [first.clone(), second.expect("a page")];
    let vkey = &strongroom_audit::MemoryLog::verifier_key();
    Backup::verify(&pages, vkey).expect("it is whole");
    let told = history(&world);
    assert_eq!((told.acts.len(), told.findings), (1, Vec::new()));
    // An approval is for one backup, and that for a day.
    waiting(page(&recipient, &another, None, &caller()).await);
    // A first page that was lost on its way is given out again.
    let again = page(&recipient, &id, None, &caller()).await;
    assert_eq!(again.expect("a page").next, first.next);
    assert_eq!(history(&world).findings, Vec::new());
    // The row by itself is no approval.
    let rows = world.rows_of(BACKUPS).await;
    let mut forged = rows[0].row.value.to_vec();
    forged[1] ^= 1;
    world.set(BACKUPS, &rows[0].key, Some(&forged)).await;
    let refused = page(&recipient, &id, after, &caller()).await;
    assert_eq!(refused.expect_err("forged").code(), "damaged");
    world
        .set(BACKUPS, &rows[0].key, Some(&rows[0].row.value))
        .await;
    world.ground.clock.pass(DAY);
    let late = page(&recipient, &id, after, &caller()).await;
    assert_eq!(late.expect_err("too late").code(), "invalid-request");
    // On the log a page without its beginning is found out.
    let entries = world.entries.entries();
    let begun = |entry: &Vec<u8>| {
        let entry: serde_json::Value = serde_json::from_slice(entry).expect("JSON");
        entry["use"] == "backup-keys" && entry["outcome"] == "granted"
    };
    let without: Vec<_> = entries.into_iter().filter(|entry| !begun(entry)).collect();
    let told = report_of(&without);
    assert_eq!((told.acts.len(), told.findings.len()), (0, 2), "{told:?}");
}

#[tokio::test]
async fn a_backup_that_was_begun_without_custodians_is_not_gone_on_with_under_them() {
    let world = World::new().await;
    for _ in 0..105 {
        world.kms_key().await;
    }
    let recipient = ensure_escrow_key(&MemoryToken::new()).await.expect("a key");
    let (kms, id) = (&world.service.kms, Backup::new_id(&SystemEntropy));
    let first = kms.backup_page(&recipient, &id, None, &caller()).await;
    let after = first.expect("a page").next;
    let (rule, who) = (two_of(&custodians()), caller());
    let set = quorum(&world.service).set_rule(&rule, &who);
    set.await.expect("the first rule");
    let second = kms.backup_page(&recipient, &id, after.as_deref(), &who);
    let refused = second.await.expect_err("custodians have to agree now");
    assert!(refused.to_string().contains("begin it anew"), "{refused}");
    assert_eq!(history(&world).findings, Vec::new());
}

#[tokio::test]
async fn custodians_stay_when_another_token_takes_the_keys_over() {
    let (world, [ada, ben, cleo]) = guarded().await;
    let key = world.kms_key().await;
    let escrow = std::sync::Arc::new(MemoryToken::new());
    let recipient = ensure_escrow_key(&*escrow).await.expect("an escrow key");
    let (kms, id) = (&world.service.kms, Backup::new_id(&SystemEntropy));
    let page = async || kms.backup_page(&recipient, &id, None, &caller()).await;
    let (proposal, _) = waiting(page().await);
    for custodian in [&ada, &ben] {
        let taken = approve(&world.service, proposal, custodian).await;
        taken.expect("taken");
    }
    let pages = [page().await.expect("a page")];
    let (open, _) = waiting(schedule(&world.service, &key).await);
    approve(&world.service, open, &ada).await.expect("taken");

    let vkey = strongroom_audit::MemoryLog::verifier_key();
    let backup = Backup::verify(&pages, &vkey).expect("it is whole");
    ensure_token_keys(&*escrow).await.expect("keys of its own");
    let meta = std::sync::Arc::clone(&world.ground.meta) as std::sync::Arc<dyn MetaStore>;
    restore_backup(&*escrow, &meta, &backup)
        .await
        .expect("restored");
    let ground = Ground {
        token: FaultyToken::new(std::sync::Arc::clone(&escrow) as _),
        ..world.ground.clone()
    };
    // The lost token vouched for the rule, so nothing that it may guard is done.
    let service = ground.start(KeyLimits::default()).await.expect("it starts");
    let refused = schedule(&service, &key).await.expect_err("no rule");
    assert_eq!(refused.code(), "damaged");
    drop(service);
    let rule = history(&world).rule.expect("the log tells of it");
    let now = world.ground.clock.now();
    for _ in 0..2 {
        restore_quorum_rule(&*escrow, &*meta, &rule, &vkey, now)
            .await
            .expect("the rule is in force");
    }
    let service = ground.start(KeyLimits::default()).await.expect("it starts");
    let (in_force, _) = quorum(&service).rule().await.expect("a rule").expect("one");
    assert_eq!(in_force, rule);
    let (again, approvals) = waiting(schedule(&service, &key).await);
    assert_ne!((again, approvals), (open, 1), "proposals are made anew");
    for custodian in [&ben, &cleo] {
        approve(&service, again, custodian).await.expect("taken");
    }
    schedule(&service, &key).await.expect("scheduled");
    // Nobody takes the rule away with its row.
    world
        .set(RULE, &world.rows_of(RULE).await[0].key, None)
        .await;
    let refused = schedule(&service, &world.kms_key().await).await;
    assert_eq!(refused.expect_err("no rule").code(), "damaged");
}

#[tokio::test]
async fn what_fails_takes_back_nothing_but_itself() {
    let (world, [ada, ben, _]) = guarded().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let (id, _) = waiting(schedule(service, &key).await);
    for custodian in [&ada, &ben] {
        approve(service, id, custodian).await.expect("taken");
    }
    schedule(service, &key).await.expect("scheduled");
    let before = history(&world);
    assert_eq!((before.acts.len(), before.findings.len()), (1, 0));
    // Later requests that fail before anything was done.
    let entries = world.entries.entries();
    let told = |entry: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(entry).expect("JSON");
    let done = entries
        .iter()
        .map(told)
        .find(|entry| entry["use"] == "schedule-key-deletion" && entry["outcome"] == "granted");
    let mut rule = entries
        .iter()
        .map(told)
        .find(|entry| entry["use"] == "change-quorum-rule");
    for later in [
        &mut done.expect("its entry"),
        rule.as_mut().expect("its entry"),
    ] {
        later["outcome"] = "failed".into();
        later["request_id"] = "another-request".into();
        let mut all = entries.clone();
        all.push(serde_json::to_vec(later).expect("JSON"));
        let after = report_of(&all);
        assert_eq!(
            (after.acts.len(), &after.rule),
            (1, &before.rule),
            "{after:?}"
        );
        assert_eq!(after.findings, Vec::new());
    }
    // A rule that was not approved is not taken for the one in force.
    let mut forged = entries
        .iter()
        .map(told)
        .find(|entry| entry["use"] == "change-quorum-rule");
    let forged = forged.as_mut().expect("its entry");
    let eve = two_of(&[custodian("eve", 7), custodian("mallory", 8)]);
    let other = World::new().await;
    let document = quorum(&other.service).set_rule(&eve, &caller()).await;
    forged["detail"]["rule"] = document.expect("a rule").document().into();
    let mut all = entries.clone();
    all.push(serde_json::to_vec(forged).expect("JSON"));
    let after = report_of(&all);
    assert_eq!((after.rule, after.findings.len()), (before.rule, 1));
}

#[tokio::test]
async fn approvals_are_of_the_key_that_the_log_had_at_the_time() {
    let (world, [ada, ben, _]) = guarded().await;
    let key = world.kms_key().await;
    let (id, _) = waiting(schedule(&world.service, &key).await);
    for custodian in [&ada, &ben] {
        let taken = approve(&world.service, id, custodian).await;
        taken.expect("taken");
    }
    schedule(&world.service, &key).await.expect("scheduled");
    let own = strongroom_audit::MemoryLog::verifier_key();
    let other = custodian("example.com/audit", 9).verifier_key().to_string();
    let handed = async |from: &str, to: &str| {
        let detail = serde_json::json!({ "former_verifier_key": from, "verifier_key": to });
        let who = caller();
        let told = world.service.log_event("restore", detail, &who);
        told.await.expect("logged");
    };
    let findings = |vkey: &str| {
        let mut history = QuorumHistory::new(vkey);
        for (index, entry) in (0..).zip(world.entries.entries()) {
            history.see(index, &entry);
        }
        let report = history.finish();
        (report.acts.len(), report.findings.len())
    };
    assert_eq!(findings(&own), (1, 0));
    assert_eq!(findings(&other), (0, 1));
    handed(&own, &other).await;
    assert_eq!(findings(&other), (1, 0));
    assert_eq!(findings(&own).1, 1, "it has another key since");
    // A restore that is repeated hands nothing over.
    handed(&own, &other).await;
    assert_eq!(findings(&other), (1, 0));
    // Handed over by a key that it did not have any more.
    let third = custodian("example.com/audit", 8).verifier_key().to_string();
    handed(&own, &third).await;
    assert_eq!(findings(&third).1, 1);
}

#[tokio::test]
async fn an_approval_is_good_for_exactly_one_request() {
    let (world, [ada, ben, _]) = guarded().await;
    let service = &world.service;
    let (key, other) = (world.kms_key().await, world.kms_key().await);
    let alias = AliasName::new("alias/a").expect("a name");
    let made = service
        .kms
        .create_alias(&alias, &key.id.into(), &caller())
        .await;
    made.expect("an alias");
    let by_alias = async |days: u32, who: &Caller| {
        let alias = "alias/a".parse().expect("a reference");
        service.kms.schedule_key_deletion(&alias, days, who).await
    };
    let (id, _) = waiting(by_alias(7, &caller()).await);
    for custodian in [&ada, &ben] {
        approve(service, id, custodian).await.expect("taken");
    }
    // Another waiting time, another requester, another key under the same alias.
    assert_ne!(waiting(by_alias(8, &caller()).await).0, id);
    let administrator = Caller {
        principal: "administrator".into(),
        standing: Standing::Root,
        ..caller()
    };
    assert_ne!(waiting(by_alias(7, &administrator).await).0, id);
    let turned = service
        .kms
        .update_alias(&alias, &other.id.into(), &caller())
        .await;
    turned.expect("it names the other");
    assert_ne!(waiting(by_alias(7, &caller()).await).0, id);
    let described = service.kms.describe_key(&other.id.into()).await;
    assert_eq!(described.expect("a key").state, KeyState::Enabled);
    // However the key is named, it is the same request.
    schedule(service, &key).await.expect("it is carried out");
    // Whoever may not do it at all opens no proposal.
    let proposals = world.rows_of(PROPOSALS).await.len();
    let user = Caller {
        standing: Standing::User(Role::User),
        ..caller()
    };
    let denied = service
        .kms
        .schedule_key_deletion(&other.id.into(), 7, &user)
        .await;
    assert!(matches!(denied, Err(KeyError::AccessDenied { .. })));
    let denied = quorum(service).set_rule(&two_of(&[ada, ben]), &user).await;
    assert!(matches!(denied, Err(KeyError::AccessDenied { .. })));
    assert_eq!(world.rows_of(PROPOSALS).await.len(), proposals);
}

#[tokio::test]
async fn bad_approvals_are_refused_logged_and_change_nothing() {
    let (world, [ada, ben, _]) = guarded().await;
    let service = &world.service;
    let (key, other) = (world.kms_key().await, world.kms_key().await);
    let (id, _) = waiting(schedule(service, &key).await);
    let (elsewhere, _) = waiting(schedule(service, &other).await);
    let statement = found(service, id).await.statement;
    let text = statement.approval_text();
    let good = ada.sign(&text);
    let changed = |what: &str, with: &str| {
        let altered = text.replacen(what, with, 1);
        assert_ne!(altered, text, "{what}");
        ada.sign(&altered)
    };
    let deployment = strongroom_audit::MemoryLog::verifier_key();
    let mut cut = good.clone();
    cut.truncate(good.len() - 5);
    for (line, what) in [
        (String::new(), "nothing"),
        ("\n".into(), "an empty line"),
        (text.clone(), "the text"),
        ("x".repeat(600), "something long"),
        (cut, "half of a signature"),
        (format!("{good}{}", ben.sign(&text)), "two lines"),
        (custodian("eve", 9).sign(&text), "a stranger"),
        (
            custodian("ada", 9).sign(&text),
            "a stranger with a custodian's name",
        ),
        (
            custodian("eve", 1).sign(&text),
            "a custodian's key under another name",
        ),
        (ada.sign(&statement.rejection_text()), "a rejection"),
        (ada.sign(&statement.to_json()), "the bare statement"),
        (
            approval(service, elsewhere, &ada).await,
            "of another proposal",
        ),
        (
            changed(&deployment, "elsewhere+00000000+AA"),
            "of another deployment",
        ),
        (changed("\"days\": 7", "\"days\": 30"), "of another request"),
        (changed("SRAKTEST", "SRAKEVE"), "for another requester"),
        (changed("2027-01-22", "2027-02-22"), "with another end"),
    ] {
        let before = world.entry_count();
        let rows = world.rows_of(PROPOSALS).await;
        for result in [
            quorum(service).approve(id, &line, &caller()).await,
            // The text of an approval is no rejection either.
            match what {
                "a rejection" => Err(KeyError::ApprovalInvalid { why: "" }),
                _ => quorum(service).reject(id, &line, &caller()).await,
            },
        ] {
            assert!(
                matches!(result, Err(KeyError::ApprovalInvalid { .. })),
                "{what}: {result:?}"
            );
        }
        assert_eq!(world.rows_of(PROPOSALS).await, rows, "{what}");
        let entries = world.entries_since(before);
        assert!(!entries.is_empty());
        for entry in entries {
            assert_eq!(entry["event"], "quorum");
            assert_eq!(entry["outcome"], "refused", "{what}");
            assert_eq!(entry["reason"], "approval-invalid", "{what}");
        }
    }
    let nobody = quorum(service)
        .approve(ProposalId([7; 16]), &good, &caller())
        .await;
    assert!(matches!(nobody, Err(KeyError::NoSuchProposal)));
    assert_eq!(waiting(schedule(service, &key).await), (id, 0));
    quorum(service)
        .approve(id, &good, &caller())
        .await
        .expect("the good one");
}

#[tokio::test]
async fn a_rejection_is_final_and_time_ends_a_proposal() {
    let (world, [ada, ben, cleo]) = guarded().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let (id, _) = waiting(schedule(service, &key).await);
    for custodian in [&ada, &ben] {
        approve(service, id, custodian).await.expect("taken");
    }
    // Also where enough have approved, and by one of those.
    let rejected = reject(service, id, &ben).await.expect("taken");
    assert!(
        matches!(rejected.state, ProposalState::Rejected { custodian, .. } if custodian == "ben")
    );
    for _ in 0..2 {
        let refused = schedule(service, &key).await;
        assert!(
            matches!(refused, Err(KeyError::ApprovalRejected { .. })),
            "{refused:?}"
        );
    }
    for again in [
        approve(service, id, &cleo).await,
        reject(service, id, &cleo).await,
    ] {
        assert!(matches!(again, Err(KeyError::ProposalClosed { .. })));
    }
    world.clock.pass(Quorum::PROPOSAL_AGE_MAX);
    let (next, _) = waiting(schedule(service, &key).await);
    assert_ne!(next, id);
    for custodian in [&ada, &cleo] {
        approve(service, next, custodian).await.expect("taken");
    }
    world.clock.pass(Quorum::PROPOSAL_AGE_MAX);
    assert_eq!(found(service, next).await.state, ProposalState::Expired);
    let late = approve(service, next, &ben).await;
    assert!(matches!(late, Err(KeyError::ProposalClosed { .. })));
    let (last, approvals) = waiting(schedule(service, &key).await);
    assert_eq!((last != next, approvals), (true, 0));
    assert!(history(&world).acts.is_empty());
}

#[tokio::test]
async fn rows_changed_past_the_service_lower_nothing() {
    let (world, [ada, ben, _]) = guarded().await;
    let key = world.kms_key().await;
    let (id, _) = waiting(schedule(&world.service, &key).await);
    approve(&world.service, id, &ada).await.expect("taken");
    let rule = world.rows_of(RULE).await.remove(0);
    let whole = rule.row.value.to_vec();
    let lowered = [
        None,
        Some(
            String::from_utf8_lossy(&whole)
                .replace("\"threshold\":2", "\"threshold\":1")
                .into_bytes(),
        ),
        Some(whole[..whole.len() - 1].to_vec()),
        Some([&[2], &whole[1..]].concat()),
        // Another time for the same rule, and another MAC.
        Some([&whole[..8], &[whole[8] ^ 1], &whole[9..]].concat()),
        Some([&whole[..whole.len() - 1], &[whole[whole.len() - 1] ^ 1]].concat()),
    ];
    for value in lowered {
        world.set(RULE, b"rule", value.as_deref()).await;
        // Also after a start, which only the mark on the token knows of.
        let restarted = world.restarted().await.expect("it starts");
        for service in [&world.service, &restarted] {
            let refused = schedule(service, &key).await;
            assert!(
                matches!(refused, Err(KeyError::Damaged { .. })),
                "{refused:?}"
            );
            let eve = [custodian("eve", 8), custodian("eva", 9)];
            let refused = quorum(service).set_rule(&two_of(&eve), &caller()).await;
            assert!(
                matches!(refused, Err(KeyError::Damaged { .. })),
                "{refused:?}"
            );
        }
    }
    world.set(RULE, b"rule", Some(&whole)).await;

    // A proposal that was changed approves nothing.
    let row = world.rows_of(PROPOSALS).await.remove(0);
    let value = String::from_utf8_lossy(&row.row.value).into_owned();
    let damages = [
        row.row.value.replace_all(b"\"days\": 7", b"\"days\": 8"),
        row.row.value.replace_all(b"\"days\":7", b"\"days\":8"),
        row.row.value.replace_all(b"2027-01-22", b"2099-01-22"),
        row.row.value.replace_all(b"SRAKTEST", b"SRAKTESS"),
        row.row.value.replace_all(b"ada", b"adb"),
    ];
    assert!(value.contains("ada"));
    for damaged in damages {
        assert_ne!(damaged, row.row.value.to_vec());
        world.set(PROPOSALS, &row.key, Some(&damaged)).await;
        approve_whatever(&world, id, &ben).await;
        let refused = schedule(&world.service, &key).await;
        assert!(
            matches!(
                refused,
                Err(KeyError::Damaged { .. } | KeyError::ApprovalNeeded { .. })
            ),
            "{refused:?}"
        );
        world.set(PROPOSALS, &row.key, Some(&row.row.value)).await;
    }
    approve(&world.service, id, &ben).await.expect("taken");
    schedule(&world.service, &key)
        .await
        .expect("it is carried out");
}

/// The approval of a custodian over the statement as it is in the row now, taken or not.
async fn approve_whatever(world: &World, id: ProposalId, custodian: &NoteSigner) {
    if let Ok(proposal) = quorum(&world.service).proposal(id).await {
        let line = custodian.sign(&proposal.statement.approval_text());
        let _ = quorum(&world.service).approve(id, &line, &caller()).await;
    }
}

trait ReplaceAll {
    fn replace_all(&self, what: &[u8], with: &[u8]) -> Vec<u8>;
}

impl ReplaceAll for [u8] {
    fn replace_all(&self, what: &[u8], with: &[u8]) -> Vec<u8> {
        assert_eq!(what.len(), with.len());
        let mut bytes = self.to_vec();
        for at in 0..bytes.len() {
            if bytes[at..].starts_with(what) {
                bytes[at..at + what.len()].copy_from_slice(with);
            }
        }
        bytes
    }
}

#[tokio::test]
async fn the_mark_on_the_token_is_made_up_for_when_the_first_rule_was_cut_short() {
    let world = World::new().await;
    let mark = KeyLabel("strongroom-quorum-1".into());
    let custodians = custodians();
    let has_mark = async || world.token.has_key(&mark).await.expect("it answers");
    // The rule is not written: no rule, no mark.
    world.meta.fail_commit(0, CommitFault::Unavailable);
    let set = async |service: &KeyService| {
        quorum(service)
            .set_rule(&two_of(&custodians), &caller())
            .await
    };
    set(&world.service).await.expect_err("the commit fails");
    assert!(!has_mark().await);
    assert_eq!(
        world
            .restarted()
            .await
            .expect("it starts")
            .kms
            .quorum()
            .rule()
            .await
            .expect("none"),
        None
    );
    // The rule is written, and the end comes before anybody knows.
    world.meta.fail_commit(0, CommitFault::UnknownApplied);
    set(&world.service).await.expect_err("nobody knows");
    world.meta.reopen();
    assert!(!has_mark().await);
    let service = world.restarted().await.expect("it starts");
    assert!(has_mark().await);
    assert!(quorum(&service).rule().await.expect("a rule").is_some());
    set(&service).await.expect("it is in force");
    let report = history(&world);
    assert!(report.rule.is_some());
}

#[tokio::test]
async fn an_act_that_was_cut_short_is_carried_out_when_it_is_asked_again() {
    for fault in [
        CommitFault::Unavailable,
        CommitFault::Conflict,
        CommitFault::UnknownNotApplied,
        CommitFault::UnknownApplied,
    ] {
        let (world, [ada, ben, _]) = guarded().await;
        let key = world.kms_key().await;
        let (id, _) = waiting(schedule(&world.service, &key).await);
        for custodian in [&ada, &ben] {
            approve(&world.service, id, custodian).await.expect("taken");
        }
        world.meta.fail_commit(0, fault);
        schedule(&world.service, &key)
            .await
            .expect_err("it is cut short");
        world.meta.reopen();
        let service = world.restarted().await.expect("it starts");
        let described = service.kms.describe_key(&key.id.into()).await;
        let is_done = matches!(
            described.expect("a key").state,
            KeyState::PendingDeletion { .. }
        );
        assert_eq!(is_done, fault == CommitFault::UnknownApplied);
        let state = found(&service, id).await.state;
        // Both, or neither.
        assert_eq!(is_done, matches!(state, ProposalState::CarriedOut { .. }));
        if !is_done {
            schedule(&service, &key)
                .await
                .expect("it is still approved");
        }
        let report = history(&world);
        assert!(report.findings.is_empty(), "{fault:?} {report:#?}");
        assert!(report.acts.len() <= 1, "{report:#?}");
    }
}

#[tokio::test]
async fn the_end_of_the_process_between_entry_and_change_is_told_apart_from_a_replay() {
    let (world, [ada, ben, _]) = guarded().await;
    let key = world.kms_key().await;
    let (id, _) = waiting(schedule(&world.service, &key).await);
    for custodian in [&ada, &ben] {
        approve(&world.service, id, custodian).await.expect("taken");
    }
    let before: Vec<_> = [
        RULE,
        PROPOSALS,
        ASKED,
        Table::new("kms_keys"),
        Table::new("kms_due"),
    ]
    .into();
    let mut rows = Vec::new();
    for table in before {
        for row in world.rows_of(table).await {
            rows.push((table, row.key.to_vec(), row.row.value.to_vec()));
        }
    }
    schedule(&world.service, &key)
        .await
        .expect("it is carried out");
    // The rows as they were: as after a crash before the commit, or put back by somebody.
    let put_back = async || {
        for row in world.rows_of(Table::new("kms_due")).await {
            world.set(Table::new("kms_due"), &row.key, None).await;
        }
        for (table, key, value) in &rows {
            world.set(*table, key, Some(value)).await;
        }
    };
    put_back().await;
    let service = world.restarted().await.expect("it starts");
    schedule(&service, &key)
        .await
        .expect("it is still approved");
    let report = history(&world);
    assert_eq!(
        (
            report.findings.len(),
            report.remarks.len(),
            report.acts.len()
        ),
        (0, 1, 2),
        "{report:#?}"
    );
    assert!(report.remarks[0].what.contains(&id.to_string()));
    // Without a start between them nobody can have been cut short.
    put_back().await;
    schedule(&service, &key)
        .await
        .expect("somebody has put the rows back");
    let report = history(&world);
    assert_eq!(report.findings.len(), 1, "{report:#?}");
    assert!(report.findings[0].what.contains("already"));
}

#[tokio::test]
async fn a_log_that_tells_of_less_than_the_rule_asks_for_is_found_out() {
    let (world, [ada, ben, cleo]) = guarded().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let (id, _) = waiting(schedule(service, &key).await);
    for custodian in [&ada, &ben] {
        approve(service, id, custodian).await.expect("taken");
    }
    schedule(service, &key).await.expect("it is carried out");
    let entries = world.entries.entries();
    assert!(report_of(&entries).findings.is_empty());
    let last = entries.len() - 1;
    let entry: serde_json::Value = serde_json::from_slice(&entries[last]).expect("JSON");
    let note = entry["approval"]["note"]
        .as_str()
        .expect("a note")
        .to_owned();
    let (text, lines) = note.rsplit_once("\n\n").expect("a note");
    let one = lines.lines().next().expect("a line");
    let other_text = format!("{}\n", text.replace("\"days\": 7", "\"days\": 8"));
    let resigned = format!(
        "{other_text}\n{}{}",
        ada.sign(&other_text),
        cleo.sign(&other_text)
    );
    let tampered = |at: &str, with: serde_json::Value| {
        let mut entry = entry.clone();
        *entry.pointer_mut(at).expect("it is there") = with;
        entry
    };
    for (entry, what) in [
        (
            tampered("/approval", serde_json::json!(null)),
            "without the approval",
        ),
        (
            tampered("/approval/note", format!("{text}\n\n{one}\n").into()),
            "fewer custodians",
        ),
        (
            tampered("/approval/note", format!("{text}\n\n{one}\n{one}\n").into()),
            "fewer custodians",
        ),
        (
            tampered(
                "/approval/note",
                note.replace("\"days\": 7", "\"days\": 8").into(),
            ),
            "signature",
        ),
        (tampered("/approval/note", resigned.into()), "another hash"),
        (
            tampered(
                "/key/arn",
                "arn:aws:kms:test-1:000000000000:key/other".into(),
            ),
            "another key",
        ),
        (
            tampered("/principal", "SRAKEVE".into()),
            "another requester",
        ),
        (
            tampered("/use", "put-key-policy".into()),
            "another operation",
        ),
        (
            tampered("/time", "2027-02-15T08:00:00.000000Z".into()),
            "another time",
        ),
    ] {
        let mut entries = entries.clone();
        entries[last] = entry.to_string().into_bytes();
        let report = report_of(&entries);
        assert_eq!(report.findings.len(), 1, "{what}: {report:#?}");
        assert!(
            report.findings[0].what.contains(what),
            "{what}: {report:#?}"
        );
        assert_eq!(report.findings[0].entry, last as u64);
    }
    // Of another deployment the whole history is.
    let mut history = QuorumHistory::new("elsewhere+00000000+AA");
    for (index, entry) in (0..).zip(&entries) {
        history.see(index, entry);
    }
    assert_eq!(history.finish().findings.len(), 1);
    // A service that is started under another rule than the log tells of.
    let start = entries
        .iter()
        .find(|entry| String::from_utf8_lossy(entry).contains("\"use\":\"start\""));
    let more = [&entries[..], &[start.expect("a start").clone()]].concat();
    let report = report_of(&more);
    assert!(
        report.findings[0].what.contains("another rule"),
        "{report:#?}"
    );
}

#[tokio::test]
async fn an_entry_that_tells_of_something_else_than_was_approved_is_found_out() {
    let (world, [ada, ben, cleo]) = guarded().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let approved = async |id| {
        for custodian in [&ada, &ben] {
            approve(service, id, custodian).await.expect("taken");
        }
    };
    let policy = NewPolicy {
        document: open_policy(),
        bypass_lockout_check: false,
    };
    let put = async || {
        let name = Kms::POLICY_NAME;
        let kms = &service.kms;
        kms.put_key_policy(&key.id.into(), name, &policy, &caller())
            .await
    };
    approved(waiting(put().await).0).await;
    put().await.expect("the policy is put");
    let limits = KeyUseLimits {
        uses_max: Some(7),
        ..KeyUseLimits::default()
    };
    let limit = async || {
        let kms = &service.kms;
        kms.set_limits(&key.id.into(), limits, &caller()).await
    };
    approved(waiting(limit().await).0).await;
    limit().await.expect("the limits are set");
    let others = two_of(&[custodian("ada", 1), custodian("cleo", 3)]);
    let change = async || quorum(service).set_rule(&others, &caller()).await;
    approved(waiting(change().await).0).await;
    change().await.expect("the rule is changed");
    let entries = world.entries.entries();
    assert!(report_of(&entries).findings.is_empty());
    let another = two_of(&[custodian("ada", 1), custodian("eve", 9)]);
    drop(cleo);
    let other_rule = {
        let world = World::new().await;
        let set = quorum(&world.service).set_rule(&another, &caller()).await;
        set.expect("the first rule").document()
    };
    for (act, member, altered) in [
        ("put-key-policy", "policy_sha256", "00".into()),
        ("set-key-limits", "uses_max", 8.into()),
        ("set-key-limits", "not_after", "2099-01-01".into()),
        (
            "change-quorum-rule",
            "rule",
            serde_json::Value::from(other_rule),
        ),
    ] {
        let mut entries = entries.clone();
        let at = entries.iter().rposition(|entry| {
            let text = String::from_utf8_lossy(entry);
            text.contains(&format!("\"use\":\"{act}\"")) && text.contains("granted")
        });
        let at = at.expect("it is on the log");
        let mut entry: serde_json::Value = serde_json::from_slice(&entries[at]).expect("JSON");
        entry["detail"][member] = altered;
        entries[at] = entry.to_string().into_bytes();
        let report = report_of(&entries);
        assert_eq!(report.findings.len(), 1, "{act} {member} {report:#?}");
        assert!(
            report.findings[0].what.contains("something else"),
            "{report:#?}"
        );
    }
}

mod any_sequence {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Ada, Ben, Cleo; somebody with Ada's name, and somebody with Ben's key.
    fn people() -> [NoteSigner; 5] {
        let [ada, ben, cleo] = custodians();
        [ada, ben, cleo, custodian("ada", 7), custodian("bernd", 2)]
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Somebody asks for one of three things.
        Ask(usize),
        Approve(usize, usize),
        Reject(usize, usize),
        /// The approval of one proposal is sent for another.
        Replay(usize, usize, usize),
        /// The rejection of a proposal is sent as an approval.
        Twist(usize, usize),
        Pass(u32),
        /// The next commit fails.
        Fail,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..3_usize).prop_map(Step::Ask),
            6 => (0..3_usize, 0..5_usize).prop_map(|(of, by)| Step::Approve(of, by)),
            1 => (0..3_usize, 0..5_usize).prop_map(|(of, by)| Step::Reject(of, by)),
            1 => (0..3_usize, 0..3_usize, 0..5_usize).prop_map(|(of, to, by)| Step::Replay(of, to, by)),
            1 => (0..3_usize, 0..5_usize).prop_map(|(of, by)| Step::Twist(of, by)),
            1 => (1..9_u32).prop_map(Step::Pass),
            1 => Just(Step::Fail),
        ];
        prop::collection::vec(step, 1..40)
    }

    /// What is known of the proposal over each request.
    #[derive(Clone, Debug)]
    struct Known {
        id: ProposalId,
        opened_day: u32,
        approved: BTreeSet<usize>,
        is_rejected: bool,
    }

    async fn play(steps: Vec<Step>) {
        let (world, _) = guarded().await;
        let key = world.kms_key().await;
        let service = &world.service;
        let people = people();
        let mut known: [Option<Known>; 3] = [None, None, None];
        let mut today = 0;
        let mut done = 0;
        let mut fails = false;
        for step in steps {
            match step {
                Step::Pass(days) => {
                    world.clock.pass(DAY * days);
                    today += days;
                    continue;
                }
                Step::Fail => {
                    if !fails {
                        world.meta.fail_commit(0, CommitFault::Unavailable);
                        fails = true;
                    }
                    continue;
                }
                Step::Ask(of) => {
                    let limits = KeyUseLimits {
                        uses_max: Some(of as u64),
                        ..KeyUseLimits::default()
                    };
                    let asked = service
                        .kms
                        .set_limits(&key.id.into(), limits, &caller())
                        .await;
                    let current = known[of]
                        .as_ref()
                        .filter(|known| today < known.opened_day + 7);
                    match asked {
                        Ok(()) => {
                            let by = current.expect("it was proposed");
                            assert!(by.approved.len() >= 2 && !by.is_rejected, "{by:?}");
                            known[of] = None;
                            done += 1;
                        }
                        Err(KeyError::ApprovalNeeded {
                            proposal,
                            approvals,
                            ..
                        }) => match current {
                            Some(known) => {
                                assert_eq!((known.id, known.is_rejected), (proposal, false));
                                assert_eq!(known.approved.len(), approvals);
                                assert!(approvals < 2);
                            }
                            None => {
                                fails = false;
                                known[of] = Some(Known {
                                    id: proposal,
                                    opened_day: today,
                                    approved: BTreeSet::new(),
                                    is_rejected: false,
                                });
                            }
                        },
                        Err(KeyError::ApprovalRejected { .. }) => {
                            assert!(current.expect("it was proposed").is_rejected);
                        }
                        Err(KeyError::NotCommitted(_)) => {
                            assert!(fails);
                            fails = false;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                    continue;
                }
                Step::Approve(of, by)
                | Step::Reject(of, by)
                | Step::Replay(of, _, by)
                | Step::Twist(of, by) => {
                    let Some(proposal) = known[of].clone() else {
                        continue;
                    };
                    let statement = found(service, proposal.id).await.statement;
                    let is_open = today < proposal.opened_day + 7 && !proposal.is_rejected;
                    let (to, line, is_rejection) = match step {
                        Step::Reject(..) => {
                            (of, people[by].sign(&statement.rejection_text()), true)
                        }
                        Step::Twist(..) => {
                            (of, people[by].sign(&statement.rejection_text()), false)
                        }
                        Step::Replay(_, to, _) => {
                            (to, people[by].sign(&statement.approval_text()), false)
                        }
                        _ => (of, people[by].sign(&statement.approval_text()), false),
                    };
                    let Some(target) = known[to].clone() else {
                        continue;
                    };
                    let sent = if is_rejection {
                        quorum(service).reject(target.id, &line, &caller()).await
                    } else {
                        quorum(service).approve(target.id, &line, &caller()).await
                    };
                    let is_good = by < 3
                        && to == of
                        && is_open
                        && !matches!(step, Step::Twist(..))
                        && (is_rejection || !target.approved.contains(&by));
                    match sent {
                        Ok(_) => {
                            assert!(is_good, "{step:?}");
                            let target = known[to].as_mut().expect("it is there");
                            if is_rejection {
                                target.is_rejected = true;
                            } else {
                                target.approved.insert(by);
                            }
                        }
                        Err(KeyError::NotCommitted(_)) => {
                            assert!(is_good && fails);
                            fails = false;
                        }
                        Err(error) => assert!(!is_good, "{step:?} {error:?}"),
                    }
                }
            }
        }
        let report = history(&world);
        assert!(
            report.findings.is_empty() && report.remarks.is_empty(),
            "{report:#?}"
        );
        assert_eq!(report.acts.len(), done);
        assert!(report.acts.iter().all(|act| act.custodians.len() >= 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever people send in whatever order: nothing is done that two of the three have not
        /// approved, and what they have approved is done.
        #[test]
        fn is_carried_out_by_two_of_three_only(steps in steps()) {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime")
                .block_on(play(steps));
        }
    }
}
