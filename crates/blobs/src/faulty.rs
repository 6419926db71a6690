//! An engine that fails when told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;

use crate::store::{BlobError, BlobOwner, BlobRef, BlobStore, BlobWriter, UnsettledBlob};

/// Which calls of an engine are counted, each kind apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Call {
    /// [`BlobStore::create`].
    Create,
    /// [`BlobWriter::append`], of all writers together.
    Append,
    /// [`BlobWriter::finish`], of all writers together.
    Finish,
    /// [`BlobStore::read`].
    Read,
    /// [`BlobStore::delete`].
    Delete,
}

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The medium fails. What was being written is not kept; what was to be deleted stays.
    Io,
    /// There is no room. What was being written is not kept.
    Full,
    /// The outcome is not known. A blob being finished is kept, and nobody is told its name.
    OutcomeUnknown,
    /// A read gives the bytes with one bit of the first byte changed. Other calls fail as
    /// [`BlobError::Corrupt`].
    Corrupt,
}

impl Fault {
    fn error(self) -> BlobError {
        match self {
            Self::Io => BlobError::Io {
                doing: "was told to fail",
                source: io::Error::other("a scheduled failure"),
            },
            Self::Full => BlobError::Full,
            Self::OutcomeUnknown => BlobError::OutcomeUnknown {
                reason: "a scheduled failure".to_owned(),
            },
            Self::Corrupt => BlobError::Corrupt {
                reason: "a scheduled failure".to_owned(),
            },
        }
    }
}

/// Wraps an engine and fails the calls that it was told to fail.
#[derive(Debug)]
pub struct Faulty<E> {
    engine: E,
    schedule: Arc<Mutex<Schedule>>,
}

#[derive(Debug, Default)]
struct Schedule {
    calls: BTreeMap<Call, u64>,
    faults: BTreeMap<(Call, u64), Fault>,
}

impl Schedule {
    fn next(&mut self, call: Call) -> Option<Fault> {
        let calls = self.calls.entry(call).or_default();
        let nth = *calls;
        *calls += 1;
        self.faults.remove(&(call, nth))
    }
}

impl<E: BlobStore> Faulty<E> {
    /// Wraps `engine`. No fault is scheduled.
    pub fn new(engine: E) -> Self {
        Self {
            engine,
            schedule: Arc::default(),
        }
    }

    /// Fails the call that comes after `after` others of its kind, counted from now.
    pub fn fail(&self, call: Call, after: u64, fault: Fault) {
        let mut schedule = self.schedule.lock();
        let nth = schedule.calls.get(&call).copied().unwrap_or(0) + after;
        schedule.faults.insert((call, nth), fault);
    }

    /// How many calls of a kind there were.
    pub fn calls(&self, call: Call) -> u64 {
        self.schedule.lock().calls.get(&call).copied().unwrap_or(0)
    }

    /// The engine inside, to which faults do not apply.
    pub fn inner(&self) -> &E {
        &self.engine
    }

    fn next(&self, call: Call) -> Option<Fault> {
        self.schedule.lock().next(call)
    }

    fn admit(&self, call: Call) -> Result<(), BlobError> {
        self.next(call).map_or(Ok(()), |fault| Err(fault.error()))
    }
}

#[async_trait]
impl<E: BlobStore> BlobStore for Faulty<E> {
    async fn create(
        &self,
        owner: BlobOwner,
        len_bytes: u64,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        self.admit(Call::Create)?;
        Ok(Box::new(FaultyWriter {
            writer: self.engine.create(owner, len_bytes).await?,
            schedule: Arc::clone(&self.schedule),
            failed: false,
        }))
    }

    async fn read(
        &self,
        blob: &BlobRef,
        offset: u64,
        buffer: BytesMut,
    ) -> Result<BytesMut, BlobError> {
        let fault = self.next(Call::Read);
        if let Some(fault) = fault.filter(|fault| *fault != Fault::Corrupt) {
            return Err(fault.error());
        }
        let mut buffer = self.engine.read(blob, offset, buffer).await?;
        if let Some(first) = buffer.first_mut().filter(|_| fault.is_some()) {
            *first ^= 1;
        }
        Ok(buffer)
    }

    async fn delete(&self, blob: &BlobRef) -> Result<(), BlobError> {
        self.admit(Call::Delete)?;
        self.engine.delete(blob).await
    }

    async fn unsettled(&self) -> Result<Vec<UnsettledBlob>, BlobError> {
        self.engine.unsettled().await
    }

    async fn settle(&self) -> Result<(), BlobError> {
        self.engine.settle().await
    }
}

struct FaultyWriter {
    writer: Box<dyn BlobWriter>,
    schedule: Arc<Mutex<Schedule>>,
    failed: bool,
}

#[async_trait]
impl BlobWriter for FaultyWriter {
    async fn append(&mut self, bytes: BytesMut) -> Result<BytesMut, BlobError> {
        if let Some(fault) = self.schedule.lock().next(Call::Append) {
            self.failed = true;
            return Err(fault.error());
        }
        if self.failed {
            return Err(Fault::Io.error());
        }
        self.writer.append(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<BlobRef, BlobError> {
        let fault = self.schedule.lock().next(Call::Finish);
        match fault {
            _ if self.failed => Err(Fault::Io.error()),
            None => self.writer.finish().await,
            Some(Fault::OutcomeUnknown) => {
                self.writer.finish().await?;
                Err(Fault::OutcomeUnknown.error())
            }
            Some(fault) => Err(fault.error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::MemoryBlobs;

    const OWNER: BlobOwner = BlobOwner([1; 16]);

    async fn put(blobs: &Faulty<MemoryBlobs>) -> Result<BlobRef, BlobError> {
        blobs.put(OWNER, &Bytes::from_static(b"bytes")).await
    }

    #[tokio::test]
    async fn a_blob_that_fails_on_its_way_is_not_kept() {
        for call in [Call::Create, Call::Append, Call::Finish] {
            for fault in [Fault::Io, Fault::Full, Fault::Corrupt] {
                let blobs = Faulty::new(MemoryBlobs::new());
                blobs.fail(call, 1, fault);
                put(&blobs).await.unwrap();
                let error = put(&blobs).await.unwrap_err();
                assert_eq!(matches!(error, BlobError::Full), fault == Fault::Full);
                assert_eq!(blobs.inner().stored_bytes(), 5);
                put(&blobs).await.unwrap();
                assert_eq!(blobs.inner().stored_bytes(), 10);
            }
        }
    }

    #[tokio::test]
    async fn an_unknown_outcome_keeps_the_blob_for_the_next_start_to_find() {
        let blobs = Faulty::new(MemoryBlobs::new());
        blobs.fail(Call::Finish, 0, Fault::OutcomeUnknown);
        assert!(matches!(
            put(&blobs).await,
            Err(BlobError::OutcomeUnknown { .. })
        ));
        assert_eq!(blobs.unsettled().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn reads_fail_or_lie_when_told_to() {
        let blobs = Faulty::new(MemoryBlobs::new());
        let blob = put(&blobs).await.unwrap();
        blobs.fail(Call::Read, 0, Fault::Io);
        blobs.fail(Call::Read, 1, Fault::Corrupt);
        let read = || blobs.read(&blob, 0, BytesMut::zeroed(5));
        assert!(matches!(read().await, Err(BlobError::Io { .. })));
        assert_eq!(read().await.unwrap(), b"cytes".as_slice());
        assert_eq!(read().await.unwrap(), b"bytes".as_slice());
        assert_eq!(blobs.calls(Call::Read), 3);
    }

    #[tokio::test]
    async fn a_deletion_that_fails_may_be_retried() {
        let blobs = Faulty::new(MemoryBlobs::new());
        let blob = put(&blobs).await.unwrap();
        blobs.fail(Call::Delete, 0, Fault::Io);
        blobs.delete(&blob).await.unwrap_err();
        assert_eq!(blobs.inner().stored_bytes(), 5);
        blobs.delete(&blob).await.unwrap();
        assert_eq!(blobs.inner().stored_bytes(), 0);
    }
}
