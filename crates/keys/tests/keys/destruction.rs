//! Deletion carried out.

use std::time::Duration;

use strongroom_audit::{LogFault, MemoryLog};
use strongroom_environment::Clock as _;
use strongroom_keys::{
    AliasName, Caller, Certificate, CertificateError, CertificateState, ChainLink,
    EncryptionContext, KeyDescription, KeyEnvelope, KeyError, KeyService, KeyState, LedgerKey,
    ObjectName, ProtectedVersion, VersionState, verify_certificate,
};
use strongroom_meta::{Batch, CommitFault, ReadFault, Table};

use crate::world::{World, by_kms_key, caller, object, tags, weight};

const DAY: Duration = Duration::from_secs(86_400);

/// Makes something of a world fail.
type Cut = Box<dyn Fn(&World)>;

/// A key with everything that a key can have, scheduled for deletion.
struct Doomed {
    world: World,
    key: KeyDescription,
    name: ObjectName,
    envelopes: [KeyEnvelope; 2],
    blob: Vec<u8>,
}

impl Doomed {
    async fn new() -> Self {
        let world = World::new().await;
        let (kms, who) = (&world.service.kms, &caller());
        let key = world.kms_key().await;
        let reference = &key.id.into();
        for name in ["alias/a", "alias/b"] {
            let alias = AliasName::new(name).expect("a name");
            kms.create_alias(&alias, reference, who)
                .await
                .expect("an alias");
        }
        kms.tag_key(reference, &tags(&[("a", "b")]), who)
            .await
            .expect("tagged");
        kms.enable_key_rotation(reference, 90, who)
            .await
            .expect("enabled");
        let name = object("bucket", "key");
        let mut envelopes = Vec::new();
        for bucket_key in [false, true] {
            let protection = by_kms_key(&key, bucket_key);
            let created = world.service.objects.create(&protection, &name, who).await;
            let (_, envelope) = created.expect("a data key");
            let mut batch = Batch::new();
            let version = ProtectedVersion {
                object: name.clone(),
                sequence: 1,
            };
            world
                .service
                .objects
                .record(&mut batch, &envelope, &version, weight(1, "GLACIER"));
            world.commit(batch).await;
            envelopes.push(envelope);
            kms.rotate_key(reference, who).await.expect("rotated");
        }
        let empty = &EncryptionContext::empty();
        let encrypted = kms.encrypt(reference, empty, b"text", who).await;
        let blob = encrypted.expect("a ciphertext").blob.to_bytes();
        kms.schedule_key_deletion(reference, 7, who)
            .await
            .expect("scheduled");
        Self {
            envelopes: envelopes.try_into().expect("two"),
            world,
            key,
            name,
            blob,
        }
    }

    /// Whether the key is gone for `service`; or else still waits for its deletion, whole.
    async fn is_destroyed(&self, service: &KeyService) -> bool {
        let (kms, who) = (&service.kms, &caller());
        let reference = &self.key.id.into();
        let record = kms.key_record(reference).await.expect("it stays");
        let is_destroyed = matches!(record.state, KeyState::Destroyed { .. });
        assert!(is_destroyed || matches!(record.state, KeyState::PendingDeletion { .. }));
        let expected = if is_destroyed {
            "no-such-key"
        } else {
            "pending-deletion"
        };
        let empty = &EncryptionContext::empty();
        let mut refused = vec![
            kms.encrypt(reference, empty, b"x", who).await.map(drop),
            kms.decrypt(&self.blob, empty, None, who).await.map(drop),
        ];
        for envelope in &self.envelopes {
            let opened = service.objects.open(envelope, &self.name, None, who).await;
            refused.push(opened.map(drop));
        }
        for result in refused {
            assert_eq!(result.expect_err("it is not usable").code(), expected);
        }
        let aliases = kms.list_aliases(None, None, 10).await.expect("aliases");
        assert_eq!(aliases.items.len(), if is_destroyed { 2 } else { 4 });
        let versions = kms.key_versions(reference, None, 10).await;
        for version in versions.expect("versions").items {
            let is_gone = matches!(version.state, VersionState::Destroyed { .. });
            assert_eq!(is_gone, is_destroyed);
        }
        let due = self.world.rows_of(Table::new("kms_due")).await;
        // But for a certificate that is not signed yet.
        let due = due.iter().filter(|row| row.key[8] != 3).count();
        assert_eq!(due, if is_destroyed { 2 } else { 3 });
        is_destroyed
    }
}

impl Doomed {
    /// The certificate of the destruction, which is signed and holds.
    async fn certificate(&self, service: &KeyService) -> Certificate {
        let state = service.kms.certificate(&self.key.id.into()).await;
        let CertificateState::Signed(certificate) = state.expect("a state") else {
            panic!("it is not signed");
        };
        let verified = verify_certificate(&certificate, &MemoryLog::verifier_key());
        let statement = verified.expect("it holds").statement;
        assert_eq!(statement["key"]["arn"], self.key.arn.as_str());
        certificate
    }
}

#[tokio::test]
async fn a_key_is_destroyed_when_its_date_has_come_and_not_before() {
    let doomed = Doomed::new().await;
    let (kms, who) = (&doomed.world.service.kms, &caller());
    doomed.world.clock.pass(7 * DAY - Duration::from_micros(1));
    let report = kms.run_due(who).await.expect("a run");
    assert!(report.destroyed.is_empty());
    let date = doomed.world.clock.now() + Duration::from_micros(1);
    assert_eq!(report.next, Some(date));
    assert!(!doomed.is_destroyed(&doomed.world.service).await);

    doomed.world.clock.pass(Duration::from_micros(1));
    let before = doomed.world.entry_count();
    let report = kms.run_due(who).await.expect("a run");
    assert_eq!(report.destroyed, std::slice::from_ref(&doomed.key.arn));
    let entries = doomed.world.entries_since(before);
    let [entry, certified] = entries.as_slice() else {
        panic!("{entries:#?}");
    };
    assert_eq!(entry["use"], "destroy-key");
    assert_eq!(entry["key"]["arn"], doomed.key.arn.as_str());
    let expected = serde_json::json!({ "versions": 3, "object_versions": 2, "size_bytes": 2 });
    assert_eq!(entry["detail"], expected);
    assert_eq!(certified["use"], "certify-destruction");
    assert_eq!(certified["key"]["arn"], doomed.key.arn.as_str());
    assert_eq!(certified["detail"]["entry"], before);
    assert!(doomed.is_destroyed(&doomed.world.service).await);
    let again = kms.run_due(who).await.expect("a run");
    assert!(again.destroyed.is_empty());
    let restarted = doomed.world.restarted().await.expect("it starts");
    assert!(doomed.is_destroyed(&restarted).await);
}

#[tokio::test]
async fn what_is_left_of_a_destroyed_key_says_what_it_protected() {
    let doomed = Doomed::new().await;
    let (service, key) = (&doomed.world.service, &doomed.key);
    let versions = Table::new("kms_key_versions");
    let wrapped: Vec<Vec<u8>> = doomed
        .world
        .rows_of(versions)
        .await
        .into_iter()
        .filter(|row| row.key.starts_with(key.id.as_bytes()))
        // The wrapped key stands before the MAC of 32 bytes.
        .map(|row| row.row.value[row.row.value.len() - 72..][..40].to_vec())
        .collect();
    assert_eq!(wrapped.len(), 3);
    doomed.world.clock.pass(7 * DAY);
    service.kms.run_due(&caller()).await.expect("a run");
    for (table, _, value) in doomed.world.rows().await {
        for wrapped in &wrapped {
            let is_there = value.windows(40).any(|window| window == wrapped.as_slice());
            assert!(!is_there, "{table}");
        }
    }

    let record = service.kms.key_record(&key.id.into()).await;
    let record = record.expect("a record");
    assert_eq!(record.description, key.description);
    assert_eq!(record.created, key.created);
    assert_eq!(record.rotation, None);
    let listed = service.kms.list_keys(None, 10).await.expect("a page");
    assert!(listed.items.contains(&record));
    let page = service
        .objects
        .versions_of(LedgerKey::KmsKey(key.id), None, 10)
        .await;
    assert_eq!(page.expect("the ledger stays").items.len(), 2);
    for envelope in &doomed.envelopes {
        let chain = service.objects.chain_of(envelope).await.expect("a chain");
        assert!(
            matches!(chain.last(), Some(ChainLink::TokenKey { label }) if label == "strongroom-root-kek-1"),
            "{chain:?}"
        );
    }
    assert_eq!(
        doomed.world.rows_of(Table::new("kms_key_tags")).await.len(),
        1
    );
}

#[tokio::test]
async fn a_deletion_that_is_cancelled_in_time_is_not_carried_out() {
    let doomed = Doomed::new().await;
    let (kms, who) = (&doomed.world.service.kms, &caller());
    let key = &doomed.key.id.into();
    doomed.world.clock.pass(7 * DAY);
    // The date has come, but nothing was done yet.
    kms.cancel_key_deletion(key, who).await.expect("cancelled");
    let report = kms.run_due(who).await.expect("a run");
    assert!(report.destroyed.is_empty());
    kms.enable_key(key, who).await.expect("enabled");
    let empty = &EncryptionContext::empty();
    let decrypted = kms.decrypt(&doomed.blob, empty, None, who).await;
    assert_eq!(*decrypted.expect("it opens").plaintext, b"text");
}

#[tokio::test]
async fn a_cancellation_and_a_destruction_at_once_have_one_outcome() {
    for _ in 0..20 {
        let doomed = Doomed::new().await;
        doomed.world.clock.pass(7 * DAY);
        let other = doomed.world.restarted().await.expect("a second daemon");
        let (key, who) = (doomed.key.id.into(), caller());
        let (cancelled, run) = futures::join!(
            other.kms.cancel_key_deletion(&key, &who),
            doomed.world.service.kms.run_due(&who)
        );
        let destroyed = run.expect("a run").destroyed.len();
        assert_eq!(destroyed, usize::from(cancelled.is_err()), "{cancelled:?}");
    }
}

#[tokio::test]
async fn whatever_cuts_a_destruction_short_the_next_run_goes_on_from_there() {
    let whole = Doomed::new().await;
    whole.world.clock.pass(7 * DAY);
    let (commits, reads) = (whole.world.meta.commits(), whole.world.meta.reads());
    let entries = whole.world.entry_count();
    whole
        .world
        .service
        .kms
        .run_due(&caller())
        .await
        .expect("a run");
    assert_eq!(
        whole.world.meta.commits() - commits,
        2,
        "one commit point, and the certificate"
    );
    assert_eq!(whole.world.entry_count() - entries, 2);
    let reads = whole.world.meta.reads() - reads;

    let mut cuts: Vec<(String, Cut)> = Vec::new();
    for fault in [
        CommitFault::Unavailable,
        CommitFault::Full,
        CommitFault::Conflict,
        CommitFault::UnknownNotApplied,
        CommitFault::UnknownApplied,
    ] {
        let cut = move |world: &World| world.meta.fail_commit(0, fault);
        cuts.push((format!("{fault:?}"), Box::new(cut)));
    }
    for fault in [
        LogFault::Full,
        LogFault::Stopped,
        LogFault::StoppedAfterWriting,
    ] {
        let cut = move |world: &World| world.log.fail_after(0, fault);
        cuts.push((format!("{fault:?}"), Box::new(cut)));
    }
    for at in 0..reads {
        let cut = move |world: &World| world.meta.fail_read(at, ReadFault::Unavailable);
        cuts.push((format!("read {at}"), Box::new(cut)));
    }
    for (what, cut) in cuts {
        let doomed = Doomed::new().await;
        doomed.world.clock.pass(7 * DAY);
        let before = doomed.world.entry_count();
        cut(&doomed.world);
        let run = doomed.world.service.kms.run_due(&caller()).await;
        let is_done = run.is_ok_and(|report| !report.destroyed.is_empty());
        doomed.world.meta.reopen();
        doomed.world.log.recover();
        // What is not on the log was not done.
        let logged = doomed.world.entries_since(before);
        let service = doomed.world.restarted().await.expect("it starts");
        let is_destroyed = doomed.is_destroyed(&service).await;
        assert!(is_destroyed || !is_done, "{what}");
        let is_first = |entry: &serde_json::Value| {
            entry["use"] == "destroy-key" && entry["outcome"] == "granted"
        };
        assert!(
            !is_destroyed || logged.first().is_some_and(is_first),
            "{what}"
        );

        let report = service.kms.run_due(&caller()).await.expect("a run");
        assert_eq!(report.destroyed.is_empty(), is_destroyed, "{what}");
        assert!(doomed.is_destroyed(&service).await, "{what}");
        doomed.certificate(&service).await;
    }
}

#[tokio::test]
async fn a_certificate_says_what_was_destroyed_and_who_asked_for_it() {
    let doomed = Doomed::new().await;
    let (service, id) = (&doomed.world.service, doomed.key.id.into());
    let state = service.kms.certificate(&id).await.expect("a state");
    assert_eq!(state, CertificateState::None);
    let scheduled = doomed.world.entry_count() - 1;
    let wrapped: Vec<String> = doomed
        .world
        .rows_of(Table::new("kms_key_versions"))
        .await
        .iter()
        .filter(|row| row.key.starts_with(doomed.key.id.as_bytes()))
        .map(|row| {
            let wrapped = &row.row.value[row.row.value.len() - 72..][..40];
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, wrapped);
            data_encoding::HEXLOWER.encode(digest.as_ref())
        })
        .collect();
    doomed.world.clock.pass(7 * DAY);
    let entry = doomed.world.entry_count();
    service
        .kms
        .run_due(&Caller::daemon("run"))
        .await
        .expect("a run");

    let certificate = doomed.certificate(service).await;
    let key = MemoryLog::verifier_key();
    let verified = verify_certificate(&certificate, &key).expect("it holds");
    let said = &verified.statement;
    assert_eq!(said["key"]["arn"], doomed.key.arn.as_str());
    assert_eq!(said["key"]["description"], "a key for tests");
    let digests: Vec<_> = said["versions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|version| version["wrapped_sha256"].as_str().expect("a text"))
        .collect();
    assert_eq!(digests, wrapped);
    assert_eq!(said["versions"][1]["made"], "on-demand");
    assert_eq!(said["versions_left_out"], 0);
    assert_eq!(said["scheduled"]["by"], "SRAKTEST");
    assert_eq!(said["scheduled"]["entry"], scheduled);
    assert_eq!(said["due"], said["destroyed"]);
    assert_eq!(said["destroyed_by"], "strongroom");
    assert_eq!(said["entry"], entry);
    assert_eq!(said["lost"]["object_versions"], 2);
    assert_eq!(said["lost"]["groups"][0]["bucket"], "bucket");
    assert_eq!(said["lost"]["groups"][0]["storage_class"], "GLACIER");

    // Nothing else is taken for it.
    let other = Doomed::new().await;
    other.world.clock.pass(7 * DAY);
    let run = other.world.service.kms.run_due(&caller()).await;
    run.expect("a run");
    let other = other.certificate(&other.world.service).await;
    let swapped = |note: &Certificate, entry: &Certificate, proof: &Certificate| Certificate {
        note: note.note.clone(),
        entry: entry.entry.clone(),
        proof: proof.proof.clone(),
    };
    let mut forged = vec![
        swapped(&certificate, &other, &other),
        swapped(&certificate, &certificate, &other),
        swapped(&certificate, &other, &certificate),
    ];
    let mut changed = certificate.clone();
    changed.note = changed.note.replace("SRAKTEST", "SRAKELSE");
    forged.push(changed);
    let (_, checkpoint) = certificate.proof.split_once("\n\n").expect("a checkpoint");
    let mut not_one = certificate.clone();
    not_one.note = checkpoint.to_owned();
    forged.push(not_one);
    for forged in forged {
        assert!(verify_certificate(&forged, &key).is_err(), "{forged:#?}");
    }
    let (name, _) = key.split_once('+').expect("a name");
    let error = verify_certificate(&certificate, name);
    assert!(matches!(error, Err(CertificateError::Key(_))));
}

#[tokio::test]
async fn a_certificate_that_cannot_be_signed_is_signed_later() {
    let doomed = Doomed::new().await;
    let kms = &doomed.world.service.kms;
    doomed.world.clock.pass(7 * DAY);
    // The entry of the destruction is written, and nothing after it.
    doomed.world.log.fail_after(1, LogFault::Full);
    let report = kms.run_due(&caller()).await.expect("a run");
    assert_eq!(report.destroyed.len(), 1);
    let id = doomed.key.id.into();
    let state = kms.certificate(&id).await.expect("a state");
    assert_eq!(state, CertificateState::Pending);
    let report = kms.run_due(&caller()).await.expect("a run");
    assert_eq!(report.failed.len(), 1, "{report:?}");
    doomed.world.log.recover();
    let service = doomed.world.restarted().await.expect("it starts");
    service.kms.run_due(&caller()).await.expect("a run");
    doomed.certificate(&service).await;
}

#[test]
fn the_documented_certificate_holds() {
    let page = include_str!("../../../../docs/format/destruction-certificate.md");
    let (_, block) = page.split_once("```json certificate\n").expect("a block");
    let (block, _) = block.split_once("```").expect("it ends");
    let certificate: Certificate = serde_json::from_str(block).expect("a certificate");
    let verified = verify_certificate(&certificate, &MemoryLog::verifier_key());
    let verified = verified.expect("it holds");
    assert_eq!(verified.statement["scheduled"]["by"], "SRAKTEST");
    for (at, byte) in certificate.note.bytes().enumerate() {
        if byte.is_ascii_lowercase() {
            let mut changed = certificate.clone();
            changed.note.replace_range(at..=at, "#");
            let held = verify_certificate(&changed, &MemoryLog::verifier_key());
            assert!(held.is_err(), "byte {at}");
        }
    }
}

#[tokio::test]
async fn what_was_opened_is_dropped_at_once_also_by_a_daemon_that_did_not_schedule_it() {
    let world = World::new().await;
    let key = world.kms_key().await;
    let (name, who) = (object("bucket", "key"), caller());
    let created = world
        .service
        .objects
        .create(&by_kms_key(&key, true), &name, &who)
        .await;
    let (_, envelope) = created.expect("a data key");
    // Another daemon on the same rows decides; this one still has the bucket key.
    let other = world.restarted().await.expect("a second daemon");
    let scheduled = other
        .kms
        .schedule_key_deletion(&key.id.into(), 7, &who)
        .await;
    scheduled.expect("scheduled");
    world.clock.pass(7 * DAY);
    world.service.kms.run_due(&who).await.expect("a run");
    let opened = world
        .service
        .objects
        .open(&envelope, &name, None, &who)
        .await;
    assert!(
        matches!(opened, Err(KeyError::NoSuchKey { .. })),
        "{opened:?}"
    );
}

#[tokio::test]
async fn a_row_of_what_is_due_that_no_key_stands_behind_does_nothing_and_goes() {
    let world = World::new().await;
    let key = world.kms_key().await;
    let due = Table::new("kms_due");
    let before = world.rows_of(due).await;
    let date = world.clock.now().micros().to_be_bytes();
    let nobody = [7; 16];
    for id in [key.id.as_bytes(), &nobody] {
        for act in [1, 2] {
            let row = [date.as_slice(), &[act], id].concat();
            world.set(due, &row, Some(&[])).await;
        }
    }
    let rows = world.rows_of(Table::new("kms_keys")).await;
    let report = world.service.kms.run_due(&caller()).await.expect("a run");
    assert!(report.destroyed.is_empty() && report.rotated.is_empty());
    assert!(report.failed.is_empty());
    assert_eq!(world.rows_of(due).await, before);
    assert_eq!(world.rows_of(Table::new("kms_keys")).await, rows);
    for malformed in [&[0][..], &[0; 8], &[0; 25], &[1; 26]] {
        world.set(due, malformed, Some(&[])).await;
    }
    world.service.kms.run_due(&caller()).await.expect("a run");
}
