//! The engines against the suite, and what faults and want of room lead to.

use std::fs;
use std::sync::Arc;

use bytes::BytesMut;
use strongroom_lifecycle::cold::{
    ArchiveId, ColdError, ColdTier, DirectoryTier, Fault, FaultyTier, Holding, MemoryTier,
    Retrieval, TierCall, TierSettings,
};
use strongroom_lifecycle::{RetrievalTier, StorageClass};

use crate::suite::{HOUR, Parts, archive, clock, every_promise, parts_of, submission, wait};

#[tokio::test]
async fn the_tier_in_memory_keeps_every_promise() {
    let clock = clock();
    let tier = MemoryTier::new(TierSettings::default(), clock.clone());
    every_promise(&tier, &clock).await;
}

#[tokio::test]
async fn a_tier_that_takes_its_time_to_be_durable_keeps_every_promise() {
    let clock = clock();
    let tier = MemoryTier::with_settling(TierSettings::default(), clock.clone(), HOUR * 6);
    every_promise(&tier, &clock).await;
}

#[tokio::test]
async fn a_tier_that_could_fail_but_does_not_keeps_every_promise() {
    let clock = clock();
    let inner = Arc::new(MemoryTier::new(TierSettings::default(), clock.clone()));
    every_promise(&FaultyTier::new(inner), &clock).await;
}

#[tokio::test]
async fn the_directory_keeps_every_promise() {
    let clock = clock();
    let directory = tempfile::tempdir().expect("there is room");
    let tier = DirectoryTier::open(directory.path(), TierSettings::default(), clock.clone())
        .expect("it opens");
    every_promise(&tier, &clock).await;
    let unfinished = fs::read_dir(directory.path().join("incoming"))
        .expect("it is there")
        .count();
    assert_eq!(unfinished, 0, "nothing half-written is left");
}

#[tokio::test]
async fn a_call_of_unknown_outcome_may_be_repeated() {
    for call in TierCall::ALL {
        let clock = clock();
        let inner = Arc::new(MemoryTier::new(TierSettings::default(), clock.clone()));
        let tier = FaultyTier::new(inner);
        let id = ArchiveId([1; 16]);
        let parts = parts_of(&[10]);
        for fault in [Fault::NotDone, Fault::DoneButUnknown] {
            tier.fail_next(call, fault);
        }
        // The whole life of an archive, each step repeated until it is done.
        let mut failures = 0;
        macro_rules! until_done {
            ($call:expr) => {
                loop {
                    match $call.await {
                        Ok(done) => break done,
                        Err(error) => {
                            assert!(error.is_passing(), "{error}");
                            failures += 1;
                        }
                    }
                }
            };
        }
        let submission = submission(id, StorageClass::Glacier, &parts);
        until_done!(tier.submit(&submission, &mut Parts::new(&parts)));
        until_done!(tier.lookup(id));
        until_done!(tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Expedited));
        clock.advance(HOUR);
        assert_eq!(until_done!(tier.poll(id)), Retrieval::Ready);
        let bytes = until_done!(tier.read(id, 0, 0, BytesMut::zeroed(10)));
        assert_eq!(&bytes[..], &parts[0][..]);
        until_done!(tier.release(id));
        until_done!(tier.expire(id));
        assert_eq!(failures, 2, "{call:?}");
        assert_eq!(tier.lookup(id).await.expect("it answers"), Holding::Absent);
    }
}

#[tokio::test]
async fn expedited_retrievals_are_refused_when_there_is_no_room() {
    let clock = clock();
    let settings = TierSettings {
        expedited_at_once_max: 1,
        ..TierSettings::default()
    };
    let tier = MemoryTier::new(settings, clock.clone());
    let ids = [ArchiveId([1; 16]), ArchiveId([2; 16])];
    for id in ids {
        archive(&tier, &clock, id, StorageClass::Glacier, &parts_of(&[1])).await;
    }
    let ask = |id| tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Expedited);
    ask(ids[0]).await.expect("there is room for one");
    ask(ids[0]).await.expect("asking again takes no more room");
    assert!(matches!(
        ask(ids[1]).await,
        Err(ColdError::ExpeditedUnavailable)
    ));
    assert_eq!(
        tier.poll(ids[1]).await.expect("it answers"),
        Retrieval::NotRequested
    );
    wait(&tier, &clock, ids[0]).await;
    ask(ids[1]).await.expect("there is room again");
}
