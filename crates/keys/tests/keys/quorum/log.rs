//! What the audit log alone says of dual control.

use super::*;

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
