//! Rows of a range in order, read some at a time, with the means to skip ahead.

use std::collections::VecDeque;

use strongroom_meta::{Scan, ScannedRow, Table};

use crate::StoreError;
use crate::store::Inner;

/// How many rows are read at first, and after skipping ahead.
const ROWS_AT_FIRST: usize = 8;
/// How many rows are read at most at a time.
const ROWS_AT_ONCE: usize = 512;

pub(super) struct Scanner<'i> {
    inner: &'i Inner,
    table: Table,
    /// All rows that are wanted begin with this.
    prefix: Vec<u8>,
    /// Where the next read begins; `None` when there is nothing left to read.
    next: Option<Vec<u8>>,
    rows: VecDeque<ScannedRow>,
    rows_at_once: usize,
}

impl<'i> Scanner<'i> {
    pub(super) fn new(inner: &'i Inner, table: Table, prefix: Vec<u8>) -> Self {
        Self {
            inner,
            table,
            next: Some(prefix.clone()),
            prefix,
            rows: VecDeque::new(),
            rows_at_once: ROWS_AT_FIRST,
        }
    }

    /// Expects that about so many rows will be wanted.
    pub(super) fn expecting(mut self, rows: usize) -> Self {
        self.rows_at_once = rows.clamp(ROWS_AT_FIRST, ROWS_AT_ONCE);
        self
    }

    /// The next row, which stays the next one.
    pub(super) async fn peek(&mut self) -> Result<Option<&ScannedRow>, StoreError> {
        if self.rows.is_empty()
            && let Some(start) = self.next.take()
        {
            let limit = self.rows_at_once;
            self.rows_at_once = (limit * 2).min(ROWS_AT_ONCE);
            let scan = Scan::within(&self.prefix, start, limit);
            let rows = self.inner.meta.scan(self.table, scan).await?;
            if rows.len() == limit {
                self.next = rows.last().map(|last| {
                    let mut after = last.key.to_vec();
                    after.push(0);
                    after
                });
            }
            self.rows = rows.into();
        }
        Ok(self.rows.front())
    }

    /// Goes on behind the next row.
    pub(super) fn advance(&mut self) {
        self.rows.pop_front();
    }

    /// Goes on at the first row that is not less than `start`; never back.
    pub(super) fn seek(&mut self, start: Vec<u8>) {
        while let Some(row) = self.rows.front() {
            if row.key >= start {
                return;
            }
            self.rows.pop_front();
        }
        if let Some(next) = &mut self.next
            && *next < start
        {
            *next = start;
            self.rows_at_once = ROWS_AT_FIRST;
        }
    }

    /// Skips all rows that begin with `prefix`.
    pub(super) fn skip(&mut self, prefix: &[u8]) {
        match Scan::after_prefix(prefix) {
            Some(after) => self.seek(after),
            None => {
                self.rows.clear();
                self.next = None;
            }
        }
    }
}
