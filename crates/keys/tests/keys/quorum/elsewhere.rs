//! Keys that come from elsewhere or go there: imported material, backups, another token.

use super::*;

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
