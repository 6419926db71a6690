//! An engine that fails when told to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::store::{Batch, CommitError, MetaStore, ReadError, Row, Scan, ScannedRow, Table};

/// How a commit fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitFault {
    /// The engine is not available; nothing is written.
    Unavailable,
    /// There is no room; nothing is written.
    Full,
    /// Another writer was faster; nothing is written.
    Conflict,
    /// The outcome is not known, and the batch was not written. The engine stops.
    UnknownNotApplied,
    /// The outcome is not known, and the batch was written. The engine stops.
    UnknownApplied,
}

/// How a read fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadFault {
    /// The engine is not available.
    Unavailable,
    /// The row, or a row of the range, is damaged.
    Corrupt,
}

/// Wraps an engine and fails the calls that it was told to fail.
///
/// Calls are counted from the making of the wrapper, commits and reads apart, beginning at 0. A
/// commit fault is played only on a batch whose expectations hold: one that would conflict does
/// conflict.
#[derive(Debug)]
pub struct Faulty<E> {
    engine: E,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commits: u64,
    reads: u64,
    rows_read: u64,
    commit_faults: BTreeMap<u64, CommitFault>,
    read_faults: BTreeMap<u64, ReadFault>,
    stopped: bool,
}

impl<E: MetaStore> Faulty<E> {
    /// Wraps `engine`. No fault is scheduled.
    pub fn new(engine: E) -> Self {
        Self {
            engine,
            state: Mutex::default(),
        }
    }

    /// Fails the commit that comes after `after` others, counted from now.
    pub fn fail_commit(&self, after: u64, fault: CommitFault) {
        let mut state = self.state.lock();
        let nth = state.commits + after;
        state.commit_faults.insert(nth, fault);
    }

    /// Fails the `get`, `get_each` or `scan` that comes after `after` others, counted from now.
    pub fn fail_read(&self, after: u64, fault: ReadFault) {
        let mut state = self.state.lock();
        let nth = state.reads + after;
        state.read_faults.insert(nth, fault);
    }

    /// Opens a stopped engine again, as a restart does. Faults that were not met stay scheduled.
    pub fn reopen(&self) {
        self.state.lock().stopped = false;
    }

    /// How many commits were asked for.
    pub fn commits(&self) -> u64 {
        self.state.lock().commits
    }

    /// How many `get`, `get_each` and `scan` calls were made.
    pub fn reads(&self) -> u64 {
        self.state.lock().reads
    }

    /// How many rows those calls gave.
    pub fn rows_read(&self) -> u64 {
        self.state.lock().rows_read
    }

    /// The engine inside, to which faults do not apply.
    pub fn inner(&self) -> &E {
        &self.engine
    }

    fn admit_read(&self, table: Table) -> Result<(), ReadError> {
        let mut state = self.state.lock();
        let nth = state.reads;
        state.reads += 1;
        let unavailable = |reason: &str| ReadError::Unavailable {
            reason: reason.to_owned(),
        };
        if state.stopped {
            return Err(unavailable(STOPPED));
        }
        match state.read_faults.remove(&nth) {
            None => Ok(()),
            Some(ReadFault::Unavailable) => Err(unavailable(SCHEDULED)),
            Some(ReadFault::Corrupt) => Err(ReadError::Corrupt {
                table,
                reason: SCHEDULED.to_owned(),
            }),
        }
    }

    fn count_rows(&self, rows: usize) {
        self.state.lock().rows_read += rows as u64;
    }

    /// A batch that writes nothing and expects what `batch` does.
    async fn check(&self, batch: &Batch) -> Result<(), CommitError> {
        self.engine
            .commit(Batch {
                expectations: batch.expectations.clone(),
                writes: Vec::new(),
            })
            .await
    }
}

const STOPPED: &str = "it stopped after a scheduled failure";
const SCHEDULED: &str = "a scheduled failure";

#[async_trait]
impl<E: MetaStore> MetaStore for Faulty<E> {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, ReadError> {
        self.admit_read(table)?;
        let found = self.engine.get(table, key).await?;
        self.count_rows(usize::from(found.is_some()));
        Ok(found)
    }

    async fn get_each(
        &self,
        table: Table,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Row>>, ReadError> {
        self.admit_read(table)?;
        let found = self.engine.get_each(table, keys).await?;
        self.count_rows(found.iter().flatten().count());
        Ok(found)
    }

    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<ScannedRow>, ReadError> {
        self.admit_read(table)?;
        let found = self.engine.scan(table, scan).await?;
        self.count_rows(found.len());
        Ok(found)
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        let fault = {
            let mut state = self.state.lock();
            let nth = state.commits;
            state.commits += 1;
            if state.stopped {
                return Err(CommitError::Unavailable {
                    reason: STOPPED.to_owned(),
                });
            }
            state.commit_faults.remove(&nth)
        };
        let Some(fault) = fault else {
            return self.engine.commit(batch).await;
        };
        self.check(&batch).await?;
        let first_table = batch
            .expectations
            .first()
            .map(|expectation| expectation.table)
            .or_else(|| batch.writes.first().map(|write| write.table));
        match fault {
            CommitFault::Full => Err(CommitError::Full),
            CommitFault::Conflict => Err(CommitError::Conflict {
                table: first_table.unwrap_or(Table::new("none")),
            }),
            CommitFault::Unavailable => Err(CommitError::Unavailable {
                reason: SCHEDULED.to_owned(),
            }),
            CommitFault::UnknownNotApplied | CommitFault::UnknownApplied => {
                if fault == CommitFault::UnknownApplied {
                    self.engine.commit(batch).await?;
                }
                self.state.lock().stopped = true;
                Err(CommitError::OutcomeUnknown {
                    reason: SCHEDULED.to_owned(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Expected, MemoryStore};

    mod conformance {
        use super::*;

        crate::meta_conformance!((Faulty::new(MemoryStore::new()), ()));
    }

    const TABLE: Table = Table::new("things");

    fn put(key: &str) -> Batch {
        let mut batch = Batch::new();
        batch.put(TABLE, key, "value");
        batch
    }

    async fn has(store: &Faulty<MemoryStore>, key: &str) -> bool {
        let row = store.inner().get(TABLE, key.as_bytes()).await.unwrap();
        row.is_some()
    }

    #[tokio::test]
    async fn faults_that_are_certain_write_nothing_and_pass() {
        let store = Faulty::new(MemoryStore::new());
        for fault in [
            CommitFault::Unavailable,
            CommitFault::Full,
            CommitFault::Conflict,
        ] {
            store.fail_commit(1, fault);
            store.commit(put("before")).await.unwrap();
            let error = store.commit(put("failed")).await.unwrap_err();
            assert!(error.is_certainly_not_done(), "{error}");
            assert!(!has(&store, "failed").await);
            store.commit(put("after")).await.unwrap();
        }
        assert_eq!(store.commits(), 9);
    }

    #[tokio::test]
    async fn an_unknown_outcome_stops_the_engine_until_it_is_reopened() {
        for (fault, applied) in [
            (CommitFault::UnknownApplied, true),
            (CommitFault::UnknownNotApplied, false),
        ] {
            let store = Faulty::new(MemoryStore::new());
            store.fail_commit(0, fault);
            let error = store.commit(put("key")).await.unwrap_err();
            assert!(!error.is_certainly_not_done());
            assert!(matches!(
                store.get(TABLE, b"key").await,
                Err(ReadError::Unavailable { .. })
            ));
            assert!(matches!(
                store.commit(put("other")).await,
                Err(CommitError::Unavailable { .. })
            ));
            store.reopen();
            assert_eq!(store.get(TABLE, b"key").await.unwrap().is_some(), applied);
        }
    }

    #[tokio::test]
    async fn a_batch_that_conflicts_conflicts_whatever_is_scheduled() {
        let store = Faulty::new(MemoryStore::new());
        store.commit(put("key")).await.unwrap();
        store.fail_commit(0, CommitFault::UnknownApplied);
        let mut batch = put("key");
        batch.expect(TABLE, "key", Expected::Absent);
        assert!(matches!(
            store.commit(batch).await,
            Err(CommitError::Conflict { .. })
        ));
    }

    #[tokio::test]
    async fn reads_fail_when_told_to() {
        let store = Faulty::new(MemoryStore::new());
        store.fail_read(0, ReadFault::Unavailable);
        store.fail_read(1, ReadFault::Corrupt);
        assert!(matches!(
            store.get(TABLE, b"key").await,
            Err(ReadError::Unavailable { .. })
        ));
        let scan = Scan::prefix(b"", 1);
        assert!(matches!(
            store.scan(TABLE, scan.clone()).await,
            Err(ReadError::Corrupt { .. })
        ));
        assert!(store.scan(TABLE, scan).await.unwrap().is_empty());
        assert_eq!(store.reads(), 3);
    }
}
