//! What approves nothing: other requests, bad signatures, rejections, rows that were changed, and acts
//! that were cut short.

use super::*;

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
