//! Nothing is done with a key that is not on the log first, and nothing secret is on the log.

use strongroom_audit::LogFault;
use strongroom_keys::{EncryptionContext, KeyError, Kms, Protection, Tags};
use strongroom_meta::CommitFault;

use crate::acts::{ACTS, Act, PLAINTEXT, Stage};
use crate::world::{World, caller, context, customer_key, object};

const FAULTS: [LogFault; 3] = [
    LogFault::Full,
    LogFault::Stopped,
    LogFault::StoppedAfterWriting,
];

/// The entries since the first `skipped`, but for those of a certificate: it follows from a
/// destruction that is done, and is made up for where it fails.
fn entries_of_act(stage: &Stage, skipped: usize) -> Vec<serde_json::Value> {
    let mut entries = stage.world.entries_since(skipped);
    entries.retain(|entry| entry["use"] != "certify-destruction");
    entries
}

#[tokio::test]
async fn every_use_and_every_change_is_on_the_log_with_its_outcome() {
    for (act, event, named, reason) in ACTS {
        let stage = Stage::new().await;
        let before = stage.world.entry_count();
        let result = act.run(&stage).await;
        let entries = entries_of_act(&stage, before);
        let entry = entries
            .last()
            .unwrap_or_else(|| panic!("{act:?}: no entry"));
        assert_eq!(result.as_ref().err().map(KeyError::code), reason, "{act:?}");
        assert_eq!(entry["v"], 1);
        assert_eq!(entry["event"], event, "{act:?}");
        assert_eq!(entry["use"], named, "{act:?}");
        let outcome = if reason.is_none() {
            "granted"
        } else {
            "refused"
        };
        assert_eq!(entry["outcome"], outcome, "{act:?}");
        assert_eq!(entry["reason"].as_str(), reason, "{act:?}");
        assert_eq!(entry["principal"], "SRAKTEST");
        assert_eq!(entry["request_id"], "request-1");
        assert_eq!(entry["operation"], "s3:Test");
        assert_eq!(entry["source"], "127.0.0.1");
        assert!(
            entry["time"]
                .as_str()
                .is_some_and(|time| time.starts_with("2027-01-")),
            "{entry}"
        );
    }
}

#[tokio::test]
async fn when_the_log_fails_nothing_comes_out_and_nothing_is_changed() {
    for (act, _, _, reason) in ACTS {
        let stage = Stage::new().await;
        let before = stage.world.entry_count();
        let _ = act.run(&stage).await;
        let entries = entries_of_act(&stage, before).len() as u64;
        for fault in FAULTS {
            for entries_before in 0..entries {
                let stage = Stage::new().await;
                let rows = stage.world.rows().await;
                stage.world.log.fail_after(entries_before, fault);
                let error = act.run(&stage).await.expect_err("it is not on the log");
                let place = format!("{act:?} after {entries_before} entries, {fault:?}");
                assert!(
                    matches!(error, KeyError::AuditUnavailable(_)),
                    "{place}: {error:?}"
                );
                // A bucket key whose making is on the log may stay for the next who needs it.
                let is_kept = |(table, ..): &(strongroom_meta::Table, Vec<u8>, Vec<u8>)| {
                    entries_before == 0 || !table.name().starts_with("bucket_keys")
                };
                let now: Vec<_> = stage
                    .world
                    .rows()
                    .await
                    .into_iter()
                    .filter(is_kept)
                    .collect();
                let rows: Vec<_> = rows.into_iter().filter(is_kept).collect();
                assert!(now == rows, "{place}: rows were changed");

                stage.world.log.recover();
                let again = act.run(&stage).await;
                assert_eq!(again.err().map(|error| error.code()), reason, "{place}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_secret_is_on_the_log() {
    for (act, ..) in ACTS {
        let stage = Stage::new().await;
        let mut secrets = act.run(&stage).await.unwrap_or_default();
        secrets.extend(stage.secrets.iter().cloned());
        secrets.push(PLAINTEXT.to_vec());
        secrets.extend((1..=4).map(|seed| vec![seed; 32]));
        let log = stage.world.entries.entries().concat();
        for secret in secrets {
            let [mut standard, mut url] = [
                data_encoding::BASE64.encode(&secret),
                data_encoding::BASE64URL.encode(&secret),
            ];
            // The last characters depend on what may follow.
            standard.truncate(secret.len() / 3 * 4);
            url.truncate(secret.len() / 3 * 4);
            let in_json = serde_json::to_vec(&secret).expect("numbers");
            for form in [
                secret.clone(),
                data_encoding::HEXLOWER.encode(&secret).into_bytes(),
                data_encoding::HEXUPPER.encode(&secret).into_bytes(),
                standard.into_bytes(),
                url.into_bytes(),
                in_json,
            ] {
                let is_there = log.windows(form.len()).any(|window| window == form);
                assert!(!is_there, "{act:?}: {}", String::from_utf8_lossy(&form));
            }
        }
        for seed in 1..=4 {
            let md5 = customer_key(seed).md5_base64().into_bytes();
            assert!(
                !log.windows(md5.len()).any(|window| window == md5),
                "{act:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_entry_names_the_object_and_every_key_in_between() {
    let stage = Stage::new().await;
    let keys = &stage.world.service.objects;
    let arn = stage.key.arn.as_str();
    let fingerprint = keys.fingerprint_of(&customer_key(1)).to_string();
    let offered = keys.fingerprint_of(&customer_key(2)).to_string();

    let before = stage.world.entry_count();
    for act in [
        Act::OpenByKmsKey,
        Act::OpenByForgottenBucketKey,
        Act::OpenByWrongKey,
        Act::Rewrap,
    ] {
        let _ = act.run(&stage).await;
    }
    let entries = stage.world.entries_since(before);
    let [custody, direct, opened, bucket, wrong, rewrapped] = entries.as_slice() else {
        panic!("{entries:#?}");
    };
    let binding = stage.name.binding.to_string();
    for (entry, act) in [(custody, "open-data-key"), (opened, "open-data-key")] {
        assert_eq!(entry["use"], act);
        assert_eq!(entry["key"]["arn"], arn);
        assert_eq!(entry["key"]["version"], 1);
    }
    assert_eq!(custody["context"]["aws:s3:arn"], "arn:aws:s3:::bucket/key");
    assert_eq!(custody["context"]["strongroom:binding"], binding.as_str());
    assert_eq!(opened["context"]["aws:s3:arn"], "arn:aws:s3:::bucket");
    for entry in [direct, bucket, wrong] {
        assert_eq!(entry["object"]["bucket"], "bucket");
        assert_eq!(entry["object"]["key"], "key");
        assert_eq!(entry["object"]["binding"], binding.as_str());
    }
    assert_eq!(direct["key"]["mode"], "SSE-KMS");
    assert_eq!(direct["key"]["arn"], arn);
    assert!(direct["key"]["bucket_key"].is_null());
    let id = opened["context"]["strongroom:bucket-key"].as_str();
    assert_eq!(bucket["key"]["bucket_key"].as_str(), id);
    assert_eq!(bucket["key"]["version"], 1);
    assert_eq!(wrong["key"]["mode"], "SSE-C");
    assert_eq!(wrong["key"]["fingerprint"], fingerprint.as_str());
    assert_eq!(wrong["key"]["offered"], offered.as_str());
    assert_eq!(rewrapped["from_key"]["fingerprint"], fingerprint.as_str());
    assert!(rewrapped["from_key"]["offered"].is_null());
    assert_eq!(rewrapped["from_object"]["key"], "key");
    assert_eq!(rewrapped["object"]["key"], "copy");
    let new = keys.fingerprint_of(&customer_key(4)).to_string();
    assert_eq!(rewrapped["key"]["fingerprint"], new.as_str());
}

#[tokio::test]
async fn a_look_that_needs_no_key_is_not_on_the_log() {
    let stage = Stage::new().await;
    let before = stage.world.entry_count();
    let checked = stage
        .world
        .service
        .objects
        .check(&stage.managed, &stage.name, None, &caller())
        .await;
    checked.expect("no key is needed");
    let kms = &stage.world.service.kms;
    kms.describe_key(&stage.key.id.into()).await.expect("a key");
    kms.list_keys(None, 10).await.expect("keys");
    kms.list_aliases(None, None, 10).await.expect("aliases");
    let key = &stage.key.id.into();
    kms.key_record(key).await.expect("a key");
    kms.key_versions(key, None, 10).await.expect("versions");
    kms.key_rotations(key, false, None, 10)
        .await
        .expect("rotations");
    kms.rotation_status(key).await.expect("a status");
    kms.list_tags(key, None, 10).await.expect("tags");
    kms.run_due(&caller()).await.expect("nothing is due");
    stage
        .world
        .service
        .users
        .list(None, 10)
        .await
        .expect("users");
    stage
        .world
        .service
        .users
        .secret_of(&stage.user)
        .await
        .expect("a secret");
    assert_eq!(stage.world.entry_count(), before);
}

#[tokio::test]
async fn a_change_that_is_not_written_is_taken_back_on_the_log() {
    for act in [
        Act::CreateKey,
        Act::RotateKey,
        Act::TagKey,
        Act::DestroyKey,
        Act::DisableKey,
        Act::CreateAlias,
        Act::DeleteUser,
    ] {
        let stage = Stage::new().await;
        let before = stage.world.entry_count();
        stage.world.meta.fail_commit(0, CommitFault::Full);
        let error = act.run(&stage).await.expect_err("there is no room");
        assert!(matches!(error, KeyError::NotCommitted(_)), "{error:?}");
        let entries = stage.world.entries_since(before);
        let [claimed, taken_back] = entries.as_slice() else {
            panic!("{act:?}: {entries:#?}");
        };
        assert_eq!(claimed["outcome"], "granted");
        assert_eq!(taken_back["outcome"], "failed");
        assert_eq!(taken_back["reason"], "not-committed");
        assert_eq!(claimed["use"], taken_back["use"]);
        assert_eq!(claimed["detail"], taken_back["detail"]);
        assert_eq!(claimed["key"], taken_back["key"]);
    }
}

#[tokio::test]
async fn the_longest_entries_still_fit() {
    let world = World::new().await;
    let kms_key = world.kms_key().await;
    let key = &kms_key.id.into();
    // Each byte takes six in JSON.
    let longest = "\u{1}".repeat(EncryptionContext::LEN_BYTES_MAX - 5);
    let pairs = &context(&[("a", &longest)]);
    let kms: &Kms = &world.service.kms;
    let encrypted = kms
        .encrypt(key, pairs, b"x", &caller())
        .await
        .expect("it fits");
    let blob = encrypted.blob.to_bytes();
    let again = kms
        .re_encrypt(&blob, pairs, None, key, pairs, &caller())
        .await;
    again.expect("it fits");

    let names = (10..60).map(|number| format!("{number}{}", "\u{1}".repeat(126)));
    let tags = Tags::new(names.map(|name| (name, "\u{1}".repeat(256)))).expect("tags");
    kms.tag_key(key, &tags, &caller()).await.expect("it fits");

    let keys = &world.service.objects;
    let name = object(&"b".repeat(63), &"\u{1}".repeat(1_024));
    for bucket_key in [false, true] {
        let protection = Protection::Kms {
            key: kms_key.id.into(),
            context: pairs.clone(),
            bucket_key,
        };
        let created = keys.create(&protection, &name, &caller()).await;
        let (_, envelope) = created.expect("it fits");
        let rewrapped = keys
            .rewrap((&envelope, &name, None), (&protection, &name), &caller())
            .await;
        rewrapped.expect("it fits");
    }
    let refusal = KeyError::CustomerKeyRequired;
    let (bucket, key) = ("ä".repeat(50_000), "\u{1}".repeat(100_000));
    let logged = keys.log_refusal(&bucket, &key, &refusal, &caller()).await;
    logged.expect("the beginning of a long name is enough");
}
