//! Crashes: what was acknowledged survives, and nothing is there in part.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use strongroom_environment::SeededEntropy;

use super::RedbStore;
use super::disk::{Disk, after_power_loss};
use super::file_tests::open_disk;
use crate::store::{Batch, MetaStore, Scan, Table};

const LEFT: Table = Table::new("left");
const RIGHT: Table = Table::new("right");

/// Rows in two tables that belong together; every third batch takes an old row away.
fn numbered(number: u64) -> Batch {
    let mut batch = Batch::new();
    let value = vec![number as u8; 300 + (number % 7) as usize * 200];
    for part in 0..3_u8 {
        let mut key = number.to_be_bytes().to_vec();
        key.push(part);
        batch.put(LEFT, key, value.clone());
    }
    batch.put(RIGHT, number.to_be_bytes(), value);
    if number % 3 == 2 {
        batch.delete(RIGHT, (number - 2).to_be_bytes());
    }
    batch
}

/// How many batches are there, every one of them whole.
async fn whole_batches(store: &RedbStore) -> u64 {
    let left = store
        .scan(LEFT, Scan::prefix(b"", 1_000_000))
        .await
        .unwrap();
    assert_eq!(left.len() % 3, 0);
    let count = left.len() as u64 / 3;
    for (at, found) in left.iter().enumerate() {
        let number = at as u64 / 3;
        assert_eq!(found.key[..8], number.to_be_bytes());
        assert!(found.row.value.iter().all(|byte| *byte == number as u8));
    }
    for number in 0..count {
        let is_deleted = number % 3 == 0 && number + 2 < count;
        let row = store.get(RIGHT, &number.to_be_bytes()).await.unwrap();
        assert_eq!(row.is_none(), is_deleted, "row {number} of {count}");
    }
    assert!(
        store
            .get(RIGHT, &count.to_be_bytes())
            .await
            .unwrap()
            .is_none()
    );
    count
}

#[tokio::test]
async fn loss_of_power_at_any_moment_keeps_what_was_acknowledged() {
    let disk = Disk::default();
    let store = open_disk(&disk).unwrap();
    let opened = disk.event_count();
    let mut acknowledged = Vec::new();
    for number in 0..30 {
        store.commit(numbered(number)).await.unwrap();
        acknowledged.push(disk.event_count());
    }
    let events = disk.events();
    let chance = SeededEntropy::new(5);
    for cut in opened..=events.len() {
        let expected = acknowledged.iter().filter(|at| **at <= cut).count() as u64;
        let bytes = after_power_loss(&events[..cut], &chance);
        let store = open_disk(&Disk::holding(bytes)).unwrap();
        let found = whole_batches(&store).await;
        // One more may have been on its way.
        assert!(
            found == expected || found == expected + 1,
            "{found} batches after event {cut}, {expected} were acknowledged"
        );
        // The store goes on from there.
        store.commit(numbered(found)).await.unwrap();
        assert_eq!(whole_batches(&store).await, found + 1);
    }
}

const FILE_VARIABLE: &str = "STRONGROOM_TEST_METADATA_FILE";

/// Not a test by itself: what the next one starts and kills.
#[tokio::test]
#[ignore = "is run by its parent"]
async fn commits_until_killed() {
    let Some(path) = std::env::var_os(FILE_VARIABLE) else {
        return;
    };
    let store = RedbStore::open(Path::new(&path), 1024 * 1024).unwrap();
    let first = whole_batches(&store).await;
    for number in first.. {
        store.commit(numbered(number)).await.unwrap();
        println!("acknowledged {number}");
    }
}

#[tokio::test]
async fn a_killed_process_leaves_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metadata");
    let mut expected = 0;
    for lives in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "embedded::crash_tests::commits_until_killed"])
            .args(["--ignored", "--nocapture"])
            .env(FILE_VARIABLE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            // The harness writes before and on the same line as the first of ours.
            if let Some((_, number)) = line.split_once("acknowledged ") {
                expected = number.trim().parse::<u64>().unwrap() + 1;
                seen += 1;
                if seen == 17 * lives {
                    child.kill().unwrap();
                    break;
                }
            }
        }
        child.wait().unwrap();
        assert_eq!(seen, 17 * lives, "the child ended early");
        let store = RedbStore::open(&path, 1024 * 1024).unwrap();
        let found = whole_batches(&store).await;
        // It went on for a while after the last line that was read.
        assert!(found >= expected, "{found} of {expected} batches are there");
    }
}
