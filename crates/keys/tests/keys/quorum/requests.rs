//! What is guarded, and how it is carried out when enough custodians have approved.

use super::*;

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
