//! The suite that every engine passes.
//!
//! [`meta_conformance!`](crate::meta_conformance) makes one test of each function here. An engine
//! given to a function is empty.
#![expect(
    clippy::unwrap_used,
    reason = "a suite of assertions fails by panicking"
)]

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::store::{
    Batch, CommitError, Expected, MetaStore, Revision, Row, Scan, ScannedRow, Table,
};

const TABLE: Table = Table::new("conformance");
const OTHER: Table = Table::new("conformance_other");

/// Makes one test of each part of the suite. The expression gives a pair of an empty engine and
/// whatever has to live as long as it.
#[macro_export]
macro_rules! meta_conformance {
    ($fresh:expr) => {
        $crate::meta_conformance!(@each $fresh,
            reads_what_was_written,
            absent_rows_and_tables_are_no_error,
            every_write_has_a_revision_of_its_own,
            the_last_write_to_a_row_wins,
            expectations_that_hold_let_the_batch_pass,
            a_failed_expectation_changes_nothing,
            expectations_look_at_the_state_before_the_batch,
            batches_without_writes_only_check,
            scans_are_in_byte_order_and_bounded,
            scans_of_a_prefix_end_with_it,
            empty_scans_find_nothing,
            visits_show_what_scans_give,
            many_rows_are_got_as_each_is,
            tables_are_apart,
            limits_are_kept,
            what_is_at_the_limits_is_taken,
            concurrent_compare_and_set_loses_no_update,
            batches_are_seen_whole,
            acknowledged_rows_are_seen_by_every_later_read,
            abandoned_commits_are_whole_or_absent,
        );

        #[test]
        fn behaves_as_a_map_does() {
            $crate::conformance::behaves_as_a_map_does(|| $fresh);
        }
    };
    (@each $fresh:expr, $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _kept) = $fresh;
                $crate::conformance::$name(std::sync::Arc::new(store)).await;
            }
        )*
    };
}

async fn put<S: MetaStore>(store: &S, key: &[u8], value: &[u8]) {
    let mut batch = Batch::new();
    batch.put(TABLE, key, value);
    store.commit(batch).await.unwrap();
}

async fn get<S: MetaStore>(store: &S, key: &[u8]) -> Option<Row> {
    store.get(TABLE, key).await.unwrap()
}

async fn value<S: MetaStore>(store: &S, key: &[u8]) -> Option<Vec<u8>> {
    get(store, key).await.map(|row| row.value.to_vec())
}

fn keys(rows: &[ScannedRow]) -> Vec<&[u8]> {
    rows.iter().map(|found| &*found.key).collect()
}

/// A row is read as it was written, whatever its bytes.
pub async fn reads_what_was_written<S: MetaStore>(store: Arc<S>) {
    for (key, bytes) in [
        (b"plain".as_slice(), b"value".as_slice()),
        (b"empty", b""),
        (b"\0", b"\0"),
        (b"\xFF\xFF", &[0xFF; 10_000]),
    ] {
        put(&*store, key, bytes).await;
        assert_eq!(value(&*store, key).await.as_deref(), Some(bytes));
    }
    put(&*store, b"plain", b"another").await;
    assert_eq!(value(&*store, b"plain").await.unwrap(), b"another");
}

/// What was never written is read as nothing, and may be deleted.
pub async fn absent_rows_and_tables_are_no_error<S: MetaStore>(store: Arc<S>) {
    assert_eq!(get(&*store, b"key").await, None);
    assert_eq!(get(&*store, b"").await, None);
    let rows = store.scan(TABLE, Scan::prefix(b"", 10)).await.unwrap();
    assert!(rows.is_empty());
    let mut batch = Batch::new();
    batch.delete(TABLE, "key");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&*store, b"key").await, None);
}

/// No two writes of a row have the same revision, though it was deleted in between.
pub async fn every_write_has_a_revision_of_its_own<S: MetaStore>(store: Arc<S>) {
    let mut seen = HashSet::new();
    for _ in 0..5 {
        for _ in 0..3 {
            put(&*store, b"key", b"the same").await;
            assert!(seen.insert(get(&*store, b"key").await.unwrap().revision));
        }
        let mut batch = Batch::new();
        batch.delete(TABLE, "key");
        store.commit(batch).await.unwrap();
        assert_eq!(get(&*store, b"key").await, None);
    }
}

/// Of several writes to a row within a batch, the last one counts.
pub async fn the_last_write_to_a_row_wins<S: MetaStore>(store: Arc<S>) {
    let mut batch = Batch::new();
    batch.put(TABLE, "a", "first").put(TABLE, "a", "second");
    batch.put(TABLE, "b", "first").delete(TABLE, "b");
    batch.delete(TABLE, "c").put(TABLE, "c", "second");
    store.commit(batch).await.unwrap();
    assert_eq!(value(&*store, b"a").await.unwrap(), b"second");
    assert_eq!(get(&*store, b"b").await, None);
    assert_eq!(value(&*store, b"c").await.unwrap(), b"second");
}

/// Expectations of a revision and of absence.
pub async fn expectations_that_hold_let_the_batch_pass<S: MetaStore>(store: Arc<S>) {
    let mut batch = Batch::new();
    batch.expect(TABLE, "key", Expected::Absent);
    batch.put(TABLE, "key", "1");
    store.commit(batch).await.unwrap();

    let row = get(&*store, b"key").await;
    let mut batch = Batch::new();
    batch.expect_unchanged(TABLE, "key", row.as_ref());
    batch.expect_unchanged(OTHER, "key", None);
    batch.put(OTHER, "key", "2");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&*store, b"key").await, row);

    let mut batch = Batch::new();
    batch.expect_unchanged(TABLE, "key", row.as_ref());
    batch.delete(TABLE, "key");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&*store, b"key").await, None);
}

/// A batch with one expectation that fails writes nothing, in no table, and says which failed.
pub async fn a_failed_expectation_changes_nothing<S: MetaStore>(store: Arc<S>) {
    put(&*store, b"key", b"1").await;
    let stale = get(&*store, b"key").await.unwrap();
    put(&*store, b"key", b"2").await;
    let current = get(&*store, b"key").await.unwrap();
    for (key, expected) in [
        ("key", Expected::Absent),
        ("key", Expected::Revision(stale.revision)),
        ("absent", Expected::Revision(current.revision)),
    ] {
        let mut batch = Batch::new();
        batch.expect(TABLE, "key", Expected::Revision(current.revision));
        batch.put(OTHER, "other", "x");
        batch.expect(TABLE, key, expected);
        batch.put(TABLE, "key", "3").delete(TABLE, "key");
        let error = store.commit(batch).await.unwrap_err();
        let CommitError::Conflict { table } = error else {
            panic!("{error}");
        };
        assert_eq!(table, TABLE);
        assert_eq!(get(&*store, b"key").await.as_ref(), Some(&current));
        assert_eq!(store.get(OTHER, b"other").await.unwrap(), None);
    }
}

/// A batch's own writes do not count for its expectations.
pub async fn expectations_look_at_the_state_before_the_batch<S: MetaStore>(store: Arc<S>) {
    let mut batch = Batch::new();
    batch.put(TABLE, "key", "1");
    batch.expect(TABLE, "key", Expected::Absent);
    store.commit(batch).await.unwrap();
    assert_eq!(value(&*store, b"key").await.unwrap(), b"1");
}

/// A batch may check and write nothing, or be empty.
pub async fn batches_without_writes_only_check<S: MetaStore>(store: Arc<S>) {
    store.commit(Batch::new()).await.unwrap();
    let mut batch = Batch::new();
    batch.expect(TABLE, "key", Expected::Absent);
    store.commit(batch.clone()).await.unwrap();
    put(&*store, b"key", b"1").await;
    let error = store.commit(batch).await.unwrap_err();
    assert!(matches!(error, CommitError::Conflict { .. }), "{error}");
}

/// Order, limits and both directions.
pub async fn scans_are_in_byte_order_and_bounded<S: MetaStore>(store: Arc<S>) {
    let ordered: [&[u8]; 7] = [b"\0", b"\0\xFF", b"a", b"aa", b"b", b"\xC3\xA9", b"\xFF"];
    for key in ordered.iter().rev() {
        put(&*store, key, key).await;
    }
    let all = Scan::prefix(b"", 100);
    let rows = store.scan(TABLE, all.clone()).await.unwrap();
    assert_eq!(keys(&rows), ordered);
    for found in &rows {
        let row = get(&*store, &found.key).await.unwrap();
        assert_eq!(found.row, row);
        assert_eq!(found.key, row.value);
    }
    let mut backwards = ordered;
    backwards.reverse();
    let rows = store.scan(TABLE, all.clone().reversed()).await.unwrap();
    assert_eq!(keys(&rows), backwards);
    for limit in 0..=ordered.len() + 1 {
        let some = Scan {
            limit,
            ..all.clone()
        };
        let expected = limit.min(ordered.len());
        let rows = store.scan(TABLE, some.clone()).await.unwrap();
        assert_eq!(keys(&rows), &ordered[..expected]);
        let rows = store.scan(TABLE, some.reversed()).await.unwrap();
        assert_eq!(keys(&rows), &backwards[..expected]);
    }
    // The start is within the range, the end is not.
    let between = Scan {
        start: b"a".to_vec(),
        end: Some(b"b".to_vec()),
        limit: 100,
        reverse: false,
    };
    let rows = store.scan(TABLE, between.clone()).await.unwrap();
    assert_eq!(keys(&rows), [b"a".as_slice(), b"aa"]);
    let rows = store.scan(TABLE, between.reversed()).await.unwrap();
    assert_eq!(keys(&rows), [b"aa".as_slice(), b"a"]);
}

/// Prefixes, also those that end in the largest byte.
pub async fn scans_of_a_prefix_end_with_it<S: MetaStore>(store: Arc<S>) {
    for key in [
        b"p".as_slice(),
        b"p/1",
        b"p/2",
        b"p\xFF",
        b"p\xFFx",
        b"q",
        b"\xFF",
        b"\xFF\xFF",
    ] {
        put(&*store, key, b"").await;
    }
    let scan = async |scan| store.scan(TABLE, scan).await.unwrap();
    let rows = scan(Scan::prefix(b"p/", 10)).await;
    assert_eq!(keys(&rows), [b"p/1".as_slice(), b"p/2"]);
    let rows = scan(Scan::prefix(b"p\xFF", 10)).await;
    assert_eq!(keys(&rows), [b"p\xFF".as_slice(), b"p\xFFx"]);
    let rows = scan(Scan::prefix(b"\xFF", 10).reversed()).await;
    assert_eq!(keys(&rows), [b"\xFF\xFF".as_slice(), b"\xFF"]);
    let rows = scan(Scan::within(b"p/", b"p/2".to_vec(), 10)).await;
    assert_eq!(keys(&rows), [b"p/2".as_slice()]);
    let rows = scan(Scan::within(b"p/", b"a".to_vec(), 1)).await;
    assert_eq!(keys(&rows), [b"p/1".as_slice()]);
}

/// Ranges that hold nothing, and those that run backwards.
pub async fn empty_scans_find_nothing<S: MetaStore>(store: Arc<S>) {
    put(&*store, b"b", b"").await;
    for (start, end, limit) in [
        ("b", "b", 10),
        ("c", "a", 10),
        ("a", "b", 10),
        ("c", "d", 10),
        ("a", "c", 0),
    ] {
        for reverse in [false, true] {
            let scan = Scan {
                start: start.into(),
                end: Some(end.into()),
                limit,
                reverse,
            };
            let rows = store.scan(TABLE, scan).await.unwrap();
            assert!(rows.is_empty(), "{start}..{end}, {limit}");
        }
    }
}

/// A visit shows what a scan gives, and ends when it is told to.
pub async fn visits_show_what_scans_give<S: MetaStore>(store: Arc<S>) {
    let mut batch = Batch::new();
    for number in 0..50_u8 {
        batch.put(TABLE, [number], vec![number; usize::from(number)]);
    }
    store.commit(batch).await.unwrap();
    let whole = Scan::prefix(b"", 100);
    let part = Scan {
        start: vec![10],
        end: Some(vec![30]),
        limit: 15,
        reverse: false,
    };
    for scan in [
        whole.clone(),
        whole.reversed(),
        part.clone(),
        part.reversed(),
    ] {
        let expected = store.scan(TABLE, scan.clone()).await.unwrap();
        for enough in [1, 7, 1000] {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let shown = Arc::clone(&seen);
            let see = move |key: &[u8], value: &[u8]| {
                let mut shown = shown.lock();
                shown.push((key.to_vec(), value.to_vec()));
                shown.len() < enough
            };
            let visit = store.visit(TABLE, scan.clone(), Box::new(see));
            visit.await.unwrap();
            let seen = seen.lock();
            assert_eq!(seen.len(), expected.len().min(enough));
            for ((key, value), row) in seen.iter().zip(&expected) {
                assert_eq!(
                    (key.as_slice(), value.as_slice()),
                    (&*row.key, &*row.row.value)
                );
            }
        }
    }
    let nothing = store.visit(
        OTHER,
        Scan::prefix(b"", 9),
        Box::new(|_, _| panic!("no row")),
    );
    nothing.await.unwrap();
}

/// Rows that are asked for together come in the order of their keys, each as it comes alone, and
/// one that is not there as nothing; also more of them than are read at once.
pub async fn many_rows_are_got_as_each_is<S: MetaStore>(store: Arc<S>) {
    const ROWS: usize = 700;
    assert_eq!(store.get_each(TABLE, Vec::new()).await.unwrap(), []);
    let name = |number: usize| format!("row-{number:04}").into_bytes();
    let absent = store.get_each(TABLE, vec![name(0), name(1)]).await.unwrap();
    assert_eq!(absent, [None, None]);
    let mut batch = Batch::new();
    for number in (0..ROWS).step_by(2) {
        batch.put(TABLE, name(number), number.to_string());
    }
    store.commit(batch).await.unwrap();
    for count in [1, 3, ROWS] {
        let mut keys: Vec<_> = (0..count).rev().map(name).collect();
        keys.push(name(0));
        let got = store.get_each(TABLE, keys.clone()).await.unwrap();
        assert_eq!(got.len(), keys.len());
        for (key, row) in keys.iter().zip(&got) {
            assert_eq!(*row, get(&*store, key).await);
        }
        assert_eq!(got.last().unwrap().as_ref().unwrap().value, "0");
    }
}

/// The same key in two tables is two rows.
pub async fn tables_are_apart<S: MetaStore>(store: Arc<S>) {
    let mut batch = Batch::new();
    batch.put(TABLE, "key", "1").put(OTHER, "key", "2");
    batch.put(OTHER, "more", "3");
    store.commit(batch).await.unwrap();
    assert_eq!(value(&*store, b"key").await.unwrap(), b"1");
    let rows = store.scan(TABLE, Scan::prefix(b"", 10)).await.unwrap();
    assert_eq!(keys(&rows), [b"key".as_slice()]);
    let rows = store.scan(OTHER, Scan::prefix(b"", 10)).await.unwrap();
    assert_eq!(keys(&rows), [b"key".as_slice(), b"more"]);
}

/// What is over a limit is refused whole.
pub async fn limits_are_kept<S: MetaStore>(store: Arc<S>) {
    let long_key = vec![b'k'; Batch::KEY_LEN_BYTES_MAX + 1];
    let mut too_many = Batch::new();
    for number in 0..=Batch::WRITES_MAX {
        too_many.put(TABLE, number.to_be_bytes(), "");
    }
    let mut empty_key = Batch::new();
    empty_key.put(TABLE, "fine", "").put(TABLE, "", "");
    let mut key = Batch::new();
    key.put(TABLE, "fine", "").delete(TABLE, long_key.clone());
    let mut expected_key = Batch::new();
    expected_key.put(TABLE, "fine", "");
    expected_key.expect(TABLE, long_key.clone(), Expected::Absent);
    let mut long_value = Batch::new();
    long_value.put(TABLE, "fine", "");
    long_value.put(TABLE, "key", vec![0; Batch::VALUE_LEN_BYTES_MAX + 1]);
    for batch in [too_many, empty_key, key, expected_key, long_value] {
        let error = store.commit(batch).await.unwrap_err();
        assert!(matches!(error, CommitError::OverLimit { .. }), "{error}");
        assert!(error.is_certainly_not_done());
    }
    let rows = store.scan(TABLE, Scan::prefix(b"", 10)).await.unwrap();
    assert!(rows.is_empty());
    assert_eq!(get(&*store, &long_key).await, None);
}

/// The longest key, the longest value and the largest batch are taken.
pub async fn what_is_at_the_limits_is_taken<S: MetaStore>(store: Arc<S>) {
    let key = vec![b'k'; Batch::KEY_LEN_BYTES_MAX];
    let long = vec![7; Batch::VALUE_LEN_BYTES_MAX];
    put(&*store, &key, &long).await;
    assert_eq!(value(&*store, &key).await, Some(long));
    let mut many = Batch::new();
    many.delete(TABLE, key.clone());
    for number in 1..Batch::WRITES_MAX as u64 {
        many.put(TABLE, number.to_be_bytes(), "");
    }
    store.commit(many).await.unwrap();
    assert_eq!(get(&*store, &key).await, None);
    let rows = store.scan(TABLE, Scan::prefix(b"", 30_000)).await.unwrap();
    assert_eq!(rows.len(), Batch::WRITES_MAX - 1);
}

/// Many tasks raise one counter, each only if nobody else did in the meantime.
pub async fn concurrent_compare_and_set_loses_no_update<S: MetaStore>(store: Arc<S>) {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 20;
    let raise = |task: u64| {
        let store = Arc::clone(&store);
        async move {
            let mut raised = 0;
            while raised < ROUNDS {
                let row = get(&*store, b"counter").await;
                let number = row.as_ref().map_or(0, |row| {
                    u64::from_be_bytes(row.value.as_ref().try_into().unwrap())
                });
                let mut batch = Batch::new();
                batch.expect_unchanged(TABLE, "counter", row.as_ref());
                batch.put(TABLE, "counter", (number + 1).to_be_bytes());
                // The mark proves that a batch that conflicts writes nothing.
                batch.expect(OTHER, number.to_be_bytes(), Expected::Absent);
                batch.put(OTHER, number.to_be_bytes(), task.to_be_bytes());
                match store.commit(batch).await {
                    Ok(()) => raised += 1,
                    Err(CommitError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    for done in join_all((0..TASKS).map(|task| tokio::spawn(raise(task)))).await {
        done.unwrap();
    }
    let total = value(&*store, b"counter").await.unwrap();
    assert_eq!(total, (TASKS * ROUNDS).to_be_bytes());
    let marks = store.scan(OTHER, Scan::prefix(b"", 1_000)).await.unwrap();
    assert_eq!(marks.len() as u64, TASKS * ROUNDS);
}

/// A scan beside a writer sees all rows of a batch or none, and never goes back.
pub async fn batches_are_seen_whole<S: MetaStore>(store: Arc<S>) {
    const ROWS: u64 = 20;
    const ROUNDS: u64 = 60;
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 1..=ROUNDS {
                let mut batch = Batch::new();
                for row in 0..ROWS {
                    batch.put(TABLE, row.to_be_bytes(), round.to_be_bytes());
                }
                store.commit(batch).await.unwrap();
            }
        })
    };
    let mut last = Vec::new();
    while last != ROUNDS.to_be_bytes() {
        let rows = store.scan(TABLE, Scan::prefix(b"", 100)).await.unwrap();
        if let Some(first) = rows.first() {
            assert_eq!(rows.len() as u64, ROWS);
            assert!(rows.iter().all(|found| found.row.value == first.row.value));
            assert!(*first.row.value >= *last);
            last = first.row.value.to_vec();
        } else {
            assert!(last.is_empty());
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

/// What one task was told is written, all tasks read.
pub async fn acknowledged_rows_are_seen_by_every_later_read<S: MetaStore>(store: Arc<S>) {
    let tasks = (0..16_u8).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..20_u8 {
                let key = [task, round];
                put(&*store, &key, b"1").await;
                assert!(get(&*store, &key).await.is_some());
                let again = Arc::clone(&store);
                let seen = tokio::spawn(async move { get(&*again, &key).await });
                assert!(seen.await.unwrap().is_some());
            }
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
}

/// Dropping the future of a commit at any moment leaves the batch whole or absent.
pub async fn abandoned_commits_are_whole_or_absent<S: MetaStore>(store: Arc<S>) {
    const BATCHES: u8 = 50;
    for number in 0..BATCHES {
        let mut batch = Batch::new();
        batch
            .put(TABLE, [number, 0], "")
            .put(TABLE, [number, 1], "");
        let commit = store.commit(batch);
        // Polled once at most, then dropped.
        let waited = futures::future::select(commit, std::future::ready(())).await;
        drop(waited);
    }
    // Batches take effect in order: once this one is there, none of the others comes later.
    put(&*store, &[BATCHES], b"").await;
    let rows = store.scan(TABLE, Scan::prefix(b"", 1_000)).await.unwrap();
    for number in 0..BATCHES {
        let of_batch = rows
            .iter()
            .filter(|found| found.key.first() == Some(&number));
        assert!([0, 2].contains(&of_batch.count()), "batch {number}");
    }
}

/// What a random batch expects of a row.
#[derive(Clone, Copy, Debug)]
enum Guess {
    Absent,
    Current,
    Stale,
}

#[derive(Clone, Debug)]
struct RandomBatch {
    expectations: Vec<(bool, u8, Guess)>,
    writes: Vec<(bool, u8, Option<Vec<u8>>)>,
    scan: (u8, Option<u8>, usize, bool),
}

fn random_batch() -> impl Strategy<Value = RandomBatch> {
    let guess = prop_oneof![
        1 => Just(Guess::Absent),
        4 => Just(Guess::Current),
        1 => Just(Guess::Stale),
    ];
    let key = 0..12_u8;
    let value = prop::option::weighted(0.7, prop::collection::vec(any::<u8>(), 0..40));
    let scan = (
        key.clone(),
        prop::option::of(key.clone()),
        0..15_usize,
        any::<bool>(),
    );
    (
        prop::collection::vec((any::<bool>(), key.clone(), guess), 0..3),
        prop::collection::vec((any::<bool>(), key, value), 0..6),
        scan,
    )
        .prop_map(|(expectations, writes, scan)| RandomBatch {
            expectations,
            writes,
            scan,
        })
}

type Model = BTreeMap<(bool, u8), (Vec<u8>, Revision)>;

const fn table(other: bool) -> Table {
    if other { OTHER } else { TABLE }
}

/// Random batches and scans give what a sorted map gives.
///
/// # Panics
/// When they do not.
pub fn behaves_as_a_map_does<S: MetaStore, K>(fresh: impl Fn() -> (S, K)) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases: 24,
        failure_persistence: None,
        ..Config::default()
    };
    let batches = prop::collection::vec(random_batch(), 1..25);
    TestRunner::new(config)
        .run(&batches, |batches| {
            let (store, _kept) = fresh();
            runtime.block_on(compare(&store, &batches))
        })
        .unwrap();
}

async fn compare<S: MetaStore>(store: &S, batches: &[RandomBatch]) -> Result<(), TestCaseError> {
    let mut model = Model::new();
    let mut stale = Revision::new(u64::MAX);
    for random in batches {
        let mut batch = Batch::new();
        let mut holds = true;
        for (other, key, guess) in &random.expectations {
            let current = model.get(&(*other, *key)).map(|(_, revision)| *revision);
            let expected = match (guess, current) {
                (Guess::Current, Some(revision)) => Expected::Revision(revision),
                (Guess::Stale, _) => Expected::Revision(stale),
                (Guess::Absent, _) | (Guess::Current, None) => Expected::Absent,
            };
            holds &= match expected {
                Expected::Absent => current.is_none(),
                Expected::Revision(revision) => current == Some(revision),
            };
            batch.expect(table(*other), [*key], expected);
        }
        for (other, key, value) in &random.writes {
            match value {
                Some(value) => batch.put(table(*other), [*key], value.clone()),
                None => batch.delete(table(*other), [*key]),
            };
        }
        let outcome = store.commit(batch).await;
        match &outcome {
            Ok(()) => prop_assert!(holds),
            Err(CommitError::Conflict { .. }) => prop_assert!(!holds),
            Err(error) => prop_assert!(false, "{}", error),
        }
        if holds {
            for (other, key, value) in &random.writes {
                if let Some((_, old)) = model.remove(&(*other, *key)) {
                    stale = old;
                }
                if let Some(value) = value {
                    let row = store.get(table(*other), &[*key]).await.unwrap();
                    // A later write of the same batch may have changed it again.
                    let revision = row.map_or(stale, |row| row.revision);
                    model.insert((*other, *key), (value.clone(), revision));
                }
            }
        }
        check_scan(store, &model, random.scan).await?;
    }
    Ok(())
}

async fn check_scan<S: MetaStore>(
    store: &S,
    model: &Model,
    (start, end, limit, reverse): (u8, Option<u8>, usize, bool),
) -> Result<(), TestCaseError> {
    for other in [false, true] {
        let mut expected: Vec<(u8, &(Vec<u8>, Revision))> = model
            .iter()
            .filter(|((of, key), _)| *of == other && *key >= start)
            .filter(|((_, key), _)| end.is_none_or(|end| *key < end))
            .map(|((_, key), row)| (*key, row))
            .collect();
        if reverse {
            expected.reverse();
        }
        expected.truncate(limit);
        let scan = Scan {
            start: vec![start],
            end: end.map(|end| vec![end]),
            limit,
            reverse,
        };
        let found = store.scan(table(other), scan).await.unwrap();
        prop_assert_eq!(found.len(), expected.len());
        for (found, (key, (value, revision))) in found.iter().zip(expected) {
            prop_assert_eq!(found.key.to_vec(), vec![key]);
            prop_assert_eq!(&*found.row.value, value.as_slice());
            prop_assert_eq!(found.row.revision, *revision);
        }
    }
    Ok(())
}
