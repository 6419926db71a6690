//! An archiving and a restore, cut short at each call of each engine in each way it can fail, with
//! a restart after it: the object is never lost, the work is taken up again, and in the end there
//! is one archive, one copy where there should be one, and no job.

use std::fmt::Debug;

use strongroom_blobs::{Call, Fault as BlobFault};
use strongroom_lifecycle::cold::{Fault as TierFault, TierCall};
use strongroom_lifecycle::{LifecycleError, RestoreRefusal, RetrievalTier, StorageClass};
use strongroom_meta::{CommitFault, ReadFault};
use strongroom_store::RestoreState;

use crate::world::{DAY, HOUR, World, bytes};

/// A piece of the lifecycle's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    /// An object is written down to be archived, and is archived.
    Archive,
    /// An object that was written as archived goes there.
    ArchiveWritten,
    /// A version goes to the archive that another one of its payload lies in.
    ArchiveShared,
    /// A restore is asked for.
    AskForRestore,
    /// A restore that was asked for is made.
    Restore,
    /// A restored copy's time is over.
    ExpireCopy,
    /// An archive is not referred to any more.
    ExpireArchive,
}

impl World {
    async fn prepare(&self, work: Work) {
        match work {
            Work::Archive => {
                self.put("object", StorageClass::Standard, &bytes()).await;
            }
            Work::ArchiveWritten => {
                self.put("object", StorageClass::Glacier, &bytes()).await;
            }
            Work::ArchiveShared => {
                self.put("other", StorageClass::Standard, &bytes()).await;
                self.copy("other", "object", StorageClass::Standard).await;
                self.archive_now("other", StorageClass::Glacier)
                    .await
                    .expect("a move");
                self.run().await;
            }
            Work::AskForRestore | Work::Restore | Work::ExpireCopy | Work::ExpireArchive => {
                self.put("object", StorageClass::Glacier, &bytes()).await;
                self.run().await;
            }
        }
        if matches!(work, Work::Restore | Work::ExpireCopy) {
            self.restore("object", 1, RetrievalTier::Standard)
                .await
                .expect("a restore");
            self.run().await;
            self.clock.advance(HOUR * 6);
        }
        match work {
            Work::ExpireCopy => {
                self.run().await;
                self.clock.advance(DAY * 3);
            }
            Work::ExpireArchive => self.delete("object").await,
            _ => {}
        }
        self.store.collect_garbage().await.expect("a collection");
    }

    /// One attempt at the work, as far as it comes.
    async fn attempt(&self, work: Work) {
        match work {
            Work::Archive | Work::ArchiveShared => {
                let found = self.try_tiered("object").await;
                if found.is_ok_and(|found| found.class == StorageClass::Standard) {
                    let _ = self.archive_now("object", StorageClass::Glacier).await;
                }
            }
            Work::AskForRestore => {
                let asked = self.restore("object", 1, RetrievalTier::Standard).await;
                if asked.is_ok() {
                    return;
                }
            }
            _ => {}
        }
        let _ = self.lifecycle.run_once().await;
        let _ = self.store.collect_garbage().await;
    }

    /// The object is what it should be before and after any step: readable, or archived and then
    /// in the tier or still warm.
    async fn assert_not_lost(&self, work: Work, context: &str) {
        if work == Work::ExpireArchive {
            return;
        }
        match self.get("object").await {
            Ok(found) => assert!(found == bytes(), "{context}"),
            Err(strongroom_store::StoreError::Archived { .. }) => {
                let is_kept = !self.archives().is_empty() || self.stored_bytes() > 0;
                assert!(is_kept, "{context}: its bytes are nowhere");
            }
            Err(error) => panic!("{context}: {error}"),
        }
        let checked = strongroom_store::check(self.meta.clone(), self.blobs.clone())
            .await
            .expect("the rows can be read");
        assert_eq!(checked.findings, [], "{context}");
    }

    /// What there is when the work is done.
    async fn assert_done(&self, work: Work, context: &str) {
        self.assert_sound().await;
        assert_eq!(self.job_count().await, 0, "{context}");
        let restore = if work == Work::ExpireArchive {
            assert!(!self.is_there("object").await, "{context}");
            None
        } else {
            assert_eq!(
                self.class("object").await,
                StorageClass::Glacier,
                "{context}"
            );
            self.tiered("object").await.restore
        };
        let one = usize::from(work != Work::ExpireArchive);
        assert_eq!(self.archives().len(), one, "{context}");
        match work {
            Work::Restore => {
                assert!(
                    self.get("object").await.expect("restored") == bytes(),
                    "{context}"
                );
                assert!(
                    matches!(restore, Some(RestoreState::Restored { .. })),
                    "{context}"
                );
                assert!(
                    self.stored_bytes() < 250_000,
                    "{context}: there is one copy"
                );
            }
            Work::AskForRestore => {
                assert!(
                    matches!(restore, Some(RestoreState::InProgress { .. })),
                    "{context}"
                );
                assert_eq!(self.stored_bytes(), 0, "{context}");
            }
            _ => {
                assert_eq!(restore, None, "{context}");
                assert_eq!(self.stored_bytes(), 0, "{context}");
            }
        }
    }

    async fn finish(&self, work: Work) {
        match work {
            // Asked for once more, as a client does that got an error.
            Work::AskForRestore => match self.restore("object", 1, RetrievalTier::Standard).await {
                Ok(_) | Err(LifecycleError::Restore(RestoreRefusal::InProgress)) => {}
                Err(error) => panic!("{error}"),
            },
            Work::Archive | Work::ArchiveShared => {
                self.archive_now("object", StorageClass::Glacier)
                    .await
                    .expect("a move");
            }
            _ => {}
        }
        if work == Work::AskForRestore {
            self.run().await;
            return;
        }
        // The first run meets what is due, the others what was put off.
        for _ in 0..4 {
            self.run().await;
            self.clock.advance(HOUR * 2);
        }
        self.run().await;
    }
}

/// How many calls of each kind the work makes when nothing fails.
struct Course {
    commits: u64,
    reads: u64,
    blobs: Vec<(Call, u64)>,
    tier: Vec<TierCall>,
}

async fn course(work: Work) -> Course {
    const CALLS: [Call; 5] = [
        Call::Create,
        Call::Append,
        Call::Finish,
        Call::Read,
        Call::Delete,
    ];
    let world = World::new().await;
    world.prepare(work).await;
    let (commits, reads) = (world.meta.commits(), world.meta.reads());
    let blobs = CALLS.map(|call| (call, world.blobs.calls(call)));
    let tier = world.tier.calls().len();
    world.attempt(work).await;
    let course = Course {
        commits: world.meta.commits() - commits,
        reads: world.meta.reads() - reads,
        blobs: blobs
            .into_iter()
            .map(|(call, before)| (call, world.blobs.calls(call) - before))
            .collect(),
        tier: world.tier.calls().split_off(tier),
    };
    world.assert_done(work, "nothing fails").await;
    course
}

async fn cut(work: Work, what: impl Debug, arm: impl FnOnce(&World)) {
    let mut world = World::new().await;
    world.prepare(work).await;
    arm(&world);
    let context = format!("{work:?} with {what:?}");
    world.attempt(work).await;
    world.restart().await;
    world.assert_not_lost(work, &context).await;
    world.finish(work).await;
    world.assert_not_lost(work, &context).await;
    world.assert_done(work, &context).await;
}

async fn cut_everywhere(work: Work) {
    let course = course(work).await;
    for nth in 0..course.commits {
        for fault in [
            CommitFault::Unavailable,
            CommitFault::Full,
            CommitFault::Conflict,
            CommitFault::UnknownNotApplied,
            CommitFault::UnknownApplied,
        ] {
            let arm = |world: &World| world.meta.fail_commit(nth, fault);
            cut(work, ("commit", nth, fault), arm).await;
        }
    }
    for nth in 0..course.reads {
        for fault in [ReadFault::Unavailable, ReadFault::Corrupt] {
            let arm = |world: &World| world.meta.fail_read(nth, fault);
            cut(work, ("read", nth, fault), arm).await;
        }
    }
    for (call, count) in course.blobs {
        for nth in 0..count {
            for fault in [BlobFault::Io, BlobFault::Full, BlobFault::OutcomeUnknown] {
                let arm = |world: &World| world.blobs.fail(call, nth, fault);
                cut(work, (call, nth, fault), arm).await;
            }
        }
    }
    // The faults of a kind of call come one after the other, so two of them fail it twice.
    for call in TierCall::ALL {
        if !course.tier.contains(&call) {
            continue;
        }
        for fault in [TierFault::NotDone, TierFault::DoneButUnknown] {
            for times in 1..=2 {
                let arm = |world: &World| {
                    for _ in 0..times {
                        world.tier.fail_next(call, fault);
                    }
                };
                cut_tier(work, (call, fault, times), arm).await;
            }
        }
    }
}

/// A fault of the tier, which may be met by a later run than the first.
async fn cut_tier(work: Work, what: impl Debug, arm: impl FnOnce(&World)) {
    let mut world = World::new().await;
    world.prepare(work).await;
    arm(&world);
    let context = format!("{work:?} with {what:?}");
    for _ in 0..6 {
        world.attempt(work).await;
        world.assert_not_lost(work, &context).await;
        world.restart().await;
        if work == Work::AskForRestore {
            continue;
        }
        world.clock.advance(HOUR);
    }
    world.assert_done(work, &context).await;
}

#[tokio::test]
async fn an_archiving_is_taken_up_again_wherever_it_was_cut_short() {
    cut_everywhere(Work::Archive).await;
}

#[tokio::test]
async fn an_archiving_of_what_was_written_as_archived_is_taken_up_again() {
    cut_everywhere(Work::ArchiveWritten).await;
}

#[tokio::test]
async fn an_archiving_to_an_archive_that_is_there_is_taken_up_again() {
    cut_everywhere(Work::ArchiveShared).await;
}

#[tokio::test]
async fn a_request_for_a_restore_is_taken_or_not_wherever_it_was_cut_short() {
    cut_everywhere(Work::AskForRestore).await;
}

#[tokio::test]
async fn a_restore_is_taken_up_again_wherever_it_was_cut_short() {
    cut_everywhere(Work::Restore).await;
}

#[tokio::test]
async fn the_end_of_a_copy_is_taken_up_again_wherever_it_was_cut_short() {
    cut_everywhere(Work::ExpireCopy).await;
}

#[tokio::test]
async fn the_end_of_an_archive_is_taken_up_again_wherever_it_was_cut_short() {
    cut_everywhere(Work::ExpireArchive).await;
}
