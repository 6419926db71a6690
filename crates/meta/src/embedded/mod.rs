//! The engine for one machine: a redb file behind one writer thread.

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod disk;
mod file;
#[cfg(test)]
mod file_tests;
mod room;
mod row;
mod writer;

use std::fmt;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{ReadOnlyTable, ReadableDatabase, StorageError, TableDefinition, TableError};
use tokio::sync::oneshot;

use crate::store::{Batch, CommitError, MetaStore, ReadError, Row, Scan, ScannedRow, Seer, Table};
pub use file::OpenError;
use room::Room;
use writer::{Request, Writer};

/// Scans of more rows than this leave the task's thread for one that may block.
const ROWS_READ_INLINE_MAX: usize = 128;

/// A [`MetaStore`] in one file on this machine.
///
/// One thread writes. It takes all batches that wait, checks and applies them in order within one
/// transaction, and makes them durable with one flush, so that the cost of durability is shared by
/// all who wait for it. Readers see the last durable state and never wait for the writer.
///
/// After a failed flush the state on disk is not known: the engine then refuses all work until the
/// file is opened again. Dropping the store waits for the group being written.
///
/// A read of few rows runs on the calling task: nearly all of them are served from memory, and
/// handing them to another thread would cost more than the read.
pub struct RedbStore {
    shared: Arc<Shared>,
    /// `None` only while the store is dropped.
    queue: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer and the readers share.
struct Shared {
    database: file::Opened,
    /// Set when the engine has failed in a way that only opening it again can mend.
    stopped: AtomicBool,
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

const STOPPED: &str = "it stopped after a failure and has to be opened again";

impl RedbStore {
    /// Opens the store in the file at `path`, which is created when there is none (its directory
    /// must exist), and recovers it when it was not closed in order.
    ///
    /// `cache_bytes` bounds the memory that holds pages of the file.
    ///
    /// # Errors
    /// [`OpenError`]. A file that is refused is left as it was, unless recovery had begun.
    pub fn open(path: &Path, cache_bytes: usize) -> Result<Self, OpenError> {
        let database = file::open(path, cache_bytes)?;
        Self::start(database, Room::of_volume(path))
    }

    /// Runs the engine on an open database whose volume has `room`.
    fn start(database: file::Opened, room: Room) -> Result<Self, OpenError> {
        let revision_next = file::prepare(&database)?;
        let shared = Arc::new(Shared {
            database,
            stopped: AtomicBool::new(false),
        });
        let (queue, requests) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), room, revision_next);
        let writer = std::thread::Builder::new()
            .name("metadata-writer".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|source| OpenError::Io {
                doing: "started the writer",
                source,
            })?;
        Ok(Self {
            shared,
            queue: Some(queue),
            writer: Some(writer),
        })
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // The writer catches its own panics; there is nothing to hear from it.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore")
            .field("stopped", &self.shared.is_stopped())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl MetaStore for RedbStore {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, ReadError> {
        guarded(&self.shared, table, |rows| get_row(rows, table, key)).map(Option::flatten)
    }

    async fn get_each(
        &self,
        table: Table,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Row>>, ReadError> {
        if keys.len() <= ROWS_READ_INLINE_MAX {
            return read_each(&self.shared, table, &keys);
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || read_each(&shared, table, &keys)).await
    }

    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<ScannedRow>, ReadError> {
        if scan.is_empty() {
            return Ok(Vec::new());
        }
        if scan.limit <= ROWS_READ_INLINE_MAX {
            return read_range(&self.shared, table, &scan);
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || read_range(&shared, table, &scan)).await
    }

    async fn visit(&self, table: Table, scan: Scan, mut see: Seer) -> Result<(), ReadError> {
        if scan.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            walk(&shared, table, &scan, |key, stored| {
                let value = row::value(table, key, stored);
                Ok(see(key, value.map_err(|error| corrupt(table, &error))?))
            })
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        batch.check_limits()?;
        let unavailable = || CommitError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        if self.shared.is_stopped() {
            return Err(unavailable());
        }
        if batch.expectations.is_empty() && batch.writes.is_empty() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(unavailable)?;
        queue
            .send(Request { batch, answer })
            .map_err(|_| unavailable())?;
        // The writer answers every request it takes, unless its thread dies.
        answered.await.unwrap_or_else(|_| {
            Err(CommitError::OutcomeUnknown {
                reason: "the writer ended".to_owned(),
            })
        })
    }
}

/// How redb names a table of the seam. The prefix keeps the engine's own tables apart.
fn stored_name(table: Table) -> String {
    format!("rows/{table}")
}

fn definition(stored_name: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(stored_name)
}

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Runs `read` on the last durable state of a table, `None` where the table was never written.
///
/// redb may panic on a page that is not what it wrote; that comes out as [`ReadError::Corrupt`].
fn guarded<T>(
    shared: &Shared,
    table: Table,
    read: impl FnOnce(&Rows) -> Result<T, ReadError>,
) -> Result<Option<T>, ReadError> {
    if shared.is_stopped() {
        return Err(ReadError::Unavailable {
            reason: STOPPED.to_owned(),
        });
    }
    // Nothing that the closure could leave half-changed is used again: it only reads.
    catch_unwind(AssertUnwindSafe(|| {
        let snapshot = shared
            .database
            .begin_read()
            .map_err(|error| ReadError::Unavailable {
                reason: error.to_string(),
            })?;
        match snapshot.open_table(definition(&stored_name(table))) {
            Ok(rows) => read(&rows).map(Some),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(TableError::Storage(error)) => Err(failed_read(table, error)),
            Err(error) => Err(ReadError::Corrupt {
                table,
                reason: error.to_string(),
            }),
        }
    }))
    .unwrap_or_else(|_| {
        Err(ReadError::Corrupt {
            table,
            reason: "a page does not make sense".to_owned(),
        })
    })
}

/// Runs `read` on a thread that may block.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| {
        Err(ReadError::Unavailable {
            reason: error.to_string(),
        })
    })
}

fn read_each(
    shared: &Shared,
    table: Table,
    keys: &[Vec<u8>],
) -> Result<Vec<Option<Row>>, ReadError> {
    let found = guarded(shared, table, |rows| {
        keys.iter().map(|key| get_row(rows, table, key)).collect()
    })?;
    Ok(found.unwrap_or_else(|| vec![None; keys.len()]))
}

fn get_row(rows: &Rows, table: Table, key: &[u8]) -> Result<Option<Row>, ReadError> {
    let Some(stored) = rows.get(key).map_err(|error| failed_read(table, error))? else {
        return Ok(None);
    };
    decode(table, key, stored.value()).map(Some)
}

fn read_range(shared: &Shared, table: Table, scan: &Scan) -> Result<Vec<ScannedRow>, ReadError> {
    let mut found = Vec::new();
    walk(shared, table, scan, |key, stored| {
        found.push(ScannedRow {
            key: Bytes::copy_from_slice(key),
            row: decode(table, key, stored)?,
        });
        Ok(true)
    })?;
    Ok(found)
}

/// Shows what is stored in a range, until `see` says that it is enough.
fn walk(
    shared: &Shared,
    table: Table,
    scan: &Scan,
    mut see: impl FnMut(&[u8], &[u8]) -> Result<bool, ReadError>,
) -> Result<(), ReadError> {
    guarded(shared, table, |rows| {
        let start = Bound::Included(scan.start.as_slice());
        let end = scan
            .end
            .as_deref()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = rows
            .range::<&[u8]>((start, end))
            .map_err(|error| failed_read(table, error))?;
        for _ in 0..scan.limit {
            let next = if scan.reverse {
                range.next_back()
            } else {
                range.next()
            };
            let Some(entry) = next else { break };
            let (key, stored) = entry.map_err(|error| failed_read(table, error))?;
            if !see(key.value(), stored.value())? {
                break;
            }
        }
        Ok(())
    })
    .map(|_| ())
}

fn decode(table: Table, key: &[u8], stored: &[u8]) -> Result<Row, ReadError> {
    row::decode(table, key, stored).map_err(|error| corrupt(table, &error))
}

fn corrupt(table: Table, error: &row::RowError) -> ReadError {
    ReadError::Corrupt {
        table,
        reason: error.to_string(),
    }
}

fn failed_read(table: Table, error: StorageError) -> ReadError {
    match error {
        StorageError::Corrupted(reason) => ReadError::Corrupt { table, reason },
        error => ReadError::Unavailable {
            reason: error.to_string(),
        },
    }
}
