//! Moves to the cold tier: written down, made, taken up again, and cleared away.

use std::time::Duration;

use strongroom_lifecycle::cold::{Fault, TierCall, TierSettings};
use strongroom_lifecycle::{
    JobOrigin, LifecycleError, LifecycleSettings, RetrievalTier, StorageClass,
};
use strongroom_meta::{Batch, CommitFault, MetaStore, Table};
use strongroom_store::StoreError;

use crate::world::{DAY, HOUR, World, bytes};

#[tokio::test]
async fn a_move_that_was_asked_for_is_made_by_the_next_run_also_after_a_restart() {
    let mut world = World::new().await;
    let name = world.put("object", StorageClass::Standard, &bytes()).await;
    let asked = world.archive_now("object", StorageClass::Glacier).await;
    assert_eq!(asked.expect("a move"), name);
    // Asked for twice, it is made once.
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("no error");
    let jobs = world.lifecycle.jobs(None, 10).await.expect("rows");
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (&jobs[0].name, jobs[0].class, &jobs[0].origin),
        (&name, StorageClass::Glacier, &JobOrigin::Request)
    );
    assert!(world.get("object").await.expect("still warm") == bytes());

    world.restart().await;
    let report = world.run().await;
    assert_eq!(report.versions_moved, 1);
    assert!(report.archived_bytes > 200_000);
    assert_eq!((world.archives().len(), world.job_count().await), (1, 0));
    world.assert_sound().await;
    assert_eq!(world.stored_bytes(), 0);
    assert!(matches!(
        world.get("object").await,
        Err(StoreError::Archived { .. })
    ));
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("it is there already");
    assert!(matches!(
        world.archive_now("object", StorageClass::StandardIa).await,
        Err(LifecycleError::NoWay { .. })
    ));
    assert_eq!(world.job_count().await, 0);
}

#[tokio::test]
async fn an_object_written_into_an_archive_class_goes_there_with_the_next_run() {
    let world = World::new().await;
    world
        .put("object", StorageClass::DeepArchive, &bytes())
        .await;
    assert!(world.get("object").await.is_err());
    let report = world.run().await;
    assert_eq!((report.moves_begun, report.versions_moved), (1, 1));
    world.assert_sound().await;
    assert_eq!((world.stored_bytes(), world.archives().len()), (0, 1));
    world.delete("object").await;
    assert_eq!(world.run().await.archives_expired, 1);
    assert!(world.archives().is_empty());
}

#[tokio::test]
async fn the_warm_copy_stays_until_the_tier_calls_the_archive_durable() {
    let mut world = World::with(TierSettings::default(), HOUR * 6).await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    let warm = world.stored_bytes();
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("a move");
    let report = world.run().await;
    assert_eq!((report.moves_accepted, report.versions_moved), (1, 0));
    for hour in 1..6 {
        world.restart().await;
        assert_eq!(world.pass(HOUR).await.versions_moved, 0, "hour {hour}");
        assert_eq!(world.stored_bytes(), warm);
        assert!(world.get("object").await.expect("still warm") == bytes());
    }
    let report = world.pass(HOUR * 2).await;
    assert_eq!(report.versions_moved, 1);
    world.assert_sound().await;
    assert_eq!((world.stored_bytes(), world.archives().len()), (0, 1));
}

#[tokio::test]
async fn an_archive_whose_version_is_deleted_meanwhile_is_not_kept() {
    // Taken by the tier and not durable yet.
    let world = World::with(TierSettings::default(), HOUR * 6).await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("a move");
    world.run().await;
    assert_eq!(world.archives().len(), 1);
    world.delete("object").await;
    world.pass(DAY).await;
    assert!(world.archives().is_empty());
    assert_eq!(world.job_count().await, 0);

    // Durable, and nobody was told.
    let world = World::new().await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("a move");
    world
        .tier
        .fail_next(TierCall::Submit, Fault::DoneButUnknown);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.failure_count, world.archives().len()), (1, 1));
    world.delete("object").await;
    world.pass(DAY).await;
    assert!(world.archives().is_empty());
    world.assert_sound().await;
}

#[tokio::test]
async fn an_archive_that_another_version_came_to_need_is_kept() {
    let mut world = World::new().await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("a move");
    // The daemon dies between the commit of the move and the end of its job.
    let commits = world.meta.commits();
    world.meta.fail_commit(1, CommitFault::UnknownNotApplied);
    world.lifecycle.run_once().await.expect_err("it dies");
    assert_eq!(world.meta.commits(), commits + 2);
    world.restart().await;
    assert_eq!(world.class("object").await, StorageClass::Glacier);
    assert_eq!(world.job_count().await, 1);
    // It is re-keyed where it lies, and the version that the job was for is gone.
    world.copy("object", "copy", StorageClass::Glacier).await;
    world.delete("object").await;
    world.pass(HOUR).await;
    assert_eq!((world.archives().len(), world.job_count().await), (1, 0));
    world
        .restore("copy", 1, RetrievalTier::Standard)
        .await
        .expect("a restore");
    world.pass(HOUR * 6).await;
    assert!(world.get("copy").await.expect("restored") == bytes());
    world.assert_sound().await;
}

#[tokio::test]
async fn of_two_archives_of_one_payload_one_is_kept() {
    let world = World::new().await;
    world.put("one", StorageClass::Standard, &bytes()).await;
    world.copy("one", "two", StorageClass::Standard).await;
    for name in ["one", "two"] {
        world
            .archive_now(name, StorageClass::Glacier)
            .await
            .expect("a move");
    }
    // One is in the tier without the daemon's knowing when the other is committed.
    world
        .tier
        .fail_next(TierCall::Submit, Fault::DoneButUnknown);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.versions_moved, report.failure_count), (1, 1));
    world.pass(HOUR).await;
    assert_eq!((world.archives().len(), world.job_count().await), (1, 0));
    for name in ["one", "two"] {
        assert_eq!(world.class(name).await, StorageClass::Glacier);
    }
    world.assert_sound().await;
}

#[tokio::test]
async fn a_move_that_fails_is_tried_again_later_and_later_and_says_why() {
    let mut world = World::new().await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    world.put("other", StorageClass::Standard, &bytes()).await;
    let LifecycleSettings {
        retry_min,
        retry_max,
        ..
    } = world.settings;
    for name in ["object", "other"] {
        world
            .archive_now(name, StorageClass::Glacier)
            .await
            .expect("a move");
    }
    world.tier.fail_next(TierCall::Submit, Fault::NotDone);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.versions_moved, report.failure_count), (1, 1));
    assert_eq!(report.next, Some(world.now() + retry_min));
    let mut wait = retry_min;
    for failures in 1..10_u32 {
        let jobs = world.lifecycle.jobs(None, 10).await.expect("rows");
        assert_eq!((jobs.len(), jobs[0].failures), (1, failures));
        let why = jobs[0].last_error.as_deref().expect("it failed");
        assert!(why.contains("not available"), "{why}");
        assert_eq!(jobs[0].due, world.now() + wait);
        world.restart().await;
        world.tier.fail_next(TierCall::Submit, Fault::NotDone);
        world.clock.advance(wait);
        world.lifecycle.run_once().await.expect("a run");
        wait = (wait * 2).min(retry_max);
    }
    let report = world.pass(wait).await;
    assert_eq!(report.versions_moved, 1);
    assert_eq!(world.job_count().await, 0);
}

#[tokio::test]
async fn settings_that_contradict_each_other_are_no_reason_to_panic_or_to_run_forever() {
    for (retry_min, retry_max) in [(HOUR, HOUR / 60), (Duration::ZERO, Duration::ZERO)] {
        let mut world = World::with(TierSettings::default(), HOUR * 6).await;
        world.settings.retry_min = retry_min;
        world.settings.retry_max = retry_max;
        world.restart().await;
        world.put("object", StorageClass::Glacier, &bytes()).await;
        assert_eq!(world.run().await.moves_accepted, 1);
        world.pass(DAY).await;
        assert_eq!(world.archives().len(), 1);
    }
}

/// Cuts the row of an object's current version short.
async fn damage(world: &World, name: &str) {
    let objects = Table::new("objects");
    let row_key = format!("bucket\0{name}").into_bytes();
    let engine = world.meta.inner();
    let row = engine.get(objects, &row_key).await.expect("rows");
    let value = row.expect("it is there").value;
    let mut batch = Batch::new();
    batch.put(objects, row_key, value[..value.len() / 2].to_vec());
    engine.commit(batch).await.expect("a change");
}

#[tokio::test]
async fn one_damaged_row_keeps_nothing_else_from_being_done() {
    let names = ["a", "b", "c"];
    let classes = |class| names.map(|name| (name, class));
    // On the way to the tier, as they were written and as a rule says.
    for class in [StorageClass::Glacier, StorageClass::Standard] {
        let world = World::new().await;
        for (name, class) in classes(class) {
            world.put(name, class, &bytes()).await;
        }
        world
            .put_rules(
                r#"{"Rules": [{
                    "Status": "Enabled", "Filter": {},
                    "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]
                }]}"#,
            )
            .await;
        damage(&world, "b").await;
        world.clock.advance(DAY * 2);
        let report = world.lifecycle.run_once().await.expect("a run");
        assert_eq!(report.versions_moved, 2);
        for name in ["a", "c"] {
            assert_eq!(world.class(name).await, StorageClass::Glacier);
        }
    }
    // On the way back, and when their time is over.
    for restored in [false, true] {
        let world = World::new().await;
        for (name, class) in classes(StorageClass::Glacier) {
            world.put(name, class, &bytes()).await;
        }
        world.run().await;
        for name in names {
            world
                .restore(name, 1, RetrievalTier::Standard)
                .await
                .expect("a restore");
        }
        if restored {
            assert_eq!(world.pass(HOUR * 6).await.restores_completed, 3);
        }
        damage(&world, "b").await;
        world
            .clock
            .advance(if restored { DAY * 3 } else { HOUR * 6 });
        let report = world.lifecycle.run_once().await.expect("a run");
        if restored {
            assert_eq!((report.copies_expired, report.failure_count), (2, 1));
        } else {
            assert_eq!(report.restores_completed, 2);
        }
    }
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_not_archived_and_stays() {
    let world = World::new().await;
    world.put("object", StorageClass::Standard, &bytes()).await;
    world
        .archive_now("object", StorageClass::Glacier)
        .await
        .expect("a move");
    world
        .blobs
        .fail(strongroom_blobs::Call::Read, 0, strongroom_blobs::Fault::Io);
    let report = world.lifecycle.run_once().await.expect("a run");
    assert_eq!((report.failure_count, world.archives().len()), (1, 0));
    assert!(world.get("object").await.expect("still warm") == bytes());
    assert_eq!(world.pass(HOUR).await.versions_moved, 1);
}
