//! The log at its daily work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{TestSigner, append, config, entry, open};
use crate::verify::verify_dir;
use crate::{
    AppendError, AuditLog, CertifyError, Durability, LeafIndex, Log, LogConfig, NoteError,
    ProofError, VerifierKey, verify_note, verify_tlog_proof,
};

#[tokio::test]
async fn nothing_new_is_not_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let signer = TestSigner::new();
    let log = Log::open(config(dir.path()), signer.clone()).unwrap();
    assert_eq!(log.checkpoint(), None);
    assert_eq!(log.publish().await.unwrap().size(), 0);
    assert_eq!(log.publish().await.unwrap().size(), 0);
    assert_eq!(signer.signed.load(Ordering::Relaxed), 1);
    append(&log, 1).await;
    let checkpoint = log.publish().await.unwrap();
    assert_eq!(log.publish().await.unwrap(), checkpoint);
    assert_eq!(log.checkpoint(), Some(checkpoint));
    assert_eq!(signer.signed.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_text_is_certified_with_an_entry_and_both_are_verified_offline() {
    let dir = tempfile::tempdir().unwrap();
    let signer = TestSigner::new();
    let log = Log::open(config(dir.path()), signer.clone()).unwrap();
    append(&log, 3).await;
    let key = VerifierKey::parse(&log.verifier_key()).unwrap();
    let text = "a statement/v1\n{}\n";
    for more in [0, 2] {
        // Not under a checkpoint yet; and then under one already.
        append(&log, more).await;
        let index = LeafIndex(log.size() - 1);
        for _ in 0..2 {
            let certified = log.certify(index, text).await.unwrap();
            assert_eq!(verify_note(&certified.note, &key).unwrap(), text);
            assert_eq!(certified.entry, entry(index.0));
            let proven =
                verify_tlog_proof(&certified.proof, &certified.entry, &log.verifier_key()).unwrap();
            assert_eq!(proven.index, index);
            let changed = certified.note.replace("v1", "v2");
            assert!(matches!(
                verify_note(&changed, &key),
                Err(NoteError::BadSignature)
            ));
        }
    }
    let checkpoint = log.checkpoint().unwrap().text().to_owned();
    for text in [
        checkpoint.as_str(),
        "store.example/audit\n",
        "no newline",
        "",
    ] {
        let refused = log.certify(LeafIndex(0), text).await;
        assert!(matches!(refused, Err(CertifyError::Refused { .. })));
    }
    let beyond = log.certify(LeafIndex(5), text).await;
    assert!(matches!(beyond, Err(CertifyError::Unavailable { .. })));
    signer.refuses.store(true, Ordering::Relaxed);
    let refused = log.certify(LeafIndex(0), text).await;
    assert!(matches!(refused, Err(CertifyError::Unavailable { .. })));
}

#[tokio::test]
async fn entries_of_any_length_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let long = vec![0xA5; 65_535];
    for entry in [vec![], long.clone(), vec![0], long.clone()] {
        log.append(entry).await.unwrap();
    }
    let refused = log.append(vec![0; 65_536]).await;
    assert!(matches!(
        refused,
        Err(AppendError::TooLong { len_bytes: 65_536 })
    ));
    let expected = [vec![], long.clone(), vec![0], long];
    assert_eq!(log.entries(0..9).unwrap(), expected);
    log.publish().await.unwrap();
    assert_eq!(log.entries(0..9).unwrap(), expected);
    verify_dir(dir.path(), &log.verifier_key()).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).entries(0..9).unwrap(), expected);
}

#[tokio::test]
async fn any_page_of_entries_is_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let small = LogConfig {
        segment_len_bytes_max: 2_000,
        ..config(dir.path())
    };
    let log = Log::open(small, TestSigner::new()).unwrap();
    for more in [200, 200, 200] {
        append(&log, more).await;
        log.publish().await.unwrap();
    }
    append(&log, 40).await;
    let reader = Log::reader(dir.path());
    assert_eq!(
        (reader.published_size().unwrap(), reader.size().unwrap()),
        (600, 640)
    );
    assert_eq!(
        reader.checkpoint().unwrap().as_deref(),
        Some(log.checkpoint().unwrap().text())
    );
    for start in (0..660).step_by(13) {
        for len in [0, 1, 17, 300, u64::MAX - start] {
            let expected: Vec<_> = (start..640.min(start + len)).map(entry).collect();
            assert_eq!(
                log.entries(start..start + len).unwrap(),
                expected,
                "{start} {len}"
            );
            assert_eq!(
                reader.entries(start..start + len).unwrap(),
                expected,
                "{start} {len}"
            );
        }
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(Log::reader(empty.path()).entries(0..1).is_err());
}

#[tokio::test]
async fn a_proof_convinces_without_the_log_and_no_changed_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 300).await;
    log.publish().await.unwrap();
    let vkey = log.verifier_key();
    for index in [0, 1, 255, 256, 299] {
        let text = log.tlog_proof(LeafIndex(index)).unwrap();
        let proven = verify_tlog_proof(&text, &entry(index), &vkey).unwrap();
        assert_eq!(
            (proven.index, proven.checkpoint.size()),
            (LeafIndex(index), 300)
        );
        assert!(matches!(
            verify_tlog_proof(&text, &entry(index + 1), &vkey),
            Err(ProofError::NotIncluded)
        ));
        let with_extra = text.replacen("\nindex", "\nextra c29tZXRoaW5n\nindex", 1);
        verify_tlog_proof(&with_extra, &entry(index), &vkey).unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 4;
            if let Ok(changed) = String::from_utf8(bytes) {
                let verdict = verify_tlog_proof(&changed, &entry(index), &vkey);
                assert!(verdict.is_err(), "byte {at} of\n{text}");
            }
            if text.is_char_boundary(at) {
                assert!(verify_tlog_proof(&text[..at], &entry(index), &vkey).is_err());
            }
        }
    }
}

#[tokio::test]
async fn only_published_files_are_served() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), b"not for the outside").unwrap();
    let log = open(&dir.path().join("log"));
    append(&log, 300).await;
    log.publish().await.unwrap();
    let served = |path| log.published_file(path).unwrap();
    assert_eq!(
        served("checkpoint").as_deref(),
        Some(log.checkpoint().unwrap().text().as_bytes())
    );
    assert_eq!(served("tile/0/000").map(|tile| tile.len()), Some(8_192));
    assert_eq!(
        served("tile/0/001.p/44").map(|tile| tile.len()),
        Some(44 * 32)
    );
    assert_eq!(served("tile/1/000.p/1").map(|tile| tile.len()), Some(32));
    assert!(served("tile/entries/001.p/44").is_some());
    for path in [
        "",
        "/",
        ".",
        "..",
        "../secret",
        "tile/../../secret",
        "tile/0/../../../secret",
        "/etc/passwd",
        "journal/00000000000000000000",
        "incoming",
        "./checkpoint",
        "checkpoint/",
        "tile/0/002",
        "tile/0/000/..",
        "tile/0/000.p/3",
        "tile\\0\\000",
        "%2e%2e/secret",
        "tile/0/000\0",
    ] {
        assert_eq!(served(path), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_and_a_publisher_lose_nothing() {
    for durability in [Durability::Process, Durability::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let config = LogConfig {
            durability,
            segment_len_bytes_max: 4_000,
            ..config(dir.path())
        };
        let log = Log::open(config, TestSigner::new()).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let publisher = tokio::spawn({
            let log = log.clone();
            async move {
                let until = async { drop(stopped.await) };
                log.publish_until(Duration::from_millis(1), until).await
            }
        });
        let auditor = tokio::task::spawn_blocking({
            let (dir, vkey, log) = (dir.path().to_owned(), log.verifier_key(), log.clone());
            move || {
                while log.size() < 1_500 {
                    match verify_dir(&dir, &vkey) {
                        Ok(_) | Err(crate::verify::VerifyError::NoCheckpoint) => {}
                        Err(error) => panic!("{error}"),
                    }
                    let size = log.size();
                    let entries = log.entries(size.saturating_sub(300)..size).unwrap();
                    assert_eq!(entries.len() as u64, size.min(300));
                }
            }
        });
        let mut writers = Vec::new();
        for writer in 0..8_u64 {
            let log = log.clone();
            writers.push(tokio::spawn(async move {
                let mut indices = Vec::new();
                for count in 0..250_u64 {
                    let entry = format!("{writer} {count}").into_bytes();
                    indices.push(log.append(entry).await.unwrap().0);
                }
                indices
            }));
        }
        let mut places = Vec::new();
        for writer in writers {
            let indices = writer.await.unwrap();
            assert!(
                indices.is_sorted(),
                "one after the other in the order they were begun"
            );
            places.push(indices);
        }
        auditor.await.unwrap();
        drop(stop);
        assert_eq!(publisher.await.unwrap().unwrap().size(), 2_000);
        let all: BTreeSet<u64> = places.iter().flatten().copied().collect();
        assert_eq!(all, (0..2_000).collect());
        let entries = log.entries(0..2_000).unwrap();
        for (writer, indices) in places.iter().enumerate() {
            for (count, index) in indices.iter().enumerate() {
                assert_eq!(
                    entries[*index as usize],
                    format!("{writer} {count}").into_bytes()
                );
            }
        }
        verify_dir(dir.path(), &log.verifier_key()).unwrap();
    }
}

#[tokio::test]
async fn a_publication_nobody_waits_for_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 600).await;
    {
        let publishing = log.publish();
        let mut publishing = std::pin::pin!(publishing);
        // One poll starts it; then the caller is gone.
        assert!(futures_poll_once(publishing.as_mut()).await.is_none());
    }
    append(&log, 1).await;
    assert_eq!(log.publish().await.unwrap().size(), 601);
    verify_dir(dir.path(), &log.verifier_key()).unwrap();
}

async fn futures_poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn the_last_publication_comes_with_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 9).await;
    let checkpoint = log
        .publish_until(Duration::from_secs(3_600), std::future::ready(()))
        .await;
    assert_eq!(checkpoint.unwrap().size(), 9);
    let _: Arc<dyn AuditLog> = Arc::new(log);
}
