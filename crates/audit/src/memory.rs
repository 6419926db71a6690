//! Logs for tests of what writes to one: in memory, and failing on demand.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::seam::{AppendError, AuditLog, LeafIndex};
use crate::tile::ENTRY_LEN_BYTES_MAX;

/// A log that keeps its entries in memory and shows them. Nothing is durable, and there is no tree.
#[derive(Debug, Default)]
pub struct MemoryLog {
    entries: Mutex<Vec<Vec<u8>>>,
}

impl MemoryLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries so far, in order.
    #[must_use]
    pub fn entries(&self) -> Vec<Vec<u8>> {
        self.entries.lock().clone()
    }
}

#[async_trait]
impl AuditLog for MemoryLog {
    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError> {
        if entry.len() > ENTRY_LEN_BYTES_MAX {
            return Err(AppendError::TooLong {
                len_bytes: entry.len(),
            });
        }
        let mut entries = self.entries.lock();
        entries.push(entry);
        Ok(LeafIndex(entries.len() as u64 - 1))
    }
}

/// How a [`FaultyLog`] fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogFault {
    /// Answers [`AppendError::Full`]; the entry is not on the log.
    Full,
    /// Answers [`AppendError::Stopped`]; the entry is not on the log.
    Stopped,
    /// Puts the entry on the log, and yet answers [`AppendError::Stopped`], as after a sync that
    /// failed.
    StoppedAfterWriting,
}

/// A log that passes entries on to another until it is told to fail.
#[derive(Debug)]
pub struct FaultyLog {
    inner: Arc<dyn AuditLog>,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    fault: Option<LogFault>,
    entries_before: u64,
}

impl FaultyLog {
    /// A log that works like `inner`, for now.
    #[must_use]
    pub fn new(inner: Arc<dyn AuditLog>) -> Self {
        Self {
            inner,
            plan: Mutex::new(Plan {
                fault: None,
                entries_before: 0,
            }),
        }
    }

    /// Fails every append after the next `entries`, until [`FaultyLog::recover`].
    pub fn fail_after(&self, entries: u64, fault: LogFault) {
        *self.plan.lock() = Plan {
            fault: Some(fault),
            entries_before: entries,
        };
    }

    /// Works again.
    pub fn recover(&self) {
        self.plan.lock().fault = None;
    }

    fn next_fault(&self) -> Option<LogFault> {
        let mut plan = self.plan.lock();
        match plan.entries_before.checked_sub(1) {
            Some(left) if plan.fault.is_some() => {
                plan.entries_before = left;
                None
            }
            _ => plan.fault,
        }
    }
}

#[async_trait]
impl AuditLog for FaultyLog {
    async fn append(&self, entry: Vec<u8>) -> Result<LeafIndex, AppendError> {
        let stopped = || AppendError::Stopped {
            reason: "a test stopped the log".to_owned(),
        };
        match self.next_fault() {
            None => self.inner.append(entry).await,
            Some(LogFault::Full) => Err(AppendError::Full),
            Some(LogFault::Stopped) => Err(stopped()),
            Some(LogFault::StoppedAfterWriting) => {
                self.inner.append(entry).await?;
                Err(stopped())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_faulty_log_fails_when_told_and_only_then() {
        let memory = Arc::new(MemoryLog::new());
        let log = FaultyLog::new(memory.clone());
        log.append(b"0".to_vec()).await.unwrap();
        log.fail_after(1, LogFault::Full);
        assert_eq!(log.append(b"1".to_vec()).await.unwrap(), LeafIndex(1));
        for _ in 0..2 {
            assert!(matches!(
                log.append(b"lost".to_vec()).await,
                Err(AppendError::Full)
            ));
        }
        log.fail_after(0, LogFault::StoppedAfterWriting);
        assert!(matches!(
            log.append(b"2".to_vec()).await,
            Err(AppendError::Stopped { .. })
        ));
        log.recover();
        log.append(b"3".to_vec()).await.unwrap();
        assert_eq!(memory.entries(), [b"0", b"1", b"2", b"3"]);
    }

    #[tokio::test]
    async fn memory_has_the_length_limit_of_the_real_log() {
        let log = MemoryLog::new();
        log.append(vec![0; 65_535]).await.unwrap();
        assert!(matches!(
            log.append(vec![0; 65_536]).await,
            Err(AppendError::TooLong { len_bytes: 65_536 })
        ));
    }
}
