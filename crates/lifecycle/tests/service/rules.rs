//! Rules followed from end to end, on a clock that is moved by hand.

use std::time::Duration;

use strongroom_lifecycle::rules::RuleError;
use strongroom_lifecycle::{LifecycleError, RetrievalTier, StorageClass};
use strongroom_store::{ConfigName, CreateUpload, ListUploads, ObjectMetadata, VersionSelector};

use crate::world::{DAY, HOUR, World, bytes, caller, configuration, key};

const ARCHIVE_AND_EXPIRE: &str = r#"{"Rules": [{
    "ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"},
    "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}],
    "Expiration": {"Days": 3}
}]}"#;

#[tokio::test]
async fn objects_are_archived_and_expire_at_the_midnight_after_their_days() {
    let world = World::new().await;
    world.put_rules(ARCHIVE_AND_EXPIRE).await;
    for name in ["logs/a", "logs/b", "other/a"] {
        world.put(name, StorageClass::Standard, &bytes()).await;
    }
    world
        .put("logs/small", StorageClass::Standard, b"small")
        .await;
    let warm = world.stored_bytes();

    // Written at noon of day 0: a day later, at midnight, is the beginning of day 2.
    let early = world.pass(DAY + HOUR * 11).await;
    assert_eq!((early.moves_begun, early.versions_moved), (0, 0));
    assert_eq!(early.next, Some(world.now() + HOUR));
    let moved = world.pass(HOUR).await;
    assert_eq!((moved.moves_begun, moved.versions_moved), (2, 2));
    for (name, class) in [
        ("logs/a", StorageClass::Glacier),
        ("logs/b", StorageClass::Glacier),
        ("other/a", StorageClass::Standard),
        ("logs/small", StorageClass::Standard),
    ] {
        assert_eq!(world.class(name).await, class, "{name}");
    }
    world.assert_sound().await;
    assert!(world.stored_bytes() < warm);
    assert_eq!((world.archives().len(), world.job_count().await), (2, 0));
    let again = world.run().await;
    assert_eq!((again.moves_begun, again.versions_expired), (0, 0));

    let expired = world.pass(DAY * 2).await;
    assert_eq!(expired.versions_expired, 3);
    assert_eq!(expired.archives_expired, 2, "in the same run");
    for name in ["logs/a", "logs/b", "logs/small"] {
        assert!(!world.is_there(name).await, "{name}");
    }
    assert!(world.get("other/a").await.expect("no rule is for it") == bytes());
    assert!(world.archives().is_empty());
    world.assert_sound().await;
}

#[tokio::test]
async fn an_object_goes_down_through_the_classes_and_comes_back_from_the_last() {
    let world = World::new().await;
    world
        .put_rules(
            r#"{"Rules": [{
                "Status": "Enabled", "Filter": {},
                "Transitions": [
                    {"Days": 30, "StorageClass": "STANDARD_IA"},
                    {"Days": 60, "StorageClass": "GLACIER"},
                    {"Days": 150, "StorageClass": "DEEP_ARCHIVE"}
                ]
            }]}"#,
        )
        .await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    world.pass(DAY * 31).await;
    assert_eq!(world.class("object").await, StorageClass::StandardIa);
    assert!(world.get("object").await.expect("still warm") == bytes());
    world.pass(DAY * 30).await;
    assert_eq!(world.class("object").await, StorageClass::Glacier);
    let archives = world.archives();
    world.pass(DAY * 90).await;
    assert_eq!(world.class("object").await, StorageClass::DeepArchive);
    assert_eq!(world.archives(), archives, "its bytes stay where they are");
    world.assert_sound().await;
    world
        .restore("object", 1, RetrievalTier::Standard)
        .await
        .expect("a restore");
    world.pass(HOUR * 12).await;
    assert!(world.get("object").await.expect("restored") == bytes());
}

#[tokio::test]
async fn where_versions_are_kept_an_expired_object_gets_a_delete_marker() {
    let world = World::new().await;
    world.keep_versions().await;
    world.put_rules(ARCHIVE_AND_EXPIRE).await;
    let old = world.put("logs/a", StorageClass::Standard, &bytes()).await;
    world.clock.advance(DAY * 3);
    world.put("logs/a", StorageClass::Standard, &bytes()).await;
    // The version before is not the current one any more, and no rule is for it.
    let report = world.pass(DAY).await;
    assert_eq!((report.versions_expired, report.versions_moved), (0, 0));
    let report = world.pass(DAY * 4).await;
    assert_eq!(report.versions_expired, 1);
    assert!(!world.is_there("logs/a").await);
    let mut kept = world.object("logs/a");
    kept.version = VersionSelector::Id(old.version);
    assert!(world.store.tiered(&kept).await.is_ok());
    world.assert_sound().await;
    let report = world.pass(DAY * 10).await;
    assert_eq!(
        report.versions_expired, 0,
        "a delete marker does not expire"
    );
}

#[tokio::test]
async fn rules_that_are_changed_are_followed_anew_and_deleted_ones_not_at_all() {
    let world = World::new().await;
    world.put("logs/a", StorageClass::Standard, &bytes()).await;
    let disabled = ARCHIVE_AND_EXPIRE.replace("Enabled", "Disabled");
    world.put_rules(&disabled).await;
    assert_eq!(world.pass(DAY * 2).await.moves_begun, 0);
    let elsewhere = ARCHIVE_AND_EXPIRE.replace("logs/", "elsewhere/");
    world.put_rules(&elsewhere).await;
    assert_eq!(world.run().await.moves_begun, 0);
    // Days that were looked through for other rules are looked through again.
    world.put_rules(ARCHIVE_AND_EXPIRE).await;
    assert_eq!(
        world.lifecycle.rules(&world.bucket).await.expect("rules"),
        configuration(ARCHIVE_AND_EXPIRE)
    );
    assert_eq!(world.run().await.versions_moved, 1);
    world
        .lifecycle
        .delete_rules(&world.bucket, &caller())
        .await
        .expect("a change");
    assert!(matches!(
        world.lifecycle.rules(&world.bucket).await,
        Err(LifecycleError::NoRules)
    ));
    assert_eq!(world.pass(DAY * 10).await.versions_expired, 0);
    assert!(world.is_there("logs/a").await);
}

#[tokio::test]
async fn a_rule_with_a_date_is_followed_from_that_day_on() {
    let world = World::new().await;
    world
        .put_rules(
            r#"{"Rules": [{
                "Status": "Enabled", "Filter": {},
                "Expiration": {"Date": "2026-01-05T00:00:00Z"}
            }]}"#,
        )
        .await;
    world.put("early", StorageClass::Standard, b"bytes").await;
    assert_eq!(world.pass(DAY * 3).await.versions_expired, 0);
    assert_eq!(world.pass(HOUR * 12).await.versions_expired, 1);
    world.put("late", StorageClass::Standard, b"bytes").await;
    assert_eq!(world.run().await.versions_expired, 0);
    assert_eq!(world.pass(DAY).await.versions_expired, 1);
}

#[tokio::test]
async fn uploads_that_are_not_completed_are_given_up() {
    let world = World::new().await;
    world
        .put_rules(
            r#"{"Rules": [{
                "Status": "Enabled", "Filter": {"Prefix": "logs/"},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}
            }]}"#,
        )
        .await;
    for name in ["logs/a", "other/a"] {
        let request = CreateUpload {
            bucket: world.bucket.clone(),
            key: key(name),
            metadata: ObjectMetadata::default(),
            class: StorageClass::Standard,
            protection: None,
            checksum_algorithm: None,
            checksum_type: None,
        };
        world
            .store
            .create_upload(request, &caller())
            .await
            .expect("an upload");
    }
    assert_eq!(world.pass(DAY).await.uploads_aborted, 0);
    assert_eq!(world.pass(DAY).await.uploads_aborted, 1);
    let uploads = ListUploads {
        bucket: world.bucket.clone(),
        prefix: String::new(),
        delimiter: None,
        after_key: None,
        after_upload: None,
        entries_max: 10,
    };
    let left = world.store.list_uploads(uploads).await.expect("a listing");
    assert_eq!(left.uploads.len(), 1);
    world.assert_sound().await;
}

#[tokio::test]
async fn rules_that_cannot_be_read_keep_no_other_bucket_from_being_looked_after() {
    let world = World::new().await;
    world.put_rules(ARCHIVE_AND_EXPIRE).await;
    world.put("logs/a", StorageClass::Standard, &bytes()).await;
    // Buckets are followed by name.
    let damaged = world.create_bucket("a-damaged-one").await;
    world
        .store
        .set_config(
            &damaged,
            &ConfigName::lifecycle(),
            Some(b"\x01no rules".to_vec()),
            &caller(),
        )
        .await
        .expect("a change");
    assert!(matches!(
        world.lifecycle.rules(&damaged).await,
        Err(LifecycleError::DamagedRules { .. })
    ));
    world.clock.advance(DAY * 2);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.versions_moved, report.failure_count), (1, 1));
    assert!(report.failures[0].contains("a-damaged-one"));
}

#[tokio::test]
async fn what_is_not_carried_out_here_is_refused() {
    let world = World::new().await;
    for (rule, feature) in [
        (
            r#""Filter": {"Tag": {"Key": "a", "Value": "b"}}, "Expiration": {"Days": 1}"#,
            "tag",
        ),
        (
            r#""Filter": {}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}"#,
            "NoncurrentVersionExpiration",
        ),
        (
            r#""Filter": {}, "Expiration": {"ExpiredObjectDeleteMarker": true}"#,
            "ExpiredObjectDeleteMarker",
        ),
    ] {
        let json = format!(r#"{{"Rules": [{{"Status": "Enabled", {rule}}}]}}"#);
        let refused = world
            .lifecycle
            .put_rules(&world.bucket, configuration(&json), &caller())
            .await;
        let Err(LifecycleError::Rule(RuleError::NotImplemented { feature: told })) = refused else {
            panic!("{rule}: {refused:?}");
        };
        assert!(told.contains(feature));
    }
}

#[tokio::test]
async fn an_end_that_a_rule_sets_is_told_of() {
    let world = World::new().await;
    world.put_rules(ARCHIVE_AND_EXPIRE).await;
    let told = |name: &'static str| {
        let world = &world;
        async move {
            let header = world
                .lifecycle
                .expiration_header(&world.bucket, name, 5, world.now())
                .await;
            header.expect("good rules")
        }
    };
    assert_eq!(
        told("logs/a").await.as_deref(),
        Some(r#"expiry-date="Mon, 05 Jan 2026 00:00:00 GMT", rule-id="logs""#)
    );
    assert_eq!(told("other/a").await, None);
}

#[tokio::test]
async fn a_run_for_which_nothing_is_due_says_when_there_will_be() {
    let world = World::new().await;
    let report = world.run().await;
    assert_eq!(
        report.next,
        Some(world.now() + Duration::from_secs(12 * 3_600))
    );
}
