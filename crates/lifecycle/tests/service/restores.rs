//! Restores: what a request is answered, how long they take, and how they end.

use std::time::Duration;

use strongroom_lifecycle::cold::{ColdTier, Fault, Retrieval, TierCall, TierSettings};
use strongroom_lifecycle::{
    LifecycleError, RestoreOutcome, RestoreRefusal, RetrievalTier, StorageClass, midnight_after,
};
use strongroom_store::{RestoreState, StoreError};

use crate::world::{DAY, HOUR, World, bytes};

async fn archived(class: StorageClass) -> World {
    let world = World::new().await;
    world.put("object", class, &bytes()).await;
    world.run().await;
    assert_eq!(world.archives().len(), 1);
    world
}

#[tokio::test]
async fn a_restore_is_started_refused_while_it_runs_and_renewed_once_it_is_there() {
    let mut world = archived(StorageClass::Glacier).await;
    let started = world.restore("object", 2, RetrievalTier::Standard).await;
    assert_eq!(started.expect("a restore"), RestoreOutcome::Started);
    for (days, tier) in [
        (2, RetrievalTier::Standard),
        (2, RetrievalTier::Bulk),
        (3, RetrievalTier::Standard),
        (3, RetrievalTier::Expedited),
    ] {
        let refused = world.restore("object", days, tier).await;
        assert!(
            matches!(
                refused,
                Err(LifecycleError::Restore(RestoreRefusal::InProgress))
            ),
            "{days} days, {tier}: {refused:?}"
        );
    }
    let waiting = world.run().await;
    assert_eq!(
        (waiting.restores_waiting, waiting.restores_completed),
        (1, 0)
    );
    assert!(world.get("object").await.is_err());
    world.restart().await;
    let done = world.pass(HOUR * 5).await;
    assert_eq!(done.restores_completed, 1);
    assert!(world.get("object").await.expect("restored") == bytes());
    assert_eq!(world.class("object").await, StorageClass::Glacier);
    let until = midnight_after(world.now(), 2);
    assert_eq!(
        world.tiered("object").await.restore,
        Some(RestoreState::Restored { until })
    );
    world.assert_sound().await;

    // The days begin when it is there; asked for again, they begin again.
    world.clock.advance(DAY);
    let renewed = world.restore("object", 4, RetrievalTier::Bulk).await;
    let until = midnight_after(world.now(), 4);
    assert_eq!(
        renewed.expect("a restore"),
        RestoreOutcome::AlreadyRestored { until }
    );
    world.restart().await;
    let report = world.pass(DAY * 4).await;
    assert_eq!((report.copies_expired, report.next), (0, Some(until)));
    assert!(world.get("object").await.is_ok());
    let report = world.pass(until.since(world.now())).await;
    assert_eq!(report.copies_expired, 1);
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::Archived { .. })
    ));
    world.assert_sound().await;
    assert_eq!((world.stored_bytes(), world.archives().len()), (0, 1));
    assert_eq!(world.tiered("object").await.restore, None);

    let again = world.restore("object", 1, RetrievalTier::Bulk).await;
    assert_eq!(again.expect("a restore"), RestoreOutcome::Started);
    assert_eq!(world.pass(HOUR * 12).await.restores_completed, 1);
    assert!(world.get("object").await.expect("restored") == bytes());
}

#[tokio::test]
async fn a_restore_under_way_can_be_made_faster() {
    let world = archived(StorageClass::Glacier).await;
    world
        .restore("object", 1, RetrievalTier::Bulk)
        .await
        .expect("a restore");
    let slow = world.run().await.next.expect("it is waited for");
    assert!(slow.since(world.now()) > HOUR);
    let faster = world.restore("object", 1, RetrievalTier::Expedited).await;
    assert_eq!(faster.expect("a restore"), RestoreOutcome::Started);
    let open = world.lifecycle.open_restores(None, 10).await.expect("rows");
    assert_eq!((open.len(), open[0].tier), (1, RetrievalTier::Expedited));
    let report = world.pass(HOUR / 12).await;
    assert_eq!(report.restores_completed, 1);
    assert!(world.get("object").await.expect("restored") == bytes());
}

#[tokio::test]
async fn requests_that_cannot_be_met_change_nothing() {
    let settings = TierSettings {
        expedited_at_once_max: 0,
        ..TierSettings::default()
    };
    let world = World::with(settings, Duration::ZERO).await;
    world.put("warm", StorageClass::Standard, &bytes()).await;
    world.put("deep", StorageClass::DeepArchive, &bytes()).await;
    world.put("object", StorageClass::Glacier, &bytes()).await;
    world.run().await;
    assert!(matches!(
        world.restore("warm", 1, RetrievalTier::Standard).await,
        Err(LifecycleError::Restore(RestoreRefusal::NotArchived { .. }))
    ));
    assert!(matches!(
        world.restore("deep", 1, RetrievalTier::Expedited).await,
        Err(LifecycleError::Restore(
            RestoreRefusal::TierNotOffered { .. }
        ))
    ));
    assert!(matches!(
        world.restore("object", 1, RetrievalTier::Expedited).await,
        Err(LifecycleError::ExpeditedUnavailable)
    ));
    for days in [i64::MIN, -1, 0, i64::from(i32::MAX) + 1] {
        assert!(matches!(
            world.restore("object", days, RetrievalTier::Standard).await,
            Err(LifecycleError::RestoreDays { .. })
        ));
    }
    assert!(matches!(
        world.restore("absent", 1, RetrievalTier::Standard).await,
        Err(LifecycleError::Store(StoreError::NoSuchKey { .. }))
    ));
    for name in ["deep", "object"] {
        assert_eq!(world.tiered(name).await.restore, None);
    }
    assert_eq!(world.run().await.restores_waiting, 0);
}

#[tokio::test]
async fn an_object_can_be_asked_back_before_it_has_reached_the_tier() {
    let mut world = World::with(TierSettings::default(), HOUR * 6).await;
    world.put("object", StorageClass::Glacier, &bytes()).await;
    let started = world.restore("object", 1, RetrievalTier::Standard).await;
    assert_eq!(started.expect("a restore"), RestoreOutcome::Started);
    world.run().await;
    world.restart().await;
    for _ in 0..12 {
        world.pass(HOUR).await;
    }
    world.pass(HOUR).await;
    assert!(world.get("object").await.expect("restored") == bytes());
    world.assert_sound().await;
    assert_eq!(world.archives().len(), 1);
}

#[tokio::test]
async fn a_damaged_archive_is_not_given_back_and_the_object_stays_archived() {
    let world = archived(StorageClass::Glacier).await;
    world
        .restore("object", 1, RetrievalTier::Standard)
        .await
        .expect("a restore");
    world.tier.fail_next(TierCall::Read, Fault::WrongBit);
    world.clock.advance(HOUR * 6);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.restores_completed, report.failure_count), (0, 1));
    assert!(
        report.failures[0].contains("damaged"),
        "{:?}",
        report.failures
    );
    assert_eq!(world.tiered("object").await.restore, None);
    world.assert_sound().await;
    assert_eq!(world.stored_bytes(), 0);
    // The medium was read wrong once.
    let started = world.restore("object", 1, RetrievalTier::Standard).await;
    assert_eq!(started.expect("a restore"), RestoreOutcome::Started);
    world.pass(HOUR * 6).await;
    assert!(world.get("object").await.expect("restored") == bytes());
}

#[tokio::test]
async fn an_archive_that_the_tier_lost_ends_the_restore() {
    let world = archived(StorageClass::Glacier).await;
    world
        .restore("object", 1, RetrievalTier::Standard)
        .await
        .expect("a restore");
    let archive = world.archives()[0];
    world.memory_tier.expire(archive).await.expect("it is gone");
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.restores_waiting, report.failure_count), (0, 1));
    assert_eq!(world.tiered("object").await.restore, None);
    assert!(matches!(
        world.restore("object", 1, RetrievalTier::Standard).await,
        Err(LifecycleError::Cold(_))
    ));
}

#[tokio::test]
async fn versions_that_share_an_archive_are_restored_together() {
    for moves_at_once in [1, 4] {
        let mut world = World::new().await;
        world.settings.moves_at_once = moves_at_once;
        world.restart().await;
        world.put("one", StorageClass::Standard, &bytes()).await;
        for name in ["two", "three", "four"] {
            world.copy("one", name, StorageClass::Standard).await;
        }
        let names = ["one", "two", "three", "four"];
        for name in names {
            world
                .archive_now(name, StorageClass::Glacier)
                .await
                .expect("a move");
        }
        world.run().await;
        assert_eq!(world.archives().len(), 1);
        for name in names {
            world
                .restore(name, 1, RetrievalTier::Standard)
                .await
                .expect("a restore");
        }
        for _ in 0..3 {
            world.pass(HOUR * 6).await;
        }
        for name in names {
            assert!(
                world.get(name).await.expect("restored") == bytes(),
                "{name}"
            );
        }
        world.assert_sound().await;
        // The tier was told that nothing of it is needed any more.
        let archive = world.archives()[0];
        assert_eq!(
            world.memory_tier.poll(archive).await.expect("it is there"),
            Retrieval::NotRequested
        );
        world.clock.advance(DAY * 3);
        assert_eq!(world.run().await.copies_expired, 4);
        world.assert_sound().await;
        assert_eq!(world.stored_bytes(), 0);
    }
}

#[tokio::test]
async fn a_retrieval_that_another_restore_released_is_asked_for_again() {
    let world = archived(StorageClass::Glacier).await;
    world
        .restore("object", 1, RetrievalTier::Standard)
        .await
        .expect("a restore");
    world.run().await;
    world.clock.advance(HOUR * 6);
    // It goes back to rest between being found ready and being read.
    world.tier.fail_next(TierCall::Read, Fault::NotRetrieved);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!(report.failure_count, 1);
    assert!(matches!(
        world.tiered("object").await.restore,
        Some(RestoreState::InProgress { .. })
    ));
    for _ in 0..2 {
        world.pass(HOUR * 6).await;
    }
    assert!(world.get("object").await.expect("restored") == bytes());
}

#[tokio::test]
async fn an_object_that_expires_while_it_is_restored_is_gone_with_its_copies() {
    let world = archived(StorageClass::Glacier).await;
    world
        .put_rules(r#"{"Rules": [{"Status": "Enabled", "Filter": {}, "Expiration": {"Days": 3}}]}"#)
        .await;
    world
        .restore("object", 10, RetrievalTier::Standard)
        .await
        .expect("a restore");
    world.pass(HOUR * 6).await;
    assert!(world.get("object").await.is_ok());
    let report = world.pass(DAY * 4).await;
    assert_eq!((report.versions_expired, report.archives_expired), (1, 1));
    assert!(!world.is_there("object").await);
    world.assert_sound().await;
    assert_eq!((world.stored_bytes(), world.archives().len()), (0, 0));
    assert_eq!(world.pass(DAY * 20).await.copies_expired, 0);
}
