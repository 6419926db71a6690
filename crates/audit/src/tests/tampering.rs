//! One byte, one file, one entry changed anywhere: the verifier finds it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{TestSigner, append, config, entry};
use crate::disk::INCOMING;
use crate::tile::{TileKind, TilePath, encode_hashes, push_entry};
use crate::verify::{VerifyError, verify_dir};
use crate::{CheckpointError, JournalError, Log, LogConfig, TreeHash};

const SIZE: u64 = 600;
const PENDING: u64 = 7;

/// A log of 600 published entries and 7 more, with partial tiles of several sizes and a journal
/// of several segments.
fn sample() -> (TempDir, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        segment_len_bytes_max: 800,
        ..config(dir.path())
    };
    let log = Log::open(config, TestSigner::new()).unwrap();
    runtime.block_on(async {
        for more in [300, 250, 20, 30] {
            append(&log, more).await;
            log.publish().await.unwrap();
        }
        append(&log, PENDING).await;
    });
    (dir, log.verifier_key())
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(walked) = dirs.pop() {
        for file in fs::read_dir(walked).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    files
}

/// A partial tile of an earlier checkpoint. Its content must be right, but it may be gone.
fn is_of_an_earlier_checkpoint(dir: &Path, path: &Path) -> bool {
    let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
    TilePath::parse(name).is_some_and(|tile| {
        let in_level = SIZE >> (8 * u32::from(tile.kind.level()));
        tile.width < 256 && tile.width as u64 != in_level % 256
    })
}

#[test]
fn the_untouched_log_verifies() {
    let (dir, vkey) = sample();
    let verified = verify_dir(dir.path(), &vkey).unwrap();
    assert_eq!(
        (verified.size, verified.pending, verified.torn_len_bytes),
        (SIZE, PENDING, 0)
    );
    let files = files(dir.path());
    let count = |part: &str| {
        files
            .keys()
            .filter(|path| path.to_str().unwrap().contains(part))
            .count()
    };
    assert!(count("/journal/") > 1);
    assert_eq!(
        count("/tile/0/"),
        5,
        "two full tiles and the partial ones of 550, 570 and 600"
    );
    assert_eq!(count("/tile/1/"), 2);
    assert_eq!(count("/tile/entries/"), 5);
}

#[test]
fn no_file_can_be_taken_away() {
    let (dir, vkey) = sample();
    let mut taken = 0;
    for (path, content) in files(dir.path()) {
        if is_of_an_earlier_checkpoint(dir.path(), &path) {
            continue;
        }
        fs::remove_file(&path).unwrap();
        assert!(
            verify_dir(dir.path(), &vkey).is_err(),
            "without {}",
            path.display()
        );
        fs::write(&path, content).unwrap();
        taken += 1;
    }
    assert!(taken >= 10);
    verify_dir(dir.path(), &vkey).unwrap();
}

#[test]
fn no_two_files_can_change_places() {
    let (dir, vkey) = sample();
    let files: Vec<_> = files(dir.path()).into_iter().collect();
    for (at, (one, of_one)) in files.iter().enumerate() {
        for (other, of_other) in &files[at + 1..] {
            fs::write(one, of_other).unwrap();
            fs::write(other, of_one).unwrap();
            let swapped = format!("{} and {}", one.display(), other.display());
            assert!(verify_dir(dir.path(), &vkey).is_err(), "{swapped}");
            fs::write(one, of_one).unwrap();
            fs::write(other, of_other).unwrap();
        }
    }
}

#[test]
fn no_file_can_be_cut_or_lengthened() {
    let (dir, vkey) = sample();
    let files = files(dir.path());
    let end_of_journal = files
        .keys()
        .rfind(|path| path.to_str().unwrap().contains("/journal/"));
    for (path, content) in &files {
        for cut in [1, content.len() / 2, content.len()] {
            fs::write(path, &content[..content.len() - cut]).unwrap();
            // What nobody has signed yet can be cut off, and shows in the count alone.
            if let Ok(verified) = verify_dir(dir.path(), &vkey) {
                assert_eq!(Some(path), end_of_journal, "{} less {cut}", path.display());
                assert!(verified.pending < PENDING);
            }
        }
        for byte in [0, 1, b'\n'] {
            let mut longer = content.clone();
            longer.push(byte);
            fs::write(path, longer).unwrap();
            if let Ok(verified) = verify_dir(dir.path(), &vkey) {
                assert_eq!(Some(path), end_of_journal, "{} and {byte}", path.display());
                assert_eq!((verified.pending, verified.torn_len_bytes), (PENDING, 1));
            }
        }
        fs::write(path, content).unwrap();
    }
}

#[test]
fn a_file_that_does_not_belong_is_reported() {
    let (dir, vkey) = sample();
    for name in [
        "notes.txt",
        "tile/0/003",
        "tile/0/002.p/89",
        "tile/2/000.p/1",
        "tile/0/0",
        "tile/entries/002.p/200",
        "tile/entries/x000/000",
        "journal/README",
        "journal/00000000000000000001",
        "journal/00000000000000009999",
        "tile/1/001",
    ] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let is_pending = name == "tile/0/002.p/89" || name == "tile/entries/002.p/200";
        fs::write(
            &path,
            if is_pending {
                vec![0; 89 * 32]
            } else {
                Vec::new()
            },
        )
        .unwrap();
        let error = verify_dir(dir.path(), &vkey).unwrap_err();
        fs::remove_file(&path).unwrap();
        if name == "tile/entries/x000/000" {
            fs::remove_dir(path.parent().unwrap()).unwrap();
        }
        assert!(
            error
                .to_string()
                .contains(path.file_name().unwrap().to_str().unwrap()),
            "{name}: {error}"
        );
    }
    std::os::unix::fs::symlink("000", dir.path().join("tile/0/004")).unwrap();
    assert!(matches!(
        verify_dir(dir.path(), &vkey),
        Err(VerifyError::Unexpected { .. })
    ));
    fs::remove_file(dir.path().join("tile/0/004")).unwrap();
    // The one temporary name is no part of the log.
    fs::write(dir.path().join(INCOMING), b"cut short").unwrap();
    verify_dir(dir.path(), &vkey).unwrap();
}

#[test]
fn a_history_rewritten_without_the_key_does_not_have_the_root() {
    let (dir, vkey) = sample();
    // Entries 10 and 11 change places, and bundle, tiles and journal follow suit. The journal no
    // longer reaches back to them.
    let mut entries: Vec<_> = (0..256).map(entry).collect();
    entries.swap(10, 11);
    let mut bundle = Vec::new();
    let mut hashes = Vec::new();
    for entry in &entries {
        push_entry(&mut bundle, entry);
        hashes.push(TreeHash::of_entry(entry));
    }
    fs::write(dir.path().join("tile/entries/000"), bundle).unwrap();
    let found = verify_dir(dir.path(), &vkey);
    assert!(matches!(found, Err(VerifyError::Differs { path }) if path == "tile/0/000"));
    let path = TilePath::full(TileKind::Hashes { level: 0 }, 0);
    fs::write(path.in_dir(dir.path()), encode_hashes(&hashes)).unwrap();
    let mut edge = crate::tree::Edge::empty();
    for index in 0..SIZE {
        let hash = hashes.get(index as usize).copied();
        edge.push(
            hash.unwrap_or_else(|| TreeHash::of_entry(&entry(index))),
            &mut Vec::new(),
        );
    }
    for width in 1..=2 {
        let path = dir.path().join(format!("tile/1/000.p/{width}"));
        fs::write(path, encode_hashes(&edge.partial(1)[..width])).unwrap();
    }
    assert!(matches!(
        verify_dir(dir.path(), &vkey),
        Err(VerifyError::RootDiffers { .. })
    ));
}

#[test]
fn another_key_or_name_is_refused() {
    let (dir, vkey) = sample();
    let log = Log::open(config(&dir.path().join("other")), TestSigner::from_seed(8)).unwrap();
    fs::remove_dir_all(dir.path().join("other")).unwrap();
    assert!(matches!(
        verify_dir(dir.path(), &log.verifier_key()),
        Err(VerifyError::Checkpoint(CheckpointError::Unsigned(_)))
    ));
    assert!(matches!(
        verify_dir(dir.path(), &vkey[1..]),
        Err(VerifyError::Key(_))
    ));
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    assert!(matches!(
        verify_dir(dir.path(), &vkey),
        Err(VerifyError::NoCheckpoint)
    ));
}

#[test]
fn an_older_checkpoint_put_back_is_seen_by_nobody_but_its_holder() {
    // The files and the journal beyond it are then pending, and say so.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = super::open(dir.path());
    let older = runtime.block_on(async {
        append(&log, 300).await;
        let older = log.publish().await.unwrap();
        append(&log, 100).await;
        log.publish().await.unwrap();
        older
    });
    fs::write(dir.path().join("checkpoint"), older.text()).unwrap();
    let verified = verify_dir(dir.path(), &log.verifier_key()).unwrap();
    assert_eq!((verified.size, verified.pending), (300, 100));
}

#[test]
fn a_pending_entry_that_was_damaged_is_found() {
    let (dir, vkey) = sample();
    let files = files(dir.path());
    let (path, content) = files
        .iter()
        .rfind(|(path, _)| path.to_str().unwrap().contains("/journal/"))
        .unwrap();
    let start = content.len() - 60;
    for at in start..content.len() {
        let mut damaged = content.clone();
        damaged[at] ^= 0x20;
        fs::write(path, damaged).unwrap();
        assert!(
            matches!(
                verify_dir(dir.path(), &vkey),
                Err(VerifyError::Journal(JournalError::Damaged { .. }))
            ),
            "byte {at}"
        );
    }
}

#[test]
fn any_changed_byte_of_any_file_is_found() {
    let (dir, vkey) = sample();
    let files: Vec<_> = files(dir.path()).into_iter().collect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(768));
    let change = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        1_u8..,
    );
    let outcome = runner.run(&change, |(file, at, with)| {
        let (path, content) = &files[file.index(files.len())];
        let at = at.index(content.len());
        let mut changed = content.clone();
        changed[at] ^= with;
        fs::write(path, changed).unwrap();
        let verdict = verify_dir(dir.path(), &vkey);
        fs::write(path, content).unwrap();
        prop_assert!(
            verdict.is_err(),
            "byte {at} of {} xor {with:#04x}",
            path.display()
        );
        Ok(())
    });
    outcome.unwrap();
}
