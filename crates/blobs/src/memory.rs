//! An engine in memory, for tests and simulations.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;

use crate::store::{BlobError, BlobOwner, BlobRef, BlobStore, BlobWriter, UnsettledBlob};

/// The first byte of a reference of this engine.
const REF_VERSION: u8 = b'M';

/// A [`BlobStore`] in memory. "Durable" lasts as long as the value does.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<u64, Kept>,
    /// The number of the next blob; no number is used twice.
    next: u64,
    /// Blobs below this number are settled.
    settled_below: u64,
    /// What `settle` will settle: what the last `unsettled` listed.
    listed_below: u64,
}

#[derive(Debug)]
struct Kept {
    owner: BlobOwner,
    /// `None` while the blob is being written.
    bytes: Option<Arc<[u8]>>,
}

impl MemoryBlobs {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes all finished blobs have together.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let state = self.state.lock();
        let finished = state.blobs.values().filter_map(|kept| kept.bytes.as_ref());
        finished.map(|bytes| bytes.len() as u64).sum()
    }
}

fn reference(number: u64) -> BlobRef {
    let mut bytes = [REF_VERSION; 9];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    BlobRef::from_bytes(&bytes)
}

fn number(blob: &BlobRef) -> Option<u64> {
    let (version, number) = blob.as_bytes().split_first()?;
    (*version == REF_VERSION)
        .then(|| number.try_into().ok().map(u64::from_be_bytes))
        .flatten()
}

#[async_trait]
impl BlobStore for MemoryBlobs {
    async fn create(
        &self,
        owner: BlobOwner,
        len_bytes: u64,
    ) -> Result<Box<dyn BlobWriter>, BlobError> {
        if usize::try_from(len_bytes).is_err() {
            return Err(BlobError::Full);
        }
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.blobs.insert(number, Kept { owner, bytes: None });
        Ok(Box::new(MemoryWriter {
            state: Arc::clone(&self.state),
            number,
            len_bytes,
            bytes: Vec::new(),
            finished: false,
        }))
    }

    async fn read(
        &self,
        blob: &BlobRef,
        offset: u64,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, BlobError> {
        let bytes = {
            let state = self.state.lock();
            let kept = number(blob).and_then(|number| state.blobs.get(&number));
            let bytes = kept.and_then(|kept| kept.bytes.clone());
            bytes.ok_or(BlobError::NotFound)?
        };
        let end = offset.saturating_add(buffer.len() as u64);
        let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
        let asked = range.and_then(|(start, end)| bytes.get(start..end));
        buffer.copy_from_slice(asked.ok_or(BlobError::Length {
            expected: bytes.len() as u64,
            actual: end,
        })?);
        metrics::counter!(crate::READ_BYTES).increment(buffer.len() as u64);
        Ok(buffer)
    }

    async fn delete(&self, blob: &BlobRef) -> Result<(), BlobError> {
        if let Some(number) = number(blob) {
            self.state.lock().blobs.remove(&number);
        }
        Ok(())
    }

    async fn unsettled(&self) -> Result<Vec<UnsettledBlob>, BlobError> {
        let mut state = self.state.lock();
        let unfinished = state.blobs.iter().find(|(_, kept)| kept.bytes.is_none());
        state.listed_below = unfinished.map_or(state.next, |(number, _)| *number);
        let unsettled = state.blobs.range(state.settled_below..);
        Ok(unsettled
            .filter(|(_, kept)| kept.bytes.is_some())
            .map(|(number, kept)| UnsettledBlob {
                blob: reference(*number),
                owner: kept.owner,
            })
            .collect())
    }

    async fn settle(&self) -> Result<(), BlobError> {
        let mut state = self.state.lock();
        state.settled_below = state.settled_below.max(state.listed_below);
        Ok(())
    }
}

struct MemoryWriter {
    state: Arc<Mutex<State>>,
    number: u64,
    len_bytes: u64,
    bytes: Vec<u8>,
    finished: bool,
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn append(&mut self, mut bytes: BytesMut) -> Result<BytesMut, BlobError> {
        let actual = (self.bytes.len() + bytes.len()) as u64;
        if actual > self.len_bytes {
            return Err(BlobError::Length {
                expected: self.len_bytes,
                actual,
            });
        }
        self.bytes.extend_from_slice(&bytes);
        metrics::counter!(crate::WRITTEN_BYTES).increment(bytes.len() as u64);
        bytes.clear();
        Ok(bytes)
    }

    async fn finish(mut self: Box<Self>) -> Result<BlobRef, BlobError> {
        let actual = self.bytes.len() as u64;
        if actual != self.len_bytes {
            return Err(BlobError::Length {
                expected: self.len_bytes,
                actual,
            });
        }
        let bytes = std::mem::take(&mut self.bytes).into();
        if let Some(kept) = self.state.lock().blobs.get_mut(&self.number) {
            kept.bytes = Some(bytes);
        }
        self.finished = true;
        Ok(reference(self.number))
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        if !self.finished {
            self.state.lock().blobs.remove(&self.number);
        }
    }
}
