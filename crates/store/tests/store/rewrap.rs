//! What is under an old or compromised version of a key is wrapped anew, whatever else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_keys::{
    EncryptionContext, KeyReference, KeyVersion, LedgerKey, Protection, RewrapJob, RewrapState,
};
use strongroom_meta::{CommitFault, ReadFault, Table};
use strongroom_store::{
    PutRequest, RetrievalTier, StorageClass, StoreError, TransitionCommit, VersionSelector,
};
use strongroom_testkit::Counts;

use crate::multipart::{PART, completion};
use crate::world::{World, caller, pattern};

const OBJECTS: usize = 12;

/// A key of the customer's, under which objects are put.
struct Under {
    reference: KeyReference,
}

impl Under {
    async fn new(world: &World) -> Self {
        let made = world.keys.kms.create_key("", &caller()).await;
        Self {
            reference: made.expect("a key").id.into(),
        }
    }

    fn protection(&self, bucket_key: bool) -> Option<Protection> {
        Some(Protection::Kms {
            key: self.reference.clone(),
            context: EncryptionContext::new([("a".to_owned(), "b".to_owned())]).expect("a context"),
            bucket_key,
        })
    }

    async fn put(&self, world: &World, name: &str, bucket_key: bool) {
        let request = PutRequest {
            protection: self.protection(bucket_key),
            ..world.put_request(name, pattern(name.len() * 1_000))
        };
        world.store.put(request, &caller()).await.expect("a PUT");
    }

    /// Objects in both ways, some with older versions, some archived.
    async fn fill(&self, world: &World) {
        world.version(true).await;
        for number in 0..OBJECTS {
            let name = "x".repeat(number + 1);
            for _ in 0..=number % 3 {
                self.put(world, &name, number % 2 == 0).await;
            }
            if number % 4 == 0 {
                let version = world.version_name(&name).await;
                let done = world.archive(&version, StorageClass::Glacier).await;
                assert_eq!(done.expect("archived"), TransitionCommit::Done);
            }
        }
    }

    async fn compromise(&self, world: &World) {
        let marked = world
            .keys
            .kms
            .compromise_version(&self.reference, None, "", &caller())
            .await;
        marked.expect("marked");
    }

    async fn run(&self, world: &World) -> Result<RewrapJob, StoreError> {
        world.store.run_rewraps(&caller(), &|| false).await?;
        let jobs = world.keys.kms.rewraps(&self.reference).await;
        Ok(jobs.expect("jobs").remove(0))
    }

    /// How many object versions each version of the key protects.
    async fn counts(&self, world: &World) -> Vec<(u32, u64)> {
        let described = world.keys.kms.describe_key(&self.reference).await;
        let key = LedgerKey::KmsKey(described.expect("a key").id);
        let impact = world.store.impact(key, None).await.expect("a count");
        let mut counts = std::collections::BTreeMap::new();
        for (group, tally) in impact.page.groups {
            let version = group.key_version.expect("a version").0;
            *counts.entry(version).or_default() += tally.versions;
        }
        counts.into_iter().collect()
    }

    /// Every object reads as it was written, but for the archived ones, which are restored first.
    async fn assert_readable(&self, world: &World) {
        for number in 0..OBJECTS {
            let name = "x".repeat(number + 1);
            if number % 4 == 0 {
                let refused = world.get(&name).await;
                assert!(
                    matches!(refused, Err(StoreError::Archived { .. })),
                    "{refused:?}"
                );
                let tier = RetrievalTier::Standard;
                world.begin_restore(&name, 1, tier).await.expect("begun");
            }
        }
        world.complete_restores().await.expect("restored");
        for number in 0..OBJECTS {
            let name = "x".repeat(number + 1);
            let read = world.get(&name).await.expect("it reads");
            assert_eq!(read, pattern(name.len() * 1_000), "{name}");
        }
        world.assert_sound().await;
    }
}

/// 12 objects, of which each third has one, two and three versions.
const VERSIONS: u64 = 24;

/// Everything is under a version that is compromised, and nothing is wrapped anew yet.
async fn compromised() -> (World, Under) {
    let world = World::new().await;
    let under = Under::new(&world).await;
    under.fill(&world).await;
    under.compromise(&world).await;
    (world, under)
}

/// How many commits and reads a run makes before the commit of its first page, which has all
/// versions.
async fn before_the_page() -> (u64, u64) {
    let (world, under) = compromised().await;
    let (commits, reads) = (world.meta.commits(), world.meta.reads());
    let is_begun = AtomicBool::new(false);
    // It stops when it asks for the second time: after the page.
    let is_stopped = || is_begun.swap(true, Ordering::Relaxed);
    let ran = world.store.run_rewraps(&caller(), &is_stopped).await;
    ran.expect("it ran");
    let commits = world.meta.commits() - commits - 1;
    let reads = world.meta.reads() - reads;
    assert_eq!(under.counts(&world).await, [(2, VERSIONS)]);
    (commits, reads)
}

/// How many versions of a page are done one by one before one of them fails.
const DONE_ALONE: u64 = 5;

/// As [`compromised`], and in the next run another writer is faster at the page, and then one of
/// its versions cannot be written.
async fn cut_short_alone() -> (World, Under) {
    let (commits, _) = before_the_page().await;
    let (world, under) = compromised().await;
    world.meta.fail_commit(commits, CommitFault::Conflict);
    let fails_at = commits + 1 + DONE_ALONE;
    world.meta.fail_commit(fails_at, CommitFault::Unavailable);
    (world, under)
}

/// As [`compromised`], and in the next run another writer is faster at the page, and then its first
/// version is found damaged.
async fn damaged_alone() -> (World, Under) {
    let (commits, reads) = before_the_page().await;
    let (world, under) = compromised().await;
    world.meta.fail_commit(commits, CommitFault::Conflict);
    // It is read among others first, and then by itself.
    world.meta.fail_read(reads, ReadFault::Corrupt);
    world.meta.fail_read(reads + 1, ReadFault::Corrupt);
    (world, under)
}

#[tokio::test]
async fn everything_under_a_compromised_version_is_wrapped_anew_archived_objects_too() {
    let mut world = World::new().await;
    let under = Under::new(&world).await;
    under.fill(&world).await;
    under.compromise(&world).await;
    assert_eq!(under.counts(&world).await, [(1, VERSIONS)]);
    let stored = world.blobs.inner().stored_bytes();
    let job = under.run(&world).await.expect("it ran");
    assert!(
        matches!(job.progress.state, RewrapState::Done { .. }),
        "{job:?}"
    );
    assert_eq!(
        (
            job.progress.versions,
            job.progress.versions_expected,
            job.progress.left
        ),
        (VERSIONS, VERSIONS, 0)
    );
    assert_eq!(under.counts(&world).await, [(2, VERSIONS)]);
    assert_eq!(world.blobs.inner().stored_bytes(), stored);
    // Again there is nothing to do.
    assert_eq!(under.run(&world).await.expect("it ran"), job);
    world.restart().await;
    under.assert_readable(&world).await;
}

#[tokio::test]
async fn an_old_version_is_given_up_without_touching_what_is_behind_bucket_keys() {
    let mut world = World::new().await;
    let under = Under::new(&world).await;
    under.fill(&world).await;
    let kms = &world.keys.kms;
    kms.rotate_key(&under.reference, &caller())
        .await
        .expect("rotated");
    let asked = kms.rewrap_versions(&under.reference, None, &caller()).await;
    assert_eq!(asked.expect("asked"), [KeyVersion(1)]);
    let job = under.run(&world).await.expect("it ran");
    assert!(
        matches!(job.progress.state, RewrapState::Done { .. }),
        "{job:?}"
    );
    assert_eq!((job.progress.bucket_keys, job.progress.left), (1, 0));
    // Half of the objects are directly under the key.
    assert!(job.progress.versions < VERSIONS && job.progress.versions > 0);
    assert_eq!(under.counts(&world).await, [(2, VERSIONS)]);
    world.restart().await;
    under.assert_readable(&world).await;
}

#[tokio::test]
async fn whatever_cuts_a_rewrap_short_the_next_run_goes_on_from_there() {
    let (world, _) = compromised().await;
    let (commits, reads) = (world.meta.commits(), world.meta.reads());
    let ran = world.store.run_rewraps(&caller(), &|| false).await;
    ran.expect("it ran");
    let commits = world.meta.commits() - commits;
    let reads = world.meta.reads() - reads;
    assert!(commits >= 2, "a page, and the end");
    for at in 0..commits {
        for fault in [
            CommitFault::Unavailable,
            CommitFault::Conflict,
            CommitFault::UnknownNotApplied,
            CommitFault::UnknownApplied,
        ] {
            let (mut world, under) = compromised().await;
            world.meta.fail_commit(at, fault);
            let _ = under.run(&world).await;
            world.restart().await;
            let job = under.run(&world).await.expect("it ran");
            let place = format!("{fault:?} at commit {at}: {job:?}");
            assert!(
                matches!(job.progress.state, RewrapState::Done { .. }),
                "{place}"
            );
            assert_eq!(job.progress.left, 0, "{place}");
            assert_eq!(under.counts(&world).await, [(2, VERSIONS)], "{place}");
            under.assert_readable(&world).await;
        }
    }
    for at in (0..reads).step_by(3) {
        let (mut world, under) = compromised().await;
        world.meta.fail_read(at, ReadFault::Unavailable);
        let _ = under.run(&world).await;
        world.restart().await;
        let job = under.run(&world).await.expect("it ran");
        assert!(
            matches!(job.progress.state, RewrapState::Done { .. }),
            "read {at}: {job:?}"
        );
        assert_eq!(under.counts(&world).await, [(2, VERSIONS)], "read {at}");
    }
}

#[tokio::test]
async fn a_rewrap_that_is_stopped_goes_on_and_one_of_a_disabled_key_says_why_it_does_not() {
    let world = World::new().await;
    let under = Under::new(&world).await;
    under.fill(&world).await;
    under.compromise(&world).await;
    let kms = &world.keys.kms;
    kms.disable_key(&under.reference, &caller())
        .await
        .expect("disabled");
    let job = under.run(&world).await.expect("it ran");
    assert_eq!(job.progress.state, RewrapState::UnderWay);
    assert!(job.progress.error.contains("is disabled"), "{job:?}");
    kms.enable_key(&under.reference, &caller())
        .await
        .expect("enabled");
    world
        .store
        .run_rewraps(&caller(), &|| true)
        .await
        .expect("stopped");
    assert_eq!(under.counts(&world).await, [(1, VERSIONS)]);
    let job = under.run(&world).await.expect("it ran");
    assert!(
        matches!(job.progress.state, RewrapState::Done { .. }),
        "{job:?}"
    );
    assert_eq!(job.progress.error, "");
}

#[tokio::test]
async fn a_damaged_version_is_left_and_keeps_no_other_from_being_wrapped() {
    let world = World::new().await;
    let under = Under::new(&world).await;
    under.fill(&world).await;
    under.compromise(&world).await;
    let table = Table::new("objects");
    let scan = strongroom_meta::Scan::prefix(b"", 1);
    let row = strongroom_meta::MetaStore::scan(&*world.meta, table, scan).await;
    let row = row.expect("rows").remove(0);
    let mut batch = strongroom_meta::Batch::new();
    batch.put(table, row.key.to_vec(), vec![0xFF; 9]);
    let written = strongroom_meta::MetaStore::commit(&*world.meta, batch).await;
    written.expect("written");
    for _ in 0..2 {
        let job = under.run(&world).await.expect("it ran");
        assert!(
            matches!(job.progress.state, RewrapState::Done { .. }),
            "{job:?}"
        );
        assert_eq!(
            (job.progress.versions, job.progress.left),
            (VERSIONS - 1, 1)
        );
    }
    assert_eq!(under.counts(&world).await, [(1, 1), (2, VERSIONS - 1)]);
}

#[tokio::test]
async fn a_page_that_is_done_one_by_one_and_cut_short_is_taken_again() {
    let (mut world, under) = cut_short_alone().await;
    let job = under.run(&world).await.expect("it ran");
    assert_eq!(job.progress.state, RewrapState::UnderWay, "{job:?}");
    assert_ne!(job.progress.error, "");
    assert_eq!(job.progress.versions, DONE_ALONE);
    let counts = under.counts(&world).await;
    assert_eq!(counts, [(1, VERSIONS - DONE_ALONE), (2, DONE_ALONE)]);
    let job = under.run(&world).await.expect("it ran");
    assert!(
        matches!(job.progress.state, RewrapState::Done { .. }),
        "{job:?}"
    );
    assert_eq!(under.counts(&world).await, [(2, VERSIONS)]);
    assert_eq!(
        (
            job.progress.versions,
            job.progress.versions_expected,
            job.progress.left
        ),
        (VERSIONS, VERSIONS, 0)
    );
    world.restart().await;
    under.assert_readable(&world).await;
}

#[tokio::test]
async fn a_version_that_is_found_damaged_by_itself_is_counted_as_left() {
    let (world, under) = damaged_alone().await;
    let job = under.run(&world).await.expect("it ran");
    let counts = under.counts(&world).await;
    assert_eq!(counts, [(1, 1), (2, VERSIONS - 1)]);
    assert!(
        matches!(job.progress.state, RewrapState::Done { .. }),
        "{job:?}"
    );
    assert_eq!(
        (job.progress.versions, job.progress.left),
        (VERSIONS - 1, 1)
    );
    // No more than was left is there, so it is not begun again.
    assert_eq!(under.run(&world).await.expect("it ran"), job);
}

/// On one thread, since the recorder is the thread's.
#[tokio::test(flavor = "current_thread")]
async fn only_versions_that_were_wrapped_anew_are_counted() {
    const NAME: &str = "strongroom_rewrapped_versions_total";

    let counts = Counts::default();
    let (world, under) = compromised().await;
    {
        let _here = metrics::set_default_local_recorder(&counts);
        under.run(&world).await.expect("it ran");
    }
    assert_eq!(counts.of(NAME), VERSIONS, "in one page");

    let counts = Counts::default();
    let (world, under) = damaged_alone().await;
    {
        let _here = metrics::set_default_local_recorder(&counts);
        under.run(&world).await.expect("it ran");
    }
    assert_eq!(counts.of(NAME), VERSIONS - 1, "one is damaged");

    let counts = Counts::default();
    let (world, under) = cut_short_alone().await;
    let _here = metrics::set_default_local_recorder(&counts);
    under.run(&world).await.expect("it ran");
    assert_eq!(counts.of(NAME), DONE_ALONE, "until one failed");
    under.run(&world).await.expect("it ran");
    assert_eq!(counts.of(NAME), VERSIONS, "in two runs");
}

#[tokio::test]
async fn uploads_under_way_are_wrapped_anew_and_completed_after_it() {
    let mut world = World::new().await;
    let under = Under::new(&world).await;
    let mut uploads = Vec::new();
    for bucket_key in [true, false] {
        let name = format!("long-{bucket_key}");
        let upload = world.begin(&name, under.protection(bucket_key)).await;
        let part = world.part(&upload, 1, &pattern(PART)).await;
        uploads.push((upload, part));
    }
    under.compromise(&world).await;
    let job = under.run(&world).await.expect("it ran");
    assert_eq!((job.progress.uploads, job.progress.left), (2, 0));
    world.restart().await;
    for (upload, part) in uploads {
        let more = world.part(&upload, 2, &pattern(10)).await;
        let completion = completion(&upload, &[(1, part), (2, more)]);
        world
            .store
            .complete_upload(completion, &caller())
            .await
            .expect("completed");
        let read = world.get(upload.key.as_str()).await.expect("it reads");
        assert_eq!(read.len(), PART + 10);
    }
    assert_eq!(under.counts(&world).await, [(2, 2)]);
    world.assert_sound().await;
}

/// Writers put, copy and delete while a version is given up, again and again. In the end every
/// object opens, and nothing is under any version that was given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_go_on_while_everything_is_wrapped_anew() {
    let mut world = World::new().await;
    world.version(true).await;
    let under = Arc::new(Under::new(&world).await);
    let shared = Arc::new(world);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..4_usize {
        let (world, under, stop) = (Arc::clone(&shared), Arc::clone(&under), Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("key-{}", (writer + round) % 6);
                match round % 4 {
                    0 | 1 => under.put(&world, &name, round % 2 == 0).await,
                    2 => {
                        let request = strongroom_store::CopyRequest {
                            protection: under.protection(true),
                            ..world.copy_request(&name, &format!("copy-{writer}"))
                        };
                        // It may be deleted by now.
                        let _ = world.store.copy(request, &caller()).await;
                    }
                    _ => {
                        let _ = world.delete(&name, VersionSelector::Current).await;
                    }
                }
                round += 1;
                tokio::task::yield_now().await;
            }
        }));
    }
    for _ in 0..5 {
        under.compromise(&shared).await;
        for _ in 0..3 {
            shared
                .store
                .run_rewraps(&caller(), &|| false)
                .await
                .expect("it ran");
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no writer fails");
    }
    shared
        .store
        .run_rewraps(&caller(), &|| false)
        .await
        .expect("it ran");
    let counts = under.counts(&shared).await;
    assert!(
        counts.iter().all(|(version, _)| *version == 6),
        "{counts:?}"
    );
    for job in shared
        .keys
        .kms
        .rewraps(&under.reference)
        .await
        .expect("jobs")
    {
        assert!(
            matches!(job.progress.state, RewrapState::Done { .. }),
            "{job:?}"
        );
        assert_eq!((job.progress.left, job.progress.error.as_str()), (0, ""));
    }
    world = Arc::into_inner(shared).expect("all writers are gone");
    world.restart().await;
    for name in world.names().await {
        world.get(&name).await.expect("it reads");
    }
    world.assert_sound().await;
}
