use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::FileSystem;

fn open(dir: &Path, published: u64) -> Result<Opened, JournalError> {
    let published = (published > 0).then_some(published);
    Journal::open(dir, Arc::new(FileSystem), published, |_, _| Ok(()))
}

fn entry(index: u64) -> Vec<u8> {
    vec![index as u8; 1 + index as usize % 7]
}

/// A journal of three segments: 0..4, 4..8 and 8..10.
fn sample(dir: &Path) -> Journal {
    let journal = open(dir, 0).unwrap().journal;
    for index in 0..10 {
        assert_eq!(journal.append(&entry(index)).unwrap(), index);
        if index % 4 == 3 {
            journal.rotate(0).unwrap();
        }
    }
    journal
}

fn read_all(dir: &Path) -> Vec<Vec<u8>> {
    let mut reader = JournalReader::at_segment(dir, 0).unwrap();
    let mut entries = Vec::new();
    while reader.advance().unwrap() == Next::Entry {
        entries.push(reader.entry().to_vec());
    }
    reader.account_for(&list_segments(dir).unwrap()).unwrap();
    entries
}

#[test]
fn entries_are_read_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    assert_eq!(list_segments(dir.path()).unwrap(), [0, 4, 8]);
    assert_eq!(read_all(dir.path()), (0..10).map(entry).collect::<Vec<_>>());
    let mut visited = Vec::new();
    let opened = Journal::open(dir.path(), Arc::new(FileSystem), Some(6), |index, entry| {
        visited.push((index, entry.to_vec()));
        Ok::<_, JournalError>(())
    })
    .unwrap();
    assert_eq!(
        visited,
        (0..10)
            .map(|index| (index, entry(index)))
            .collect::<Vec<_>>()
    );
    assert_eq!(
        (opened.unpublished.next, opened.unpublished.segment),
        (6, 4)
    );
    assert_eq!(opened.journal.size(), 10);
}

#[test]
fn a_record_cut_short_at_any_byte_is_dropped_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let journal = sample(dir.path());
    let path = segment_path(dir.path(), 8);
    let whole = fs::read(&path).unwrap();
    journal.append(b"never acknowledged").unwrap();
    let torn = fs::read(&path).unwrap();
    drop(journal);
    for len in whole.len()..torn.len() {
        fs::write(&path, &torn[..len]).unwrap();
        let journal = open(dir.path(), 9).unwrap().journal;
        assert_eq!(journal.size(), 10, "{len} bytes");
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert_eq!(journal.append(&entry(10)).unwrap(), 10);
        drop(journal);
        assert_eq!(read_all(dir.path()).len(), 11);
    }
}

#[test]
fn zeroes_that_a_loss_of_power_left_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let path = segment_path(dir.path(), 8);
    let whole = fs::read(&path).unwrap();
    let mut longer = whole.clone();
    longer.resize(whole.len() + 5_000, 0);
    fs::write(&path, &longer).unwrap();
    assert_eq!(open(dir.path(), 0).unwrap().journal.size(), 10);
    assert_eq!(fs::read(&path).unwrap(), whole);
    longer[whole.len() + 4_500] = 1;
    fs::write(&path, longer).unwrap();
    assert!(matches!(
        open(dir.path(), 0),
        Err(JournalError::Damaged { .. })
    ));
}

#[test]
fn damage_anywhere_else_is_an_error_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    for segment in [0, 4, 8] {
        let path = segment_path(dir.path(), segment);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            fs::write(&path, &damaged).unwrap();
            assert!(
                matches!(open(dir.path(), 0), Err(JournalError::Damaged { .. })),
                "byte {at} of segment {segment}"
            );
            assert_eq!(fs::read(&path).unwrap(), damaged);
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(open(dir.path(), 0).unwrap().journal.size(), 10);
}

#[test]
fn a_closed_segment_cut_anywhere_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    for segment in [0, 4] {
        let path = segment_path(dir.path(), segment);
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(
                open(dir.path(), 0).is_err(),
                "{len} bytes of segment {segment}"
            );
        }
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn a_segment_taken_away_or_put_in_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    for segment in [0, 4, 8] {
        let path = segment_path(dir.path(), segment);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(
            matches!(open(dir.path(), 0), Err(JournalError::Missing { .. })),
            "{segment}"
        );
        fs::write(&path, &whole).unwrap();
        let stray = segment_path(dir.path(), 77);
        fs::write(&stray, &whole).unwrap();
        assert!(
            matches!(open(dir.path(), 0), Err(JournalError::Foreign { .. })),
            "{segment}"
        );
        fs::remove_file(stray).unwrap();
    }
    for name in ["8", "0000000000000000000x", "00000000000000000012.old"] {
        let stray = dir.path().join(JOURNAL_DIR).join(name);
        fs::write(&stray, b"").unwrap();
        assert!(
            matches!(open(dir.path(), 0), Err(JournalError::Foreign { .. })),
            "{name}"
        );
        fs::remove_file(stray).unwrap();
    }
}

/// Segments of two journals with the same indices do not fit together.
#[test]
fn a_segment_of_another_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    sample(dir.path());
    let journal = open(other.path(), 0).unwrap().journal;
    for index in 0..10 {
        journal.append(b"other").unwrap();
        if index % 4 == 3 {
            journal.rotate(0).unwrap();
        }
    }
    fs::copy(segment_path(other.path(), 4), segment_path(dir.path(), 4)).unwrap();
    assert!(matches!(
        open(dir.path(), 0),
        Err(JournalError::Damaged { .. })
    ));
}

#[test]
fn a_journal_shorter_than_the_checkpoint_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    assert!(matches!(
        open(dir.path(), 11),
        Err(JournalError::Short {
            end: 10,
            published: 11
        })
    ));
    assert!(matches!(
        open(&dir.path().join("nothing"), 1),
        Err(JournalError::Disk(_))
    ));
}

#[test]
fn segments_go_when_full_bundles_hold_them() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path(), 0).unwrap().journal;
    for index in 0..600 {
        journal.append(b"entry").unwrap();
        if index % 100 == 99 {
            journal.rotate(0).unwrap();
        }
    }
    journal.rotate(0).unwrap();
    assert_eq!(
        list_segments(dir.path()).unwrap(),
        [0, 100, 200, 300, 400, 500, 600]
    );
    journal.prune(255).unwrap();
    assert_eq!(
        list_segments(dir.path()).unwrap().len(),
        7,
        "no bundle is full yet"
    );
    journal.prune(511).unwrap();
    assert_eq!(
        list_segments(dir.path()).unwrap(),
        [200, 300, 400, 500, 600]
    );
    journal.prune(600).unwrap();
    assert_eq!(list_segments(dir.path()).unwrap(), [500, 600]);
    drop(journal);
    let opened = open(dir.path(), 600).unwrap();
    assert_eq!((opened.unpublished.next, opened.journal.size()), (600, 600));
    assert!(matches!(
        open(dir.path(), 511),
        Err(JournalError::Missing { .. })
    ));
}
