//! An engine in memory, for tests and simulations.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::store::{
    Batch, CommitError, Expected, MetaStore, ReadError, Revision, Row, Scan, ScannedRow, Table,
};

/// A [`MetaStore`] in memory. "Durable" lasts as long as the value does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: HashMap<Table, BTreeMap<Vec<u8>, Row>>,
    last_revision: u64,
}

impl State {
    fn row(&self, table: Table, key: &[u8]) -> Option<&Row> {
        self.tables.get(&table)?.get(key)
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl MetaStore for MemoryStore {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, ReadError> {
        Ok(self.state.read().row(table, key).cloned())
    }

    async fn get_each(
        &self,
        table: Table,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Row>>, ReadError> {
        let state = self.state.read();
        Ok(keys
            .iter()
            .map(|key| state.row(table, key).cloned())
            .collect())
    }

    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<ScannedRow>, ReadError> {
        let state = self.state.read();
        let Some(rows) = state.tables.get(&table).filter(|_| !scan.is_empty()) else {
            return Ok(Vec::new());
        };
        let end = scan.end.map_or(Bound::Unbounded, Bound::Excluded);
        let range = rows.range((Bound::Included(scan.start), end));
        let found = |(key, row): (&Vec<u8>, &Row)| ScannedRow {
            key: Bytes::copy_from_slice(key),
            row: row.clone(),
        };
        Ok(if scan.reverse {
            range.rev().take(scan.limit).map(found).collect()
        } else {
            range.take(scan.limit).map(found).collect()
        })
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        batch.check_limits()?;
        let mut state = self.state.write();
        for expectation in &batch.expectations {
            let found = state.row(expectation.table, &expectation.key);
            let holds = match expectation.expected {
                Expected::Absent => found.is_none(),
                Expected::Revision(revision) => found.is_some_and(|row| row.revision == revision),
            };
            if !holds {
                return Err(CommitError::Conflict {
                    table: expectation.table,
                });
            }
        }
        state.last_revision += 1;
        let revision = Revision::new(state.last_revision);
        for write in batch.writes {
            let rows = state.tables.entry(write.table).or_default();
            match write.value {
                Some(value) => {
                    let value = Bytes::from(value);
                    rows.insert(write.key, Row { value, revision });
                }
                None => {
                    rows.remove(&write.key);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::meta_conformance!((MemoryStore::new(), ()));
}
