//! The seam: what every metadata engine promises.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// A named table: a separate space of ordered keys.
///
/// Names are lower-case ASCII words joined by `_`; they are part of the format on disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Table(&'static str);

impl Table {
    /// The table called `name`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The table's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Which write of a row this is. Every write of a row gives it a revision it never had before;
/// revisions are compared for equality only.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Revision(u64);

impl Revision {
    /// The revision that an engine numbers `number`.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The engine's number for this revision.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// A row's value, and which write of it this is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The value, as it was written.
    pub value: Bytes,
    /// To be named in [`Expected::Revision`] by whoever changes the row.
    pub revision: Revision,
}

/// A row found by a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScannedRow {
    /// The row's key.
    pub key: Bytes,
    /// The row.
    pub row: Row,
}

/// Which rows a scan returns: keys `start <= key < end` in byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// The first key that may be returned.
    pub start: Vec<u8>,
    /// The first key past the range; `None` is the end of the table.
    pub end: Option<Vec<u8>>,
    /// The most rows to return. An engine returns exactly this many when there are as many.
    pub limit: usize,
    /// Largest key first instead of smallest first.
    pub reverse: bool,
}

impl Scan {
    /// All keys that begin with `prefix`, smallest first.
    #[must_use]
    pub fn prefix(prefix: &[u8], limit: usize) -> Self {
        Self {
            start: prefix.to_vec(),
            end: Self::after_prefix(prefix),
            limit,
            reverse: false,
        }
    }

    /// Keys from `start` that still begin with `prefix`, smallest first.
    #[must_use]
    pub fn within(prefix: &[u8], start: Vec<u8>, limit: usize) -> Self {
        Self {
            start: start.max(prefix.to_vec()),
            end: Self::after_prefix(prefix),
            limit,
            reverse: false,
        }
    }

    /// Whether the scan can return nothing, whatever the table holds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limit == 0 || self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The same range, largest key first.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// The smallest key greater than every key that begins with `prefix`; `None` where there is
    /// none.
    #[must_use]
    pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
        let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
        let mut after = prefix[..=last].to_vec();
        after[last] += 1;
        Some(after)
    }
}

/// What a batch expects of a row before it may be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// There is no such row.
    Absent,
    /// The row is there and was last written as this revision.
    Revision(Revision),
}

/// One expectation of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expectation {
    /// The table of the row.
    pub table: Table,
    /// The key of the row.
    pub key: Vec<u8>,
    /// What must be true of it.
    pub expected: Expected,
}

/// One write of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// The table of the row.
    pub table: Table,
    /// The key of the row.
    pub key: Vec<u8>,
    /// The new value; `None` deletes the row, and deleting an absent row is no error.
    pub value: Option<Vec<u8>>,
}

/// Expectations and writes that are applied together or not at all.
///
/// A batch names a row at most once among its writes; of two writes to the same row the later
/// one wins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// What must be true for the batch to be applied.
    pub expectations: Vec<Expectation>,
    /// What is written when it is.
    pub writes: Vec<Write>,
}

impl Batch {
    /// The most writes in a batch.
    pub const WRITES_MAX: usize = 20_000;
    /// The longest key.
    pub const KEY_LEN_BYTES_MAX: usize = 4_096;
    /// The longest value.
    pub const VALUE_LEN_BYTES_MAX: usize = 16 * 1024 * 1024;

    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects `expected` of a row.
    pub fn expect(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        expected: Expected,
    ) -> &mut Self {
        self.expectations.push(Expectation {
            table,
            key: key.into(),
            expected,
        });
        self
    }

    /// Expects a row to be as it was read: absent, or at the revision it had.
    pub fn expect_unchanged(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        row: Option<&Row>,
    ) -> &mut Self {
        let expected = row.map_or(Expected::Absent, |row| Expected::Revision(row.revision));
        self.expect(table, key, expected)
    }

    /// Writes a row.
    pub fn put(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.writes.push(Write {
            table,
            key: key.into(),
            value: Some(value.into()),
        });
        self
    }

    /// Deletes a row.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) -> &mut Self {
        self.writes.push(Write {
            table,
            key: key.into(),
            value: None,
        });
        self
    }

    /// Whether the batch is within the limits of the contract.
    ///
    /// # Errors
    /// [`CommitError::OverLimit`].
    pub fn check_limits(&self) -> Result<(), CommitError> {
        let over = |limit| Err(CommitError::OverLimit { limit });
        if self.writes.len() > Self::WRITES_MAX {
            return over("20,000 writes");
        }
        let expected = self.expectations.iter().map(|expectation| &expectation.key);
        let mut keys = expected.chain(self.writes.iter().map(|write| &write.key));
        if keys.any(|key| key.is_empty() || key.len() > Self::KEY_LEN_BYTES_MAX) {
            return over("1 to 4,096 bytes in a key");
        }
        let mut values = self.writes.iter().filter_map(|write| write.value.as_ref());
        if values.any(|value| value.len() > Self::VALUE_LEN_BYTES_MAX) {
            return over("16 MiB in a value");
        }
        Ok(())
    }

    /// Adds the expectations and writes of `other` after those of `self`.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.expectations.extend(other.expectations);
        self.writes.extend(other.writes);
        self
    }
}

/// Why rows could not be read. Reading again is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The engine cannot be reached or has stopped after an earlier failure.
    #[error("the metadata engine is not available: {reason}")]
    Unavailable {
        /// What the engine said, without row contents.
        reason: String,
    },
    /// What is on disk is not what was written.
    #[error("table {table} is damaged: {reason}")]
    Corrupt {
        /// Where.
        table: Table,
        /// What was found, without row contents.
        reason: String,
    },
}

/// Why a batch was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// An expectation did not hold. Nothing was written; read again and decide anew.
    #[error("a row of table {table} has changed")]
    Conflict {
        /// The table of the first expectation that failed.
        table: Table,
    },
    /// The engine could not take the batch. Nothing was written; the same batch may be retried.
    #[error("the metadata engine is not available: {reason}")]
    Unavailable {
        /// What the engine said.
        reason: String,
    },
    /// There is no room. Nothing was written; the same batch may be retried when there is.
    #[error("the metadata volume is full")]
    Full,
    /// The caller's batch is larger than the contract allows. Nothing was written.
    #[error("a batch is over the limit of {limit}")]
    OverLimit {
        /// Which limit, in words.
        limit: &'static str,
    },
    /// The engine failed while it made the batch durable: it may or may not be there after a
    /// restart. The engine refuses all further work until it is opened again.
    #[error("it is not known whether the batch was written: {reason}")]
    OutcomeUnknown {
        /// What the engine said.
        reason: String,
    },
}

impl CommitError {
    /// Whether the batch certainly changed nothing.
    #[must_use]
    pub fn is_certainly_not_done(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown { .. })
    }
}

/// What [`MetaStore::visit`] shows rows to: their keys and values. `false` ends it.
pub type Seer = Box<dyn FnMut(&[u8], &[u8]) -> bool + Send>;

/// An ordered key-value store with compare-and-set batches.
///
/// # Contract
///
/// - **Atomic.** A batch is applied whole or not at all, and no reader ever sees a part of one.
/// - **Serializable.** Batches take effect in one order; an expectation is checked against all
///   batches before it. Each `get`, `get_each` and `scan` sees one such state; two calls may see two.
/// - **Durable.** When `commit` returns `Ok`, the batch survives loss of power, and every later
///   read sees it.
/// - **Not done, or unknown.** Every [`CommitError`] but [`CommitError::OutcomeUnknown`] means that
///   nothing was written.
/// - **Cancel.** Dropping the future of `commit` leaves the batch applied or not, never in part.
/// - **Concurrent.** All methods may be called from many tasks at once; an engine groups waiting
///   batches into one durable write.
/// - **Limits.** Keys are 1 to 4,096 bytes, values up to 16 MiB, batches up to 20,000 writes; more
///   is [`CommitError::OverLimit`].
///
/// The trait asks for no more than an ordered, transactional key-value store offers, so that an
/// engine can stand on a database shared by many machines.
#[async_trait]
pub trait MetaStore: Send + Sync + fmt::Debug + 'static {
    /// The row under `key`, or `None`.
    ///
    /// # Errors
    /// [`ReadError`]; see the contract.
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Row>, ReadError>;

    /// The rows under `keys`, in the order of `keys`, all of one state. It is [`MetaStore::get`] for
    /// each; an engine may find many at less cost than one by one.
    ///
    /// # Errors
    /// [`ReadError`]; see the contract. One row that is damaged fails all.
    async fn get_each(
        &self,
        table: Table,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Row>>, ReadError>;

    /// The rows of a range, in key order.
    ///
    /// # Errors
    /// [`ReadError`]; see the contract.
    async fn scan(&self, table: Table, scan: Scan) -> Result<Vec<ScannedRow>, ReadError>;

    /// Shows the rows of a range in key order, their keys and values, until `see` says that it has
    /// seen enough by `false`. They are the rows that [`MetaStore::scan`] gives; an engine may show
    /// them where they lie, which costs less where there are millions.
    ///
    /// # Errors
    /// [`ReadError`]; see the contract. Rows may have been shown before.
    async fn visit(&self, table: Table, scan: Scan, mut see: Seer) -> Result<(), ReadError> {
        for found in self.scan(table, scan).await? {
            if !see(&found.key, &found.row.value) {
                break;
            }
        }
        Ok(())
    }

    /// Applies a batch and makes it durable.
    ///
    /// # Errors
    /// [`CommitError`]; see the contract.
    async fn commit(&self, batch: Batch) -> Result<(), CommitError>;
}
