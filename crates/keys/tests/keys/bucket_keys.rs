//! Bucket keys: few uses of the token, for a bounded time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom_audit::{AppendError, AuditLog, LeafIndex, MemoryLog};
use strongroom_environment::SystemEntropy;
use strongroom_keys::{
    KeyEnvelope, KeyError, KeyLimits, KeyService, ObjectName, Protection, ensure_token_keys,
};
use strongroom_meta::{CommitFault, MemoryStore, Table};
use strongroom_pkcs11::{MemoryToken, TokenFunction};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::world::{StillClock, World, by_kms_key, caller, config, object};

const BUCKET_KEYS: Table = Table::new("bucket_keys");

fn limits(age_max: Duration, uses_max: u64, opened_max: usize) -> KeyLimits {
    KeyLimits {
        bucket_key_age_max: age_max,
        bucket_key_uses_max: uses_max,
        bucket_keys_opened_max: NonZeroUsize::new(opened_max).expect("not 0"),
        ..KeyLimits::default()
    }
}

const FIVE_MINUTES: Duration = Duration::from_secs(300);

async fn create(world: &World, bucket: &str) -> (ObjectName, KeyEnvelope) {
    let name = object(bucket, "key");
    let keys = &world.service.objects;
    let created = keys.create(&Protection::Managed, &name, &caller()).await;
    let (_, envelope) = created.expect("a data key");
    (name, envelope)
}

async fn open(world: &World, (name, envelope): &(ObjectName, KeyEnvelope)) {
    let opened = world
        .service
        .objects
        .open(envelope, name, None, &caller())
        .await;
    opened.expect("it opens");
}

async fn bucket_key_count(world: &World) -> usize {
    let count = world.rows_of(BUCKET_KEYS).await.len();
    let index = Table::new("bucket_keys_of");
    assert_eq!(
        world.rows_of(index).await.len(),
        count,
        "each is in the index"
    );
    count
}

#[tokio::test]
async fn what_is_opened_costs_the_token_nothing() {
    let world = World::new().await;
    let first = create(&world, "bucket").await;
    let before = world.token_uses();
    for _ in 0..100 {
        let created = create(&world, "bucket").await;
        open(&world, &created).await;
        open(&world, &first).await;
    }
    assert_eq!(world.token_uses(), before);
    assert_eq!(bucket_key_count(&world).await, 1);
}

#[tokio::test]
async fn a_bucket_key_ends_with_its_time() {
    let world = World::with_limits(limits(FIVE_MINUTES, 1 << 20, 8)).await;
    let old = create(&world, "bucket").await;
    world.clock.pass(FIVE_MINUTES - Duration::from_nanos(1));
    let seals = world.token.calls(TokenFunction::Seal);
    create(&world, "bucket").await;
    assert_eq!(world.token.calls(TokenFunction::Seal), seals);

    world.clock.pass(Duration::from_nanos(1));
    create(&world, "bucket").await;
    assert_eq!(world.token.calls(TokenFunction::Seal), seals + 1);
    assert_eq!(bucket_key_count(&world).await, 2);

    // What is under the old one opens; it is opened anew for as long again, to read.
    let opens = world.token.calls(TokenFunction::Open);
    open(&world, &old).await;
    open(&world, &old).await;
    assert_eq!(world.token.calls(TokenFunction::Open), opens + 1);
    create(&world, "bucket").await;
    assert_eq!(bucket_key_count(&world).await, 2, "the new one wraps");
    world.clock.pass(FIVE_MINUTES);
    open(&world, &old).await;
    assert_eq!(world.token.calls(TokenFunction::Open), opens + 2);
    // To have been opened to read does not make it wrap again.
    create(&world, "bucket").await;
    assert_eq!(bucket_key_count(&world).await, 3);
}

#[tokio::test]
async fn a_bucket_key_ends_with_its_uses() {
    let world = World::with_limits(limits(FIVE_MINUTES, 3, 8)).await;
    let mut created = Vec::new();
    for number in 0..9 {
        created.push(create(&world, "bucket").await);
        assert_eq!(bucket_key_count(&world).await, number / 3 + 1);
    }
    let opens = world.token.calls(TokenFunction::Open);
    for each in &created[..6] {
        open(&world, each).await;
    }
    assert_eq!(world.token.calls(TokenFunction::Open), opens + 2);
}

#[tokio::test]
async fn no_more_are_opened_than_there_is_room_for() {
    let world = World::with_limits(limits(FIVE_MINUTES, 1 << 20, 2)).await;
    let first = create(&world, "one").await;
    create(&world, "two").await;
    create(&world, "three").await;
    let opens = world.token.calls(TokenFunction::Open);
    open(&world, &first).await;
    assert_eq!(world.token.calls(TokenFunction::Open), opens + 1);
    // The one that went wraps no more; a new one does.
    create(&world, "two").await;
    assert_eq!(bucket_key_count(&world).await, 4);
}

#[tokio::test]
async fn each_bucket_and_each_key_has_its_own() {
    let world = World::new().await;
    let (one, other) = (world.kms_key().await, world.kms_key().await);
    let keys = &world.service.objects;
    for bucket in ["a", "b"] {
        for key in [&one, &other] {
            for _ in 0..2 {
                let protection = by_kms_key(key, true);
                let created = keys
                    .create(&protection, &object(bucket, "key"), &caller())
                    .await;
                created.expect("a data key");
            }
        }
    }
    assert_eq!(bucket_key_count(&world).await, 4);
}

#[tokio::test]
async fn disabling_a_key_stops_its_bucket_keys_at_once_and_no_others() {
    let world = World::new().await;
    let (kms, keys) = (&world.service.kms, &world.service.objects);
    let (stopped, going) = (world.kms_key().await, world.kms_key().await);
    let mut made = Vec::new();
    for key in [&stopped, &going] {
        let name = object("bucket", "key");
        let created = keys.create(&by_kms_key(key, true), &name, &caller()).await;
        made.push((name, created.expect("a data key").1));
    }
    for (change, code) in [("disable", "disabled"), ("schedule", "pending-deletion")] {
        open(&world, &made[0]).await;
        let reference = stopped.id.into();
        if change == "disable" {
            kms.disable_key(&reference, &caller()).await.expect("it is");
        } else {
            let scheduled = kms.schedule_key_deletion(&reference, 7, &caller()).await;
            scheduled.expect("it is");
        }
        let (name, envelope) = &made[0];
        let error = keys.open(envelope, name, None, &caller()).await;
        let error = error.expect_err("its key may not be used");
        assert_eq!(error.code(), code);
        let created = keys
            .create(
                &by_kms_key(&stopped, true),
                &object("bucket", "new"),
                &caller(),
            )
            .await;
        let error = created.expect_err("its key may not be used");
        assert_eq!(error.code(), code);

        let before = world.token_uses();
        open(&world, &made[1]).await;
        assert_eq!(world.token_uses(), before, "the other stays opened");
        if change == "schedule" {
            kms.cancel_key_deletion(&reference, &caller())
                .await
                .expect("it is");
        }
        kms.enable_key(&reference, &caller()).await.expect("it is");
    }
    open(&world, &made[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_first_uses_at_once_make_one_key_and_open_one() {
    let world = Arc::new(World::new().await);
    let seals = world.token.calls(TokenFunction::Seal);
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let world = Arc::clone(&world);
        tasks.spawn(async move { create(&world, "bucket").await });
    }
    let created = tasks.join_all().await;
    assert_eq!(bucket_key_count(&world).await, 1);
    assert_eq!(world.token.calls(TokenFunction::Seal), seals + 1);

    world.clock.pass(FIVE_MINUTES);
    let opens = world.token.calls(TokenFunction::Open);
    let mut tasks = JoinSet::new();
    for each in created {
        let world = Arc::clone(&world);
        tasks.spawn(async move { open(&world, &each).await });
    }
    tasks.join_all().await;
    assert_eq!(world.token.calls(TokenFunction::Open), opens + 1);
}

#[tokio::test]
async fn nothing_is_wrapped_with_a_key_whose_row_is_not_written() {
    for fault in [
        CommitFault::Full,
        CommitFault::Unavailable,
        CommitFault::UnknownApplied,
        CommitFault::UnknownNotApplied,
    ] {
        let world = World::new().await;
        world.meta.fail_commit(0, fault);
        let keys = &world.service.objects;
        let name = object("bucket", "key");
        let error = keys.create(&Protection::Managed, &name, &caller()).await;
        let error = error.expect_err("the row is not written");
        assert!(matches!(error, KeyError::NotCommitted(_)), "{error:?}");
        world.meta.reopen();
        let created = create(&world, "bucket").await;
        world.clock.pass(FIVE_MINUTES);
        open(&world, &created).await;
    }
}

#[tokio::test]
async fn a_row_that_is_gone_or_another_s_opens_nothing() {
    let world = World::new().await;
    let (one, other) = (create(&world, "one").await, create(&world, "other").await);
    world.clock.pass(FIVE_MINUTES);
    let rows = world.rows_of(BUCKET_KEYS).await;
    for (row, replacement) in [(&rows[0], &rows[1]), (&rows[1], &rows[0])] {
        let value = Some(&*replacement.row.value);
        world.set(BUCKET_KEYS, &row.key, value).await;
    }
    let keys = &world.service.objects;
    for (name, envelope) in [&one, &other] {
        let error = keys.open(envelope, name, None, &caller()).await;
        assert!(matches!(error, Err(KeyError::NotAuthentic)), "{error:?}");
    }
    for row in &rows {
        world.set(BUCKET_KEYS, &row.key, None).await;
    }
    for (name, envelope) in [&one, &other] {
        let error = keys.open(envelope, name, None, &caller()).await;
        assert!(matches!(error, Err(KeyError::Damaged { .. })), "{error:?}");
    }
}

/// A log that holds back the entries of sealed data keys while there is no permit for them.
#[derive(Debug)]
struct HeldLog {
    inner: MemoryLog,
    permits: Semaphore,
    held: Notify,
}

#[async_trait]
impl AuditLog for HeldLog {
    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError> {
        let what = br#""use":"seal-data-key""#;
        if entry.windows(what.len()).any(|window| window == what) {
            self.held.notify_one();
            self.permits
                .acquire()
                .await
                .expect("it stays open")
                .forget();
        }
        self.inner.append(entry).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_disabled_while_its_bucket_key_is_made_wraps_nothing() {
    let token = Arc::new(MemoryToken::new());
    ensure_token_keys(&*token).await.expect("keys on the token");
    let log = Arc::new(HeldLog {
        inner: MemoryLog::new(),
        // For the two data keys of the service itself.
        permits: Semaphore::new(2),
        held: Notify::new(),
    });
    let service = KeyService::start(
        config(KeyLimits::default()),
        token,
        Arc::new(MemoryStore::new()),
        Arc::clone(&log) as _,
        Arc::new(StillClock::new()),
        Arc::new(SystemEntropy),
    )
    .await
    .expect("it starts");
    let key = service.kms.create_key("", &caller()).await.expect("a key");
    // The start has left one notice behind.
    log.held.notified().await;

    let objects = Arc::clone(&service.objects);
    let protection = by_kms_key(&key, true);
    let creating = tokio::spawn(async move {
        let name = object("bucket", "key");
        objects
            .create(&protection, &name, &caller())
            .await
            .map(drop)
    });
    // The token has sealed it under the key that was enabled then.
    log.held.notified().await;
    let disabled = service.kms.disable_key(&key.id.into(), &caller()).await;
    disabled.expect("it is disabled");
    log.permits.add_permits(8);
    let created = creating.await.expect("no panic");
    assert!(
        matches!(created, Err(KeyError::Disabled { .. })),
        "{created:?}"
    );
}
