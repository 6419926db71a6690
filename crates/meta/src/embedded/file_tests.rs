//! The file: opening it again, damage, failures of the disk, and the sharing of a flush.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use strongroom_environment::{Entropy as _, SeededEntropy};
use tempfile::TempDir;

use super::disk::{Disk, Event};
use super::room::Room;
use super::{OpenError, RedbStore, file};
use crate::store::{Batch, CommitError, Expected, MetaStore, ReadError, Scan, Table};

const TABLE: Table = Table::new("things");
const CACHE_BYTES: usize = 4 * 1024 * 1024;

mod conformance {
    use super::*;

    crate::meta_conformance!({
        let directory = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&directory.path().join("metadata"), CACHE_BYTES).unwrap();
        (store, directory)
    });
}

fn a_file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata");
    (directory, path)
}

fn open(path: &Path) -> Result<RedbStore, OpenError> {
    RedbStore::open(path, CACHE_BYTES)
}

pub(super) fn open_disk(disk: &Disk) -> Result<RedbStore, OpenError> {
    RedbStore::start(
        file::open_backend(disk.clone(), CACHE_BYTES)?,
        Room::of(|| None),
    )
}

fn put(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Batch {
    let mut batch = Batch::new();
    batch.put(TABLE, key, value);
    batch
}

#[tokio::test]
async fn rows_and_revisions_go_on_after_it_is_opened_again() {
    let (_directory, path) = a_file();
    let mut revisions = std::collections::HashSet::new();
    for round in 0..4_u8 {
        let store = open(&path).unwrap();
        for earlier in 0..round {
            let row = store.get(TABLE, &[earlier]).await.unwrap().unwrap();
            assert_eq!(row.value, [earlier].as_slice());
        }
        store.commit(put([round], [round])).await.unwrap();
        let row = store.get(TABLE, &[round]).await.unwrap().unwrap();
        assert!(revisions.insert(row.revision));
    }
}

#[tokio::test]
async fn a_file_is_opened_once_at_a_time() {
    let (_directory, path) = a_file();
    let store = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::AlreadyOpen)));
    drop(store);
    open(&path).unwrap();
}

#[test]
fn a_place_that_cannot_be_opened_is_named() {
    let (directory, _) = a_file();
    let nowhere = directory.path().join("no/such/directory/metadata");
    for path in [nowhere.as_path(), directory.path()] {
        assert!(matches!(open(path), Err(OpenError::Io { .. })));
    }
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let (_directory, path) = a_file();
    for bytes in [
        b"x".to_vec(),
        b"not a database\n".repeat(10_000),
        vec![0; 4096],
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_file_of_another_version_is_refused() {
    let (_directory, path) = a_file();
    drop(open(&path).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(file::ENGINE_TABLE)
        .unwrap()
        .insert("version", 2)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, OpenError::UnknownVersion { version: 2 }));
}

/// A file with rows in a few pages, as bytes.
async fn a_filled_disk() -> Disk {
    let disk = Disk::default();
    let store = open_disk(&disk).unwrap();
    for number in 0..40_u8 {
        store
            .commit(put([number], vec![number; 600]))
            .await
            .unwrap();
    }
    drop(store);
    disk
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_refused() {
    let bytes = a_filled_disk().await.bytes();
    for keep in (1..20).map(|twentieth| bytes.len() * twentieth / 20) {
        let error = open_disk(&Disk::holding(bytes[..keep].to_vec())).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
    }
}

/// Damage anywhere gives a typed error or does no harm; it never panics and never gives a row that
/// was not written.
#[tokio::test]
async fn damage_is_an_error_and_not_a_wrong_row() {
    let bytes = a_filled_disk().await.bytes();
    let chance = SeededEntropy::new(11);
    let mut refused = 0;
    for _ in 0..150 {
        let mut damaged = bytes.clone();
        let at = usize::try_from(chance.next_u64()).unwrap() % (damaged.len() - 16);
        for byte in &mut damaged[at..at + 16] {
            *byte = chance.next_u64() as u8;
        }
        let store = match open_disk(&Disk::holding(damaged)) {
            Ok(store) => store,
            Err(error) => {
                let expected = matches!(
                    error,
                    OpenError::Corrupt { .. } | OpenError::UnknownVersion { .. }
                );
                assert!(expected, "{error:?}");
                refused += 1;
                continue;
            }
        };
        for number in 0..40_u8 {
            match store.get(TABLE, &[number]).await {
                Ok(Some(row)) => assert_eq!(row.value, vec![number; 600]),
                // A damaged branch may lead past a row.
                Ok(None) => {}
                Err(ReadError::Corrupt { .. } | ReadError::Unavailable { .. }) => refused += 1,
            }
        }
        match store.scan(TABLE, Scan::prefix(b"", 100)).await {
            Ok(rows) => {
                for found in rows {
                    assert_eq!(found.row.value, vec![found.key[0]; 600]);
                }
            }
            Err(ReadError::Corrupt { .. } | ReadError::Unavailable { .. }) => refused += 1,
        }
        // Whatever is answered, it is answered.
        let _ = store.commit(put("more", "x")).await;
    }
    assert!(refused > 0, "no damage was ever noticed");
}

#[tokio::test]
async fn a_full_volume_refuses_what_adds_and_lets_deletions_through() {
    const MIB: u64 = 1024 * 1024;
    let free_bytes = Arc::new(AtomicU64::new(1024 * MIB));
    let seen = Arc::clone(&free_bytes);
    let database = file::open_backend(Disk::default(), CACHE_BYTES).unwrap();
    let room = Room::of(move || Some(seen.load(Ordering::Relaxed)));
    let store = RedbStore::start(database, room).unwrap();
    store.commit(put("old", "1")).await.unwrap();

    free_bytes.store(20 * MIB, Ordering::Relaxed);
    let error = store.commit(put("new", "1")).await.unwrap_err();
    assert!(matches!(error, CommitError::Full), "{error}");
    assert!(store.get(TABLE, b"new").await.unwrap().is_none());
    // A batch that only looks needs no room.
    let mut check = Batch::new();
    check.expect(TABLE, "new", Expected::Absent);
    store.commit(check).await.unwrap();
    let mut deletion = put("trace", "1");
    deletion.delete(TABLE, "old");
    store.commit(deletion).await.unwrap();
    assert!(store.get(TABLE, b"old").await.unwrap().is_none());

    free_bytes.store(MIB, Ordering::Relaxed);
    let mut deletion = Batch::new();
    deletion.delete(TABLE, "trace");
    let error = store.commit(deletion).await.unwrap_err();
    assert!(matches!(error, CommitError::Full), "{error}");

    free_bytes.store(1024 * MIB, Ordering::Relaxed);
    store.commit(put("new", "1")).await.unwrap();
}

/// After a flush that failed, nothing is answered until the file is opened again, and then the
/// batch is there whole or not at all.
#[tokio::test]
async fn a_failed_flush_is_an_unknown_outcome_and_stops_the_engine() {
    let mut unknown = 0;
    for after in 0..6 {
        let disk = Disk::default();
        let store = open_disk(&disk).unwrap();
        store.commit(put("before", "1")).await.unwrap();
        disk.fail_sync(after);
        let mut outcomes = Vec::new();
        for number in 0..4_u8 {
            let mut batch = put([number, 0], "x");
            batch.put(TABLE, [number, 1], vec![0; 100_000]);
            outcomes.push(store.commit(batch).await);
        }
        let failed = outcomes.iter().position(Result::is_err).unwrap_or(4);
        for later in outcomes.iter().skip(failed + 1) {
            assert!(matches!(later, Err(CommitError::Unavailable { .. })));
        }
        if failed < 4 {
            assert!(matches!(
                store.get(TABLE, b"before").await,
                Err(ReadError::Unavailable { .. })
            ));
        }
        let is_unknown = |outcome: &Result<(), CommitError>| matches!(outcome, Err(error) if !error.is_certainly_not_done());
        unknown += outcomes
            .iter()
            .filter(|outcome| is_unknown(outcome))
            .count();
        drop(store);

        let store = open_disk(&Disk::holding(disk.bytes())).unwrap();
        assert!(store.get(TABLE, b"before").await.unwrap().is_some());
        for (number, outcome) in outcomes.iter().enumerate() {
            let number = u8::try_from(number).unwrap();
            let first = store.get(TABLE, &[number, 0]).await.unwrap();
            let second = store.get(TABLE, &[number, 1]).await.unwrap();
            assert_eq!(first.is_some(), second.is_some());
            match outcome {
                Ok(()) => assert!(first.is_some()),
                Err(error) if error.is_certainly_not_done() => assert!(first.is_none()),
                Err(_) => {}
            }
        }
    }
    assert!(unknown > 0, "no flush of a commit ever failed");
}

/// A volume that turns out full in the middle of a write loses nothing that was acknowledged.
#[tokio::test]
async fn running_out_of_room_loses_nothing() {
    let mut failures = 0;
    for after in 0..40 {
        let disk = Disk::default();
        let store = open_disk(&disk).unwrap();
        store.commit(put("before", "1")).await.unwrap();
        disk.fail_writes(after);
        let outcome = store.commit(put("after", vec![0; 50_000])).await;
        failures += usize::from(outcome.is_err());
        drop(store);
        let store = open_disk(&Disk::holding(disk.bytes())).unwrap();
        assert!(store.get(TABLE, b"before").await.unwrap().is_some());
        let found = store.get(TABLE, b"after").await.unwrap().is_some();
        match outcome {
            Ok(()) => assert!(found),
            Err(error) if error.is_certainly_not_done() => assert!(!found, "{error}"),
            Err(_) => {}
        }
    }
    assert!(failures > 0, "the disk never ran full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_wait_share_a_flush_and_conflict_alone() {
    const BATCHES: usize = 200;
    let disk = Disk::default();
    let store = Arc::new(open_disk(&disk).unwrap());
    let before = disk.sync_count();
    let commits = (0..BATCHES).map(|number| {
        // All want the same row; exactly one gets it, and the rest does not suffer.
        let mut batch = put(number.to_be_bytes(), "x");
        if number % 2 == 0 {
            batch
                .expect(TABLE, "one", Expected::Absent)
                .put(TABLE, "one", "x");
        }
        let store = Arc::clone(&store);
        async move { store.commit(batch).await }
    });
    let outcomes = join_all(commits).await;
    let conflicts = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(CommitError::Conflict { .. })));
    assert_eq!(conflicts.count(), BATCHES / 2 - 1);
    assert_eq!(
        outcomes.iter().filter(|o| o.is_ok()).count(),
        BATCHES / 2 + 1
    );
    for (number, outcome) in outcomes.iter().enumerate() {
        let row = store.get(TABLE, &number.to_be_bytes()).await.unwrap();
        assert_eq!(row.is_some(), outcome.is_ok());
    }
    let syncs = disk.sync_count() - before;
    assert!(syncs < BATCHES / 4, "{syncs} flushes");
    assert!(
        disk.events()
            .iter()
            .any(|event| matches!(event, Event::Sync))
    );
}

#[tokio::test]
async fn a_damaged_file_is_read_and_closed_without_a_panic() {
    let (directory, path) = a_file();
    let store = open(&path).unwrap();
    for number in 0..64_u32 {
        let batch = put(number.to_be_bytes(), vec![7; 600]);
        store.commit(batch).await.unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let entropy = SeededEntropy::new(5);
    let damaged_path = directory.path().join("damaged");
    for _ in 0..200 {
        let mut damaged = whole.clone();
        for _ in 0..40 {
            let mut place = [0_u8; 8];
            entropy.fill(&mut place);
            let at = usize::from_be_bytes(place) % (damaged.len() - 4_096) + 4_096;
            damaged[at] ^= place[7] | 1;
        }
        std::fs::write(&damaged_path, &damaged).unwrap();
        let Ok(store) = open(&damaged_path) else {
            continue;
        };
        for number in 0..64_u32 {
            // A damaged page may hide a row; it never makes one up.
            if let Ok(Some(row)) = store.get(TABLE, &number.to_be_bytes()).await {
                assert_eq!(row.value, [7_u8; 600].as_slice());
            }
        }
        // The writer is made to touch what is damaged, and the file is closed after that.
        let _ = store.commit(put("new", "row")).await;
        drop(store);
    }
}
