//! Rotation: new versions, by the clock and on demand.

use std::time::Duration;

use strongroom_audit::LogFault;
use strongroom_environment::{Clock as _, Timestamp};
use strongroom_keys::{
    ChainLink, EncryptionContext, KeyDescription, KeyEnvelope, KeyError, KeyReference, KeyVersion,
    Kms, Protection, RotationKind, RotationSchedule, VersionDescription, VersionState,
};
use strongroom_meta::{CommitFault, Table};
use strongroom_pkcs11::{TokenError, TokenFunction};

use crate::world::{World, by_kms_key, caller, object};

/// Makes something of a world fail.
type Cut = fn(&World);

const DAY: Duration = Duration::from_secs(86_400);

async fn versions_of(kms: &Kms, key: &KeyReference) -> Vec<VersionDescription> {
    let page = kms.key_versions(key, None, 1_000).await;
    page.expect("versions").items
}

async fn states_of(kms: &Kms, key: &KeyReference) -> Vec<VersionState> {
    let versions = versions_of(kms, key).await;
    versions.iter().map(|version| version.state).collect()
}

/// The version of the KMS key that an object is under.
async fn version_under(world: &World, envelope: &KeyEnvelope) -> u32 {
    let chain = world.service.objects.chain_of(envelope).await;
    let version = chain.expect("a chain").iter().find_map(|link| match link {
        ChainLink::KmsKey { version, .. } => Some(version.0),
        _ => None,
    });
    version.expect("it is under a KMS key")
}

#[tokio::test]
async fn what_is_under_an_older_version_is_read_and_what_is_new_is_under_the_new_one() {
    let world = World::new().await;
    let (kms, keys, who) = (&world.service.kms, &world.service.objects, &caller());
    let key = world.kms_key().await;
    let reference = &key.id.into();
    let empty = &EncryptionContext::empty();
    let name = object("bucket", "key");
    let mut kept = Vec::new();
    let mut blobs = Vec::new();
    for version in 1..=4 {
        for bucket_key in [false, true] {
            let created = keys.create(&by_kms_key(&key, bucket_key), &name, who).await;
            let (data_key, envelope) = created.expect("a data key");
            assert_eq!(version_under(&world, &envelope).await, version);
            kept.push((envelope, data_key.expose().to_vec()));
        }
        let encrypted = kms.encrypt(reference, empty, b"text", who).await;
        let blob = encrypted.expect("a ciphertext").blob;
        assert_eq!(blob.version(), KeyVersion(version));
        blobs.push(blob.to_bytes());

        let rotated = kms.rotate_key(reference, who).await.expect("it is rotated");
        assert_eq!(rotated.current_version, KeyVersion(version + 1));
        // By this daemon, with what it has opened, and by one that has nothing.
        let restarted = world.restarted().await.expect("it starts");
        for service in [&world.service, &restarted] {
            for (envelope, data_key) in &kept {
                let opened = service.objects.open(envelope, &name, None, who).await;
                assert_eq!(opened.expect("it opens").expose().as_slice(), data_key);
            }
            for blob in &blobs {
                let decrypted = service.kms.decrypt(blob, empty, None, who).await;
                assert_eq!(*decrypted.expect("it opens").plaintext, b"text");
            }
        }
    }
    let bucket_keys = keys.bucket_keys_of(key.id, None, 10).await.expect("a page");
    let made: Vec<u32> = bucket_keys
        .items
        .iter()
        .map(|bucket_key| bucket_key.version.0)
        .collect();
    assert_eq!(made, [1, 2, 3, 4], "a bucket key for each version");
    // Re-encrypting brings a ciphertext under the newest version.
    let again = kms
        .re_encrypt(&blobs[0], empty, None, reference, empty, who)
        .await;
    assert_eq!(again.expect("it is").blob.version(), KeyVersion(5));
}

#[tokio::test]
async fn a_bucket_key_made_while_its_key_is_rotated_is_not_kept_for_writing() {
    let world = World::new().await;
    let key = world.kms_key().await;
    for number in 0..20 {
        let bucket = format!("bucket-{number}");
        let (name, who) = (object(&bucket, "key"), caller());
        let protection = by_kms_key(&key, true);
        let create = world.service.objects.create(&protection, &name, &who);
        let reference = key.id.into();
        let rotate = world.service.kms.rotate_key(&reference, &who);
        let (created, rotated) = futures::join!(create, rotate);
        created.expect("a data key");
        let current = rotated.expect("it is rotated").current_version;
        let next = world.service.objects.create(&protection, &name, &who).await;
        let (_, envelope) = next.expect("a data key");
        assert_eq!(version_under(&world, &envelope).await, current.0);
    }
}

#[tokio::test]
async fn the_state_of_a_version_follows_from_its_key() {
    use VersionState::{Active, Deactivated, Suspended};
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = &world.kms_key().await.id.into();
    assert_eq!(states_of(kms, key).await, [Active]);
    kms.rotate_key(key, who).await.expect("rotated");
    assert_eq!(states_of(kms, key).await, [Deactivated, Active]);
    kms.disable_key(key, who).await.expect("disabled");
    assert_eq!(states_of(kms, key).await, [Suspended, Suspended]);
    kms.enable_key(key, who).await.expect("enabled");
    kms.schedule_key_deletion(key, 7, who)
        .await
        .expect("scheduled");
    assert_eq!(states_of(kms, key).await, [Suspended, Suspended]);
    world.clock.pass(7 * DAY);
    kms.run_due(who).await.expect("destroyed");
    let date = world.clock.now();
    assert_eq!(
        states_of(kms, key).await,
        [VersionState::Destroyed {
            date,
            was_compromised: false
        }; 2]
    );
}

#[tokio::test]
async fn rotations_are_listed_with_their_dates_in_pages() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = &world.kms_key().await.id.into();
    kms.enable_key_rotation(key, 90, who)
        .await
        .expect("enabled");
    let mut expected = Vec::new();
    for number in 0..5 {
        world.clock.pass(90 * DAY);
        let report = kms.run_due(who).await.expect("a run");
        assert_eq!(report.rotated.len(), 1 + usize::from(number == 4) * 2);
        expected.push((RotationKind::Automatic, world.clock.now()));
        world.clock.pass(Duration::from_secs(1));
        kms.rotate_key(key, who).await.expect("rotated");
        expected.push((RotationKind::OnDemand, world.clock.now()));
    }
    for limit in [1, 3, 10, 11] {
        let (mut marker, mut found) = (None::<String>, Vec::new());
        loop {
            let page = kms
                .key_rotations(key, false, marker.as_deref(), limit)
                .await;
            let (_, page) = page.expect("a page");
            assert!(page.items.len() <= limit);
            found.extend(page.items.into_iter().map(|version| {
                (
                    version.rotation.expect("it was a rotation"),
                    version.created,
                )
            }));
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
    for marker in ["", "1", "-1", "x", "99999999999"] {
        let error = kms.key_rotations(key, false, Some(marker), 10).await;
        assert!(
            matches!(error, Err(KeyError::InvalidReference { .. })),
            "{error:?}"
        );
    }
}

async fn schedule_of(kms: &Kms, key: &KeyReference) -> Option<RotationSchedule> {
    kms.rotation_status(key).await.expect("a status").automatic
}

#[tokio::test]
async fn a_schedule_is_kept_by_what_happens_in_between() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = &world.kms_key().await.id.into();
    assert_eq!(schedule_of(kms, key).await, None);
    for period_days in [0, 89, 2_561, u32::MAX] {
        let error = kms.enable_key_rotation(key, period_days, who).await;
        assert!(
            matches!(error, Err(KeyError::InvalidRequest { .. })),
            "{error:?}"
        );
    }
    let begin = world.clock.now();
    let at = |period_days: u32, from: Timestamp, days: u32| {
        Some(RotationSchedule {
            period_days,
            next: from + days * DAY,
        })
    };
    kms.enable_key_rotation(key, 100, who)
        .await
        .expect("enabled");
    assert_eq!(schedule_of(kms, key).await, at(100, begin, 100));
    world.clock.pass(40 * DAY);
    // Neither a rotation on demand nor to ask for the same again moves it.
    kms.rotate_key(key, who).await.expect("rotated");
    kms.enable_key_rotation(key, 100, who)
        .await
        .expect("enabled");
    assert_eq!(schedule_of(kms, key).await, at(100, begin, 100));
    kms.schedule_key_deletion(key, 30, who)
        .await
        .expect("scheduled");
    assert_eq!(schedule_of(kms, key).await, None);
    kms.cancel_key_deletion(key, who).await.expect("cancelled");
    assert_eq!(schedule_of(kms, key).await, at(100, begin, 100));
    // Disabled, it is not rotated though its date has passed; enabled, at once.
    world.clock.pass(300 * DAY);
    let report = kms.run_due(who).await.expect("a run");
    assert!(report.rotated.is_empty());
    kms.enable_key(key, who).await.expect("enabled");
    let report = kms.run_due(who).await.expect("a run");
    assert_eq!(report.rotated.len(), 1, "one for all dates that passed");
    assert_eq!(report.rotated[0].1, KeyVersion(3));
    assert_eq!(schedule_of(kms, key).await, at(100, begin, 400));
    assert_eq!(report.next, Some(begin + 365 * DAY));
    // Another period begins anew.
    kms.enable_key_rotation(key, 90, who)
        .await
        .expect("enabled");
    assert_eq!(schedule_of(kms, key).await, at(90, begin, 340 + 90));
    kms.disable_key_rotation(key, who).await.expect("disabled");
    assert_eq!(schedule_of(kms, key).await, None);
    world.clock.pass(3_000 * DAY);
    kms.run_due(who).await.expect("a run");
    assert_eq!(versions_of(kms, key).await.len(), 3);
}

#[tokio::test]
async fn the_service_s_own_keys_are_rotated_every_year_by_nobody_else() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let name = object("bucket", "key");
    let created = world
        .service
        .objects
        .create(&Protection::Managed, &name, who)
        .await;
    let (data_key, envelope) = created.expect("a data key");
    world.clock.pass(364 * DAY);
    assert!(kms.run_due(who).await.expect("a run").rotated.is_empty());
    world.clock.pass(DAY);
    assert_eq!(kms.run_due(who).await.expect("a run").rotated.len(), 2);
    for alias in ["alias/strongroom/s3", "alias/strongroom/system"] {
        let key = &alias.parse().expect("a name");
        let described = kms.describe_key(key).await.expect("a key");
        assert_eq!(described.current_version, KeyVersion(2));
        let schedule = schedule_of(kms, key).await.expect("it has one");
        assert_eq!(schedule.next, world.clock.now() + 365 * DAY);
    }
    let service = world.restarted().await.expect("it starts");
    let opened = service.objects.open(&envelope, &name, None, who).await;
    assert_eq!(opened.expect("it opens").expose(), data_key.expose());
    let created = service
        .objects
        .create(&Protection::Managed, &name, who)
        .await;
    let (_, envelope) = created.expect("a data key");
    assert_eq!(version_under(&world, &envelope).await, 2);
}

#[tokio::test]
async fn a_key_is_rotated_on_demand_a_limited_number_of_times() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let key = &world.kms_key().await.id.into();
    kms.enable_key_rotation(key, 90, who)
        .await
        .expect("enabled");
    world.clock.pass(90 * DAY);
    kms.run_due(who)
        .await
        .expect("those by the clock do not count");
    for _ in 0..Kms::ON_DEMAND_ROTATIONS_MAX {
        kms.rotate_key(key, who).await.expect("rotated");
    }
    let before = kms.describe_key(key).await.expect("a key");
    let error = kms.rotate_key(key, who).await.expect_err("too many");
    assert!(matches!(error, KeyError::LimitExceeded { .. }), "{error:?}");
    assert_eq!(kms.describe_key(key).await.expect("a key"), before);
    world.clock.pass(90 * DAY);
    let report = kms.run_due(who).await.expect("the clock goes on");
    assert_eq!(report.rotated.len(), 1);
}

#[tokio::test]
async fn what_is_due_costs_by_how_much_is_due_and_not_by_how_many_keys_there_are() {
    let world = World::new().await;
    let (kms, who) = (&world.service.kms, &caller());
    let mut keys: Vec<KeyDescription> = Vec::new();
    for _ in 0..250 {
        keys.push(world.kms_key().await);
    }
    for key in &keys {
        let enabled = kms.enable_key_rotation(&key.id.into(), 2_560, who).await;
        enabled.expect("enabled");
    }
    let reads_of_run = async || {
        let before = world.meta.reads();
        let report = kms.run_due(who).await.expect("a run");
        (report, world.meta.reads() - before)
    };
    let (report, reads) = reads_of_run().await;
    assert_eq!((report.rotated.len(), reads), (0, 2));
    kms.enable_key_rotation(&keys[7].id.into(), 90, who)
        .await
        .expect("enabled");
    world.clock.pass(90 * DAY);
    let (report, reads) = reads_of_run().await;
    assert_eq!(report.rotated, [(keys[7].arn.clone(), KeyVersion(2))]);
    assert!(reads <= 4, "{reads}");
    // More than a scan holds, in one run.
    world.clock.pass(2_470 * DAY);
    let (report, _) = reads_of_run().await;
    assert_eq!(report.rotated.len(), 250 + 2);
    assert!(report.failed.is_empty());
    let (report, reads) = reads_of_run().await;
    assert_eq!((report.rotated.len(), reads), (0, 2));
}

#[tokio::test]
async fn a_rotation_that_is_cut_short_is_taken_up_again_and_loses_nothing() {
    let faults: [(&str, Cut); 7] = [
        ("token", |world| {
            world
                .token
                .fail_next(TokenFunction::GenerateWrapped, unavailable());
        }),
        ("mac", |world| {
            world.token.fail_next(TokenFunction::Mac, unavailable());
        }),
        ("log", |world| world.log.fail_after(0, LogFault::Full)),
        ("full", |world| world.meta.fail_commit(0, CommitFault::Full)),
        ("conflict", |world| {
            world.meta.fail_commit(0, CommitFault::Conflict);
        }),
        ("not applied", |world| {
            world.meta.fail_commit(0, CommitFault::UnknownNotApplied);
        }),
        ("applied", |world| {
            world.meta.fail_commit(0, CommitFault::UnknownApplied);
        }),
    ];
    for (what, cut) in faults {
        for is_due in [false, true] {
            let world = World::new().await;
            let (kms, who) = (&world.service.kms, &caller());
            let key = world.kms_key().await;
            let reference = &key.id.into();
            let name = object("bucket", "key");
            let created = world
                .service
                .objects
                .create(&by_kms_key(&key, true), &name, who)
                .await;
            let (data_key, envelope) = created.expect("a data key");
            kms.enable_key_rotation(reference, 90, who)
                .await
                .expect("enabled");
            if is_due {
                world.clock.pass(90 * DAY);
            }
            let rows = world.rows().await;
            cut(&world);
            let outcome = if is_due {
                kms.run_due(who).await.map(|report| {
                    assert_eq!(report.failed.len(), 1, "{what}");
                    assert!(report.rotated.is_empty(), "{what}");
                })
            } else {
                kms.rotate_key(reference, who).await.map(drop)
            };
            // What concerns one key alone is in the report of a run.
            let is_of_one = matches!(what, "token" | "mac" | "conflict");
            assert_eq!(outcome.is_ok(), is_due && is_of_one, "{what}: {outcome:?}");
            let is_applied = what == "applied";
            assert_eq!(world.rows().await != rows, is_applied, "{what}");

            // The daemon is started again.
            world.meta.reopen();
            world.log.recover();
            let service = world.restarted().await.expect("it starts");
            let opened = service.objects.open(&envelope, &name, None, who).await;
            assert_eq!(opened.expect("it opens").expose(), data_key.expose());
            let again = if is_due {
                service.kms.run_due(who).await.expect("a run").rotated.len()
            } else {
                usize::from(service.kms.rotate_key(reference, who).await.is_ok())
            };
            assert_eq!(again, usize::from(!(is_due && is_applied)), "{what}");
            let versions = versions_of(&service.kms, reference).await;
            let expected = 2 + usize::from(!is_due && is_applied);
            assert_eq!(versions.len(), expected, "{what}");
            let due = world.rows_of(Table::new("kms_due")).await;
            assert_eq!(due.len(), 3, "{what}");
        }
    }
}

fn unavailable() -> TokenError {
    TokenError::Unavailable {
        reason: "told to".into(),
    }
}
