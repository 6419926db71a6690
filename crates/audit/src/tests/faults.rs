//! The process dies, the power goes, or the disk errs, at every single step.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::faulty_disk::{Fault, FaultyDisk};
use super::{TestSigner, append, config, entry, open};
use crate::verify::{VerifyError, verify_dir};
use crate::{
    AppendError, AuditLog, Checkpoint, CheckpointSigner, Durability, Log, LogConfig, PublishError,
    VerifierKey, verify_consistency,
};

/// What the outside has been told.
#[derive(Default)]
struct Witnessed {
    acknowledged: u64,
    checkpoints: Vec<Checkpoint>,
}

fn small_segments(dir: &Path, durability: Durability) -> LogConfig {
    LogConfig {
        durability,
        segment_len_bytes_max: 1_000,
        ..config(dir)
    }
}

/// Publications of partial tiles, over the first full tile, and over the second, with
/// journal segments closed and removed in between.
async fn work(disk: Arc<FaultyDisk>, config: LogConfig, seen: &mut Witnessed) {
    let Ok(log) = Log::open_on(disk, config, TestSigner::new()) else {
        return;
    };
    for count in [50, 70, 160, 240, 3] {
        for _ in 0..count {
            if log.append(entry(seen.acknowledged)).await.is_err() {
                return;
            }
            seen.acknowledged += 1;
        }
        match log.publish().await {
            Ok(checkpoint) => seen.checkpoints.push(checkpoint),
            Err(_) => return,
        }
    }
}

fn vkey(dir: &Path) -> String {
    let public_key = TestSigner::new().public_key();
    let verifier = VerifierKey::new(config(dir).origin, &public_key);
    verifier.unwrap().to_string()
}

/// Opens what is left, and holds it against what the outside was told.
async fn recover(dir: &Path, seen: &Witnessed, must_have: u64, what: &str) {
    let vkey = vkey(dir);
    match verify_dir(dir, &vkey) {
        Ok(verified) => assert!(verified.size + verified.pending >= must_have, "{what}"),
        Err(VerifyError::NoCheckpoint) => assert!(seen.checkpoints.is_empty(), "{what}"),
        Err(error) => panic!("{what}: what was left does not verify: {error}"),
    }
    // The same disk as any other, but for its syncs, which would take their time.
    let log = Log::open_on(FaultyDisk::new(None), config(dir), TestSigner::new())
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(
        log.size() >= must_have,
        "{what}: {} of {must_have} entries are left",
        log.size()
    );
    let entries = log.entries(0..u64::MAX).unwrap();
    assert_eq!(entries.len() as u64, log.size(), "{what}");
    for (index, found) in entries.iter().enumerate() {
        assert_eq!(*found, entry(index as u64), "{what}: entry {index}");
    }
    let mut before = seen.checkpoints.clone();
    before.extend(log.checkpoint());
    append(&log, 1).await;
    let after = log.publish().await.unwrap();
    for earlier in before.iter().filter(|earlier| earlier.size() > 0) {
        let proof = log.consistency_proof(earlier.size(), after.size()).unwrap();
        verify_consistency(
            &proof,
            (earlier.size(), earlier.root()),
            (after.size(), after.root()),
        )
        .unwrap_or_else(|error| panic!("{what}: {} to {}: {error}", earlier.size(), after.size()));
    }
    let verified = verify_dir(dir, &vkey).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(
        (verified.size, verified.pending, verified.torn_len_bytes),
        (after.size(), 0, 0),
        "{what}"
    );
}

/// The steps at which to fail: all but the appends, of which some; and the end.
async fn steps() -> Vec<usize> {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(None);
    let mut seen = Witnessed::default();
    work(
        disk.clone(),
        small_segments(dir.path(), Durability::Process),
        &mut seen,
    )
    .await;
    assert_eq!((seen.acknowledged, seen.checkpoints.len()), (523, 5));
    let operations = disk.operations();
    let kinds: BTreeSet<_> = operations
        .iter()
        .filter_map(|operation| operation.split(' ').next())
        .collect();
    assert_eq!(
        kinds,
        [
            "create_dir",
            "create_file",
            "remove_dir",
            "remove_file",
            "rename",
            "sync_dir",
            "sync_file",
            "write"
        ]
        .into(),
        "the work goes through every kind of step but the taking back of a failed write"
    );
    let closing = "write 11 ";
    (0..operations.len())
        .filter(|at| {
            let operation = &operations[*at];
            let is_append = operation.starts_with("write") && operation.contains("/journal/");
            !is_append || operation.starts_with(closing) || at % 41 == 0
        })
        .collect()
}

#[tokio::test]
async fn a_killed_process_leaves_every_acknowledged_entry_and_no_second_history() {
    for at in steps().await {
        for fault in [Fault::DieBefore, Fault::DieHalfway, Fault::DieAfter] {
            let dir = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::new(Some((at, fault)));
            let mut seen = Witnessed::default();
            work(
                disk.clone(),
                small_segments(dir.path(), Durability::Process),
                &mut seen,
            )
            .await;
            assert!(disk.is_dead());
            let what = format!("{fault:?} {at}: {}", disk.operations().pop().unwrap());
            recover(dir.path(), &seen, seen.acknowledged, &what).await;
        }
    }
}

#[tokio::test]
async fn a_loss_of_power_leaves_what_was_promised_and_no_second_history() {
    for at in steps().await {
        for (fault, lasts) in [
            (Fault::DieBefore, None),
            (Fault::DieAfter, None),
            (
                Fault::DieAfter,
                Some((|at| at % 2 == 0) as fn(usize) -> bool),
            ),
            (
                Fault::DieAfter,
                Some((|at| at % 2 == 1) as fn(usize) -> bool),
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::new(Some((at, fault)));
            let mut seen = Witnessed::default();
            work(
                disk.clone(),
                small_segments(dir.path(), Durability::Process),
                &mut seen,
            )
            .await;
            let what = format!(
                "power lost {fault:?} {at}: {}",
                disk.operations().pop().unwrap()
            );
            disk.lose_power(lasts);
            let published = seen.checkpoints.last().map_or(0, Checkpoint::size);
            recover(dir.path(), &seen, published, &what).await;
        }
    }
}

#[tokio::test]
async fn with_sync_durability_a_loss_of_power_takes_no_acknowledged_entry() {
    for at in (0..1_600).step_by(61) {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(Some((at, Fault::DieBefore)));
        let mut seen = Witnessed::default();
        work(
            disk.clone(),
            small_segments(dir.path(), Durability::Sync),
            &mut seen,
        )
        .await;
        disk.lose_power(None);
        recover(
            dir.path(),
            &seen,
            seen.acknowledged,
            &format!("power lost at {at}"),
        )
        .await;
    }
}

/// Each step fails once, done or not, while the process lives on: it publishes at the next try, or
/// it has stopped and says so; never anything between.
#[tokio::test]
async fn a_step_that_fails_once_is_made_up_for_or_stops_the_log() {
    let mut stopped = 0;
    let mut made_up_for = 0;
    for later in 0.. {
        let mut was_reached = true;
        for fault in [
            Fault::FailNotDone(ErrorKind::StorageFull),
            Fault::FailDone(ErrorKind::Other),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::new(None);
            let config = small_segments(dir.path(), Durability::Process);
            let log = Log::open_on(disk.clone(), config, TestSigner::new()).unwrap();
            append(&log, 120).await;
            let mut seen = Witnessed::default();
            seen.checkpoints.push(log.publish().await.unwrap());
            append(&log, 400).await;
            seen.acknowledged = 520;

            let before = disk.operations().len();
            disk.fault_in(later, fault);
            let first = log.publish().await;
            let operations = disk.operations();
            was_reached = operations.len() > before + later;
            if !was_reached {
                break;
            }
            let what = format!("{fault:?} {later}: {}", operations[before + later]);
            seen.checkpoints.extend(first.ok());
            match (log.publish().await, log.append(entry(520)).await) {
                (Ok(checkpoint), Ok(_)) => {
                    made_up_for += 1;
                    assert_eq!(checkpoint.size(), 520, "{what}");
                    seen.checkpoints.push(checkpoint);
                    seen.acknowledged += 1;
                }
                (_, Err(AppendError::Stopped { .. })) => {
                    stopped += 1;
                    assert!(log.stopped().is_some(), "{what}");
                    assert!(
                        matches!(log.publish().await, Err(PublishError::Stopped { .. })),
                        "{what}"
                    );
                }
                (published, appended) => panic!("{what}: {published:?}, {appended:?}"),
            }
            drop(log);
            recover(dir.path(), &seen, seen.acknowledged, &what).await;
        }
        if !was_reached {
            break;
        }
    }
    assert!(stopped > 5 && made_up_for > 20, "{stopped} {made_up_for}");
}

#[tokio::test]
async fn a_full_volume_refuses_the_entry_and_takes_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(None);
    let log = Log::open_on(disk.clone(), config(dir.path()), TestSigner::new()).unwrap();
    append(&log, 3).await;
    disk.fault_in(0, Fault::FailDone(ErrorKind::StorageFull));
    assert!(matches!(
        log.append(b"no room".to_vec()).await,
        Err(AppendError::Full)
    ));
    append(&log, 2).await;
    drop(log);
    let log = open(dir.path());
    assert_eq!(
        log.entries(0..10).unwrap(),
        (0..5).map(entry).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_write_that_fails_otherwise_stops_the_log() {
    for fault in [
        Fault::FailDone(ErrorKind::Other),
        Fault::FailNotDone(ErrorKind::Other),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::new(None);
        let log = Log::open_on(disk.clone(), config(dir.path()), TestSigner::new()).unwrap();
        append(&log, 3).await;
        disk.fault_in(0, fault);
        for _ in 0..2 {
            let refused = log.append(b"lost".to_vec()).await;
            assert!(matches!(refused, Err(AppendError::Stopped { .. })));
        }
        drop(log);
        assert_eq!(open(dir.path()).size(), 3);
    }
}

#[tokio::test]
async fn a_failed_sync_stops_the_log_and_whoever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(None);
    let config = LogConfig {
        durability: Durability::Sync,
        ..config(dir.path())
    };
    let log = Log::open_on(disk.clone(), config, TestSigner::new()).unwrap();
    append(&log, 3).await;
    disk.fault_in(1, Fault::FailNotDone(ErrorKind::Other));
    for _ in 0..2 {
        let refused = log.append(b"in doubt".to_vec()).await;
        assert!(matches!(refused, Err(AppendError::Stopped { .. })));
    }
}

#[tokio::test]
async fn without_a_signature_entries_go_on_and_the_checkpoint_stands() {
    let dir = tempfile::tempdir().unwrap();
    let signer = TestSigner::new();
    let log = Log::open(config(dir.path()), signer.clone()).unwrap();
    append(&log, 10).await;
    let first = log.publish().await.unwrap();
    append(&log, 500).await;
    signer.refuses.store(true, Ordering::Relaxed);
    assert!(matches!(log.publish().await, Err(PublishError::Sign(_))));
    signer.refuses.store(false, Ordering::Relaxed);
    signer.lies.store(true, Ordering::Relaxed);
    assert!(matches!(
        log.publish().await,
        Err(PublishError::BadSignature(_))
    ));
    assert_eq!(log.checkpoint(), Some(first.clone()));
    assert_eq!(
        verify_dir(dir.path(), &log.verifier_key()).unwrap().pending,
        500
    );
    append(&log, 1).await;
    signer.lies.store(false, Ordering::Relaxed);
    let second = log.publish().await.unwrap();
    assert_eq!(second.size(), 511);
    let proof = log.consistency_proof(10, 511).unwrap();
    verify_consistency(&proof, (10, first.root()), (511, second.root())).unwrap();
}
