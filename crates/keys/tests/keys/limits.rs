//! Limits on the use of a key, and when it was last used.

use std::time::Duration;

use strongroom_environment::Clock as _;
use strongroom_keys::{
    EncryptionContext, KeyDescription, KeyError, KeyOperation, KeyService, KeyUseCount,
    KeyUseLimits, Kms, UseLimit,
};
use strongroom_meta::{CommitFault, Table};

use crate::world::{World, by_kms_key, caller, object};

const COUNTS: Table = Table::new("kms_counts");

async fn encrypt(service: &KeyService, key: &KeyDescription) -> Result<Vec<u8>, KeyError> {
    let empty = &EncryptionContext::empty();
    let done = service
        .kms
        .encrypt(&key.id.into(), empty, b"12345678", &caller())
        .await?;
    Ok(done.blob.to_bytes())
}

fn limited<T: std::fmt::Debug>(result: Result<T, KeyError>) -> UseLimit {
    match result {
        Err(KeyError::UseLimited { limit, .. }) => limit,
        other => panic!("{other:?}"),
    }
}

async fn set(service: &KeyService, key: &KeyDescription, limits: KeyUseLimits) {
    let set = service
        .kms
        .set_limits(&key.id.into(), limits, &caller())
        .await;
    set.expect("limits");
}

fn uses(max: u64) -> KeyUseLimits {
    KeyUseLimits {
        uses_max: Some(max),
        ..KeyUseLimits::default()
    }
}

#[tokio::test]
async fn no_more_uses_and_bytes_are_granted_than_the_limits_say() {
    let world = World::new().await;
    let service = &world.service;
    let key = world.kms_key().await;
    // What was used without limits counts.
    for _ in 0..3 {
        encrypt(service, &key).await.expect("no limit");
    }
    set(service, &key, uses(40)).await;
    for _ in 3..40 {
        encrypt(service, &key).await.expect("within the limit");
    }
    assert_eq!(limited(encrypt(service, &key).await), UseLimit::Uses);
    // A rotation gives no more, and what is there is opened.
    let rotated = service.kms.rotate_key(&key.id.into(), &caller()).await;
    rotated.expect("rotated");
    assert_eq!(limited(encrypt(service, &key).await), UseLimit::Uses);
    let (limits, count) = service.kms.limits(&key.id.into()).await.expect("limits");
    assert_eq!(limits, uses(40));
    assert_eq!(
        (count.uses, count.size_bytes / 8),
        (40, count.size_bytes / 8)
    );

    let bytes = |max| KeyUseLimits {
        size_bytes_max: Some(max),
        ..KeyUseLimits::default()
    };
    set(service, &key, bytes(count.size_bytes + 17)).await;
    for _ in 0..2 {
        encrypt(service, &key).await.expect("within the limit");
    }
    assert_eq!(limited(encrypt(service, &key).await), UseLimit::Bytes);
    set(service, &key, KeyUseLimits::default()).await;
    let blob = encrypt(service, &key).await.expect("no limit");
    let empty = &EncryptionContext::empty();
    set(service, &key, uses(0)).await;
    assert_eq!(limited(encrypt(service, &key).await), UseLimit::Uses);
    let opened = service.kms.decrypt(&blob, empty, None, &caller()).await;
    assert_eq!(*opened.expect("it opens").plaintext, b"12345678");
}

#[tokio::test]
async fn many_at_once_and_crashes_between_get_no_more_than_the_limit() {
    let world = World::new().await;
    let key = world.kms_key().await;
    set(&world.service, &key, uses(100)).await;
    let mut granted = 0;
    let mut services = vec![];
    for round in 0..4 {
        let service = world.restarted().await.expect("it starts");
        if round == 2 {
            world.meta.fail_commit(0, CommitFault::Unavailable);
        }
        let some: Vec<_> = (0..40).map(|_| encrypt(&service, &key)).collect();
        for result in futures::future::join_all(some).await {
            match result {
                Ok(_) => granted += 1,
                Err(KeyError::UseLimited { .. } | KeyError::NotCommitted(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        world.meta.reopen();
        // It is not closed: as after a crash.
        services.push(service);
    }
    // Each crash loses less than a sixteenth of what was left.
    assert!((75..=100).contains(&granted), "{granted}");
    let last = services.last().expect("one");
    while encrypt(last, &key).await.is_ok() {
        granted += 1;
    }
    assert!(granted <= 100, "{granted}");
}

#[tokio::test]
async fn a_key_protects_between_its_dates_only_and_bucket_keys_bound_the_rest() {
    let world = World::new().await;
    let service = &world.service;
    let key = world.kms_key().await;
    let now = world.clock.now();
    let day = Duration::from_secs(86_400);
    let between = KeyUseLimits {
        not_before: Some(now + day),
        not_after: Some(now + 2 * day),
        ..KeyUseLimits::default()
    };
    set(service, &key, between).await;
    assert_eq!(limited(encrypt(service, &key).await), UseLimit::NotYetValid);
    world.clock.pass(day);
    let blob = encrypt(service, &key).await.expect("it is valid");
    world.clock.pass(day - Duration::from_secs(10));
    let create = async |bucket: &str| {
        let name = object(bucket, "key");
        let created = service
            .objects
            .create(&by_kms_key(&key, true), &name, &caller())
            .await;
        created.map(|(_, envelope)| (name, envelope))
    };
    let (name, envelope) = create("bucket").await.expect("it is valid");
    world.clock.pass(Duration::from_secs(10));
    assert_eq!(
        limited(encrypt(service, &key).await),
        UseLimit::NoLongerValid
    );
    // For as long as the bucket key is opened; a new one is not made.
    create("bucket")
        .await
        .expect("through the opened bucket key");
    assert_eq!(limited(create("other").await), UseLimit::NoLongerValid);
    world.clock.pass(Duration::from_secs(300));
    assert_eq!(limited(create("bucket").await), UseLimit::NoLongerValid);
    let opened = service
        .objects
        .open(&envelope, &name, None, &caller())
        .await;
    opened.expect("it opens");
    let empty = &EncryptionContext::empty();
    let opened = service.kms.decrypt(&blob, empty, None, &caller()).await;
    opened.expect("it opens");
    let entries = world.entries_since(0);
    let refused = entries
        .iter()
        .filter(|entry| entry["reason"] == "use-limited");
    assert!(refused.count() >= 4);
    let wrong = KeyUseLimits {
        not_before: Some(now + day),
        not_after: Some(now + day),
        ..KeyUseLimits::default()
    };
    let refused = service
        .kms
        .set_limits(&key.id.into(), wrong, &caller())
        .await;
    assert!(matches!(refused, Err(KeyError::InvalidRequest { .. })));
}

#[tokio::test]
async fn a_version_makes_no_more_ciphertexts_than_its_nonces_are_good_for() {
    let world = World::new().await;
    let key = world.kms_key().await;
    let place = [key.id.as_bytes().as_slice(), &[0, 0, 0, 1]].concat();
    let nearly = (Kms::CIPHERTEXTS_MAX - 1).to_be_bytes();
    let value = [&[1], nearly.as_slice(), &[0; 8]].concat();
    world.set(COUNTS, &place, Some(&value)).await;
    let service = world.restarted().await.expect("it starts");
    let blob = encrypt(&service, &key).await.expect("the last");
    assert_eq!(limited(encrypt(&service, &key).await), UseLimit::Nonces);
    let empty = &EncryptionContext::empty();
    let opened = service.kms.decrypt(&blob, empty, None, &caller()).await;
    opened.expect("it opens");
    let rotated = service.kms.rotate_key(&key.id.into(), &caller()).await;
    rotated.expect("rotated");
    encrypt(&service, &key).await.expect("a new version");
}

#[tokio::test]
async fn the_last_use_is_told_at_once_and_kept_when_it_is_written() {
    let world = World::new().await;
    let kms = &world.service.kms;
    let key = world.kms_key().await;
    let reference = &key.id.into();
    let usage = kms.key_usage(reference).await.expect("usage");
    assert_eq!((usage.last, usage.created), (None, key.created));
    let commits = world.meta.commits();
    encrypt(&world.service, &key).await.expect("encrypted");
    world.clock.pass(Duration::from_secs(5));
    let blob = encrypt(&world.service, &key).await.expect("encrypted");
    assert_eq!(world.meta.commits(), commits, "a use costs no write");
    let used = kms
        .key_usage(reference)
        .await
        .expect("usage")
        .last
        .expect("used");
    assert_eq!(
        (used.at, used.operation),
        (world.clock.now(), KeyOperation::Encrypt)
    );
    assert_eq!(used.request_id, "request-1");

    // What was not written is lost with the process.
    let crashed = world.restarted().await.expect("it starts");
    assert_eq!(
        crashed.kms.key_usage(reference).await.expect("usage").last,
        None
    );
    kms.write_noted_uses().await.expect("written");
    let restarted = world.restarted().await.expect("it starts");
    let kept = restarted
        .kms
        .key_usage(reference)
        .await
        .expect("usage")
        .last;
    assert_eq!(kept, Some(used));
    let (_, count) = restarted.kms.limits(reference).await.expect("limits");
    let expected = KeyUseCount {
        uses: 2,
        size_bytes: 16,
    };
    assert_eq!(count, expected);

    kms.rotate_key(reference, &caller()).await.expect("rotated");
    world.clock.pass(Duration::from_secs(5));
    let name = object("bucket", "key");
    let created = world
        .service
        .objects
        .create(&by_kms_key(&key, true), &name, &caller())
        .await;
    created.expect("a data key");
    let used = async || {
        kms.key_usage(reference)
            .await
            .expect("usage")
            .last
            .expect("used")
    };
    assert_eq!(used().await.operation, KeyOperation::GenerateDataKey);
    world.clock.pass(Duration::from_secs(5));
    let empty = &EncryptionContext::empty();
    kms.decrypt(&blob, empty, None, &caller())
        .await
        .expect("it opens");
    assert_eq!(used().await.operation, KeyOperation::Decrypt);
    let versions = kms
        .key_versions(reference, None, 10)
        .await
        .expect("a page")
        .items;
    assert_eq!(versions[0].last_used, Some(world.clock.now()));
    assert!(versions[1].last_used < versions[0].last_used);
    // A refusal is no use.
    world.clock.pass(Duration::from_secs(5));
    kms.disable_key(reference, &caller())
        .await
        .expect("disabled");
    encrypt(&world.service, &key)
        .await
        .expect_err("it is disabled");
    assert_eq!(used().await.operation, KeyOperation::Decrypt);
}
