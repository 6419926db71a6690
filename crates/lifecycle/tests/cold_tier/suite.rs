//! What every tier promises: one function for each promise, over a tier and a simulated clock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use strongroom_environment::{Clock as _, SimulatedClock, Timestamp};
use strongroom_lifecycle::cold::{
    ArchiveDescription, ArchiveId, ArchiveSource, ColdError, ColdTier, Holding, Retrieval,
    SourceError, Submission, SubmitOutcome,
};
use strongroom_lifecycle::{RetrievalTier, StorageClass};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) fn clock() -> Arc<SimulatedClock> {
    Arc::new(SimulatedClock::new(Timestamp::from_seconds(1_767_225_600)))
}

/// Parts in memory, which may fail after so many reads.
pub(crate) struct Parts {
    bytes: BytesMut,
    reads_left: usize,
}

impl Parts {
    pub(crate) fn new(parts: &[Vec<u8>]) -> Self {
        Self {
            bytes: parts.concat().as_slice().into(),
            reads_left: usize::MAX,
        }
    }
}

#[async_trait]
impl ArchiveSource for Parts {
    async fn fill(&mut self, mut buffer: BytesMut) -> Result<BytesMut, SourceError> {
        self.reads_left = self.reads_left.checked_sub(1).ok_or(SourceError {
            reason: "the source was told to fail".to_owned(),
        })?;
        let next = self.bytes.split_to(buffer.len());
        buffer.copy_from_slice(&next);
        Ok(buffer)
    }
}

pub(crate) fn parts_of(lens: &[usize]) -> Vec<Vec<u8>> {
    lens.iter()
        .enumerate()
        .map(|(part, len)| {
            (0..*len)
                .map(|at| (at * 7 + at / 251 + part) as u8)
                .collect()
        })
        .collect()
}

pub(crate) fn submission(archive: ArchiveId, class: StorageClass, parts: &[Vec<u8>]) -> Submission {
    Submission {
        archive,
        class,
        part_lens_bytes: parts.iter().map(|part| part.len() as u64).collect(),
        archived: Timestamp::from_seconds(1_767_225_600),
    }
}

/// Submits until the tier says that the archive is durable, letting time pass in between.
pub(crate) async fn archive(
    tier: &dyn ColdTier,
    clock: &SimulatedClock,
    archive: ArchiveId,
    class: StorageClass,
    parts: &[Vec<u8>],
) -> ArchiveDescription {
    let outcome = tier
        .submit(&submission(archive, class, parts), &mut Parts::new(parts))
        .await
        .expect("the tier takes archives");
    if let SubmitOutcome::Durable(description) = outcome {
        return description;
    }
    for _ in 0..100 {
        clock.advance(HOUR);
        if let Holding::Durable(description) = tier.lookup(archive).await.expect("it answers") {
            return description;
        }
    }
    panic!("the archive did not become durable in 100 hours");
}

/// Waits until an archive is retrieved, and returns how long it took.
pub(crate) async fn wait(
    tier: &dyn ColdTier,
    clock: &SimulatedClock,
    archive: ArchiveId,
) -> Duration {
    let start = clock.now();
    for _ in 0..10_000 {
        match tier.poll(archive).await.expect("it answers") {
            Retrieval::Ready => return clock.now().since(start),
            Retrieval::InProgress { ready } => {
                let ready = ready.unwrap_or(clock.now() + HOUR);
                assert!(ready > clock.now());
                clock.advance(ready.since(clock.now()));
            }
            Retrieval::NotRequested => panic!("the retrieval was forgotten"),
        }
    }
    panic!("the retrieval did not end");
}

pub(crate) async fn read_all(
    tier: &dyn ColdTier,
    archive: ArchiveId,
    description: &ArchiveDescription,
) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    for (part, described) in description.parts.iter().enumerate() {
        let len = usize::try_from(described.len_bytes).expect("it fits in memory");
        let bytes = tier
            .read(archive, part, 0, BytesMut::zeroed(len))
            .await
            .expect("it is retrieved");
        assert_eq!(described.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
        parts.push(bytes.to_vec());
    }
    parts
}

pub(crate) async fn every_promise(tier: &dyn ColdTier, clock: &SimulatedClock) {
    what_was_submitted_is_read_back(tier, clock).await;
    nothing_is_read_before_its_time(tier, clock).await;
    calls_may_be_repeated(tier, clock).await;
    a_faster_tier_takes_over(tier, clock).await;
    a_source_that_fails_leaves_nothing(tier, clock).await;
    reads_stay_within_their_part(tier, clock).await;
    what_is_not_there_is_said_to_be_missing(tier).await;
    tiers_take_the_time_of_the_class(tier, clock).await;
    two_submissions_at_a_time_end_as_one(tier, clock).await;
}

async fn what_was_submitted_is_read_back(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let cases: [&[usize]; 6] = [
        &[],
        &[0],
        &[1],
        &[5, 0, 7],
        &[1 << 20],
        &[(1 << 20) + 1, 3 << 20],
    ];
    for (number, lens) in cases.into_iter().enumerate() {
        let id = ArchiveId([number as u8 + 1; 16]);
        let parts = parts_of(lens);
        let description = archive(tier, clock, id, StorageClass::Glacier, &parts).await;
        assert_eq!(description.class, StorageClass::Glacier);
        assert_eq!(description.parts.len(), lens.len());
        assert_eq!(
            tier.lookup(id).await.expect("it answers"),
            Holding::Durable(description.clone())
        );
        tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Standard)
            .await
            .expect("it is there");
        wait(tier, clock, id).await;
        assert_eq!(read_all(tier, id, &description).await, parts);
    }
}

async fn nothing_is_read_before_its_time(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x20; 16]);
    archive(tier, clock, id, StorageClass::DeepArchive, &parts_of(&[9])).await;
    let read = || tier.read(id, 0, 0, BytesMut::zeroed(9));
    assert_eq!(
        tier.poll(id).await.expect("it answers"),
        Retrieval::NotRequested
    );
    assert!(matches!(read().await, Err(ColdError::NotRetrieved { .. })));
    tier.request_retrieval(id, StorageClass::DeepArchive, RetrievalTier::Standard)
        .await
        .expect("it is there");
    assert!(matches!(read().await, Err(ColdError::NotRetrieved { .. })));
    wait(tier, clock, id).await;
    read().await.expect("it is retrieved");
    tier.release(id).await.expect("it is retrieved");
    assert!(matches!(read().await, Err(ColdError::NotRetrieved { .. })));
    assert_eq!(
        tier.poll(id).await.expect("it answers"),
        Retrieval::NotRequested
    );
}

async fn calls_may_be_repeated(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x30; 16]);
    let parts = parts_of(&[100, 200]);
    let first = archive(tier, clock, id, StorageClass::Glacier, &parts).await;
    // Other bytes under the same name change nothing: the name says that it is done.
    let again = archive(tier, clock, id, StorageClass::Glacier, &parts_of(&[1, 2])).await;
    assert_eq!(first, again);
    for _ in 0..2 {
        tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Bulk)
            .await
            .expect("it is there");
    }
    let foretold = tier.poll(id).await.expect("it answers");
    clock.advance(HOUR);
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Bulk)
        .await
        .expect("it is there");
    assert_eq!(
        tier.poll(id).await.expect("it answers"),
        foretold,
        "asking again does not begin again"
    );
    wait(tier, clock, id).await;
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Expedited)
        .await
        .expect("it is there");
    assert_eq!(tier.poll(id).await.expect("it answers"), Retrieval::Ready);
    for _ in 0..2 {
        tier.release(id).await.expect("releasing may be repeated");
    }
    for _ in 0..2 {
        tier.expire(id).await.expect("expiring may be repeated");
        assert_eq!(tier.lookup(id).await.expect("it answers"), Holding::Absent);
    }
}

async fn a_faster_tier_takes_over(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x40; 16]);
    archive(tier, clock, id, StorageClass::Glacier, &parts_of(&[10])).await;
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Bulk)
        .await
        .expect("it is there");
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Expedited)
        .await
        .expect("a faster tier takes over");
    // A slower one does not.
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Standard)
        .await
        .expect("a slower tier is no error");
    assert!(wait(tier, clock, id).await <= Duration::from_secs(300));
    tier.expire(id).await.expect("it is there");
}

async fn a_source_that_fails_leaves_nothing(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x50; 16]);
    let parts = parts_of(&[10, 10]);
    let mut source = Parts {
        reads_left: 1,
        ..Parts::new(&parts)
    };
    let refused = tier
        .submit(&submission(id, StorageClass::Glacier, &parts), &mut source)
        .await;
    assert!(matches!(refused, Err(ColdError::Source(_))), "{refused:?}");
    assert_eq!(tier.lookup(id).await.expect("it answers"), Holding::Absent);
    archive(tier, clock, id, StorageClass::Glacier, &parts).await;
    tier.expire(id).await.expect("it is there");
}

async fn reads_stay_within_their_part(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x60; 16]);
    let parts = parts_of(&[10, 20]);
    archive(tier, clock, id, StorageClass::Glacier, &parts).await;
    tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Expedited)
        .await
        .expect("it is there");
    wait(tier, clock, id).await;
    let read = |part, offset, len| tier.read(id, part, offset, BytesMut::zeroed(len));
    assert_eq!(
        &read(1, 5, 15).await.expect("it is within")[..],
        &parts[1][5..]
    );
    assert_eq!(read(0, 10, 0).await.expect("it is within").len(), 0);
    for (part, offset, len) in [(0, 1, 10), (0, 11, 0), (2, 0, 1), (0, u64::MAX, 2)] {
        let refused = read(part, offset, len).await;
        assert!(
            matches!(refused, Err(ColdError::OutOfRange { .. })),
            "{part} {offset} {len}: {refused:?}"
        );
    }
    tier.expire(id).await.expect("it is there");
}

async fn what_is_not_there_is_said_to_be_missing(tier: &dyn ColdTier) {
    let id = ArchiveId([0x70; 16]);
    assert_eq!(tier.lookup(id).await.expect("it answers"), Holding::Absent);
    let is_missing = |error| matches!(error, ColdError::NotFound { archive } if archive == id);
    assert!(is_missing(
        tier.poll(id).await.expect_err("it is not there")
    ));
    assert!(is_missing(
        tier.request_retrieval(id, StorageClass::Glacier, RetrievalTier::Standard)
            .await
            .expect_err("it is not there")
    ));
    assert!(is_missing(
        tier.read(id, 0, 0, BytesMut::zeroed(1))
            .await
            .expect_err("it is not there")
    ));
    tier.release(id).await.expect("there is nothing to release");
    tier.expire(id).await.expect("there is nothing to expire");
}

async fn tiers_take_the_time_of_the_class(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x80; 16]);
    let hours = |from: u64, to: u64| HOUR * from as u32..=HOUR * to as u32;
    archive(tier, clock, id, StorageClass::Glacier, &parts_of(&[10])).await;
    for (class, retrieval, span) in [
        (
            StorageClass::Glacier,
            RetrievalTier::Expedited,
            Duration::from_secs(60)..=Duration::from_secs(300),
        ),
        (StorageClass::Glacier, RetrievalTier::Standard, hours(3, 5)),
        (StorageClass::Glacier, RetrievalTier::Bulk, hours(5, 12)),
        (
            StorageClass::DeepArchive,
            RetrievalTier::Standard,
            hours(12, 12),
        ),
        (
            StorageClass::DeepArchive,
            RetrievalTier::Bulk,
            hours(48, 48),
        ),
    ] {
        tier.request_retrieval(id, class, retrieval)
            .await
            .expect("it is there");
        let time = wait(tier, clock, id).await;
        assert!(span.contains(&time), "{class:?} {retrieval:?}: {time:?}");
        tier.release(id).await.expect("it is retrieved");
    }
    for class in [StorageClass::DeepArchive, StorageClass::Standard] {
        let refused = tier
            .request_retrieval(id, class, RetrievalTier::Expedited)
            .await;
        assert!(matches!(refused, Err(ColdError::TierNotOffered { .. })));
    }
    tier.expire(id).await.expect("it is there");
}

async fn two_submissions_at_a_time_end_as_one(tier: &dyn ColdTier, clock: &SimulatedClock) {
    let id = ArchiveId([0x90; 16]);
    let parts = parts_of(&[3 << 20]);
    let (one, other) = futures::join!(
        archive(tier, clock, id, StorageClass::Glacier, &parts),
        archive(tier, clock, id, StorageClass::Glacier, &parts)
    );
    assert_eq!(one, other);
    tier.expire(id).await.expect("it is there");
}
