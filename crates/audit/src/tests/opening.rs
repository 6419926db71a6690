//! What a log is opened on, and what it refuses to go on from.

use std::fs;
use std::path::Path;

use super::{TestSigner, append, config, entry, open};
use crate::disk::INCOMING;
use crate::verify::verify_dir;
use crate::{
    AuditLog, CheckpointError, JournalError, Log, LogConfig, OpenError, Origin, PublishError,
    TileError,
};

async fn published(dir: &Path, sizes: &[u64]) {
    let log = Log::open(
        LogConfig {
            segment_len_bytes_max: 1_000,
            ..config(dir)
        },
        TestSigner::new(),
    )
    .unwrap();
    for size in sizes {
        append(&log, size - log.size()).await;
        log.publish().await.unwrap();
    }
}

fn refusal(dir: &Path) -> OpenError {
    Log::open(config(dir), TestSigner::new()).unwrap_err()
}

#[tokio::test]
async fn it_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    for (count, publishes) in [
        (5, false),
        (251, true),
        (0, false),
        (300, true),
        (70, false),
        (1, true),
    ] {
        let log = open(dir.path());
        append(&log, count).await;
        if publishes {
            log.publish().await.unwrap();
        }
    }
    let log = open(dir.path());
    assert_eq!(log.size(), 627);
    assert_eq!(
        log.entries(0..1_000).unwrap(),
        (0..627).map(entry).collect::<Vec<_>>()
    );
    assert_eq!(
        verify_dir(dir.path(), &log.verifier_key()).unwrap().size,
        627
    );
}

#[tokio::test]
async fn it_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    assert!(matches!(refusal(dir.path()), OpenError::Locked { .. }));
    drop(log);
    open(dir.path());
}

#[tokio::test]
async fn a_leftover_of_an_unfinished_write_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    published(dir.path(), &[3]).await;
    fs::write(dir.path().join(INCOMING), b"half a til").unwrap();
    open(dir.path());
    assert!(!dir.path().join(INCOMING).exists());
}

#[tokio::test]
async fn another_name_or_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    published(dir.path(), &[3]).await;
    let renamed = LogConfig::new(dir.path(), Origin::new("other").unwrap());
    assert!(matches!(
        Log::open(renamed, TestSigner::new()),
        Err(OpenError::Checkpoint(CheckpointError::Unsigned(_)))
    ));
    assert!(matches!(
        Log::open(config(dir.path()), TestSigner::from_seed(8)),
        Err(OpenError::Checkpoint(CheckpointError::Unsigned(_)))
    ));
}

#[tokio::test]
async fn without_its_checkpoint_a_log_does_not_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    published(dir.path(), &[3]).await;
    let checkpoint = dir.path().join("checkpoint");
    let text = fs::read(&checkpoint).unwrap();
    fs::remove_file(&checkpoint).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::NoCheckpoint));
    fs::write(&checkpoint, b"\xff").unwrap();
    assert!(matches!(
        refusal(dir.path()),
        OpenError::Checkpoint(CheckpointError::Malformed(_))
    ));
    fs::write(&checkpoint, text).unwrap();
    open(dir.path());
}

#[tokio::test]
async fn tiles_that_do_not_give_the_signed_root_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    published(dir.path(), &[300]).await;
    for tile in ["tile/0/001.p/44", "tile/1/000.p/1"] {
        let path = dir.path().join(tile);
        let content = fs::read(&path).unwrap();
        let mut changed = content.clone();
        changed[5] ^= 1;
        fs::write(&path, changed).unwrap();
        assert!(
            matches!(refusal(dir.path()), OpenError::Forked { size: 300, .. }),
            "{tile}"
        );
        fs::write(&path, &content[1..]).unwrap();
        assert!(
            matches!(
                refusal(dir.path()),
                OpenError::Tile(TileError::Damaged { .. })
            ),
            "{tile}"
        );
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(
                refusal(dir.path()),
                OpenError::Tile(TileError::Missing { .. })
            ),
            "{tile}"
        );
        fs::write(&path, content).unwrap();
    }
    open(dir.path());
}

/// The journal of a log that took other entries after a common start: whole in itself, and yet
/// not what was signed.
#[tokio::test]
async fn the_journal_of_another_history_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    published(dir.path(), &[20]).await;
    let log = open(other.path());
    append(&log, 10).await;
    for _ in 10..20 {
        log.append(b"another".to_vec()).await.unwrap();
    }
    let segment = "journal/00000000000000000000";
    let kept = fs::read(dir.path().join(segment)).unwrap();
    fs::copy(other.path().join(segment), dir.path().join(segment)).unwrap();
    assert!(matches!(
        refusal(dir.path()),
        OpenError::JournalDiffers { index: 10 }
    ));
    fs::write(dir.path().join(segment), kept).unwrap();
    open(dir.path());
}

#[tokio::test]
async fn a_journal_that_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    published(dir.path(), &[20]).await;
    fs::remove_dir_all(dir.path().join("journal")).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Journal(_)));
    fs::create_dir(dir.path().join("journal")).unwrap();
    assert!(matches!(
        refusal(dir.path()),
        OpenError::Journal(JournalError::Missing { .. })
    ));
}

/// Two histories must not come under one key, even if somebody writes past the lock.
#[tokio::test]
async fn a_checkpoint_replaced_behind_its_back_stops_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 3).await;
    let first = log.publish().await.unwrap();
    append(&log, 3).await;
    log.publish().await.unwrap();
    fs::write(dir.path().join("checkpoint"), first.text()).unwrap();
    append(&log, 3).await;
    assert!(matches!(
        log.publish().await,
        Err(PublishError::Stopped { .. })
    ));
    assert!(log.append(b"more".to_vec()).await.is_err());
    assert_eq!(
        fs::read_to_string(dir.path().join("checkpoint")).unwrap(),
        first.text()
    );
}
