//! Between the warm copy and the cold tier: transitions, restores, and keys changed on the way.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use strongroom_blobs::Call;
use strongroom_keys::Protection;
use strongroom_store::{
    BucketName, ColdCopy, ColdLocator, CopyRequest, PutRequest, ReadRequest, RestoreBegun,
    RestoreChange, RestoreState, RetrievalTier, StorageClass, StoreError, TransitionCommit,
    TransitionStep, VersionSelector,
};

use crate::multipart::{PART, completion};
use crate::world::{World, by_customer, caller, customer_key, in_pieces, pattern};

const DAY: Duration = Duration::from_secs(86_400);

impl World {
    async fn put_with(&self, name: &str, class: StorageClass, protection: Option<Protection>) {
        let request = PutRequest {
            class,
            protection,
            ..self.put_request(name, pattern(50_000))
        };
        self.store.put(request, &caller()).await.expect("a PUT");
    }

    /// Archives the current version of an object.
    async fn archive_object(&self, name: &str, class: StorageClass) {
        let version = self.version_name(name).await;
        let done = self.archive(&version, class).await.expect("a transition");
        assert_eq!(done, TransitionCommit::Done);
        self.store.collect_garbage().await.expect("a collection");
    }

    fn stored(&self) -> u64 {
        self.blobs.inner().stored_bytes()
    }

    async fn restore_state(&self, name: &str) -> Option<RestoreState> {
        let object = self.object(name, VersionSelector::Current);
        self.store
            .tiered(&object)
            .await
            .expect("it is there")
            .restore
    }

    async fn read_with(&self, name: &str, by: Option<u8>) -> Result<Vec<u8>, StoreError> {
        self.read(ReadRequest {
            customer_key: by.map(customer_key),
            ..self.read_request(name)
        })
        .await
    }

    fn to_class(&self, from: &str, to: &str, class: StorageClass) -> CopyRequest {
        CopyRequest {
            class,
            class_named: true,
            ..self.copy_request(from, to)
        }
    }

    /// What no version refers to any more in the cold tier.
    async fn cold_garbage(&self) -> Vec<ColdLocator> {
        let garbage = self.store.cold_garbage(None, 100).await.expect("rows");
        garbage
            .into_iter()
            .map(|garbage| garbage.cold.locator)
            .collect()
    }
}

#[tokio::test]
async fn an_object_goes_to_the_cold_tier_and_comes_back_for_some_days() {
    let world = World::new().await;
    world
        .put_with("object", StorageClass::Standard, by_customer(1))
        .await;
    world.archive_object("object", StorageClass::Glacier).await;
    assert_eq!(world.stored(), 0, "the warm copy is given back");
    assert!(matches!(
        world.read_with("object", Some(1)).await,
        Err(StoreError::Archived {
            class: StorageClass::Glacier
        })
    ));
    world.assert_sound().await;

    let begun = world.begin_restore("object", 2, RetrievalTier::Bulk).await;
    assert!(matches!(begun, Ok(RestoreBegun::Started(_))));
    for tier in [RetrievalTier::Bulk] {
        assert!(matches!(
            world.begin_restore("object", 2, tier).await,
            Err(StoreError::RestoreInProgress)
        ));
    }
    let faster = world
        .begin_restore("object", 2, RetrievalTier::Expedited)
        .await;
    let Ok(RestoreBegun::Upgraded(open)) = faster else {
        panic!("{faster:?}");
    };
    assert_eq!((open.tier, open.days), (RetrievalTier::Expedited, 2));
    world.assert_sound().await;

    assert_eq!(
        world.complete_restores().await.expect("a restore"),
        [RestoreChange::Done]
    );
    assert!(world.read_with("object", Some(1)).await.expect("restored") == pattern(50_000));
    assert!(world.read_with("object", Some(2)).await.is_err());
    let until = world.days_from_now(2);
    assert_eq!(
        world.restore_state("object").await,
        Some(RestoreState::Restored { until })
    );
    world.assert_sound().await;

    // Asked for again, its time has a new end.
    world.clock.advance(DAY);
    let renewed = world.begin_restore("object", 5, RetrievalTier::Bulk).await;
    let until = world.days_from_now(5);
    assert_eq!(
        renewed.expect("a restore"),
        RestoreBegun::AlreadyRestored { until }
    );
    // The same end again is no change.
    let renewed = world.begin_restore("object", 5, RetrievalTier::Bulk).await;
    assert!(matches!(renewed, Ok(RestoreBegun::AlreadyRestored { .. })));
    world.assert_sound().await;
    world.clock.advance(DAY * 3);
    assert_eq!(world.expire_restores().await.expect("nothing"), 0);
    assert_eq!(
        world.store.next_restore_expiry().await.expect("rows"),
        Some(until)
    );
    world.clock.advance(DAY * 2);
    // Its time is over, although the copy is still there.
    assert!(matches!(
        world.read_with("object", Some(1)).await,
        Err(StoreError::Archived { .. })
    ));
    assert_eq!(world.expire_restores().await.expect("a copy"), 1);
    world.assert_sound().await;
    assert_eq!(world.stored(), 0);
    assert_eq!(world.restore_state("object").await, None);
    assert!(world.cold_garbage().await.is_empty());

    // And once more.
    world
        .begin_restore("object", 1, RetrievalTier::Standard)
        .await
        .expect("a restore");
    world.complete_restores().await.expect("a restore");
    assert!(world.read_with("object", Some(1)).await.expect("restored") == pattern(50_000));
    world.assert_nothing_is_left_behind().await;
    assert_eq!(world.cold_garbage().await.len(), 1);
}

#[tokio::test]
async fn the_warm_copy_stays_until_the_transition_is_committed() {
    let world = World::new().await;
    world.put("object", pattern(50_000)).await;
    let stored = world.stored();
    let name = world.version_name("object").await;
    let TransitionStep::Submit(payload) = world
        .store
        .begin_transition(&name, StorageClass::Glacier)
        .await
        .expect("a step")
    else {
        panic!("the bytes are to be submitted");
    };
    let sealed = world
        .store
        .read_sealed(payload.payload)
        .await
        .expect("warm");
    let sealed: Vec<Bytes> = sealed.try_collect().await.expect("it is read");
    assert_eq!(sealed.concat().len() as u64, stored);
    world.store.collect_garbage().await.expect("a collection");
    assert_eq!(world.stored(), stored);
    assert!(world.get("object").await.expect("still warm") == pattern(50_000));
    let cold = ColdCopy {
        class: StorageClass::Glacier,
        locator: ColdLocator(b"archive".to_vec()),
    };
    let committed = world.store.commit_transition(&name, cold.clone()).await;
    assert_eq!(committed.expect("a commit"), TransitionCommit::Done);
    // The same step again, as after a crash.
    assert_eq!(
        world
            .store
            .begin_transition(&name, StorageClass::Glacier)
            .await
            .expect("a step"),
        TransitionStep::Done
    );
    let committed = world.store.commit_transition(&name, cold).await;
    assert_eq!(committed.expect("a commit"), TransitionCommit::Done);
    // Another copy is not referred to.
    let other = ColdCopy {
        class: StorageClass::Glacier,
        locator: ColdLocator(b"another".to_vec()),
    };
    let committed = world.store.commit_transition(&name, other).await;
    assert_eq!(committed.expect("a commit"), TransitionCommit::Redundant);
    world.store.collect_garbage().await.expect("a collection");
    assert_eq!(world.stored(), 0);
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_reader_of_the_warm_copy_finishes_although_it_is_given_back() {
    let world = World::new().await;
    let bytes = pattern(3 << 20);
    world.put("object", bytes.clone()).await;
    let answer = world
        .store
        .get(world.read_request("object"), &caller())
        .await
        .expect("it is warm");
    let name = world.version_name("object").await;
    world
        .archive(&name, StorageClass::Glacier)
        .await
        .expect("a transition");
    let waiting = world.store.collect_garbage().await.expect("a collection");
    assert_eq!(waiting.waiting, 1);
    let read: Vec<Bytes> = answer
        .body
        .try_collect()
        .await
        .expect("it is read to its end");
    assert!(read.concat() == bytes);
    world.store.collect_garbage().await.expect("a collection");
    assert_eq!(world.stored(), 0);
}

#[tokio::test]
async fn an_archived_object_is_rekeyed_where_it_lies() {
    for class in [StorageClass::Glacier, StorageClass::DeepArchive] {
        let world = World::new().await;
        world
            .put_with("object", StorageClass::Standard, by_customer(1))
            .await;
        world.archive_object("object", class).await;
        let calls = [Call::Create, Call::Read].map(|call| world.blobs.calls(call));
        let mut request = world.to_class("object", "object", class);
        request.source.customer_key = Some(customer_key(1));
        request.protection = by_customer(2);
        world
            .store
            .copy(request, &caller())
            .await
            .expect("a re-key");
        // As the protocol has it: a copy that would have to be read is refused.
        let mut request = world.copy_request("object", "warm");
        request.source.customer_key = Some(customer_key(2));
        assert!(matches!(
            world.store.copy(request, &caller()).await,
            Err(StoreError::SourceArchived { .. })
        ));
        world.assert_sound().await;
        assert_eq!(
            [Call::Create, Call::Read].map(|call| world.blobs.calls(call)),
            calls
        );
        world
            .begin_restore("object", 1, RetrievalTier::Bulk)
            .await
            .expect("a restore");
        world.complete_restores().await.expect("a restore");
        assert!(
            world
                .read_with("object", Some(2))
                .await
                .expect("the new key")
                == pattern(50_000)
        );
        assert!(world.read_with("object", Some(1)).await.is_err());
        assert!(world.cold_garbage().await.is_empty());
        world.assert_nothing_is_left_behind().await;
    }
}

#[tokio::test]
async fn an_object_that_went_from_one_archive_class_to_the_next_is_rekeyed_too() {
    let world = World::new().await;
    world
        .put_with("object", StorageClass::Standard, by_customer(1))
        .await;
    world.archive_object("object", StorageClass::Glacier).await;
    // Its bytes stay in the archive that they are in.
    world
        .archive_object("object", StorageClass::DeepArchive)
        .await;
    assert_eq!(world.cold.lock().len(), 1);
    let mut request = world.to_class("object", "object", StorageClass::DeepArchive);
    request.source.customer_key = Some(customer_key(1));
    request.protection = by_customer(2);
    world
        .store
        .copy(request, &caller())
        .await
        .expect("a re-key");
    world.assert_sound().await;
    world
        .begin_restore("object", 1, RetrievalTier::Bulk)
        .await
        .expect("a restore");
    world.complete_restores().await.expect("a restore");
    assert!(
        world
            .read_with("object", Some(2))
            .await
            .expect("the new key")
            == pattern(50_000)
    );
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn an_object_written_as_archived_waits_and_can_be_rekeyed_meanwhile() {
    let world = World::new().await;
    world
        .put_with("object", StorageClass::Glacier, by_customer(1))
        .await;
    let stored = world.stored();
    assert!(
        stored > 50_000,
        "its bytes are warm until they are in the tier"
    );
    assert!(matches!(
        world.read_with("object", Some(1)).await,
        Err(StoreError::Archived { .. })
    ));
    let pending = world.store.pending_archives(None, 10).await.expect("rows");
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].sealed_len_bytes, stored);

    let mut request = world.to_class("object", "object", StorageClass::Glacier);
    request.source.customer_key = Some(customer_key(1));
    request.protection = by_customer(2);
    world
        .store
        .copy(request, &caller())
        .await
        .expect("a re-key");
    let pending = world.store.pending_archives(None, 10).await.expect("rows");
    assert_eq!(pending.len(), 1);
    world.assert_sound().await;

    world.archive_object("object", StorageClass::Glacier).await;
    assert_eq!(world.stored(), 0);
    let pending = world.store.pending_archives(None, 10).await.expect("rows");
    assert_eq!(pending, []);
    world.assert_sound().await;
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn copies_of_one_payload_lie_warm_and_cold_side_by_side() {
    let world = World::new().await;
    world.put("warm", pattern(50_000)).await;
    let stored = world.stored();
    let request = world.copy_request("warm", "cold");
    world.store.copy(request, &caller()).await.expect("a copy");
    world.archive_object("cold", StorageClass::Glacier).await;
    assert_eq!(
        world.stored(),
        stored,
        "one version still holds the warm copy"
    );
    world.assert_sound().await;
    assert!(world.get("cold").await.is_err());
    assert!(world.get("warm").await.expect("warm") == pattern(50_000));

    // The warm copy of the one serves the restore of the other.
    let begun = world.begin_restore("cold", 1, RetrievalTier::Bulk).await;
    let Ok(RestoreBegun::Started(open)) = begun else {
        panic!("{begun:?}");
    };
    assert!(open.has_warm_copy);
    world.complete_restores().await.expect("a restore");
    world
        .delete("warm", VersionSelector::Current)
        .await
        .expect("a deletion");
    world.assert_sound().await;
    assert_eq!(world.stored(), stored);
    assert!(world.get("cold").await.expect("restored") == pattern(50_000));
    // A copy made of the restored one stays when its time is over.
    let request = world.copy_request("cold", "kept");
    world.store.copy(request, &caller()).await.expect("a copy");
    world.clock.advance(DAY * 2);
    world.expire_restores().await.expect("a copy");
    assert!(world.get("kept").await.expect("warm") == pattern(50_000));
    assert!(world.get("cold").await.is_err());
    world.assert_sound().await;

    // A second version goes to the archive that is there.
    let kept = world.version_name("kept").await;
    assert!(matches!(
        world
            .store
            .begin_transition(&kept, StorageClass::Glacier)
            .await
            .expect("a step"),
        TransitionStep::Share(_)
    ));
    world.archive_object("kept", StorageClass::Glacier).await;
    assert_eq!((world.stored(), world.cold.lock().len()), (0, 1));
    for name in ["cold", "kept"] {
        assert!(world.cold_garbage().await.is_empty());
        world
            .delete(name, VersionSelector::Current)
            .await
            .expect("a deletion");
    }
    let garbage = world.store.cold_garbage(None, 10).await.expect("rows");
    assert_eq!(garbage.len(), 1);
    world
        .store
        .forget_cold_garbage(&garbage[0])
        .await
        .expect("a change");
    assert!(world.cold_garbage().await.is_empty());
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn two_restores_of_one_payload_end_in_one_warm_copy() {
    let world = World::new().await;
    world.put("one", pattern(50_000)).await;
    let stored = world.stored();
    let request = world.copy_request("one", "two");
    world.store.copy(request, &caller()).await.expect("a copy");
    for name in ["one", "two"] {
        world.archive_object(name, StorageClass::Glacier).await;
        world
            .begin_restore(name, 1, RetrievalTier::Bulk)
            .await
            .expect("a restore");
    }
    // Both are fetched before either is completed.
    let mut fetched = Vec::new();
    for open in world.store.open_restores(None, 10).await.expect("rows") {
        assert!(!open.has_warm_copy);
        let locator = &open.cold.as_ref().expect("it is cold").locator;
        let sealed = in_pieces(world.cold.lock()[locator].clone(), 10_000);
        let warm = world
            .store
            .write_warm_copy(open.payload.payload, sealed)
            .await
            .expect("it is whole");
        fetched.push((open.name, warm));
    }
    let until = world.days_from_now(1);
    for (name, warm) in fetched {
        let change = world.store.complete_restore(&name, Some(warm), until).await;
        assert_eq!(change.expect("a commit"), RestoreChange::Done);
    }
    world.assert_sound().await;
    assert_eq!(world.stored(), stored);
    for name in ["one", "two"] {
        assert!(world.get(name).await.expect("restored") == pattern(50_000));
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn an_object_of_several_parts_is_archived_restored_and_archived_again() {
    let world = World::new().await;
    let upload = world.begin("object", None).await;
    let bytes = pattern(PART + 70_000);
    let mut parts = Vec::new();
    for (number, part) in [(1, &bytes[..PART]), (2, &bytes[PART..])] {
        parts.push((number, world.part(&upload, number, part).await));
    }
    world
        .store
        .complete_upload(completion(&upload, &parts), &caller())
        .await
        .expect("all parts are there");
    let stored = world.stored();
    world.archive_object("object", StorageClass::Glacier).await;
    world.assert_sound().await;
    for _ in 0..3 {
        assert_eq!(world.stored(), 0);
        world
            .begin_restore("object", 1, RetrievalTier::Bulk)
            .await
            .expect("a restore");
        world.complete_restores().await.expect("a restore");
        world.assert_sound().await;
        assert_eq!(world.stored(), stored);
        assert!(world.get("object").await.expect("restored") == bytes);
        world.clock.advance(DAY * 2);
        world.expire_restores().await.expect("a copy");
        world.assert_sound().await;
    }
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn what_was_deleted_meanwhile_is_superseded_at_every_step() {
    let world = World::new().await;
    world.put("object", pattern(50_000)).await;
    let name = world.version_name("object").await;
    world.archive_object("object", StorageClass::Glacier).await;
    world
        .begin_restore("object", 1, RetrievalTier::Bulk)
        .await
        .expect("a restore");
    let open = world.store.open_restores(None, 10).await.expect("rows");
    let locator = &open[0].cold.as_ref().expect("it is cold").locator;
    let sealed = world.cold.lock()[locator].clone();
    let payload = open[0].payload.payload;
    let warm = world
        .store
        .write_warm_copy(payload, in_pieces(sealed.clone(), 10_000))
        .await
        .expect("it is whole");
    world
        .delete("object", VersionSelector::Current)
        .await
        .expect("a deletion");
    let until = world.days_from_now(1);
    let change = world.store.complete_restore(&name, Some(warm), until).await;
    assert_eq!(change.expect("no error"), RestoreChange::Superseded);
    assert_eq!(world.stored(), 0, "the copy that came too late is deleted");
    assert!(matches!(
        world
            .store
            .write_warm_copy(payload, in_pieces(sealed, 10_000))
            .await,
        Err(StoreError::NoSuchVersion)
    ));
    assert_eq!(
        world
            .archive(&name, StorageClass::Glacier)
            .await
            .expect("no error"),
        TransitionCommit::Superseded
    );
    let cold = ColdCopy {
        class: StorageClass::Glacier,
        locator: ColdLocator(b"late".to_vec()),
    };
    assert_eq!(
        world
            .store
            .commit_transition(&name, cold)
            .await
            .expect("no error"),
        TransitionCommit::Superseded
    );
    assert_eq!(
        world.store.cancel_restore(&name).await.expect("no error"),
        RestoreChange::Superseded
    );
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_warm_copy_of_the_wrong_length_is_not_taken() {
    let world = World::new().await;
    world.put("object", pattern(50_000)).await;
    world.archive_object("object", StorageClass::Glacier).await;
    world
        .begin_restore("object", 1, RetrievalTier::Bulk)
        .await
        .expect("a restore");
    let open = world.store.open_restores(None, 10).await.expect("rows");
    let locator = &open[0].cold.as_ref().expect("it is cold").locator;
    let sealed = world.cold.lock()[locator].clone();
    let payload = open[0].payload.payload;
    let short = sealed.slice(..sealed.len() - 1);
    assert!(matches!(
        world
            .store
            .write_warm_copy(payload, in_pieces(short, 999))
            .await,
        Err(StoreError::IncompleteBody { .. })
    ));
    let long = Bytes::from([sealed.as_ref(), b"x"].concat());
    assert!(matches!(
        world
            .store
            .write_warm_copy(payload, in_pieces(long, 999))
            .await,
        Err(StoreError::BodyTooLong { .. })
    ));
    assert_eq!(world.stored(), 0);
    world
        .store
        .cancel_restore(&open[0].name)
        .await
        .expect("a change");
    assert_eq!(world.restore_state("object").await, None);
    world.assert_nothing_is_left_behind().await;
}

#[tokio::test]
async fn a_restore_is_for_archived_objects_only() {
    let world = World::new().await;
    world.put("object", "bytes").await;
    assert!(matches!(
        world.begin_restore("object", 1, RetrievalTier::Bulk).await,
        Err(StoreError::NotArchived {
            class: StorageClass::Standard
        })
    ));
    assert!(matches!(
        world.begin_restore("absent", 1, RetrievalTier::Bulk).await,
        Err(StoreError::NoSuchKey { .. })
    ));
    let name = world.version_name("object").await;
    assert_eq!(
        world
            .store
            .set_warm_class(&name, StorageClass::GlacierIr)
            .await
            .expect("a change"),
        TransitionCommit::Done
    );
    assert_eq!(world.get("object").await.expect("warm"), b"bytes");
    assert_eq!(
        world
            .store
            .set_warm_class(&name, StorageClass::Glacier)
            .await
            .expect("no error"),
        TransitionCommit::Superseded
    );
    world.assert_sound().await;
}

#[tokio::test]
async fn versions_are_found_by_the_day_they_were_committed_on() {
    let world = World::new().await;
    world.version(true).await;
    let mut names = Vec::new();
    for day in 0..4 {
        for name in ["a", "b"] {
            world.put(name, format!("{day}")).await;
            names.push(world.version_name(name).await);
        }
        world.clock.advance(DAY);
    }
    let first = strongroom_environment::Timestamp::from_seconds(crate::world::START_SECONDS).day();
    for limit in [1, 3, 100] {
        for before in 0..5_i64 {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let (page, next) = world
                    .store
                    .aged_before(&world.bucket, first + before, after.as_ref(), limit)
                    .await
                    .expect("rows");
                assert!(page.len() <= limit);
                found.extend(page);
                let Some(next) = next else { break };
                after = Some(next);
            }
            let expected = names
                .iter()
                .take(usize::try_from(before).expect("small") * 2);
            assert!(found.iter().map(|aged| &aged.name).eq(expected));
            for aged in &found {
                let is_newest = names.iter().rev().take(2).any(|name| *name == aged.name);
                assert_eq!(aged.noncurrent_since.is_none(), is_newest);
            }
        }
    }
    let absent = BucketName::new("absent").expect("a name");
    assert!(matches!(
        world.store.aged_before(&absent, first, None, 10).await,
        Err(StoreError::NoSuchBucket)
    ));
    world.assert_nothing_is_left_behind().await;
}
